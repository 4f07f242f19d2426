"""Published runs that nothing was fitted to: Megatron-LM's weak scaling, Frontier, MLPerf's strong scaling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from comptroller.costs.deployment import PrecisionRecipe
from comptroller.costs.training_layout import ActivationRecompute, LayoutGrid, StateSharding, TrainingLayout
from comptroller.costs.training_memory import training_memory
from comptroller.costs.training_pace import memory_habits, training_pace
from comptroller.costs.training_time import step_ingredients, training_step_time
from comptroller.costs.training_work import ForwardTable, TrainingJob
from comptroller.facts.accelerator import Accelerator, InterconnectLink, accelerator
from comptroller_lab.training_rows import gpt

FULL = ActivationRecompute.FULL

MEGATRON = (
    ("1.7 B", 2304, 24, 24, 1, 1, 32, 512, 0.44),
    ("3.6 B", 3072, 30, 32, 2, 1, 64, 512, 0.44),
    ("7.5 B", 4096, 36, 32, 4, 1, 128, 512, 0.46),
    ("18.4 B", 6144, 40, 48, 8, 1, 256, 1024, 0.43),
    ("39.1 B", 8192, 48, 64, 8, 2, 512, 1536, 0.44),
    ("76.1 B", 10240, 60, 80, 8, 4, 1024, 1792, 0.45),
    ("145.6 B", 12288, 80, 96, 8, 8, 1536, 2304, 0.47),
    ("310.1 B", 16384, 96, 128, 8, 16, 1920, 2160, 0.50),
    ("529.6 B", 20480, 105, 128, 8, 35, 2520, 2520, 0.52),
    ("1008 B", 25600, 128, 160, 8, 64, 3072, 3072, 0.52),
)
"""Size, hidden, layers, heads, tp, pp, A100, sequences of 2,048, share of the peak with what is computed again (arXiv
2104.04473, table 1; README image cases_april2021.png of Megatron-LM)."""

FRONTIER = (
    ("22 B", 6144, 48, 48, 8, 1, 64, 0.3838),
    ("175 B", 12288, 96, 96, 8, 8, 1024, 0.3614),
    ("1 T", 25600, 128, 160, 8, 64, 3072, 0.3196),
)
"""Size, hidden, layers, heads, tp, pp, devices, share of the peak of an MI250X die (arXiv 2312.12705, abstract). Its
tables of layouts are not at hand: tensor parallelism of a node, stages enough to fit, 16 microbatches a stage."""

ROUNDS_A_STAGE = 16
CEILINGS = (0.869, 0.514)
"""Best measured share of the dense bf16 peak of an A100 and of an MI300X (stas00/ml-engineering, MAMF)."""

MLPERF = ((512, 58.30), (768, 40.62), (4096, 8.58), (6144, 6.03), (8192, 4.93), (10240, 4.07), (10752, 3.92))
"""H100 and minutes to the target of GPT-3 175B, MLPerf Training 3.1 (NVIDIA's entries,
mlcommons/training_results_v3.1)."""
MLPERF_4 = ((512, 51.28), (10752, 3.71), (11616, 3.45))
"""The same of version 4.0."""

TOKENS_AT = ((2048, 1.21e9), (6144, 1.41e9))
"""Tokens to the target at the least and the greatest batch (sequences) of those entries; between them by its
logarithm."""


@dataclass(frozen=True)
class PublishedShare:
    """A share of the peak as published beside the predicted one, and the layout that was predicted."""

    name: str
    published: float
    predicted: float
    layout: TrainingLayout

    @property
    def points(self) -> float:
        """Predicted less published, in per cent of the peak."""
        return 100 * (self.predicted - self.published)


def megatron_table() -> list[PublishedShare]:
    """Megatron-LM's table by the constants of vTrain's clusters, the micro-batch that is fastest."""
    found = []
    for name, hidden, layers, heads, tp, pp, devices, batch, share in MEGATRON:
        job = TrainingJob(gpt(hidden, heads, layers), accelerator("a100_80_sxm"), 2048)
        dp = devices // (tp * pp)
        base = TrainingLayout(dp=dp, tp=tp, pp=pp, recompute=FULL)
        grid = [replace(base, micro_batch=b) for b in (1, 2, 4, 8) if batch % (dp * b) == 0]
        found.append(_published(name, job, grid, batch, share))
    return found


def frontier(rounds: int = ROUNDS_A_STAGE, ceiling: bool = False) -> list[PublishedShare]:
    """Frontier's runs by the same constants on a family that no program was measured on.

    rounds: microbatches a stage.  ceiling: whether matrices are slowed by AMD's measured ceiling over NVIDIA's.
    """
    found = []
    for name, hidden, layers, heads, tp, pp, devices, share in FRONTIER:
        job = TrainingJob(gpt(hidden, heads, layers), mi250x_die(), 2048)
        dp = devices // (tp * pp)
        base = TrainingLayout(dp=dp, tp=tp, pp=pp, recompute=FULL, sharding=StateSharding.OPTIMIZER)
        batch = dp * pp * rounds
        grid = [replace(base, micro_batch=b) for b in (1, 2, 4) if batch % (dp * b) == 0]
        found.append(_published(name, job, grid, batch, share, CEILINGS[0] / CEILINGS[1] if ceiling else 1.0))
    return found


def _published(
    name: str, job: TrainingJob, layouts: list[TrainingLayout], batch: int, share: float, slower: float = 1.0
) -> PublishedShare:
    grid = LayoutGrid.of(layouts)
    pace = training_pace("megatron_deepspeed", job.device)
    pace = replace(pace, matrices=pace.matrices * slower)
    times = training_step_time(step_ingredients(ForwardTable(job), grid, batch), pace).total_s
    best = int(np.argmin(times))
    flops = 4.0 / 3.0 * job.flops_per_token() * job.seq * batch / layouts[best].devices
    return PublishedShare(name, share, float(flops / times[best] / job.device.peak("bf16")), layouts[best])


@lru_cache(maxsize=1)
def mi250x_die() -> Accelerator:
    """One die of an MI250X, as programs see it: half of 383 Tflop/s, 128 GB, 3.2 TB/s and 560 W (AMD's data sheet);
    eight in a node, 50 GB/s between neighbours' dies, a 200 Gbit/s card for every two (Frontier user guide)."""
    h100 = accelerator("h100_sxm")
    return replace(
        h100,
        id="mi250x_die",
        name="AMD MI250X, one die",
        vendor="AMD",
        family="cdna2",
        peak_flops_per_s={"fp32": 23.95e12, "bf16": 191.5e12, "fp16": 191.5e12},
        memory_bytes=64e9,
        memory_bytes_per_s=1.6e12,
        tdp_w=280.0,
        scale_up=InterconnectLink("Infinity Fabric 3", "each", 50e9 * 3, 8),
        scale_out=InterconnectLink("Slingshot 11", "each", 12.5e9),
    )


def mlperf_minutes(devices: int) -> float:
    """Minutes to the target of GPT-3 175B on H100 in 8 bits: the best layout and batch, by the constants of
    Megatron-Bridge."""
    recipe = PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3", "bf16")
    job = TrainingJob(gpt(12288, 96, 96), accelerator("h100_sxm"), 2048, recipe)
    table, pace, habits = (
        ForwardTable(job),
        training_pace("megatron_bridge", job.device),
        memory_habits("megatron_bridge"),
    )
    best = np.inf
    for tp, pp, micro in ((4, 8, 1), (4, 8, 2), (8, 8, 1), (8, 8, 2), (4, 4, 1), (8, 4, 1), (8, 16, 1), (4, 16, 1)):
        dp = devices // (tp * pp)
        for wanted in (2048, 3072, 4096, 6144):
            rounds = max(1, round(wanted / dp / micro / pp)) * pp
            batch = rounds * dp * micro
            if dp * tp * pp != devices or not TOKENS_AT[0][0] * 0.7 < batch < TOKENS_AT[1][0] * 1.3:
                continue
            grid = LayoutGrid.of(
                [
                    TrainingLayout(dp, tp, pp, chunks=v, micro_batch=micro, sharding=StateSharding.OPTIMIZER)
                    for v in (1, 2, 3, 4, 6)
                    if 96 % (pp * v) == 0
                ]
            )
            fits = training_memory(job, grid, batch, habits).total_bytes < 80e9
            times = training_step_time(step_ingredients(table, grid, batch), pace).total_s
            steps = tokens_to_target(batch) / (batch * 2048)
            best = min([best, *(steps * times[fits] / 60)])
    return float(best)


def tokens_to_target(batch: float) -> float:
    """Tokens to the target at a batch, between the two that are known.

    >>> round(tokens_to_target(2048) / 1e9, 2)
    1.21
    """
    (low, few), (high, many) = TOKENS_AT
    share = np.clip(np.log(batch / low) / np.log(high / low), 0.0, 1.0)
    return float(few + (many - few) * share)
