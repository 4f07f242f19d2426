"""What a deployment does other than its engine starts by itself, by name: in ids, lines and axes."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.deployment import AdapterSet, ClockSetting, ModelReplica, SpeculativeDecoding
from comptroller.costs.split_pools import SplitPools

MIXED = "mixed"
"""How prefill and decode share replicas that do both."""

OWN, NONE = "own", "none"
"""The engine's own budget of a step with prompts, the device's own clock; no speculative decoding, no adapters."""


@dataclass(frozen=True, slots=True)
class DeploymentLevers:
    """Levers that a workload has to allow.

    pools: prefill and decode apart.  chunk_tokens: budget of a step with prompts.  drafts: speculative decoding.
    adapters: LoRA adapters that are served.  clock: a locked clock or a power limit of the devices.
    offload_bytes: weights of each device that lie in the host's memory.  eager: no captured graphs.  poll_steps,
    stream_interval: steps between two looks at the queue, tokens of a streamed piece, where they are not 1.
    """

    pools: SplitPools | None
    chunk_tokens: int | None
    drafts: SpeculativeDecoding | None
    adapters: AdapterSet | None = None
    clock: ClockSetting | None = None
    offload_bytes: float = 0.0
    eager: bool = False
    poll_steps: int = 1
    stream_interval: int = 1

    @classmethod
    def of(cls, replica: ModelReplica, pools: SplitPools | None, chunk_tokens: int | None) -> DeploymentLevers:
        """Those of a replica."""
        engine = replica.engine
        own = engine.speculation, engine.adapters, replica.clock, engine.offload_bytes, engine.eager
        return cls(pools, chunk_tokens, *own, engine.poll_steps, engine.stream_interval)

    @property
    def is_plain(self) -> bool:
        """Whether none is used."""
        levers = (self.pools, self.chunk_tokens, self.drafts, self.adapters, self.clock)
        is_own = self.poll_steps == self.stream_interval == 1 and not self.offload_bytes and not self.eager
        return is_own and all(lever is None for lever in levers)

    @property
    def suffix(self) -> str:
        """For an id: a dot and a name for each in use."""
        parts = [f".{self.pools.ratio}".lower()] if self.pools else []
        parts += [f".{self.drafts}".replace(" ", "")] if self.drafts else []
        parts += [f".lora{self.adapters.resident}of{self.adapters.count}r{self.adapters.rank}"] if self.adapters else []
        parts += [f".c{self.chunk_tokens}"] if self.chunk_tokens else []
        parts += [".eager"] if self.eager else []
        parts += [f".poll{self.poll_steps}"] if self.poll_steps > 1 else []
        parts += [f".piece{self.stream_interval}"] if self.stream_interval > 1 else []
        parts += [f".off{self._offload_gib:g}"] if self.offload_bytes else []
        return "".join([*parts, *([f".{self.clock}".replace(" ", "").lower()] if self.clock else [])])

    @property
    def label(self) -> str:
        """For a line: a blank and words for each in use."""
        parts = [f" {self.pools.ratio}"] if self.pools else []
        parts += [f" drafts {self.drafts}"] if self.drafts else []
        parts += [f" adapters {self.adapters}"] if self.adapters else []
        parts += [f" chunks of {self.chunk_tokens}"] if self.chunk_tokens else []
        parts += [" eager"] if self.eager else []
        parts += [f" polls every {self.poll_steps} steps"] if self.poll_steps > 1 else []
        parts += [f" streams {self.stream_interval} tokens a piece"] if self.stream_interval > 1 else []
        parts += [f" {self._offload_gib:g} GiB of weights on the host"] if self.offload_bytes else []
        return "".join([*parts, *([f" at {self.clock}"] if self.clock else [])])

    @property
    def axes(self) -> dict[str, str]:
        """Values on the axes that runners-up may differ in."""
        return {
            "pools": str(self.pools.ratio) if self.pools else MIXED,
            "drafts": str(self.drafts or NONE),
            "adapters": str(self.adapters or NONE),
            "chunk_tokens": str(self.chunk_tokens or OWN),
            "clock": str(self.clock or OWN),
            "steps": "eager" if self.eager else "graphs",
            "poll_steps": str(self.poll_steps),
            "stream_interval": str(self.stream_interval),
            "offload": f"{self._offload_gib:g} GiB" if self.offload_bytes else NONE,
        }

    @property
    def _offload_gib(self) -> float:
        return self.offload_bytes / 2**30
