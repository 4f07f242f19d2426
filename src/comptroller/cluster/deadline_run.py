"""A job with a deadline on recorded zones: on spot, on demand or waiting, as a rule has it, from one start or many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from comptroller.cluster.deadline_rules import DEADLINE_RULES
from comptroller.cluster.deadline_view import ROUNDING_S, DeadlineView, JobRental, SpotSpells
from comptroller.cluster.job_table import Floats
from comptroller.errors import InputError
from comptroller.work.zone_record import ZoneRecord

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class DeadlineJob:
    """work_s: computing that it takes.  deadline_s: from submission on.  changeover_s: from the moment that a node is
    rented until work goes on: start, checkpoint read, what was done since it.  nodes: that it runs on, all in a zone.
    """

    work_s: float
    deadline_s: float
    changeover_s: float
    nodes: int = 1

    def __post_init__(self) -> None:
        if not (self.work_s > 0 and self.changeover_s >= 0 and self.nodes >= 1):
            raise InputError(
                f"job: {self.work_s / 3600:g} h of work, a changeover of {self.changeover_s:g} s, {self.nodes} nodes; "
                "allowed: above 0 h, from 0 s, from 1 node"
            )
        if not self.work_s + self.changeover_s <= self.deadline_s < NEVER:
            least_h = (self.work_s + self.changeover_s) / 3600
            raise InputError(
                f"job: a deadline of {self.deadline_s / 3600:g} h is missed even on demand; its work and one "
                f"changeover take {least_h:g} h"
            )


@dataclass(frozen=True, slots=True)
class DeadlineRun:
    """What came of a job begun at one moment of a record. spot_s, on_demand_s: that a node was paid for.  ended_s: from
    submission on.  interruptions: how often spot was taken back.  starts: of nodes.  bound_s: seconds, on spot and on
    demand, that a job cannot do with less of, knew it the record and were changeovers free."""

    from_s: float
    spot_s: float
    on_demand_s: float
    ended_s: float
    interruptions: int
    starts: int
    bound_s: tuple[float, float]


@dataclass(frozen=True, eq=False)
class DeadlineOutcome:
    """A rule on a record. runs: of the same job begun at several moments.  price_ratio: spot over on demand."""

    rule: str
    record: ZoneRecord
    job: DeadlineJob
    runs: tuple[DeadlineRun, ...]
    price_ratio: float

    @property
    def cost(self) -> Floats:
        """Of each run, over what its work and one changeover cost on demand, shape (runs,)."""
        paid = [run.on_demand_s + self.price_ratio * run.spot_s for run in self.runs]
        return np.array(paid) / (self.job.work_s + self.job.changeover_s)

    @property
    def bound(self) -> Floats:
        """The least that any rule could have paid, likewise."""
        least = [on_demand_s + self.price_ratio * spot_s for spot_s, on_demand_s in (run.bound_s for run in self.runs)]
        return np.array(least) / (self.job.work_s + self.job.changeover_s)

    @property
    def missed(self) -> int:
        """Runs that ended after the deadline."""
        return sum(run.ended_s > self.job.deadline_s + ROUNDING_S for run in self.runs)


def run_deadlines(
    record: ZoneRecord, job: DeadlineJob, rules: Sequence[str], price_ratio: float, starts: int = 1, from_s: float = 0.0
) -> tuple[DeadlineOutcome, ...]:
    """A job under each of the rules, begun at so many moments of a record, spread evenly from one on.

    Raises:
        InputError: the record is shorter than the deadline, or a price ratio or a number of starts out of range.
        UnknownIdError: an unknown rule.
    """
    if not (price_ratio > 0 and starts >= 1 and from_s >= 0):
        raise InputError(
            f"a price ratio of {price_ratio:g}, {starts} starts from {from_s:g} s; above 0, from 1, from 0"
        )
    room_s = record.span_s - from_s - job.deadline_s
    if room_s < 0:
        raise InputError(
            f"the record {record.name} has {(record.span_s - from_s) / 3600:.3g} h from its hour {from_s / 3600:.3g} "
            f"on, the deadline is {job.deadline_s / 3600:.3g} h"
        )
    moments = from_s + np.linspace(0.0, room_s, starts)
    found = []
    for name in rules:
        rule = DEADLINE_RULES.module(name)
        runs = tuple(
            _JobOnZones(record, job, float(at_s), price_ratio).run(rule.rental, float(rule.EVERY_S)) for at_s in moments
        )
        found.append(DeadlineOutcome(name, record, job, runs, price_ratio))
    return tuple(found)


def record_of_zones(record: ZoneRecord, names: Sequence[str]) -> ZoneRecord:
    """A record with some of its zones, in the order given; all of them where none is named.

    Raises:
        InputError: it has no such zone; lists those it has.
    """
    by_name = {zone.zone: zone for zone in record.zones}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InputError(f"record {record.name} has no zone {unknown[0]!r}; it has {', '.join(by_name)}")
    return ZoneRecord(record.name, tuple(by_name[name] for name in names)) if names else record


@dataclass
class _JobOnZones:
    """A job at a moment. ready_s: from when on what it holds makes progress.  zone: of its spot node, or of the one
    that it could have.  seen: of spot so far."""

    record: ZoneRecord
    job: DeadlineJob
    from_s: float
    price_ratio: float
    now_s: float = 0.0
    done_s: float = 0.0
    held: JobRental = JobRental.IDLE
    zone: int = -1
    ready_s: float = 0.0
    paid_s: dict[JobRental, float] = field(default_factory=lambda: dict.fromkeys(JobRental, 0.0))
    interruptions: int = 0
    starts: int = 0
    seen: SpotSpells = field(default_factory=SpotSpells)

    def run(self, rule: Callable[[DeadlineView], JobRental], every_s: float) -> DeadlineRun:
        """To the end of its work; past its deadline it is on demand, whatever a rule would say."""
        changes = sorted(
            {
                at_s - self.from_s
                for zone in self.record.zones
                for at_s in zone.changes_s(self.from_s, self.from_s + self.job.deadline_s)
            }
        )
        upcoming = 0
        while self.done_s < self.job.work_s - ROUNDING_S:
            self._lose()
            self._watch()
            late = self.now_s >= self.job.deadline_s
            self._rent(JobRental.ON_DEMAND if late else JobRental(rule(self._view())))
            while upcoming < len(changes) and changes[upcoming] <= self.now_s:
                upcoming += 1
            change_s = changes[upcoming] if upcoming < len(changes) else NEVER
            self._pass(min(change_s, self.now_s + every_s, self._end_s(), self._hurry_s()))
        return DeadlineRun(
            self.from_s, self.paid_s[JobRental.SPOT], self.paid_s[JobRental.ON_DEMAND], self.now_s, self.interruptions,
            self.starts, self._bound_s(changes),
        )  # fmt: skip

    def _view(self) -> DeadlineView:
        job = self.job
        room = any(self._has_room(zone, self.now_s) for zone in range(len(self.record.zones)))
        return DeadlineView(
            self.now_s, self.done_s, job.work_s, job.deadline_s, job.changeover_s, self.held, room,
            self.price_ratio, self.seen,
        )  # fmt: skip

    def _has_room(self, zone: int, at_s: float) -> bool:
        capacity = self.record.zones[zone]
        moment = self.from_s + at_s + ROUNDING_S
        # After the last tick recorded nothing is known, so that nothing is there.
        return moment < capacity.end_s and capacity.share(moment) * capacity.wanted >= self.job.nodes - ROUNDING_S

    def _lose(self) -> None:
        if self.held == JobRental.SPOT and not self._has_room(self.zone, self.now_s):
            self.held, self.interruptions = JobRental.IDLE, self.interruptions + 1

    def _watch(self) -> None:
        """Count what became of the zone that it holds, or would have taken, since it last looked."""
        rooms = [zone for zone in range(len(self.record.zones)) if self._has_room(zone, self.now_s)]
        lost = self.zone >= 0 and self.zone not in rooms
        back = bool(rooms) and (lost or (self.zone < 0 and self.now_s > 0))
        self.seen = self.seen._replace(losses=self.seen.losses + lost, returns=self.seen.returns + back)
        if self.held != JobRental.SPOT:
            self.zone = self.zone if self.zone in rooms else rooms[0] if rooms else -1

    def _rent(self, wish: JobRental) -> None:
        """Follow a wish; a spot node comes from the first zone that has room, and stays there."""
        if wish == self.held:
            return
        if wish == JobRental.SPOT:
            rooms = [zone for zone in range(len(self.record.zones)) if self._has_room(zone, self.now_s)]
            if not rooms:
                return
            self.zone = rooms[0]
        self.held, self.ready_s = wish, self.now_s + self.job.changeover_s
        self.starts += wish != JobRental.IDLE

    def _end_s(self) -> float:
        if self.held == JobRental.IDLE:
            return NEVER
        return max(self.ready_s, self.now_s) + self.job.work_s - self.done_s

    def _hurry_s(self) -> float:
        """When the slack of one that stands idle is down to two changeovers; never, once it is."""
        spare_s = self._view().slack_s - 2 * self.job.changeover_s
        return self.now_s + spare_s if self.held == JobRental.IDLE and spare_s > ROUNDING_S else NEVER

    def _pass(self, to_s: float) -> None:
        if self.held != JobRental.IDLE:
            self.done_s += max(to_s - max(self.now_s, self.ready_s), 0.0)
        self.paid_s[self.held] += to_s - self.now_s
        name = "away_s" if self.zone < 0 else "stood_s"
        self.seen = self.seen._replace(**{name: getattr(self.seen, name) + to_s - self.now_s})
        self.now_s = to_s

    def _bound_s(self, changes: Sequence[float]) -> tuple[float, float]:
        """All spot time until the deadline is used, as far as there is work, and what is left is on demand."""
        job = self.job
        edges = [0.0, *changes, job.deadline_s]
        there = [any(self._has_room(zone, at_s) for zone in range(len(self.record.zones))) for at_s in edges[:-1]]
        spot_s = min(float((np.diff(edges) * there).sum()), job.work_s)
        return spot_s, job.work_s - spot_s
