"""Time of a step: every operation at its calibrated share of the datasheet rate, plus launch and host overhead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from comptroller.costs.adapters import adapter_operations, load_s_per_prompt
from comptroller.costs.deployment import ModelReplica, arithmetic
from comptroller.costs.knee import collective_s, smooth_max
from comptroller.costs.network import link_bytes_per_s, node_devices
from comptroller.costs.operations import PROMPTS, OperationMatrices, StepOperation, operations
from comptroller.costs.overlap import exposed_s
from comptroller.costs.speculation import draft_replica, tokens_per_step
from comptroller.costs.step import ReplicaStep
from comptroller.costs.tiles import flops_in_tiles
from comptroller.errors import UnsupportedError

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
WIDE_PARTS = frozenset({"head", "adapters"})
"""Matrices that stay in 16 bit whatever the recipe says."""

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
    Arrays where many runs are evaluated at once.
    """

    interference: Array | float = 1.0
    host_s: Array | float = 0.0
    client_s: Array | float = 0.0
    prefill: Array | float = 1.0
    steps: Array | float = 1.0
    burst: Array | float = 0.0
    crowd: Array | float = 1.0


class TimingCalibration(Protocol):
    """What turns datasheet rates into times; `facts.calibration` holds the shipped ones."""

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """Efficiency of a kernel of the replica's engine on its device."""
        ...

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """Launch and host overheads of the replica's engine."""
        ...

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """What the replica's engine adds around its steps."""
        ...


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
    """

    terms: Array
    flops: Array
    bytes: Array

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
    """A replica made ready to be timed: operations, rates and overheads resolved once."""

    replica: ModelReplica
    operations: OperationMatrices
    rates: OperationRates
    overheads: StepOverheads
    serving: ServingOverheads = ServingOverheads()
    draft: ReplicaTimer | None = None

    def decode(self, batch: Array, kv_tokens: Array) -> StepTime:
        """A decode step of `batch` sequences with so many cached tokens; with drafts their verification alone.

        k drafted tokens and one of every sequence pass all matrices, and so touch more experts; caches are read once.
        The host counts sequences, not tokens.
        """
        time = self.step(ReplicaStep.decode(batch * float(self.replica.engine.verify_tokens), kv_tokens))
        if self.replica.engine.verify_tokens > 1:
            time.terms[-1] = self.overheads.total_s(self.replica.model.layers, batch, self.replica.layout.dp)
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
        terms[-1] = self.overheads.total_s(self.replica.model.layers, step.batch, self.replica.layout.dp)
        count = self.operations.count[:, None]
        memory = (count * np.where(self.rates.wire[:, None], 0.0, moved)).sum(axis=0)
        return StepTime(terms, (count * flops).sum(axis=0), memory)

    def seconds(self, step: ReplicaStep) -> tuple[Array, Array, Array]:
        """Seconds of every operation, all its calls, and FLOPs and bytes of one call; (operations, points).

        t = count * (floor + extra + ((F / f)^p + (B / b)^p)^(1/p)), nothing where there is no work
        """
        values = self.operations.values(step)
        flops, moved = self.operations.flop_matrix @ values, self.operations.byte_matrix @ values
        rates, wire = self.rates, self.rates.wire
        busy = np.empty(flops.shape)
        compute, memory = flops_in_tiles(self.replica, self.operations, flops)[~wire], moved[~wire]
        busy[~wire] = smooth_max(compute / rates.flops_per_s[~wire, None], memory / rates.bytes_per_s[~wire, None])
        busy[wire] = collective_s(moved[wire], *(rate[wire, None] for rate in self._link))
        fixed = rates.floor_s[:, None] + rates.extra_s @ values
        seconds = self.operations.count[:, None] * np.where(flops + moved > 0, fixed + busy, 0.0)
        return seconds, flops, moved

    @property
    def _link(self) -> tuple[Array, Array, Array]:
        return self.rates.bytes_per_s, self.rates.direct_bytes_per_s, self.rates.setup_s


def replica_timer(replica: ModelReplica, calibration: TimingCalibration) -> ReplicaTimer:
    """Resolve a replica for timing.

    Raises:
        UnsupportedFormatError: the accelerator cannot run the recipe.
        UnsupportedError: the layout needs a network that the accelerator's facts lack.
    """
    ops = operations(replica.model, replica.recipe, replica.layout, replica.library, node_devices(replica.device))
    ops = ops.with_rows(adapter_operations(replica))
    parts = part_arithmetic(replica)
    columns = _Columns(replica, calibration, {}, ops)
    draft = draft_replica(replica)
    return ReplicaTimer(
        replica,
        ops,
        columns.rates(parts),
        calibration.overheads(replica),
        calibration.serving(replica),
        replica_timer(draft, calibration) if draft else None,
    )


def part_arithmetic(replica: ModelReplica) -> Mapping[str, str]:
    """The arithmetic of a replica's matrices: dense ones, experts, output head.

    Raises:
        UnsupportedFormatError: the accelerator cannot run the recipe.
    """
    formats, device = replica.formats, replica.device
    parts = {"weights": arithmetic(formats.weights, formats.activations, device), "head": _widest(replica)}
    if replica.engine.adapters is not None:
        parts["adapters"] = _widest(replica)
    if replica.model.is_moe:
        parts["experts"] = arithmetic(formats.experts, formats.activations, device)
    return parts


@dataclass(frozen=True, slots=True)
class _Columns:
    """Looks up and scales the efficiency of every row once per kernel."""

    replica: ModelReplica
    calibration: TimingCalibration
    found: dict[KernelSignature, KernelEfficiency]
    ops: OperationMatrices

    def rates(self, parts: Mapping[str, str]) -> OperationRates:
        rows = self.ops.rows
        kernels = [kernel_of(self.replica, row, parts[row.part]) for row in rows]
        shares = [self._share(kernel) for kernel in kernels]
        device = self.replica.device
        peaks, widths, direct = np.ones(len(rows)), np.ones(len(rows)), np.zeros(len(rows))
        for i, (row, kernel, share) in enumerate(zip(rows, kernels, shares, strict=True)):
            if row.kind in COLLECTIVES:
                link = link_bytes_per_s(self.replica, row.kind, row.devices)
                widths[i], direct[i] = share.bytes * link, share.direct * link / row.direct
            else:
                peaks[i] = share.flops * device.peak(kernel.arithmetic)
                widths[i] = share.bytes * device.memory_bytes_per_s
        floors = [
            s.floor_s + s.item_s * (k.devices - 1) * (k.kind in COLLECTIVES)
            for s, k in zip(shares, kernels, strict=True)
        ]
        extra = self._extra(shares)
        term = np.array([TERMS.index(TERM_OF[row.kind]) for row in rows])
        setup = np.array([share.setup_s for share in shares])
        return OperationRates(peaks, widths, direct, np.array(floors), setup, extra, term)

    def _extra(self, shares: list[KernelEfficiency]) -> Array:
        items, depth, passes = (self.ops.matrix(name) for name in ("items", "depth", "passes"))
        cost = np.array([(s.item_s, s.depth_s, s.passes) for s in shares])
        memory = self.replica.device.memory_bytes_per_s
        extra = np.asarray(cost[:, :1] * items + cost[:, 1:2] * depth + cost[:, 2:] / memory * passes)
        if loads := load_s_per_prompt(self.replica):
            first = next(i for i, row in enumerate(self.ops.rows) if row.part == "adapters")
            extra[first, self.ops.features.index(PROMPTS)] += loads / self.ops.count[first]
        return extra

    def _share(self, kernel: KernelSignature) -> KernelEfficiency:
        if kernel not in self.found:
            self.found[kernel] = self.calibration.efficiency(self.replica, kernel)
        return self.found[kernel]


def kernel_of(replica: ModelReplica, row: StepOperation, weights_arithmetic: str) -> KernelSignature:
    """The kernel that runs an operation: matrices in their own arithmetic, everything else in 16 bit.

    Raises:
        UnsupportedError: the device has no 16- or 32-bit rate for attention.
    """
    formats = replica.formats
    if row.kind == "gemm":
        return KernelSignature(
            row.kind, "bf16" if row.part in WIDE_PARTS else formats.weights.id, weights_arithmetic, 1
        )
    if row.kind == "moe":
        return KernelSignature(row.kind, formats.experts.id, weights_arithmetic, row.devices)
    if row.kind in COLLECTIVES:
        return KernelSignature(row.kind, "bf16", "bf16", row.devices)
    cached = row.kind not in {"elementwise", "linear_attention_decode", "linear_attention_prefill"}
    return KernelSignature(row.kind, formats.kv.id if cached else "bf16", _widest(replica), 1)


def _widest(replica: ModelReplica) -> str:
    """Attention and the output head run in 16 bit whatever is stored, on the widest 16-bit unit there is."""
    for name in ("bf16", "fp16", "fp32"):
        if name in {str(rate) for rate in replica.device.peak_flops_per_s}:
            return name
    raise UnsupportedError(f"{replica.device.id} has no rate for attention in bf16, fp16 or fp32")
