"""The nouns of a simulation: replicas in services, the policies over them, and what the router can see."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from comptroller.costs.split_pools import PROMPT_STEP_TOKENS
from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError
from comptroller.serving.policies import module, needs
from comptroller.serving.policies.view import BOUND, OVERLAP
from comptroller.serving.state import PoolRole

_MEMORY = (
    "kv_capacity_tokens",
    "kv_block_tokens",
    "max_batch",
    "chunk_tokens",
    "context_tokens",
    "footprint",
    "idle_w",
)
"""What the levels of a replica have in common."""


@dataclass(frozen=True)
class BlockStore:
    """Where prefix blocks lie that the device has evicted: host memory, NVMe, a pool of memory over a link.

    tokens: of cache that it takes.  bytes_per_s: at which one replica loads from it.  call_s: seconds that each block
    takes beside its bytes, for the calls that move it.  name: what reports call it.  write_bytes_per_s: at which one
    replica writes to it (infinite: writes take no time).  duplex: whether loads and writes do not wait for each other.
    """

    tokens: int
    bytes_per_s: float
    call_s: float = 0.0
    name: str = "store"
    write_bytes_per_s: float = math.inf
    duplex: bool = True

    def __post_init__(self) -> None:
        rates = self.bytes_per_s > 0 and self.write_bytes_per_s > 0
        if self.tokens < 0 or not rates or not 0 <= self.call_s < math.inf:
            raise InputError(
                f"store {self.name!r}: {self.tokens} tokens, {self.bytes_per_s:g} bytes/s, {self.write_bytes_per_s:g}"
                f" when written, {self.call_s:g} s a block;"
                " allowed: tokens from 0, bytes/s above 0, seconds finite and not negative"
            )

    def block_s(self, block_bytes: float) -> float:
        """Seconds for which a block occupies the link of the replica that loads it: bytes / bandwidth + calls.

        >>> BlockStore(1000, 50e9, 1e-5).block_s(50e6)
        0.00101
        """
        return block_bytes / self.bytes_per_s + self.call_s

    def write_s(self, block_bytes: float) -> float:
        """Seconds for which a block occupies the lane of the replica that writes it; 0 where writes take no time.

        >>> round(BlockStore(1000, 50e9, 1e-5, write_bytes_per_s=25e9).write_s(50e6), 5)
        0.00201
        """
        return 0.0 if math.isinf(self.write_bytes_per_s) else block_bytes / self.write_bytes_per_s + self.call_s


@dataclass(frozen=True)
class SimulatedReplica:
    """One engine.

    ranks: data-parallel ranks, each with a batch and a cache of its own (`table` is one rank's), that step
    in lockstep: a step takes as long as the slowest rank's.  pool: what it is for in a split service.
    draft_tokens, acceptance: of speculative decoding, tokens drafted per sequence and step and the chance that
    each is kept (the table then prices a whole draft-and-verify step, see `costs.tabulate`).  swap_tokens:
    tokens of cache that the host's memory takes from preempted sequences of a rank; beyond it, and with 0, they
    are recomputed.  weight: share of traffic under weighted routing.  storage: replicas of the same number share
    one cache.  prefixes: whether it keeps prefixes, in a fleet that has blocks for them.
    stores: of each of its ranks, in the order in which evicted blocks pass through them.  adapter_slots: adapters that
    are in the device at once (0: all that are asked for, or none).  adapter_load_s: seconds that fetching one takes.
    swap_chunk_tokens, swap_chunk_s: swapping moves so many tokens a call, each of which takes so long beside its bytes
    (0: bytes alone).  swap_beside: caches cross the host link beside the steps, and only what the host has no copy of.
    levels: how it steps at other settings of its devices (a clock, a power limit, a neighbour's interference), in the
    same memory; `EventEngine.set_level` sets one while it runs.  beside: of two engines of one storage, how it steps at
    each level while the other is at work on the same devices, which is seen when a step begins (none: as without it).
    """

    table: StepTable
    ranks: int = 1
    pool: PoolRole = PoolRole.MIXED
    draft_tokens: int = 0
    acceptance: float = 0.0
    swap_tokens: int = 0
    weight: float = 1.0
    storage: int | None = None
    prefixes: bool = True
    stores: tuple[BlockStore, ...] = ()
    adapter_slots: int = 0
    adapter_load_s: float = 0.0
    swap_chunk_tokens: int = 0
    swap_chunk_s: float = 0.0
    swap_beside: bool = False
    levels: tuple[StepTable, ...] = ()
    beside: tuple[StepTable, ...] = ()

    def __post_init__(self) -> None:
        if self.ranks < 1 or self.swap_tokens < 0 or not self.weight > 0:
            raise InputError("replica: ranks must be at least 1, swap_tokens not negative, weight above 0")
        if self.draft_tokens < 0 or not 0 <= self.acceptance <= 1:
            raise InputError(
                f"replica: {self.draft_tokens} draft tokens, acceptance {self.acceptance:g}; allowed: from 0, 0 to 1"
            )

        if self.adapter_slots < 0 or not 0 <= self.adapter_load_s < math.inf:
            raise InputError(
                f"replica: {self.adapter_slots} slots of adapters, {self.adapter_load_s:g} s to load one; from 0 on"
            )
        if self.swap_chunk_tokens < 0 or not 0 <= self.swap_chunk_s < math.inf:
            raise InputError("replica: swap_chunk_tokens and swap_chunk_s must not be negative")
        if self.adapter_slots and self.swap_tokens:
            raise InputError("replica: slots of adapters beside swapping are not modelled; set swap_tokens to 0")
        if self.beside and (self.storage is None or len(self.beside) != len(self.tables)):
            raise InputError(
                f"replica: {len(self.beside)} tables beside another engine; it takes one for each of its"
                f" {len(self.tables)} levels, and a storage that both share"
            )
        others = (*self.levels, *self.beside)
        odd = [name for table in others for name in _MEMORY if getattr(table, name) != getattr(self.table, name)]
        if odd:
            raise InputError(f"replica: its levels differ in {', '.join(dict.fromkeys(odd))}, which is no setting")

    @property
    def tables(self) -> tuple[StepTable, ...]:
        """Its step tables by level; 0 is its own."""
        return (self.table, *self.levels)

    @property
    def verify_tokens(self) -> int:
        """Tokens of a sequence that a decode step processes, and at most makes."""
        return 1 + self.draft_tokens

    @property
    def context_tokens(self) -> int:
        """Longest prompt plus output that it takes."""
        table = self.table
        return table.kv_capacity_tokens if table.context_tokens is None else table.context_tokens


@dataclass(frozen=True)
class SimulatedService:
    """Replicas that take the same calls; split into prompt and token pools, or mixed."""

    name: str
    replicas: tuple[SimulatedReplica, ...]

    def __post_init__(self) -> None:
        pools = {replica.pool for replica in self.replicas}
        if not pools:
            raise InputError(f"service {self.name!r} has no replicas")
        if (PoolRole.PROMPT in pools) != (PoolRole.TOKEN in pools):
            raise InputError(f"service {self.name!r}: prompt and token pools come together or not at all")
        if PoolRole.PROMPT in pools and len({replica.prefixes for replica in self.replicas}) > 1:
            raise InputError(f"service {self.name!r}: of a split service all replicas keep prefixes, or none")


@dataclass(frozen=True)
class ServingPolicies:
    """Who decides: ids of files in `policies/`, or the path or dotted path of a policy of one's own.

    handoff: routing within the token pool.  bound, overlap: settings of `bounded_hash` and `prefix_load`.
    evict_for_priority: a waiting call sets aside a running one of lower priority that goes behind it.
    seed: of random routing and of the draft tokens kept.
    """

    routing: str = "least_request"
    batching: str = "chunked"
    scheduling: str = "fcfs"
    handoff: str = "least_reserved"
    bound: float = BOUND
    overlap: float = OVERLAP
    evict_for_priority: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in ("routing", "batching", "scheduling"):
            module(kind, getattr(self, kind))
        module("routing", self.handoff)
        if not self.bound >= 1:
            raise InputError(f"policies: bound is {self.bound}; it must be at least 1")


@dataclass(frozen=True)
class RouterTelemetry:
    """How old the router's view is: taken every `period_s`, visible `delay_s` later; period 0 = current."""

    period_s: float = 0.0
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.period_s < math.inf and 0 <= self.delay_s < math.inf):
            raise InputError("telemetry: period_s and delay_s must be finite and not negative")
        if self.period_s == 0 < self.delay_s:
            raise InputError("telemetry: a delay needs a period_s above 0")


@dataclass(frozen=True)
class SplitThresholds:
    """Thresholds of a split service (Splitwise's defaults).

    max_pending_tokens: a prompt replica with a queue takes no more prompt tokens than this; then the mixed
    pool is asked, then a token replica is drawn into it.  prompt_batch_tokens: largest prompt step of the
    prompt pool.  Source: Mutinifni/splitwise-sim, configs (prompt_max_pending_batch_tokens 8192) and the
    paper's prompt batches of 2048 tokens.
    """

    max_pending_tokens: int = 8192
    prompt_batch_tokens: int = PROMPT_STEP_TOKENS


@dataclass(frozen=True)
class SimulatedFleet:
    """What is simulated.

    prefix_block_tokens: tokens of a prefix block (0: no prefix cache); a multiple of each cache's block.
    tenants: how many tenants share the fleet (fair share).  shared_store: one that all ranks write what they compute
    to, and load from, after their own.
    """

    services: tuple[SimulatedService, ...]
    policies: ServingPolicies = field(default_factory=ServingPolicies)
    telemetry: RouterTelemetry = field(default_factory=RouterTelemetry)
    split: SplitThresholds = field(default_factory=SplitThresholds)
    prefix_block_tokens: int = 0
    tenants: int = 1
    shared_store: BlockStore | None = None

    def __post_init__(self) -> None:
        if not self.services:
            raise InputError("fleet: no services")
        apart = any(replica.pool or replica.storage is not None for _, replica in self.replicas())
        if apart and needs("scheduling", self.policies.scheduling, "counter"):
            raise InputError(
                f"scheduling policy {self.policies.scheduling} counts what tenants are served where they queue;"
                " of pools apart the tokens come elsewhere"
            )
        stored: dict[tuple[str, int], list[SimulatedReplica]] = {}
        for service, replica in self.replicas():
            block = replica.table.kv_block_tokens
            if self.prefix_block_tokens % block:
                raise InputError(
                    f"fleet: prefix blocks of {self.prefix_block_tokens} tokens are no multiple of {block}"
                )
            if replica.storage is not None:
                stored.setdefault((service.name, replica.storage), []).append(replica)
        for (name, storage), pair in stored.items():
            if [item.pool for item in pair] != [PoolRole.PROMPT, PoolRole.TOKEN] or max(i.ranks for i in pair) > 1:
                raise InputError(
                    f"service {name!r}: storage {storage} must be shared by one prompt and one token replica"
                    " of one rank each, in this order"
                )

    def replicas(self) -> list[tuple[SimulatedService, SimulatedReplica]]:
        """Every replica with its service, in the order of their numbers."""
        return [(service, replica) for service in self.services for replica in service.replicas]

    def outside_s(self, service: int, prompt_tokens: int) -> float:
        """Seconds that the server takes for a call outside of its engine, found in no cache.

        service: one more than its place; 0, any: the first one's.
        """
        table = self.services[max(service - 1, 0)].replicas[0].table
        return max(float(table.outside_s(np.array(float(prompt_tokens)), np.zeros(()))), 0.0)

    def chunk_tokens(self, replica: SimulatedReplica) -> int:
        """Prompt tokens a step of a replica may take."""
        chunk = replica.table.chunk_tokens
        return min(chunk, self.split.prompt_batch_tokens) if replica.pool == PoolRole.PROMPT else chunk

    @classmethod
    def uniform(cls, table: StepTable, replicas: int, policies: ServingPolicies | None = None) -> SimulatedFleet:
        """So many equal replicas under one service."""
        service = SimulatedService("all", (SimulatedReplica(table),) * replicas)
        return cls((service,), policies or ServingPolicies())


def stores_of(fleet: SimulatedFleet) -> list[tuple[BlockStore, SimulatedReplica]]:
    """Every store with a replica that loads from it: those of each rank in turn, then the one that all share."""
    placed = fleet.replicas()
    found = [(s, replica) for _, replica in placed for _ in range(replica.ranks) for s in replica.stores]
    return [*found, (fleet.shared_store, placed[0][1])] if fleet.shared_store else found
