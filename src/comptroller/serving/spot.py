"""A spot policy at work: replicas in zones of recorded capacity, which refuse launches and take nodes back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from comptroller.errors import InputError
from comptroller.serving.elastic import ElasticEngine, ElasticOutcome, ReplicaPhase
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import decision, module
from comptroller.serving.policies.spot_view import NEVER_S, SpotView, SpotWish
from comptroller.serving.policies.view import ACTIVE
from comptroller.serving.scaling import ScalingSettings, ScalingWish
from comptroller.serving.work_after_loss import CachePath, WorkAfterLoss
from comptroller.work.call import CallTable
from comptroller.work.zone_record import ZoneRecord

NOTICE_S = 120.0
"""Before a spot instance is taken back: two minutes on AWS; Google Cloud and Azure give 30 s."""

ROUNDING_S = 1e-6
"""Far above what rounds off a moment of months, and far below a tick of any record."""

HELD = (ReplicaPhase.STARTING, ReplicaPhase.OPEN, ReplicaPhase.DRAINING)
"""Phases of a replica that stands on a node."""

ON_DEMAND = -1
"""In place of a zone, of a replica on demand."""


@dataclass(frozen=True, slots=True)
class SpotSettings:
    """How a service stands on spot. policy: its id, the path of its file or its dotted path.  target: replicas that
    are to take calls.  extra: further ones that a policy may keep.  zone_replicas: room of a zone when all nodes wanted
    are there, 0 for as many as were wanted, or any number where one was.  work, path: what becomes of calls on a
    replica that is taken back.  price_ratio: spot over on demand.  from_s: of the record, where the calls begin.
    drain_s: how long before it goes a replica takes no more calls; from the notice on where that is shorter.  share:
    of the target that may be spot, in whole replicas, rounded down; the rest is on demand whatever the policy."""

    policy: str
    target: int
    start_up_s: float
    extra: int = 1
    zone_replicas: int = 0
    notice_s: float = NOTICE_S
    work: WorkAfterLoss = WorkAfterLoss.RESUME
    path: CachePath | None = None
    price_ratio: float = 1.0
    from_s: float = 0.0
    seed: int = 0
    drain_s: float = float("inf")
    share: float = 1.0

    def __post_init__(self) -> None:
        module("spot", self.policy)
        faults = [
            text
            for bad, text in (
                (self.target < 1, f"{self.target} replicas to take calls; at least 1"),
                (self.extra < 0, f"{self.extra} extra replicas; not below 0"),
                (self.zone_replicas < 0, f"{self.zone_replicas} replicas in a zone; not below 0"),
                (not self.start_up_s >= 0, f"a start-up of {self.start_up_s:g} s; not below 0"),
                (not self.notice_s >= 0, f"a notice of {self.notice_s:g} s; not below 0"),
                (not self.price_ratio > 0, f"a spot price {self.price_ratio:g} times that on demand; above 0"),
                (not self.from_s >= 0, f"a record from {self.from_s:g} s; not below 0"),
                (not 0 <= self.share <= 1, f"a share of {self.share:g} of the target on spot; from 0 to 1"),
                (not self.drain_s >= 0, f"no more calls {self.drain_s:g} s before a replica goes; not below 0"),
            )
            if bad
        ]
        if faults:
            raise InputError(f"spot: {'; '.join(faults)}")


@dataclass(frozen=True, slots=True)
class SpotInterruption:
    """A replica was taken back. at_s: when it was told.  calls: that were in flight there."""

    at_s: float
    zone: str
    replica: int
    calls: int


@dataclass(frozen=True, eq=False)
class SpotOutcome:
    """What came of calls on replicas in zones. places: of each lease, its zone, or `ON_DEMAND`.  refusals: launches
    that a zone refused.  availability: share of the time in which the target took calls."""

    elastic: ElasticOutcome
    places: tuple[int, ...]
    interruptions: tuple[SpotInterruption, ...]
    refusals: int
    availability: float

    def hours(self, on_demand: bool) -> float:
        """Replica-hours on demand, or spot."""
        leases = zip(self.elastic.leases, self.places, strict=True)
        return sum(one.until_s - one.since_s for one, zone in leases if (zone == ON_DEMAND) == on_demand) / 3600

    def usd(self, on_demand_usd_per_h: float, spot_usd_per_h: float) -> float:
        """Dollars at the prices of a replica."""
        return self.hours(on_demand=True) * on_demand_usd_per_h + self.hours(on_demand=False) * spot_usd_per_h


def serve_on_spot(
    fleet: SimulatedFleet,
    calls: CallTable,
    record: ZoneRecord,
    settings: SpotSettings,
    scaling: ScalingSettings | None = None,
    watch: tuple[Callable[[ElasticEngine], None], float] | None = None,
) -> SpotOutcome:
    """What comes of calls on replicas that a policy rents in zones or on demand, which begin on demand and ready.

    The fleet has the replicas that there may be at once. Launches on demand are granted. A zone takes back what is
    beyond its room, told as long before as the notice is; which replicas, is drawn.

    scaling: who moves the target; none where it stays.  watch: is shown the engine every second, and how often the
    engine samples.

    Raises:
        InputError: the record is shorter than the calls, or the fleet smaller than the target.
    """
    span_s = float(np.max(calls["arrival_s"], initial=0.0))
    if settings.from_s + span_s > record.span_s:
        raise InputError(
            f"the record {record.name} ends after {record.span_s / 3600:.3g} h; calls from its hour "
            f"{settings.from_s / 3600:.3g} on last {span_s / 3600:.3g} h longer"
        )
    if len(fleet.replicas()) < settings.target:
        raise InputError(f"a fleet of {len(fleet.replicas())} replicas, of which {settings.target} are to take calls")
    see, sample_s = watch or (None, 0.0)
    engine = ElasticEngine(fleet, calls, settings.target, sample_s)
    wish = ScalingWish(calls, scaling, scaling.most or len(fleet.replicas())) if scaling else None
    return _SpotRun(engine, record, settings, wish, see).run(span_s)


class _ComingEnd(NamedTuple):
    """A replica that has a notice and still takes calls: from when on it does not, and when it is gone."""

    drains_s: float
    gone_s: float
    replica: int


@dataclass
class _SpotRun:
    engine: ElasticEngine
    record: ZoneRecord
    settings: SpotSettings
    wish: ScalingWish | None = None
    watch: Callable[[ElasticEngine], None] | None = None
    zone_of: dict[tuple[int, float], int] = field(default_factory=dict)
    told: list[_ComingEnd] = field(default_factory=list)
    found: list[SpotInterruption] = field(default_factory=list)
    refusals: int = 0

    def __post_init__(self) -> None:
        zones = len(self.record.zones)
        self.lost_s, self.refused_s, self.granted_s = ([NEVER_S] * zones for _ in range(3))
        self.memory: dict[str, object] = {}
        self.place = decision("spot", self.settings.policy)
        self.target = self.settings.target
        self.targets = [self.target]
        self.rng = np.random.default_rng(self.settings.seed)
        # A record that asked for one node says whether there was any; of more it says how many.
        most, stated = len(self.engine.phases), self.settings.zone_replicas
        self.room = [stated or (zone.wanted if zone.wanted > 1 else most) for zone in self.record.zones]

    def run(self, span_s: float) -> SpotOutcome:
        """To the last arrival, and then until all calls have ended."""
        how = self.settings
        every_s = int(module("spot", how.policy).EVERY_S)
        changes = [
            (at_s - how.from_s, zone)
            for zone, capacity in enumerate(self.record.zones)
            for at_s in capacity.changes_s(how.from_s, how.from_s + span_s + how.notice_s)
        ]
        decisions = {float(second) for second in range(0, int(span_s) + 1, every_s)}
        told = [(max(at_s - how.notice_s, 0.0), at_s, zone) for at_s, zone in changes]
        told = sorted(told + [(at_s, at_s, zone) for at_s, zone in changes] if how.notice_s else told)
        drains = {max(at_s - how.drain_s, 0.0) for at_s, _ in changes if how.drain_s < how.notice_s}
        seconds = set(map(float, range(1, int(span_s) + 1))) if self.wish or self.watch else set()
        for at_s in sorted({at for at, _, _ in told} | decisions | drains | seconds):
            if at_s > span_s:
                break
            self.engine.advance(at_s)
            if at_s in seconds:
                self._see_second(int(at_s))
            self._drain_told(at_s)
            while told and told[0][0] <= at_s:
                _, gone_s, zone = told.pop(0)
                self._take_back(zone, gone_s, gone_s - at_s)
            if at_s in decisions:
                self._decide(at_s)
        outcome = self.engine.finish()
        places = tuple(self.zone_of.get((one.replica, one.since_s), ON_DEMAND) for one in outcome.leases)
        share = owed_share(outcome, self.targets, how.start_up_s, span_s)
        return SpotOutcome(outcome, places, tuple(self.found), self.refusals, share)

    def _see_second(self, second: int) -> None:
        """Show the engine to who watches it, and ask who moves the target."""
        if self.watch is not None:
            self.watch(self.engine)
        if self.wish is not None:
            self.target = self.wish.at(second, self.engine, self.target) or self.target
            self.targets.append(self.target)

    def _in(self, zone: int, *phases: ReplicaPhase) -> list[int]:
        """Replicas of a zone, or on demand, that have no notice."""
        now, told = self.engine.of(*(phases or HELD)), {one.replica for one in self.told}
        return [
            r for r in now if self._zone(r) == zone and r not in told and self.engine.times[r].gone_s == float("inf")
        ]

    def _held(self, zone: int) -> int:
        """Nodes of a zone that are in use, by replicas with a notice too."""
        return sum(self._zone(r) == zone for r in self.engine.of(*HELD))

    def _zone(self, replica: int) -> int:
        return self.zone_of.get((replica, self.engine.times[replica].since_s), ON_DEMAND)

    def _room(self, zone: int, at_s: float) -> int:
        # A moment is where a run begins less `from_s`: their sum may fall short of it by rounding.
        return int(self.record.zones[zone].share(self.settings.from_s + at_s + ROUNDING_S) * self.room[zone] + 1e-9)

    def _take_back(self, zone: int, at_s: float, notice_s: float) -> None:
        """Tell those whom a zone has no room for at a moment that they will be gone then."""
        stands = self._in(zone)
        over = (len(stands) if notice_s else self._held(zone)) - self._room(zone, at_s)
        if over <= 0:
            return
        now_s, name, calls = self.engine.now_s, self.record.zones[zone].zone, self.engine.seen()[ACTIVE]
        self.lost_s[zone] = now_s
        for replica in map(int, self.rng.permutation(stands)[:over]):
            self.found.append(SpotInterruption(now_s, name, replica, int(calls[replica])))
            if not notice_s:
                self.engine.lose(replica, self.settings.work)
            elif self.settings.drain_s < notice_s:
                self.told.append(_ComingEnd(at_s - self.settings.drain_s, at_s, replica))
            else:
                self.engine.notice(replica, notice_s, self.settings.work, self.settings.path)

    def _drain_told(self, at_s: float) -> None:
        """Those that were told, and have taken calls since, take no more once their end is near."""
        for one in [one for one in self.told if one.drains_s <= at_s]:
            self.told.remove(one)
            if one.gone_s > at_s:
                self.engine.notice(one.replica, one.gone_s - at_s, self.settings.work, self.settings.path)
            else:
                self.engine.lose(one.replica, self.settings.work)

    def _decide(self, at_s: float) -> None:
        how, zones = self.settings, range(len(self.record.zones))
        firm = self.target - math.floor(how.share * self.target + 1e-9)
        ready, starting = (len(self._in(ON_DEMAND, phase)) for phase in (ReplicaPhase.OPEN, ReplicaPhase.STARTING))
        view = SpotView(
            now_s=at_s, target=self.target - firm, extra=how.extra, start_up_s=how.start_up_s,
            price_ratio=how.price_ratio,
            ready=tuple(len(self._in(zone, ReplicaPhase.OPEN)) for zone in zones),
            starting=tuple(len(self._in(zone, ReplicaPhase.STARTING)) for zone in zones),
            on_demand_ready=max(ready - firm, 0), on_demand_starting=max(starting - max(firm - ready, 0), 0),
            lost_s=tuple(self.lost_s), refused_s=tuple(self.refused_s), granted_s=tuple(self.granted_s),
            memory=self.memory,
        )  # fmt: skip
        wish: SpotWish = self.place(view)
        for zone in zones:
            self._follow(zone, wish.spot[zone] - view.here(zone), at_s)
        self._follow(ON_DEMAND, wish.on_demand + firm - ready - starting, at_s)

    def _follow(self, zone: int, change: int, at_s: float) -> None:
        """Launch so many more, as far as the zone has room, or give up so many: those that start, then those with the
        fewest calls; the last one that takes calls stays."""
        for _ in range(max(change, 0)):
            idle = self.engine.of(ReplicaPhase.OFF)
            if zone != ON_DEMAND and self._held(zone) >= self._room(zone, at_s):
                self.refused_s[zone] = at_s
                self.refusals += 1
                return
            if not idle:
                return
            self.engine.start(idle[0], self.settings.start_up_s)
            if zone != ON_DEMAND:
                self.zone_of[idle[0], self.engine.times[idle[0]].since_s] = zone
                self.granted_s[zone] = at_s
        calls = self.engine.seen()[ACTIVE]
        leaving = self._in(zone, ReplicaPhase.STARTING)
        leaving += sorted(self._in(zone, ReplicaPhase.OPEN), key=lambda r: (calls[r], -r))
        for replica in leaving[: max(-change, 0)]:
            if self.engine.of(ReplicaPhase.OPEN) != [replica]:
                self.engine.drain(replica)


def owed_share(outcome: ElasticOutcome, targets: Sequence[int], start_up_s: float, span_s: float) -> float:
    """Share of a span in which as many replicas took calls as were wished a start-up ago and ever since.

    targets: by the second, from the start, the last of them until the end; as many took calls at the start.
    """
    opened, since_s, good_s = set(range(targets[0])), 0.0, 0.0
    window = math.ceil(start_up_s) if len(targets) > 1 else 0
    least = np.lib.stride_tricks.sliding_window_view([targets[0]] * window + list(targets), window + 1).min(axis=1)
    edges = [(float(second), int(owed)) for second, owed in enumerate(least) if not second or owed != least[second - 1]]
    moments = sorted([(at_s, 0, owed, None) for at_s, owed in edges] + [
        (min(event.at_s, span_s), 1, 0, event) for event in outcome.events
    ], key=lambda one: one[:2])  # fmt: skip
    owed = targets[0]
    for at_s, _, now_owed, event in moments:
        good_s += (min(at_s, span_s) - since_s) * (len(opened) >= owed)
        since_s = min(at_s, span_s)
        if event is None:
            owed = now_owed
        elif event.phase == ReplicaPhase.OPEN:
            opened.add(event.replica)
        else:
            opened.discard(event.replica)
    good_s += (span_s - since_s) * (len(opened) >= owed)
    return good_s / span_s if span_s else 1.0
