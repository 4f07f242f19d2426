"""Time of a step: every operation at its calibrated share of the datasheet rate, plus launch and host overhead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ClockSetting, ModelReplica
from comptroller.costs.eager import launch_wait_s
from comptroller.costs.knee import collective_s, smooth_max
from comptroller.costs.operations import OperationMatrices
from comptroller.costs.overlap import exposed_s
from comptroller.costs.power_demand import CoreClock, DeviceActivity, clock_within
from comptroller.costs.speculation import tokens_per_step
from comptroller.costs.step import ReplicaStep
from comptroller.costs.tiers import host_read_s
from comptroller.costs.tiles import flops_in_tiles
from comptroller.facts.power import power_facts

Array = npt.NDArray[np.float64]

COLLECTIVES = frozenset({"all_reduce", "all_to_all", "all_gather", "reduce_scatter", "send"})

TERM_OF = {
    "gemm": "linear",
    "elementwise": "linear",
    "moe": "experts",
    **dict.fromkeys(
        (
            "attention_decode",
            "attention_prefill",
            "mla_decode",
            "mla_prefill",
            "indexer",
            "linear_attention_decode",
            "linear_attention_prefill",
        ),
        "attention",
    ),
    **dict.fromkeys(COLLECTIVES, "communication"),
}
CLOCK_ROUNDS = 8
"""Rounds in which the clock that a power limit leaves is found: each halves what is left to find, to 0.4 % in all."""

FREELY = 1.0
"""Pace of cores that no clock or power limit holds back."""

TERMS = ("linear", "experts", "attention", "communication", "overhead")


@dataclass(frozen=True, slots=True)
class KernelSignature:
    """What calibration knows an operation by: its kind, the format it reads, its arithmetic, devices taking part."""

    kind: str
    format: str
    arithmetic: str
    devices: int


@dataclass(frozen=True, slots=True)
class KernelEfficiency:
    """Share of the peak rates that a kernel reaches, and what it pays besides, in seconds.

    floor_s: a call at least.  item_s: per independent piece of work (collectives: per further device).
    depth_s: per unit of serial length.  passes: passes over the activations at the memory rate.
    Collectives: `bytes` is the share of the link a ring reaches after `setup_s`, `direct` the share when every
    device sends to every other at once (0: only the ring is known); the faster way is taken.
    """

    flops: float
    bytes: float
    floor_s: float
    item_s: float = 0.0
    depth_s: float = 0.0
    passes: float = 0.0
    direct: float = 0.0
    setup_s: float = 0.0

    def times(self, factor: float) -> KernelEfficiency:
        """The same kernel where every call takes so many times as long."""
        longer = {name: getattr(self, name) * factor for name in ("floor_s", "item_s", "depth_s", "passes", "setup_s")}
        return KernelEfficiency(self.flops / factor, self.bytes / factor, direct=self.direct / factor, **longer)


@dataclass(frozen=True, slots=True)
class StepOverheads:
    """Time outside kernels: per layer, per step, and per sequence of a data-parallel rank, in seconds.

    Arrays where many runs are evaluated at once.
    """

    layer_s: Array | float = 0.0
    step_s: Array | float = 0.0
    sequence_s: Array | float = 0.0

    def total_s(self, layers: Array | float, batch: Array | float, ranks: Array | float) -> Array:
        """Seconds of a step outside its kernels.

        t = layers t_layer + t_step + B / ranks t_sequence

        >>> round(float(StepOverheads(1e-6, 5e-4, 1e-5).total_s(32, 64.0, 2)), 6)
        0.000852
        """
        return np.asarray(layers * self.layer_s + self.step_s + self.sequence_s * batch / ranks)

    def times(self, factor: float) -> StepOverheads:
        """So many times as long."""
        return StepOverheads(self.layer_s * factor, self.step_s * factor, self.sequence_s * factor)


@dataclass(frozen=True, slots=True)
class ServingOverheads:
    """What a server adds around its steps; see `costs.serving_time` for the equations.

    interference: of a closed loop's other prompts, the share that delays tokens.  host_s, client_s: fixed time to
    the first token, and per request in flight.  prefill: a prompt's own prefill over its ideal.  steps: decode steps
    that pass before a prompt starts.  burst, crowd: in a closed loop a prompt waits for burst * (B^crowd - 1) others.
    unseen_steps: decode steps more until an engine that looks at its queue seldom sees a request (`poll_steps`).
    Arrays where many runs are evaluated at once.
    """

    interference: Array | float = 1.0
    host_s: Array | float = 0.0
    client_s: Array | float = 0.0
    prefill: Array | float = 1.0
    steps: Array | float = 1.0
    burst: Array | float = 0.0
    crowd: Array | float = 1.0
    unseen_steps: Array | float = 0.0


@dataclass(frozen=True, slots=True)
class OperationRates:
    """Reachable rates per row of a replica's operations.

    flops_per_s, bytes_per_s: rows.  direct_bytes_per_s: of a collective sent all at once, 0 where unknown.
    floor_s: least time of a call that does anything.  setup_s: before a ring starts.
    extra_s: seconds per unit of each feature, (rows, features).
    """

    flops_per_s: Array
    bytes_per_s: Array
    direct_bytes_per_s: Array
    floor_s: Array
    setup_s: Array
    extra_s: Array
    term: npt.NDArray[np.int64]

    @property
    def wire(self) -> npt.NDArray[np.bool_]:
        """Which rows are collectives."""
        return np.asarray(self.term == TERMS.index("communication"))


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of a step by term (linear, experts, attention, communication, overhead), and what was done.

    terms: (5, points).  flops, bytes: per device, all layers, (points,); bytes exclude the wire.
    clock: of the cores, as a share of the highest, where a clock or a power limit is set.  pace: share that it leaves
    of their speed without a setting.
    """

    terms: Array
    flops: Array
    bytes: Array
    clock: Array | float = 1.0
    pace: Array | float = 1.0

    @property
    def total_s(self) -> Array:
        """Seconds of the step, shape (points,)."""
        return np.asarray(self.terms.sum(axis=0))

    def faster(self, other: StepTime) -> StepTime:
        """The shorter of two ways at every point."""
        mine = self.total_s <= other.total_s
        pairs = ((self.flops, other.flops), (self.bytes, other.bytes))
        return StepTime(np.where(mine, self.terms, other.terms), *(np.where(mine, a, b) for a, b in pairs))

    def by_name(self) -> Mapping[str, Array]:
        """Seconds by the name of the term."""
        return dict(zip(TERMS, self.terms, strict=True))


