"""The step table: what the cost model hands to the simulator about one deployment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.serving_time import outside_s
from comptroller.costs.step import causal_pairs
from comptroller.costs.timing import ServingOverheads
from comptroller.errors import InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SequenceFootprint:
    """What sequences take of a rank's memory where it does not grow by equal blocks: windows and states, in bytes.

    capacity_bytes: of the rank's cache.  block_bytes: of one block of tokens in all layers, no window passed.
    state_bytes: of a sequence, whatever its length.  parts: (most blocks, bytes of a block) of layers that keep as
    much; first those that keep everything.
    """

    capacity_bytes: int
    block_bytes: int
    state_bytes: int
    parts: tuple[tuple[int, int], ...]

    @property
    def full_block_bytes(self) -> int:
        """Bytes of one block of tokens in the layers that keep everything: what a common prefix can share."""
        return self.parts[0][1]

    def share(self, ranks: int) -> SequenceFootprint:
        """Of one of several data-parallel ranks: a sequence lies on one of them."""
        return replace(self, capacity_bytes=self.capacity_bytes // ranks)


@dataclass(frozen=True, eq=False)
class StepTable:
    """Time and energy of one engine step of a replica, piecewise linear; the last segment extrapolates.

    A decode step of B sequences that hold K cached tokens takes `decode_s[B]` at K (knots
    `kv_knots_tokens`, from 0). A step with P prompt tokens, B decoding sequences with K cached tokens and
    A query-key pairs of the prompt chunks takes `mixed_s` at P + B (knots `token_knots`) plus
    `decode_s[B]` at K less the same at 0, plus `pair_s` at A (knots `pair_knots`). Joules likewise: they are
    the whole replica's at the wall, idle power included. Row 0 of the decode tables is not read.

    idle_w: power of a replica that waits.  kv_capacity_tokens, kv_block_tokens: the paged cache.
    chunk_tokens: token budget of a step.  context_tokens: longest prompt plus output; None = the cache's
    capacity.  swap_bytes_per_s: host link.  transfer_bytes_per_s: link between prompt and token pools.
    footprint: memory of a sequence where it is not its tokens' blocks; then kv_capacity_tokens says how many tokens fit
    below every window.  gco2e_per_j: the wall factor included.  serving, in_flight: the server around the engine, and
    the requests that it holds on average; they add to latencies what `serving_time.outside_s` says, and nothing to
    steps.  usual_kv_tokens: cached tokens of those requests in all, by which the steps are told that a request waits
    unseen.  stages: of a pipeline, of which a prompt holds one at a time: a mixed step is longer by that share of it.

    Raises:
        InputError: shapes disagree, knots do not ascend from 0, or a time or energy is not positive.
    """

    kv_knots_tokens: Floats
    decode_s: Floats
    decode_j: Floats
    token_knots: Floats
    mixed_s: Floats
    mixed_j: Floats
    pair_knots: Floats
    pair_s: Floats
    pair_j: Floats
    idle_w: float
    devices: int
    kv_capacity_tokens: int
    kv_block_tokens: int
    max_batch: int
    chunk_tokens: int
    kv_bytes_per_token: float
    swap_bytes_per_s: float
    transfer_bytes_per_s: float
    usd_per_s: float
    gco2e_per_j: float
    context_tokens: int | None = None
    serving: ServingOverheads = field(default_factory=ServingOverheads)
    in_flight: float = 0.0
    usual_kv_tokens: float = 0.0
    footprint: SequenceFootprint | None = None
    stages: int = 1

    def __post_init__(self) -> None:
        rows = (self.max_batch + 1, self.kv_knots_tokens.size)
        self._check("decode", self.kv_knots_tokens, (self.decode_s, self.decode_j), rows)
        self._check("mixed", self.token_knots, (self.mixed_s, self.mixed_j), self.token_knots.shape)
        self._check("pair", self.pair_knots, (self.pair_s, self.pair_j), self.pair_knots.shape)
        for name in ("devices", "kv_capacity_tokens", "kv_block_tokens", "max_batch", "chunk_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"step table: {name} is {getattr(self, name)}; it must be at least 1")
        if not (self.decode_s[1:] > 0).all() or not (self.mixed_s > 0).all():
            raise InputError("step table: every decode and mixed step must take a positive time")

    def _check(self, name: str, knots: Floats, values: tuple[Floats, ...], shape: tuple[int, ...]) -> None:
        if knots.ndim != 1 or knots.size < 2 or knots[0] < 0 or not (np.diff(knots) > 0).all():
            raise InputError(f"step table: {name} knots must ascend from 0 and be at least two")
        if name != "mixed" and knots[0] != 0:
            raise InputError(f"step table: the first {name} knot must be 0, not {knots[0]:g}")
        for table in values:
            used = table[1:] if name == "decode" else table
            if table.shape != shape:
                raise InputError(f"step table: a {name} table has shape {table.shape}; it must be {shape}")
            if not np.isfinite(used).all() or (used < 0).any():
                raise InputError(f"step table: a {name} table has an entry that is negative or not finite")
            if (used[..., -1] < used[..., -2]).any():
                raise InputError(f"step table: the last {name} segment falls, so it would go below zero")

    def slowed(self, factor: float) -> StepTable:
        """The table of a replica that a neighbour slows: every step takes `factor` times as long, and what it waits
        longer it waits at idle power.

        Raises:
            InputError: the factor is below 1.
        """
        if not (factor >= 1 and np.isfinite(factor)):
            raise InputError(f"a neighbour slows a replica by a factor of at least 1, not {factor:g}")
        parts = {}
        for name in ("decode", "mixed", "pair"):
            seconds, joules = getattr(self, f"{name}_s"), getattr(self, f"{name}_j")
            parts[f"{name}_s"] = seconds * factor
            parts[f"{name}_j"] = joules + self.idle_w * seconds * (factor - 1.0)
        return replace(self, **parts)

    def decode_step_s(self, batch: int, kv_tokens: float) -> float:
        """Seconds of a decode step of so many sequences with so many cached tokens in all."""
        return _at(self.kv_knots_tokens, self.decode_s[batch], kv_tokens)

    def decode_step_j(self, batch: int, kv_tokens: float) -> float:
        """Joules of the same step."""
        return _at(self.kv_knots_tokens, self.decode_j[batch], kv_tokens)

    def mixed_step_s(self, prompt_tokens: int, pairs: float, batch: int = 0, kv_tokens: float = 0) -> float:
        """Seconds of a step with prompt tokens and their query-key pairs beside a decoding batch."""
        attention = self.decode_step_s(batch, kv_tokens) - self.decode_step_s(batch, 0) if batch else 0.0
        linear = _at(self.token_knots, self.mixed_s, prompt_tokens + batch)
        return linear + attention + _at(self.pair_knots, self.pair_s, pairs)

    def prompt_s(self, fresh_tokens: Floats, cached_tokens: Floats) -> Floats:
        """Seconds of prompts alone, in equal chunks of the engine's token budget; as `steady.prefill_time`."""
        chunks = np.maximum(np.ceil(fresh_tokens / self.chunk_tokens), 1.0)
        pairs = causal_pairs(fresh_tokens, cached_tokens) / chunks
        linear = _line(self.token_knots, self.mixed_s, fresh_tokens / chunks)
        return np.asarray(self.stages * chunks * (linear + _line(self.pair_knots, self.pair_s, pairs)))

    def outside_s(self, fresh_tokens: Floats, cached_tokens: Floats) -> Floats:
        """Seconds to the first token that pass outside of the engine's queue and steps: the server's, until the engine
        looks at its queue, and the way through the other stages of a pipeline."""
        return np.asarray(self.server_s + self.server_share * self.prompt_s(fresh_tokens, cached_tokens))

    @property
    def server_s(self) -> float:
        """Of `outside_s`, the seconds that any prompt takes."""
        return float(outside_s(self.serving, self.in_flight, np.zeros(()))) + self.unseen_s

    @property
    def server_share(self) -> float:
        """Of `outside_s`, the share of a prompt's seconds alone; below 0 where prompts are faster than their steps."""
        return float(self.serving.prefill) - 1.0 / self.stages

    @property
    def unseen_s(self) -> float:
        """Mean seconds until an engine that looks at its queue seldom sees a request, in its usual decode steps; 0
        where it looks before every step, or holds nothing."""
        batch = min(round(self.in_flight), self.max_batch)
        if not self.serving.unseen_steps or not batch:
            return 0.0
        return float(self.serving.unseen_steps) * self.decode_step_s(batch, self.usual_kv_tokens)


def _at(knots: Floats, values: Floats, x: float) -> float:
    return float(_line(knots, values, np.asarray(x, np.float64)))


def _line(knots: Floats, values: Floats, x: Floats) -> Floats:
    """Piecewise linear, the first and the last segment extended."""
    left = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, knots.size - 2)
    slope = (values[left + 1] - values[left]) / (knots[left + 1] - knots[left])
    return np.asarray(values[left] + slope * (x - knots[left]))
