"""A scaling policy at work: every second is seen, and replicas are started and drained as it wishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.elastic import ElasticEngine, ElasticOutcome, ReplicaPhase
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import decision, module
from comptroller.serving.policies.scaling_view import ScalingView
from comptroller.serving.policies.view import ACTIVE
from comptroller.work.call import CallTable

START_UP_S = 180.0
"""From the decision for a replica until it takes calls: what llm-d reckons with for a pod (llm-d-autoscaling, issue
1517). At half of it reactive policies are late for half as long."""


@dataclass(frozen=True, slots=True)
class ScalingSettings:
    """How a service is scaled. policy: its id, the path of its file or its dotted path.  first: replicas at the start.

    target_calls: calls in flight that a replica is to have.  target_per_s: calls it is to take a second.  fill: these
    over what it can take within the objectives.  least, most: replicas; `most` is bounded by the fleet.
    share: of the calls that are to be within the objectives.
    """

    policy: str
    target_calls: float
    target_per_s: float
    first: int
    least: int = 1
    most: int = 0
    start_up_s: float = START_UP_S
    fill: float = 1.0
    share: float = 0.95

    def __post_init__(self) -> None:
        module("scaling", self.policy)
        if not min(self.target_calls, self.target_per_s, self.fill) > 0:
            raise InputError(
                f"scaling: {self.target_calls:g} calls in flight and {self.target_per_s:g} a second for a replica, a "
                f"fill of {self.fill:g}; all have to be above 0"
            )
        if not 0 < self.share < 1:
            raise InputError(f"scaling: a share of {self.share:g} of the calls; allowed: between 0 and 1")
        if not (self.start_up_s >= 0 and 1 <= self.least <= self.first):
            raise InputError(
                f"scaling: start-up {self.start_up_s:g} s, at least {self.least} replicas, {self.first} at the start; "
                "allowed: from 0 s, from 1, at most those at the start"
            )


class ServiceHistory:
    """What was seen of a service, a value for every second of a span."""

    NAMES = ("arrivals", "in_flight", "queued", "cache", "ready")

    def __init__(self, seconds: int) -> None:
        self.length = 0
        self._values = {name: np.zeros(seconds) for name in self.NAMES}

    def add(self, **values: float) -> None:
        """The values of one more second."""
        for name, value in values.items():
            self._values[name][self.length] = value
        self.length += 1

    def so_far(self) -> dict[str, npt.NDArray[np.float64]]:
        """All seconds that were seen."""
        return {name: values[: self.length] for name, values in self._values.items()}


class ScalingWish:
    """What a policy wishes, told a service second by second until the last call has arrived."""

    def __init__(self, calls: CallTable, settings: ScalingSettings, most: int, service: int = 0) -> None:
        self.settings, self.most, self.service = settings, most, service
        self._policy = decision("scaling", settings.policy)
        self._every_s = int(module("scaling", settings.policy).EVERY_S)
        self._arrivals = np.bincount(np.asarray(calls["arrival_s"], np.float64).astype(np.int64))
        self._history = ServiceHistory(self._arrivals.size)

    @property
    def seconds(self) -> int:
        """Until the last call has arrived."""
        return int(self._arrivals.size)

    def at(self, second: int, engine: ElasticEngine, current: int) -> int | None:
        """The replicas wished at the end of a second, of so many that are there or on their way; None where the policy
        is not asked."""
        how = self.settings
        self._history.add(arrivals=float(self._arrivals[second - 1]), **engine.state(self.service))
        if second % self._every_s:
            return None
        view = ScalingView(
            **self._history.so_far(), current=current, target_calls=how.target_calls, target_per_s=how.target_per_s,
            capacity_per_s=how.target_per_s / how.fill, start_up_s=how.start_up_s, least=how.least, most=self.most,
            share=how.share,
        )  # fmt: skip
        return min(max(int(self._policy(view)), how.least), self.most)


class ElasticWatch(Protocol):
    """What is to be done to an engine at moments of its own."""

    @property
    def sample_s(self) -> float:
        """How often the engine is to sample."""
        ...

    def next_s(self) -> float:
        """When the next of it is due."""
        ...

    def see(self, engine: ElasticEngine) -> None:
        """What is due now; called at every second, too."""
        ...


def scale(
    fleet: SimulatedFleet, calls: CallTable, settings: ScalingSettings, watch: ElasticWatch | None = None
) -> ElasticOutcome:
    """What comes of calls on a fleet of one service of which a policy starts and drains replicas.

    Replicas are those of the fleet; those beyond `first` are off at the start. Once the last call has arrived nothing
    more is decided, and what runs is paid for until the last call has ended.

    Raises:
        InputError: a fleet or settings that cannot be scaled.
    """
    return scale_services(fleet, calls, (settings,), watch)


def scale_services(
    fleet: SimulatedFleet, calls: CallTable, settings: Sequence[ScalingSettings], watch: ElasticWatch | None = None
) -> ElasticOutcome:
    """As `scale`, of a fleet of several services, each with its settings, replicas and calls.

    Raises:
        InputError: a fleet or settings that cannot be scaled.
    """
    sizes = [len(service.replicas) for service in fleet.services]
    most = [min(how.most or size, size) for how, size in zip(settings, sizes, strict=False)]
    firsts = [min(how.first, size) for how, size in zip(settings, most, strict=False)]
    engine = ElasticEngine(fleet, calls, firsts, watch.sample_s if watch else 0.0)
    parted = calls_by_service(calls, len(sizes))
    wishes = [ScalingWish(parted[one], how, most[one], one) for one, how in enumerate(settings)]
    if watch is not None:
        watch.see(engine)
    for second in range(1, max(wish.seconds for wish in wishes) + 1):
        _advance(engine, float(second), watch)
        for wish in wishes:
            if second > wish.seconds:
                continue
            current = len(engine.of(ReplicaPhase.OPEN, ReplicaPhase.STARTING, service=wish.service))
            if (wished := wish.at(second, engine, current)) is not None:
                _follow(engine, wish.service, wished - current, wish.settings.start_up_s)
    if watch is not None:
        _run_out(engine, watch)
    return engine.finish()


def calls_by_service(calls: CallTable, services: int) -> Sequence[CallTable]:
    """The calls of each service."""
    if services == 1:
        return (calls,)
    return [calls.take(np.asarray(calls["service"]) == service) for service in range(services)]


def _advance(engine: ElasticEngine, until_s: float, watch: ElasticWatch | None) -> None:
    """Move on to a moment, with what is due for the watch on the way and then."""
    while watch is not None and (due_s := watch.next_s()) < until_s:
        engine.advance(due_s)
        watch.see(engine)
    engine.advance(until_s)
    if watch is not None:
        watch.see(engine)


def _run_out(engine: ElasticEngine, watch: ElasticWatch) -> None:
    """Go on to the end of the last call and no further, with what is due for the watch."""
    inner = engine.engine
    while inner.busy:
        due_s = watch.next_s()
        if inner.next_s < due_s:
            inner.step()
        else:
            inner.advance(due_s)
            watch.see(engine)


def _follow(engine: ElasticEngine, service: int, change: int, start_up_s: float) -> None:
    """Start so many more, or drain so many: first those that are starting, then those with the fewest calls."""
    if change > 0:
        for replica in engine.of(ReplicaPhase.OFF, service=service)[:change]:
            engine.start(replica, start_up_s)
        return
    drain_some(engine, service, engine.of(ReplicaPhase.OPEN, ReplicaPhase.STARTING, service=service), -change)


def drain_some(engine: ElasticEngine, service: int, among: Sequence[int], count: int) -> None:
    """Drain so many of some replicas of a service: first those that are starting, the latest first, then those with the
    fewest calls, never the last of the service that takes calls."""
    calls, phases = engine.seen()[ACTIVE], engine.phases
    newest = sorted((r for r in among if phases[r] == ReplicaPhase.STARTING), key=lambda r: -engine.times[r].ready_s)
    opened = sorted((r for r in among if phases[r] == ReplicaPhase.OPEN), key=lambda r: (calls[r], -r))
    most = len(engine.of(ReplicaPhase.OPEN, service=service)) - 1
    for replica in [*newest, *opened[: max(most, 0)]][:count]:
        engine.drain(replica)
