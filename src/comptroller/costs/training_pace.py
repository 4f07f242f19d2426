"""The constants of a training program, applied: its pace on an accelerator, its habits of memory, its intervals."""

from __future__ import annotations

import math

from comptroller.costs.training_activations import ActivationHabits
from comptroller.costs.training_memory import MemoryHabits, StateBytes
from comptroller.costs.training_time import TrainingPace
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.training import TrainingProgram, training_calibration

UNSEEN_HALF = 0.3
"""Half-width (log) that is added in quadrature on a family of accelerators that the program was not measured on: the
spread of families' effects in the fit. At twice this nothing could be said of such a device."""


def training_pace(program: str, device: Accelerator) -> TrainingPace:
    """What a program makes of single kernels on a device.

    Raises:
        UnknownIdError: no such program.

    >>> from comptroller.facts.accelerator import accelerator
    >>> 0.7 < training_pace("llm_foundry", accelerator("a100_80_sxm")).matrices < 1.2
    True
    """
    calibration = training_calibration()
    return TrainingPace(**calibration.values(calibration.program(program).id, device.family))


def memory_habits(program: str, compiled_loss: bool = False) -> MemoryHabits:
    """What a program keeps in memory. compiled_loss: whether the loss is one compiled kernel.  Raises as
    `training_pace`.
    """
    kept = training_calibration().program(program).memory
    logits = (kept.compiled_logit_bytes,) * 2 if compiled_loss else (kept.logit_bytes, kept.split_logit_bytes)
    return MemoryHabits(
        StateBytes(gradients=kept.gradients),
        ActivationHabits(kept.score_bytes, kept.dropout),
        *logits,
        kept.kept,
        kept.narrow_kept,
        kept.sequence_split,
        kept.gathered,
        kept.slack,
        kept.base_bytes,
    )


def time_band(program: TrainingProgram, family: str) -> tuple[float, float]:
    """Factors on predicted seconds between which 80 % of groups left out lie; wider on a family that was not measured.

    >>> low, high = time_band(training_calibration().program("megatron_bridge"), "hopper")
    >>> low < 1 < high
    True
    """
    low, high = program.band
    unseen = 0.0 if family in program.families else UNSEEN_HALF
    return float(_wider(low, -unseen)), float(_wider(high, unseen))


def _wider(edge: float, more: float) -> float:
    both = math.copysign(math.hypot(edge, more), edge if edge or not more else more)
    return math.exp(both)
