"""A scaling policy at work: every second is seen, and replicas are started and drained as it wishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    policy: str
    target_calls: float
    target_per_s: float
    first: int
    least: int = 1
    most: int = 0
    start_up_s: float = START_UP_S
    fill: float = 1.0

    def __post_init__(self) -> None:
        module("scaling", self.policy)
        if not min(self.target_calls, self.target_per_s, self.fill) > 0:
            raise InputError(
                f"scaling: {self.target_calls:g} calls in flight and {self.target_per_s:g} a second for a replica, a "
                f"fill of {self.fill:g}; all have to be above 0"
            )
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

    def __init__(self, calls: CallTable, settings: ScalingSettings, most: int) -> None:
        self.settings, self.most = settings, most
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
        self._history.add(arrivals=float(self._arrivals[second - 1]), **engine.state())
        if second % self._every_s:
            return None
        view = ScalingView(
            **self._history.so_far(), current=current, target_calls=how.target_calls, target_per_s=how.target_per_s,
            capacity_per_s=how.target_per_s / how.fill, start_up_s=how.start_up_s, least=how.least, most=self.most,
        )  # fmt: skip
        return min(max(int(self._policy(view)), how.least), self.most)


def scale(
    fleet: SimulatedFleet,
    calls: CallTable,
    settings: ScalingSettings,
    watch: Callable[[ElasticEngine], None] | None = None,
    sample_s: float = 0.0,
) -> ElasticOutcome:
    """What comes of calls on a fleet of which a policy starts and drains replicas.

    watch: is shown the engine every second, before the policy.  sample_s: how often the engine samples.

    Replicas are those of the fleet; those beyond `first` are off at the start. Once the last call has arrived nothing
    more is decided, and what runs is paid for until the last call has ended.

    Raises:
        InputError: a fleet or settings that cannot be scaled.
    """
    most = min(settings.most or len(fleet.replicas()), len(fleet.replicas()))
    engine = ElasticEngine(fleet, calls, min(settings.first, most), sample_s)
    wish = ScalingWish(calls, settings, most)
    for second in range(1, wish.seconds + 1):
        engine.advance(float(second))
        if watch is not None:
            watch(engine)
        current = len(engine.of(ReplicaPhase.OPEN, ReplicaPhase.STARTING))
        if (wished := wish.at(second, engine, current)) is not None:
            _follow(engine, wished - current, settings.start_up_s)
    return engine.finish()


def _follow(engine: ElasticEngine, change: int, start_up_s: float) -> None:
    """Start so many more, or drain so many: first those that are starting, then those with the fewest calls."""
    if change > 0:
        for replica in engine.of(ReplicaPhase.OFF)[:change]:
            engine.start(replica, start_up_s)
        return
    calls = engine.seen()[ACTIVE]
    opened = sorted(engine.of(ReplicaPhase.OPEN), key=lambda r: (calls[r], -r))
    newest = sorted(engine.of(ReplicaPhase.STARTING), key=lambda r: -engine.times[r].ready_s)
    for replica in [*newest, *opened[: len(opened) - 1]][: -change or 0]:
        engine.drain(replica)
