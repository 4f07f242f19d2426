"""SplitwiseSim's measured watts as joules of its step tables, and what a clock or a limit makes of both."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ClockSetting, EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.power import LEAST_LOCK, idle_w
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.serving.policies.power_view import PowerSetting
from splitwise_table import DEVICES, MODELS, TP, USUAL_PROMPT, USUAL_TOKENS, Timings, step_table

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PowerReadings:
    """Measured power of a machine's devices, as shares of their limit: of prompts by tokens of the step (the peak of a
    run), of decodes by batch (its mean: most of a run decodes)."""

    prompt: Mapping[int, float]
    decode: Mapping[int, float]


def read_power(path: Path, model_name: str, hardware: str) -> PowerReadings:
    """Medians of one model on one machine of eight devices; rows without a measurement are left out."""
    prompt: dict[int, list[float]] = defaultdict(list)
    decode: dict[int, list[float]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            one = (row["model"], row["hardware"], int(row["tensor_parallel"])) == (model_name, hardware, TP)
            if one and float(row["peak_power"]) > 0:
                size = int(row["prompt_size"]), int(row["batch_size"]), int(row["token_size"])
                prompt[size[0] * size[1]].append(float(row["peak_power"]))
                if size[0] == USUAL_PROMPT and size[2] == USUAL_TOKENS:
                    decode[size[1]].append(float(row["average_power"]))
    return PowerReadings(*({key: median(values) for key, values in found.items()} for found in (prompt, decode)))


def powered_table(timings: Timings, readings: PowerReadings) -> StepTable:
    """The step table of a machine with its devices' joules as measured; what else its server draws is not in it."""
    table = step_table(timings, Timings.decode_at)
    device = accelerator(DEVICES[timings.hardware])
    limit_w = TP * device.tdp_w
    decode_w = limit_w * _between(readings.decode, np.maximum(np.arange(table.max_batch + 1), 1))
    mixed_w = limit_w * _between(readings.prompt, table.token_knots)
    return replace(
        table, decode_j=table.decode_s * decode_w[:, None], mixed_j=table.mixed_s * mixed_w, idle_w=idle_w(device) * TP
    )


def _between(known: Mapping[int, float], at: npt.ArrayLike) -> Floats:
    """Linear between what was measured, level beyond it."""
    x = np.array(sorted(known), float)
    return np.asarray(np.interp(np.asarray(at, float), x, [known[int(key)] for key in x]))


class ClockRatios:
    """What a setting makes of a measured table: times and joules in the ratio of this product's own steps of the same
    model on the same machine, at the setting and without it."""

    def __init__(self, model_name: str, hardware: str) -> None:
        engine = replace(EngineSettings.default(engine_facts("vllm")), max_batch=512)
        self.replica = ModelReplica(
            model(MODELS[model_name]), accelerator(DEVICES[hardware]),
            PrecisionRecipe("fp16", "fp16", "fp16", "fp16"), ParallelLayout(tp=TP), engine,
        )  # fmt: skip
        self._own = self._table(None)

    @property
    def device(self) -> Accelerator:
        """The device of the machine."""
        return self.replica.device

    def _table(self, clock: ClockSetting | None) -> StepTable:
        one = replace(self.replica, clock=clock)
        return tabulate(replica_timer(one, FittedCalibration.shipped()), memory(one), SiteRates(0.0, 1.0, 0.0), 8192)

    def at(self, table: StepTable, setting: PowerSetting) -> StepTable:
        """The table at a setting; below the lowest clock that is priced steps are longer by the ratio of clocks."""
        clock = max(setting.clock, LEAST_LOCK)
        hz, watts = (clock * (self.device.clock_hz or 0.0), setting.limit * self.device.tdp_w)
        other = self._table(ClockSetting(hz if clock < 1 else None, watts if setting.limit < 1 else None))
        scaled = {}
        for unit in ("s", "j"):
            decode, mixed = self._ratios(table, other, unit)
            scaled[f"decode_{unit}"] = getattr(table, f"decode_{unit}") * decode
            scaled[f"mixed_{unit}"] = getattr(table, f"mixed_{unit}") * mixed
        return replace(table, **scaled).slowed(clock / setting.clock)

    def _ratios(self, table: StepTable, other: StepTable, unit: str) -> tuple[Floats, Floats]:
        step = "decode_step_s" if unit == "s" else "decode_step_j"
        batches = np.clip(np.arange(table.max_batch + 1), 1, self._own.max_batch)
        # A table's knots lie far apart; the ratio is that of so many sequences of usual length.
        kv = batches * float(USUAL_PROMPT + USUAL_TOKENS)
        decode = [getattr(other, step)(b, k) / getattr(self._own, step)(b, k) for b, k in zip(batches, kv, strict=True)]
        knots = np.minimum(np.maximum(table.token_knots, 1.0), self._own.token_knots[-1])
        values = [np.interp(knots, one.token_knots, getattr(one, f"mixed_{unit}")) for one in (other, self._own)]
        if unit == "j":
            host_w = self._own.idle_w - idle_w(self.device) * TP
            times = [np.interp(knots, one.token_knots, one.mixed_s) for one in (other, self._own)]
            values = [joules - host_w * seconds for joules, seconds in zip(values, times, strict=True)]
            decode = [
                (other.decode_step_j(b, k) - host_w * other.decode_step_s(b, k))
                / (self._own.decode_step_j(b, k) - host_w * self._own.decode_step_s(b, k))
                for b, k in zip(batches, kv, strict=True)
            ]
        return np.array(decode)[:, None], values[0] / values[1]
