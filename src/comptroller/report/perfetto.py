"""A simulation in the Trace Event Format that Perfetto (ui.perfetto.dev) and chrome://tracing open.

A rank is a process; its threads are lanes, as many as it ever held requests at once. A request is a `prefill`
slice from admission to first token and a `decode` slice from there to its last, on the ranks that ran them. What
the samples hold (queue, running, cache, power) are counters of the rank. Times are microseconds.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from comptroller.planning.simulation import PlanSimulation

MOST_REQUESTS = 100_000
"""Requests that are written; what opens the file holds it in memory."""

Event = dict[str, Any]


def perfetto(simulation: PlanSimulation, most_requests: int = MOST_REQUESTS) -> str:
    """The trace as a JSON document; of a longer simulation, its first `most_requests` requests."""
    written = min(len(simulation.asked), most_requests)
    document = {
        "displayTimeUnit": "ms",
        "otherData": {
            "plan": simulation.plan.name,
            "trace": simulation.trace.source,
            "requests": len(simulation.asked),
            "requests_written": written,
        },
        "traceEvents": [*_processes(simulation), *_slices(simulation, written), *_counters(simulation)],
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


def _processes(simulation: PlanSimulation) -> Iterator[Event]:
    number = 0
    for service in simulation.outcome.fleet.services:
        for place, replica in enumerate(service.replicas):
            for rank in range(replica.ranks):
                part = f", {replica.pool.name.lower()} pool" if replica.pool else ""
                part += f", rank {rank}" if replica.ranks > 1 else ""
                name = f"{service.name}, replica {place}{part}"
                yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}}
                yield {"ph": "M", "name": "process_sort_index", "pid": number, "args": {"sort_index": number}}
                number += 1


def _slices(simulation: PlanSimulation, count: int) -> Iterator[Event]:
    stays = [stay for i in range(count) for stay in _stays(simulation, i)]
    lanes = LaneAllocator()
    for stay in sorted(stays, key=lambda stay: stay.start_s):
        lane = lanes.take(stay.rank, stay.start_s, stay.end_s)
        for part in stay.parts:
            yield _slice(part, (stay.rank, lane))
    for i in np.flatnonzero(np.isnan(simulation.calls["started_s"][:count])).tolist():
        yield _instant(f"request {i} never started", float(simulation.calls["arrival_s"][i]))


class PerfettoSlice(NamedTuple):
    """A stretch of a request on a rank."""

    name: str
    start_s: float
    end_s: float
    arguments: Event


class RankStay(NamedTuple):
    """A request on one rank, from admission to its leaving."""

    rank: int
    start_s: float
    end_s: float
    parts: tuple[PerfettoSlice, ...]


def _stays(simulation: PlanSimulation, i: int) -> list[RankStay]:
    """Where a request was: one rank, or a prompt and then a token rank; nothing if it never started."""
    calls, request = simulation.calls, simulation.outcome.requests[i]
    started, first, last = (float(calls[name][i]) for name in ("started_s", "first_s", "last_s"))
    if math.isnan(started):
        return []
    horizon = simulation.outcome.horizon_s
    end = horizon if math.isnan(last) else last
    half = end if math.isnan(first) else first
    prompt, token = int(request.prompt_rank), int(request.token_rank)
    prefill = PerfettoSlice("prefill", started, half, _arguments(simulation, i))
    decode = PerfettoSlice("decode", half, end, {"request": i})
    if token in (prompt, -1) or half == end:
        return [RankStay(prompt, started, end, (prefill, decode) if half < end else (prefill,))]
    return [RankStay(prompt, started, half, (prefill,)), RankStay(token, half, end, (decode,))]


def _arguments(simulation: PlanSimulation, i: int) -> Event:
    calls, outcome = simulation.calls, simulation.outcome
    return {
        "request": i,
        "queue_s": float(outcome.queue_s[i]),
        "input_tokens": int(calls["input_tokens"][i]),
        "cached_tokens": int(calls["cached_tokens"][i]),
        "output_tokens": int(calls["output_tokens"][i]),
        "preemptions": int(calls["preemptions"][i]),
        "within": bool(simulation.within[i]),
    }


def _slice(part: PerfettoSlice, place: tuple[int, int]) -> Event:
    start = _micro(part.start_s)
    return {
        "ph": "X",
        "name": part.name,
        "pid": place[0],
        "tid": place[1],
        "ts": start,
        "dur": round(_micro(part.end_s) - start, 3),
        "args": part.arguments,
    }


def _instant(name: str, at_s: float) -> Event:
    return {"ph": "i", "s": "g", "name": name, "pid": 0, "tid": 0, "ts": _micro(at_s)}


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 3)


class LaneAllocator:
    """Gives every stay on a rank the lowest lane that is free for as long as it lasts."""

    def __init__(self) -> None:
        self._free: dict[int, list[int]] = {}
        self._busy: dict[int, list[tuple[float, int]]] = {}
        self._count: dict[int, int] = {}

    def take(self, rank: int, start_s: float, end_s: float) -> int:
        """The lane of a stay; ask in order of the starts."""
        free, busy = self._free.setdefault(rank, []), self._busy.setdefault(rank, [])
        while busy and busy[0][0] <= start_s:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            free.append(self._count.get(rank, 0))
            self._count[rank] = free[0] + 1
        lane = heapq.heappop(free)
        heapq.heappush(busy, (end_s, lane))
        return lane


def _counters(simulation: PlanSimulation) -> Iterator[Event]:
    for before, now in pairwise(simulation.outcome.series):
        watts = power_w(simulation, before, now)
        for rank in range(now.busy_s.size):
            values = {
                "waiting": {"requests": int(now.queued[rank])},
                "running": {"requests": int(now.running[rank])},
                "cache": {"tokens": float(now.kv_tokens[rank])},
                "power": {"W": round(float(watts[rank]), 3)},
            }
            for name, arguments in values.items():
                yield {"ph": "C", "name": name, "pid": rank, "ts": _micro(now.at_s), "args": arguments}


def power_w(simulation: PlanSimulation, before: Any, now: Any) -> Any:
    """Mean watts of every rank between two samples, at the meter: its steps, and idling beside them."""
    span_s = now.at_s - before.at_s
    idle_w = np.array([t.idle_w for t in rank_tables(simulation)])
    busy = (now.busy_s - before.busy_s) / span_s
    return (now.step_j - before.step_j) / span_s + idle_w * np.maximum(1 - busy, 0.0)


def rank_tables(simulation: PlanSimulation) -> list[Any]:
    """The step table of every rank."""
    return [r.table for _, r in simulation.outcome.fleet.replicas() for _ in range(r.ranks)]