@dataclass(frozen=True, slots=True)
class ReplicaTimer:
    """A replica made ready to be timed: operations, rates and overheads resolved once.

    matrix_flops_per_s: peak over the arithmetics that it computes in, weighted by the FLOPs of one decoded token.
    pace: share of their speed at which cores run; memory and links keep theirs.
    """

    replica: ModelReplica
    operations: OperationMatrices
    rates: OperationRates
    overheads: StepOverheads
    serving: ServingOverheads = ServingOverheads()
    draft: ReplicaTimer | None = None
    matrix_flops_per_s: float = float("nan")
    pace: Array | float = FREELY

    def decode(self, batch: Array, kv_tokens: Array) -> StepTime:
        """A decode step of `batch` sequences with so many cached tokens; with drafts their verification alone.

        k drafted tokens and one of every sequence pass all matrices, and so touch more experts; caches are read once
        and the host counts sequences, but for an engine that makes a sequence of each token (`verify_sequences`).
        """
        engine, copies = self.replica.engine, float(self.replica.engine.verify_sequences)
        time = self.step(ReplicaStep.decode(batch * float(engine.verify_tokens), kv_tokens * copies))
        if engine.verify_tokens > 1:
            time.terms[-1] = self.overheads.total_s(self.replica.model.layers, batch * copies, self.replica.layout.dp)
        return time

    def decode_s(self, batch: Array, kv_tokens: Array) -> Array:
        """Seconds of decoding per token of each sequence: a step, or with drafts

        t = (t_verify(B (k + 1)) + k t_draft(B)) / E,  E as `speculation.tokens_per_step`
        """
        seconds = self.decode(batch, kv_tokens).total_s
        if self.draft is not None:
            drafted = self.replica.engine.verify_tokens - 1
            seconds = seconds + drafted * self.draft.step(ReplicaStep.decode(batch, kv_tokens)).total_s
        return seconds if self.replica.engine.speculation is None else np.asarray(seconds / self.step_tokens)

    @property
    def step_tokens(self) -> float:
        """Tokens that a sequence gets of a decode step."""
        made = self.replica.engine.speculation
        return tokens_per_step(made.acceptance, made.tokens) if made else 1.0

    def draft_prompt_s(self, fresh_tokens: Array, past_tokens: Array) -> Array:
        """Seconds that the draft model takes for prompts, whose cache it needs too; in one step each."""
        if self.draft is None:
            return np.zeros(np.shape(fresh_tokens))
        return self.draft.step(ReplicaStep.prefill(fresh_tokens, past_tokens)).total_s

    def step(self, step: ReplicaStep) -> StepTime:
        """Time of steps: operations plus overhead.

        t = sum over operations of `seconds` + `StepOverheads.total_s`; of a wide layout the faster of that and of two
        halves in turns, as engines decide by the tokens of a step.
        """
        free = self._freely(step)
        return free if self.replica.clock is None else self._clocked(self.replica.clock, step, free)

    def _clocked(self, setting: ClockSetting, step: ReplicaStep, free: StepTime) -> StepTime:
        """A step at a locked clock or within a power limit.

        Without a setting cores run at the clock x_0 that the device's own limit leaves them; with one at
        x = min(x_0, locked, what the limit leaves), and what cores do takes x_0 / x as long. The work of a step in its
        longer time asks for less power, so x is found in a few rounds.
        """
        device, known = self.replica.device, power_facts()
        own = CoreClock(idle=known.idle.fraction)
        parts = known.shares, known.clocks, known.factor(device.family)
        natural = clock_within(self.activity(free), *parts, own)
        most = np.minimum(natural, setting.clock_share(device))
        clock, time = most, free
        for _ in range(CLOCK_ROUNDS):
            pace = clock / natural
            time = replace(replace(self, pace=pace)._freely(step), clock=clock, pace=pace)
            at = replace(own, pace=pace, limit=setting.limit_share(device))
            clock = np.minimum(most, (clock + clock_within(self.activity(time), *parts, at)) / 2)
        return time

    def activity(self, time: StepTime) -> DeviceActivity:
        """What one device does during steps; a layer's overhead and the step's own count as waiting."""
        overheads, layers = self.overheads, self.replica.model.layers
        overhead = time.terms[TERMS.index("overhead")]
        sequence = np.maximum(overhead - layers * overheads.layer_s - overheads.step_s, 0.0)
        collective = time.terms[TERMS.index("communication")]
        return DeviceActivity(
            time.total_s,
            time.total_s - overhead - collective,
            collective,
            np.where(overheads.sequence_s > 0, sequence, 0.0),
            time.bytes / self.replica.device.memory_bytes_per_s,
            time.flops / self.matrix_flops_per_s,
        )

    def _freely(self, step: ReplicaStep) -> StepTime:
        series = self._in_series(step)
        exchange = np.array([row.kind == "all_to_all" for row in self.operations.rows])
        return series.faster(self._in_turns(step, exchange)) if exchange.any() else series

    def _in_turns(self, step: ReplicaStep, exchange: npt.NDArray[np.bool_]) -> StepTime:
        """Two halves of a step, each of which reads the weights (`overlap.exposed_s`)."""
        half = step.times(0.5)
        seconds = self.seconds(half)[0]
        alone, sent = self._in_series(half), seconds[exchange].sum(axis=0)
        terms = 2.0 * alone.terms
        prompts = half.prefill_tokens / np.maximum(half.prefill_tokens + half.batch, 1e-12)
        attention = alone.terms[0] + alone.terms[2] + alone.terms[3] - sent
        terms[3] += exposed_s(attention, alone.terms[1], sent, prompts) - 2.0 * sent
        terms[-1] = self.overheads.total_s(self.replica.model.layers, step.batch, self.replica.layout.dp)
        return StepTime(terms, 2.0 * alone.flops, 2.0 * alone.bytes)

    def _in_series(self, step: ReplicaStep) -> StepTime:
        seconds, flops, moved = self.seconds(step)
        terms = (np.arange(len(TERMS))[:, None] == self.rates.term) @ seconds
        if self.replica.engine.offload_bytes:
            terms[0] += host_read_s(self.replica, self.operations, self.operations.values(step))
        terms[-1] = self.overheads.total_s(self.replica.model.layers, step.batch, self.replica.layout.dp)
        count = self.operations.count[:, None]
        if self.replica.engine.eager:
            terms[-1] += launch_wait_s(seconds.sum(axis=0), (count * (seconds > 0)).sum(axis=0))
        memory = (count * np.where(self.rates.wire[:, None], 0.0, moved)).sum(axis=0)
        return StepTime(terms, (count * flops).sum(axis=0), memory)

    def seconds(self, step: ReplicaStep) -> tuple[Array, Array, Array]:
        """Seconds of every operation, all its calls, and FLOPs and bytes of one call; (operations, points).

        t = count * ((floor + extra) / s + ((F / (f s))^p + (B / b)^p)^(1/p)), nothing where there is no work

        s: the pace of the cores, 1 of collectives.
        """
        values = self.operations.values(step)
        flops, moved = self.operations.flop_matrix @ values, self.operations.byte_matrix @ values
        rates, wire = self.rates, self.rates.wire
        busy = np.empty(flops.shape)
        compute, memory = flops_in_tiles(self.replica, self.operations, flops)[~wire], moved[~wire]
        computing_s = compute / rates.flops_per_s[~wire, None]
        fixed = rates.floor_s[:, None] + rates.extra_s @ values
        if self.pace is not FREELY:
            computing_s, fixed[~wire] = computing_s / self.pace, fixed[~wire] / self.pace
        busy[~wire] = smooth_max(computing_s, memory / rates.bytes_per_s[~wire, None])
        busy[wire] = collective_s(moved[wire], *(rate[wire, None] for rate in self._link))
        seconds = self.operations.count[:, None] * np.where(flops + moved > 0, fixed + busy, 0.0)
        return seconds, flops, moved

    @property
    def _link(self) -> tuple[Array, Array, Array]:
        return self.rates.bytes_per_s, self.rates.direct_bytes_per_s, self.rates.setup_s
