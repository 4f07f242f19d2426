"""Speed-ups by speculative decoding as MoESD measured them, and what the step model says of the same runs.

Source: Huang et al. 2025, MoESD (arXiv 2505.19645, NeurIPS 2025), tables 1 and 2: Qwen2-57B-A14B with Qwen2-0.5B (of
the shape of Qwen2.5-0.5B) under vLLM of May 2025, the greatest speed-up over batches of 1 to 100. Captured graphs and
batched drafts of a model are the engine before V1. Of its devices the catalogue has the A800; rows of four in table 2
are those with the shortest times, as its text says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from comptroller.costs.deployment import (
    EngineSettings,
    ModelReplica,
    ParallelLayout,
    PrecisionRecipe,
    SpeculativeDecoding,
)
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.speculation import tokens_per_step
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

Array = npt.NDArray[np.float64]

BATCHES = np.array([1, 2, 4, *range(8, 64, 4), 80, 100], float)
"""Batches of the paper's measurements."""

CONTEXT_TOKENS = 350.0
"""Mean context of a sequence: prompts of 5 to 391 tokens and what is generated. Twice as many move no peak by 1 %."""

DRAFTED = (2, 3, 4)
"""Tokens that are drafted a step."""

TASKS = ("HumanEval, temperature 0", "HumanEval, temperature 1", "MT-bench, temperature 0", "MT-bench, temperature 1")

MEASURED = {
    2: (
        ((0.94, 1.63), (0.93, 1.96), (0.91, 2.18)),
        ((0.83, 1.48), (0.73, 1.50), (0.67, 1.72)),
        ((0.71, 1.25), (0.62, 1.29), (0.55, 1.19)),
        ((0.68, 1.22), (0.57, 1.29), (0.48, 1.20)),
    ),
    4: (
        ((0.95, 1.65), (0.93, 1.90), (0.90, 2.08)),
        ((0.81, 1.38), (0.73, 1.45), (0.67, 1.46)),
        ((0.72, 1.26), (0.61, 1.24), (0.52, 1.15)),
        ((0.67, 1.14), (0.58, 1.20), (0.47, 1.05)),
    ),
}
"""A800 -> for each task and number of drafted tokens the share of the most tokens a step that was made; speed-up."""


@dataclass(frozen=True)
class PublishedSpeedup:
    """The greatest speed-up over all batches of one task.

    devices: A800s.  drafted: tokens a step.  made: of `drafted` + 1 tokens the share that a step gave.
    """

    devices: int
    task: str
    drafted: int
    made: float
    speedup: float

    @property
    def acceptance(self) -> float:
        """The chance of a drafted token that gives as many tokens a step."""
        made = self.made * (self.drafted + 1)
        return float(brentq(lambda chance: tokens_per_step(chance, self.drafted) - made, 0.0, 1.0))

    def predicted(self, calibration: TimingCalibration, generation: str) -> Array:
        """Speed-ups at `BATCHES`. generation: of vLLM, empty for the present one."""
        drafts = SpeculativeDecoding(self.drafted, self.acceptance, model("qwen2_5_0_5b"))
        return speedups("qwen2_57b_a14b", self.devices, drafts, calibration, generation)


def speedups(
    name: str, devices: int, drafts: SpeculativeDecoding, calibration: TimingCalibration, generation: str
) -> Array:
    """Seconds per token without drafts over those with them, on A800s under vLLM, at `BATCHES`."""
    engine = replace(EngineSettings.default(engine_facts("vllm")), max_batch=128, generation=generation)
    alone = ModelReplica(model(name), accelerator("a800_80_sxm"), PrecisionRecipe(), ParallelLayout(devices), engine)
    drafting = replace(alone, engine=replace(engine, speculation=drafts))
    plain, drafted = (
        replica_timer(each, calibration).decode_s(BATCHES, BATCHES * CONTEXT_TOKENS) for each in (alone, drafting)
    )
    return np.asarray(plain / drafted)


def published_speedups() -> Iterator[PublishedSpeedup]:
    """All of them."""
    for devices, tasks in MEASURED.items():
        for task, cells in zip(TASKS, tasks, strict=True):
            for drafted, (made, speedup) in zip(DRAFTED, cells, strict=True):
                yield PublishedSpeedup(devices, task, drafted, made, speedup)
