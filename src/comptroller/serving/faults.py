"""Replicas that fault: they hang unseen, are detected, restarted or taken out and mended, while spares step in.

From a fault until it is detected a replica makes nothing, and calls are still sent to it. Then its calls begin anew on
others; it starts again, or, if its node is broken, a spare starts in its place and it comes back once it is mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import numpy as np

from comptroller.costs.fault_causes import FAULT_CAUSES
from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError
from comptroller.serving.elastic import ElasticEngine, ElasticOutcome, ReplicaPhase
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies.view import ACTIVE
from comptroller.serving.work_after_loss import WorkAfterLoss
from comptroller.work.call import CallTable

OVER = 1.01
"""A step of a replica that hangs lasts so many times as long as it goes unseen, so that it makes no token before."""


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """target: replicas that are to take calls.  spares: further ones, off, that step in.  detect_s: from a fault until
    it is seen.  repair_s: from then until a broken node is back.  work: what becomes of calls on it."""

    target: int
    start_up_s: float
    spares: int = 0
    detect_s: float = 30.0
    repair_s: float = 86_400.0
    work: WorkAfterLoss = WorkAfterLoss.RESTART

    def __post_init__(self) -> None:
        if not (self.target >= 1 and self.spares >= 0):
            raise InputError(f"faults: {self.target} replicas and {self.spares} spares; allowed: from 1, from 0")
        if not (self.detect_s > 0 and self.repair_s >= 0 and self.start_up_s >= 0):
            raise InputError(
                f"faults: seen after {self.detect_s:g} s, mended after {self.repair_s:g} s, start-up "
                f"{self.start_up_s:g} s; allowed: above 0 s, from 0 s, from 0 s"
            )


@dataclass(frozen=True, slots=True)
class ReplicaFault:
    """A fault that hits a replica, if it takes calls then. breaks: whether its node has to be mended."""

    at_s: float
    replica: int
    cause: str
    breaks: bool


@dataclass(frozen=True, slots=True)
class SeenFault:
    """A fault that hit. seen_s: when it was detected.  calls: that were on the replica then."""

    fault: ReplicaFault
    seen_s: float
    calls: int


@dataclass(frozen=True, eq=False)
class FaultOutcome:
    """What came of calls on replicas that fault. healthy: share of the span in which the target took calls and none of
    it hung.  hung_s: replica-seconds between faults and their detection."""

    elastic: ElasticOutcome
    faults: tuple[SeenFault, ...]
    healthy: float
    hung_s: float


def draw_faults(rng: np.random.Generator, replicas: int, fault_s: float, span_s: float) -> tuple[ReplicaFault, ...]:
    """Faults of a span, by time: of each replica exponential, `fault_s` apart in the mean; causes by their counts.

    >>> len(draw_faults(np.random.default_rng(0), 4, 50.0, 1000.0))
    84
    """
    if not fault_s > 0:
        raise InputError(f"faults {fault_s:g} s apart; allowed: above 0 s")
    count = int(rng.poisson(replicas * span_s / fault_s))
    at_s, where = np.sort(rng.uniform(0.0, span_s, count)), rng.integers(replicas, size=count)
    shares = np.array([cause.count for cause in FAULT_CAUSES], float)
    causes = rng.choice(len(FAULT_CAUSES), count, p=shares / shares.sum())
    return tuple(
        ReplicaFault(float(at), int(replica), FAULT_CAUSES[cause].name, FAULT_CAUSES[cause].breaks)
        for at, replica, cause in zip(at_s, where, causes, strict=True)
    )


def serve_with_faults(
    fleet: SimulatedFleet, calls: CallTable, faults: Sequence[ReplicaFault], settings: FaultSettings
) -> FaultOutcome:
    """What comes of calls while replicas fault, until the last call has arrived; then until all have ended.

    The fleet has the target and the spares. A step under way ends first; a fault that hits a replica that hangs, starts
    or is off does nothing.

    Raises:
        InputError: the fleet has not as many replicas, or one that cannot come and go.
    """
    if len(fleet.replicas()) != settings.target + settings.spares:
        raise InputError(
            f"a fleet of {len(fleet.replicas())} replicas; {settings.target} and {settings.spares} spares are asked for"
        )
    return _FaultRun(ElasticEngine(_with_hangs(fleet, settings.detect_s), calls, settings.target), settings).run(
        faults, float(np.max(calls["arrival_s"], initial=0.0))
    )


def _with_hangs(fleet: SimulatedFleet, detect_s: float) -> SimulatedFleet:
    """The fleet with one more level of each replica, at which a step outlasts the detection."""
    services = []
    for service in fleet.services:
        tables: dict[int, StepTable] = {}
        made = []
        for one in service.replicas:
            hung = tables.setdefault(id(one.table), _hung_table(one.table, OVER * detect_s))
            made.append(replace(one, levels=(*one.levels, hung)))
        services.append(replace(service, replicas=tuple(made)))
    return replace(fleet, services=tuple(services))


def _hung_table(table: StepTable, seconds: float) -> StepTable:
    """A table of which every step takes so long, at idle power."""
    joules = seconds * table.idle_w
    return replace(
        table,
        decode_s=np.full_like(table.decode_s, seconds), decode_j=np.full_like(table.decode_j, joules),
        mixed_s=np.full_like(table.mixed_s, seconds), mixed_j=np.full_like(table.mixed_j, joules),
        pair_s=np.zeros_like(table.pair_s), pair_j=np.zeros_like(table.pair_j),
    )  # fmt: skip


@dataclass
class _FaultRun:
    """hung: replicas that hang, with their fault.  broken: those that are not mended.  due: (moment, order, replica)
    of what is to be seen or is mended."""

    engine: ElasticEngine
    settings: FaultSettings
    hung: dict[int, ReplicaFault] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    due: list[tuple[float, int, int]] = field(default_factory=list)
    found: list[SeenFault] = field(default_factory=list)

    def run(self, faults: Sequence[ReplicaFault], span_s: float) -> FaultOutcome:
        upcoming = sorted(faults, key=lambda fault: fault.at_s)
        for fault in upcoming:
            if fault.at_s > span_s:
                break
            self._until(fault.at_s)
            self._hang(fault)
        self._until(span_s)
        while self.hung or not self.engine.of(ReplicaPhase.OPEN):
            if not self.due and not self.engine.of(ReplicaPhase.STARTING):
                raise InputError("faults: every node is broken and none comes back")
            self._until(self.due[0][0] if self.due else self.engine.now_s + self.settings.start_up_s)
        outcome = self.engine.finish()
        ends = [(one.fault.at_s, one.seen_s) for one in self.found]
        hung_s = sum(seen_s - at_s for at_s, seen_s in ends)
        return FaultOutcome(
            outcome, tuple(self.found), _healthy_share(outcome, self.found, self.settings.target, span_s), hung_s
        )

    def _until(self, to_s: float) -> None:
        while self.due and self.due[0][0] <= to_s:
            at_s, _, replica = heappop(self.due)
            self.engine.advance(at_s)
            if replica in self.hung:
                self._see(replica, at_s)
            elif replica in self.broken:
                self.broken.discard(replica)
                self._fill(at_s)
        self.engine.advance(max(to_s, self.engine.now_s))

    def _hang(self, fault: ReplicaFault) -> None:
        replica = fault.replica
        if replica in self.hung or self.engine.phases[replica] != ReplicaPhase.OPEN:
            return
        self.hung[replica] = fault
        self._set_level(replica, len(self.engine.engine.fleet.replicas()[replica][1].levels))
        heappush(self.due, (fault.at_s + self.settings.detect_s, len(self.found), replica))

    def _set_level(self, replica: int, level: int) -> None:
        self.engine.engine.set_level(replica, level)

    def _see(self, replica: int, at_s: float) -> None:
        fault = self.hung.pop(replica)
        self.found.append(SeenFault(fault, at_s, int(self.engine.seen()[ACTIVE, replica])))
        self.engine.lose(replica, self.settings.work)
        self._set_level(replica, 0)
        if fault.breaks:
            self.broken.add(replica)
            heappush(self.due, (at_s + self.settings.repair_s, len(self.found), replica))
        self._fill(at_s)

    def _fill(self, at_s: float) -> None:
        """Start what is off and whole until the target takes calls or starts."""
        there = len(self.engine.of(ReplicaPhase.OPEN, ReplicaPhase.STARTING))
        whole = [replica for replica in self.engine.of(ReplicaPhase.OFF) if replica not in self.broken]
        for replica in whole[: max(self.settings.target - there, 0)]:
            self.engine.start(replica, self.settings.start_up_s)


def _healthy_share(outcome: ElasticOutcome, found: Sequence[SeenFault], target: int, span_s: float) -> float:
    """Share of a span in which at least the target took calls and worked."""
    changes = [(event.at_s, 1 if event.phase == ReplicaPhase.OPEN else 0, event.replica) for event in outcome.events]
    changes += [(one.fault.at_s, 0, one.fault.replica) for one in found]
    works, since_s, good_s = set(range(target)), 0.0, 0.0
    for at_s, opens, replica in sorted(changes):
        end_s = min(at_s, span_s)
        good_s += (end_s - since_s) * (len(works) >= target)
        since_s = end_s
        works.add(replica) if opens else works.discard(replica)
    good_s += (span_s - since_s) * (len(works) >= target)
    return good_s / span_s if span_s else 1.0
