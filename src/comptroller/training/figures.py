"""The figures of one way to make a run: time, money, energy, emissions, memory, with intervals."""

from __future__ import annotations

import math

import numpy as np

from comptroller.costs.money import carbon_g, electricity_usd, wall_j
from comptroller.costs.network import node_devices
from comptroller.costs.training_faults import CHECKPOINT_BYTES, CheckpointSchedule, checkpoint_schedule
from comptroller.costs.training_pace import time_band
from comptroller.costs.training_work import TrainingJob
from comptroller.facts.power import power_facts
from comptroller.facts.training import training_calibration
from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.quantities import HOUR_S
from comptroller.training.activity import device_watts, executed_share, matrix_arithmetic, step_parts
from comptroller.training.document import TrainingRun, TrainingWorkload
from comptroller.training.faults import FaultRates
from comptroller.training.options import TrainingOption
from comptroller.training.plan_document import CheckpointDocument, TrainingRunDocument, six_digits
from comptroller.training.stages import layout_document


def document_of(option: TrainingOption, workload: TrainingWorkload, tokens: float) -> TrainingRunDocument:
    """All figures of one way."""
    run, choice, job = workload.training, option.choice, option.job
    steps = math.ceil(tokens / (run.global_batch * run.seq))
    schedule, stored = _checkpoints(option, run)
    step_s = choice.step_s
    wall_s = steps * step_s / schedule.goodput
    program = training_calibration().program(run.program)
    band = time_band(program, job.device.family)
    rented = option.offer.rented(option.devices)
    watts = device_watts(job, choice.time, option)
    joules = float(wall_j(watts * option.devices * wall_s, option.devices * wall_s, option.site.pue))
    usd_per_s = rented * option.offer.usd_per_s
    usd = usd_per_s * wall_s
    if option.offer.term == "owned":
        usd += float(electricity_usd(joules, option.site.electricity_usd_per_j))
    wide = _energy_band(band, job)
    peak = job.device.peak(matrix_arithmetic(job))
    flops = job.flops_per_token() * run.seq * run.global_batch / step_s / option.devices / peak
    return TrainingRunDocument(
        accelerator=job.device.id,
        site=option.site.id,
        provider=option.offer.provider,
        term=option.offer.term,
        devices=option.devices,
        precision=option.precision,
        layout=layout_document(choice.layout, run.global_batch),
        steps=steps,
        step_s=_figure(step_s, band),
        step_parts_s=step_parts(choice.time),
        swapped_share=six_digits(float(choice.time.swapped[0])),
        tokens_per_s=six_digits(run.global_batch * run.seq / step_s),
        mfu=six_digits(flops),
        hfu=six_digits(flops * executed_share(job, choice.layout.recompute, float(choice.time.swapped[0]))),
        wall_s=_figure(wall_s, band),
        usd=_figure(usd, band),
        usd_per_h=six_digits(usd_per_s * HOUR_S),
        j=_figure(joules, wide),
        gco2e=_figure(float(carbon_g(joules, option.site.grid_gco2e_per_j)), wide),
        mean_device_w=six_digits(watts),
        memory_bytes={name: six_digits(float(value[0])) for name, value in _memory_parts(option).items()},
        memory_limit_bytes=six_digits(option.memory_bytes),
        checkpoints=CheckpointDocument(
            interval_s=six_digits(schedule.interval_s),
            write_s=six_digits(schedule.write_s),
            bytes=six_digits(stored),
            faults_s=six_digits(schedule.faults_s),
            restart_s=FaultRates.of(run).restart_s,
            goodput=six_digits(schedule.goodput),
        ),
    )


def _figure(value: float, band: tuple[float, float]) -> PredictedFigure:
    return PredictedFigure(value=six_digits(value), low=six_digits(value * band[0]), high=six_digits(value * band[1]))


def _energy_band(band: tuple[float, float], job: TrainingJob) -> tuple[float, float]:
    """The interval of times, widened by that of power where step times are predicted."""
    known = power_facts()
    half = known.spread.half(known.spread.predicted_steps, job.device.family in known.families)
    low, high = (math.log(edge) for edge in band)
    return math.exp(-math.hypot(low, half)), math.exp(math.hypot(high, half))


def _memory_parts(option: TrainingOption) -> dict[str, np.ndarray]:
    memory = option.choice.memory
    return memory.parts | {"total": memory.total_bytes}


def _checkpoints(option: TrainingOption, run: TrainingRun) -> tuple[CheckpointSchedule, float]:
    """The schedule of checkpoints, and bytes of one: every node writes its part."""
    faults = FaultRates.of(run)
    stored = option.job.model.total_params * CHECKPOINT_BYTES * option.job.trained_share
    nodes = max(1, option.devices // min(node_devices(option.job.device), 8))
    write_s = stored / nodes / faults.store_bytes_per_s
    return checkpoint_schedule(write_s, faults.device_s / option.devices, faults.restart_s), stored
