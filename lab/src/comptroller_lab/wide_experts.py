"""DeepSeek-R1 with its experts over several nodes, as published, and what a step is predicted to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from comptroller.costs.deployment import (
    EngineSettings,
    ModelReplica,
    ParallelLayout,
    PrecisionRecipe,
    SpeculativeDecoding,
)
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

LMSYS = "lmsys.org/blog/2025-05-05-large-scale-ep"
CLOUDMATRIX = "arXiv 2506.12708"
PROMPT_TOKENS = 16_384
"""Tokens of prompts in a step of a device, in both systems."""


@dataclass(frozen=True)
class PublishedRate:
    """A published rate, tokens/s of one device.

    batch: sequences of a device that decode, 0 for prompts.  tokens: of a prompt, or held by a sequence.  drafts: its
    own head's.
    """

    source: str
    name: str
    device: str
    engine: str
    weights: str
    activations: str
    ranks: int
    batch: int
    tokens: int
    per_s: float
    drafts: SpeculativeDecoding | None = None

    def predicted(self, calibration: TimingCalibration) -> float:
        """Tokens/s of one device, every rank alike."""
        engine = EngineSettings.default(engine_facts(self.engine))
        engine = replace(engine, chunk_tokens=PROMPT_TOKENS * self.ranks, speculation=self.drafts)
        recipe = PrecisionRecipe(self.weights, self.weights, self.activations, "bf16")
        layout = ParallelLayout(dp=self.ranks, ep=self.ranks)
        one = ModelReplica(model("deepseek_r1"), accelerator(self.device), recipe, layout, engine)
        ready = replica_timer(one, calibration)
        return self._decoded_per_s(ready) if self.batch else self._read_per_s(ready)

    def _decoded_per_s(self, ready: ReplicaTimer) -> float:
        sequences = float(self.batch * self.ranks)
        step = ReplicaStep.decode(sequences, sequences * self.tokens)
        return self.batch * ready.step_tokens / float(ready.decode(step.batch, step.kv_tokens).total_s[0])

    def _read_per_s(self, ready: ReplicaTimer) -> float:
        step = ReplicaStep.prefill(self.tokens, 0.0, self.ranks * PROMPT_TOKENS / self.tokens)
        return PROMPT_TOKENS / float(ready.step(step).total_s[0])


def published_rates() -> Iterator[PublishedRate]:
    """96 H100 under SGLang (rates of a node of eight), CloudMatrix384 with its own head drafting one token, of which
    70 % are kept; its prompts as measured, without the balance of experts that 6,688 tok/s assume."""
    hopper = ("h100_sxm", "sglang", "fp8_block", "fp8_e4m3")
    yield PublishedRate(LMSYS, "prompts, EP32", *hopper, 32, 0, 2000, 52_300 / 8)
    yield PublishedRate(LMSYS, "decoding, EP72", *hopper, 72, 256, 2050, 22_300 / 8)
    ascend, own = ("ascend_910c", "vllm", "int8", "int8"), SpeculativeDecoding(1, 0.7)
    yield PublishedRate(CLOUDMATRIX, "prompts, EP32 on 16 devices", *ascend, 16, 0, 4096, 5_655)
    yield PublishedRate(CLOUDMATRIX, "decoding, EP320 on 160 devices, below 50 ms", *ascend, 160, 96, 4096, 1_943, own)
    yield PublishedRate(CLOUDMATRIX, "decoding, EP320 on 160 devices, below 15 ms", *ascend, 160, 8, 4096, 538, own)
