"""Settings that a replica may have: LoRA adapters in so many slots, speculative decoding, clocks and power limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

from comptroller.costs.adapters import adapter_refusal, most_sequences, slot_bytes
from comptroller.costs.deployment import AdapterSet, ClockSetting, ModelReplica
from comptroller.costs.memory import cache_room_bytes, weight_bytes
from comptroller.costs.power import clock_refusal
from comptroller.costs.prefix_store import store_refusal
from comptroller.costs.speculation import speculation_refusal
from comptroller.costs.tiers import offload_refusal

MOST_OF_ROOM = 0.5
"""Most of the memory left beside weights that slots take where their number is not stated. Caches carry the load, so
that half of a replica is the least to leave; twice this leaves none."""


def with_adapters(replica: ModelReplica, choices: Sequence[AdapterSet]) -> Iterator[ModelReplica]:
    """The replica with each set of adapters, its batch no larger than slots serve; itself where there is none.

    Of a set without slots (`resident` 0): one for each adapter, or half, a quarter ... as many, what first takes no
    more than `MOST_OF_ROOM`; one at least.
    """
    if not choices:
        yield replica
    for served in dict.fromkeys(choices):
        yield _serving(replica, served if served.resident else _fitting(replica, served))


def with_clocks(replica: ModelReplica, choices: Sequence[ClockSetting]) -> Iterator[ModelReplica]:
    """The replica as its devices are delivered, and at each clock and power limit."""
    yield replica
    yield from (replace(replica, clock=setting) for setting in dict.fromkeys(choices))


def with_offload(replica: ModelReplica, choices: Sequence[float]) -> Iterator[ModelReplica]:
    """The replica with all weights on its devices, and with so many bytes of each device's in the host's memory."""
    yield replica
    engine = replica.engine
    yield from (replace(replica, engine=replace(engine, offload_bytes=x)) for x in dict.fromkeys(choices))


def with_eager(replica: ModelReplica, is_allowed: bool) -> Iterator[ModelReplica]:
    """The replica with captured graphs, and without where that is allowed."""
    yield replica
    if is_allowed:
        yield replace(replica, engine=replace(replica.engine, eager=True))


def with_cadence(
    replica: ModelReplica, poll_steps: Sequence[int], stream_intervals: Sequence[int]
) -> Iterator[ModelReplica]:
    """The replica with each interval between looks at its queue and each of what it streams; its own where none is
    named."""
    engine = replica.engine
    polls, pieces = (poll_steps or (engine.poll_steps,)), (stream_intervals or (engine.stream_interval,))
    for steps, tokens in product(dict.fromkeys(polls), dict.fromkeys(pieces)):
        yield replace(replica, engine=replace(engine, poll_steps=steps, stream_interval=tokens))


def _fitting(replica: ModelReplica, served: AdapterSet) -> AdapterSet:
    room, served = cache_room_bytes(replica), replace(served, resident=served.count)
    while served.resident > 1 and slot_bytes(_serving(replica, served)) > MOST_OF_ROOM * room:
        served = replace(served, resident=-(-served.resident // 2))
    return served


def _serving(replica: ModelReplica, served: AdapterSet) -> ModelReplica:
    batch = most_sequences(served, replica.engine.max_batch)
    return replace(replica, engine=replace(replica.engine, adapters=served, max_batch=batch))


def settings_refusal(replica: ModelReplica) -> tuple[str, str] | None:
    """In a word and in a sentence why a replica cannot be priced with its settings; `None` if it can."""
    engine = replica.engine
    if engine.adapters is not None and (reason := adapter_refusal(replica)):
        return "cannot serve adapters", reason
    if engine.speculation is not None and (reason := speculation_refusal(replica, engine.speculation)):
        return "cannot draft", reason
    if engine.eager and (engine.speculation is not None or replica.layout.is_wide):
        return "cannot be eager", f"{replica}: eager steps with drafts or experts over several nodes are not modelled"
    causes = (
        ("cannot be offloaded", offload_refusal(replica, weight_bytes(replica))),
        ("cannot load from its tier", store_refusal(replica)),
        ("cannot be clocked", clock_refusal(replica)),
    )
    return next((cause for cause in causes if cause[1]), None)
