"""What a device does during a step: seconds by part, watts, FLOPs that it executes beside those of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comptroller.costs.deployment import RecipeFormats, arithmetic
from comptroller.costs.power_demand import DeviceActivity, limit_s
from comptroller.costs.training_layout import ActivationRecompute
from comptroller.costs.training_time import TrainingStepTime
from comptroller.costs.training_work import KINDS, TrainingJob
from comptroller.facts.power import power_facts
from comptroller.training.options import TrainingOption
from comptroller.training.plan_document import six_digits

COLLECTIVES = ("tensor", "crossing", "exchange", "ring")
"""Kinds of work that travel over links."""


def step_parts(time: TrainingStepTime) -> dict[str, float]:
    """Seconds of a step by part: kinds of work of the slowest stage, then what comes besides."""
    parts = {kind: float(time.kinds[i, 0]) for i, kind in enumerate(KINDS)}
    parts |= {"host": float(time.host_s[0]), "bubble": float(time.bubble_s[0]), "sends": float(time.send_s[0])}
    parts |= {"data parallel": float(time.data_s[0]), "optimizer": float(time.optimizer_s[0])}
    parts |= {"program": float(time.step_s[0]), "offload": float(time.offload_s[0])}
    return {name: six_digits(value) for name, value in parts.items() if value > 0}


def matrix_arithmetic(job: TrainingJob) -> str:
    """The arithmetic in which matrices are multiplied, against whose dense peak MFU and HFU count."""
    formats = RecipeFormats.of(job.recipe, job.library)
    return arithmetic(formats.weights, formats.activations, job.device)


def executed_share(job: TrainingJob, recompute: int, swapped: float = 0.0) -> float:
    """FLOPs that the device executes over those of the model: HFU / MFU.

    4/3 with full recomputation, 3/2 beside frozen weights; of attention's share alone with that of its core. What is
    swapped in place of that is not computed again.
    """
    if recompute == ActivationRecompute.NONE:
        return 1.0
    if recompute == ActivationRecompute.FULL:
        return 1.0 + (1.0 - swapped) / (3.0 if job.adapter is None else 2.0)
    whole = job.flops_per_token()
    short = replace(job, seq=1).flops_per_token()
    return 1.0 + (whole - short) / whole / 3.0


def device_watts(job: TrainingJob, time: TrainingStepTime, option: TrainingOption) -> float:
    """Mean watts of a device over a step, from what it does (`costs.power`)."""
    wires = sum(time.kinds[KINDS.index(kind)] for kind in COLLECTIVES) + time.send_s + time.data_s
    computing = time.kinds.sum(axis=0) - sum(time.kinds[KINDS.index(kind)] for kind in COLLECTIVES)
    small = time.kinds[KINDS.index("small")] + time.optimizer_s
    flops = job.flops_per_token() * job.seq * option.global_batch
    matrix_s = flops / option.devices / job.device.peak(matrix_arithmetic(job))
    doing = DeviceActivity(time.total_s, computing + time.optimizer_s, wires, np.zeros(1), small, np.array([matrix_s]))
    known = power_facts()
    share = limit_s(doing, known.shares, known.factor(job.device.family)) / doing.total_s
    return float(job.device.tdp_w * share[0])
