"""From calls to jobs: what the engine takes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, RecordError
from comptroller.serving.fleet import BlockStore, SimulatedFleet
from comptroller.serving.policies import needs
from comptroller.serving.state import LATEST_S
from comptroller.work.call import CallTable
from comptroller.work.trace import NO_ADAPTER, RequestTrace

_SHOWN = 5
"""Bad rows that an error names: enough to see a pattern; the error counts the others."""

COLUMNS = ("tenant", "priority", "adapter")
"""Columns of a trace that a routing or scheduling policy may read."""

_LONGEST = 1 << 30
"""Most tokens of a request: half of what a result's 32-bit counts hold."""


def calls_of(trace: RequestTrace) -> CallTable:
    """A trace as calls; of its prefix blocks, the full ones. The tenant is the call's key.

    A call that waits for another arrives no sooner than the first of its task, and its wait after that other's reply.
    """
    columns = {"arrival_s": trace.arrival_s, "input_tokens": trace.input_tokens, "output_tokens": trace.output_tokens}
    if trace.tasks is not None:
        columns["arrival_s"] = trace.arrival_s[trace.tasks.task]
        columns["wait_s"] = np.where(trace.tasks.parent >= 0, trace.tasks.wait_s, 0.0)
        columns["parent"] = trace.tasks.parent
    optional = {"session": trace.session, "key": trace.tenant, "priority": trace.priority}
    columns |= {name: column for name, column in optional.items() if column is not None}
    names = {}
    if trace.tenant is not None:
        names["key"] = trace.tenants
    if trace.adapter is not None:
        names["adapter"], columns["adapter"] = ("", *trace.adapters), trace.adapter - NO_ADAPTER
    if trace.blocks is None:
        return CallTable.of(names, None, **columns)
    counts = np.minimum(np.diff(trace.blocks.offsets), trace.input_tokens // trace.blocks.tokens)
    starts = np.concatenate(([0], np.cumsum(counts)))
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
    ids = trace.blocks.ids[np.repeat(trace.blocks.offsets[:-1], counts) + within]
    return CallTable.of(names, (ids, starts), **columns)


def fleet_for_trace(fleet: SimulatedFleet, trace: RequestTrace) -> SimulatedFleet:
    """The fleet with as many tenants as the trace has.

    Raises:
        InputError: a policy reads a column that the trace lacks; names it.
    """
    for kind in ("scheduling", "routing"):
        require_columns(getattr(fleet.policies, kind), trace.source or "the workload", trace, kind)
    fleet = replace(fleet, tenants=max(len(trace.tenants), 1))
    return fleet if trace.blocks is None else _with_stores_within(fleet, int(np.unique(trace.blocks.ids).size))


def _with_stores_within(fleet: SimulatedFleet, blocks: int) -> SimulatedFleet:
    """The fleet whose stores take no more than there are different blocks: what is beyond would stay empty."""
    most = blocks * fleet.prefix_block_tokens

    def within(store: BlockStore) -> BlockStore:
        return replace(store, tokens=min(store.tokens, most))

    services = tuple(
        replace(
            service,
            replicas=tuple(
                replace(one, stores=tuple(map(within, one.stores))) if one.stores else one for one in service.replicas
            ),
        )
        for service in fleet.services
    )
    return replace(fleet, services=services, shared_store=fleet.shared_store and within(fleet.shared_store))


def require_columns(policy: str, source: str, trace: RequestTrace | None, kind: str = "scheduling") -> None:
    """Checks that a trace, if there is one, has the columns that a scheduling or routing policy reads.

    Raises:
        InputError: it lacks one; names the policy, the column and the source.
    """
    for column in COLUMNS:
        if needs(kind, policy, column) and getattr(trace, column, None) is None:
            how = f"name it by columns.{column}" if trace else "it takes a trace that has it"
            raise InputError(f"{kind} policy {policy} needs the column {column!r}, which {source} lacks; {how}")


def fill(jobs: Any, calls: CallTable, fleet: SimulatedFleet) -> None:
    """Write checked calls to jobs; block starts count from the first block of these calls.

    Raises:
        InputError: a call names a service or a tenant that the fleet has not.
    """
    jobs.prompt, jobs.output = calls["input_tokens"], calls["output_tokens"]
    predicted = calls["predicted_tokens"]
    jobs.predicted = np.where(predicted < 0, calls["output_tokens"], predicted)
    for name in ("session", "arrival_s", "wait_s", "priority"):
        jobs[name] = calls[name]
    jobs.block_count, jobs.blocks = 0, 0
    if calls.block_starts is not None:
        jobs.blocks, jobs.block_count = calls.block_starts[:-1], np.diff(calls.block_starts)
    jobs.service = _services(calls, fleet)
    adapters = np.array([place + 1 if name else 0 for place, name in enumerate(calls.names["adapter"])])
    jobs.adapter = adapters[calls["adapter"]]
    jobs.tenant = calls["key"] if fleet.tenants > 1 else 0
    if len(jobs) and jobs.tenant.max() >= fleet.tenants:
        raise InputError(f"calls: {jobs.tenant.max() + 1} keys, but the fleet has {fleet.tenants} tenants")


def _services(calls: CallTable, fleet: SimulatedFleet) -> npt.NDArray[np.int64]:
    """0 for a call that names no service, else one more than the service's place in the fleet."""
    places = {service.name: place + 1 for place, service in enumerate(fleet.services)}
    split = any(replica.storage is not None or replica.pool for _, replica in fleet.replicas())
    lookup = np.zeros(len(calls.names["service"]), np.int64)
    used = set(np.unique(calls["service"]).tolist())
    for code, name in enumerate(calls.names["service"]):
        if name and code in used and name not in places:
            raise InputError(f"calls: no service {name!r} in the fleet; it has {', '.join(places)}")
        if not name and code in used and split and len(places) > 1:
            raise InputError("calls: a fleet of several services, one of them split, needs a service per call")
        lookup[code] = places.get(name, 0)
    services: npt.NDArray[np.int64] = lookup[calls["service"]]
    return services


def check(calls: CallTable) -> None:
    """Whether calls can be simulated.

    Raises:
        RecordError: names the first bad rows.
    """
    prompt, output, wait = calls["input_tokens"], calls["output_tokens"], calls["wait_s"]
    arrival, parent = calls["arrival_s"], calls["parent"]
    faults: list[tuple[npt.NDArray[np.bool_], Callable[[int], str]]] = [
        (~(arrival >= 0) | (arrival >= LATEST_S), lambda i: f"arrival_s is {arrival[i]:g}"),
        (~(wait >= 0) | (wait >= LATEST_S), lambda i: f"wait_s is {wait[i]:g}"),
        (
            (prompt < 0) | (output < 0) | ((prompt == 0) != (output == 0)),
            lambda i: f"input_tokens is {prompt[i]}, output_tokens {output[i]}; both must be above 0, or both 0",
        ),
        (
            (prompt > 0) & (wait > 0) & (parent < 0),
            lambda i: "has tokens, wait_s and no parent; a wait before a first call is a call of its own",
        ),
        (prompt + output > _LONGEST, lambda i: f"has {prompt[i] + output[i]} tokens"),
        (parent < -1, lambda i: f"parent is {parent[i]}"),
        (~np.isfinite(calls["priority"]), lambda i: f"priority is {calls['priority'][i]:g}"),
    ]
    bad: dict[int, str] = {}
    total = np.zeros(len(calls), bool)
    for rows, describe in faults:
        total |= rows
        for row in np.flatnonzero(rows)[:_SHOWN].tolist():
            bad.setdefault(row, describe(row))
    if bad:
        shown = [(row, bad[row]) for row in sorted(bad)][:_SHOWN]
        raise RecordError("calls", shown, int(total.sum()))


def parents_of(calls: CallTable, first: int) -> npt.NDArray[np.int64] | int:
    """The request that each call waits for, the first call being request `first`; -1 for none.

    Raises:
        InputError: a parent is not among these calls, or comes after its child.
    """
    parent = calls["parent"]
    if not (parent >= 0).any():
        return -1
    places = {int(call): place for place, call in enumerate(calls["call"])}
    requests = np.full(len(calls), -1)
    for place in np.flatnonzero(parent >= 0).tolist():
        at = places.get(int(parent[place]), len(calls))
        if at >= place:
            raise InputError(f"calls: row {place}: parent {parent[place]} is not among the calls before it")
        requests[place] = first + at
    return requests
