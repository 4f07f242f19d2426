"""Layouts that pools of requests may have: what each carries and draws at each clock, and how long it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.capacity import LatencyTarget, SlicedLoad, curve
from comptroller.costs.memory import memory
from comptroller.costs.operating import operating_point
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.start_up import start_up
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import InputError, InsufficientMemoryError, UnsupportedError
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.offer.layouts import layouts
from comptroller.planning.power_simulation import pool_at
from comptroller.serving.policies.pool_view import Floats, LayoutProfile
from comptroller.serving.policies.power_view import PowerSetting

LOADS = 9
"""Loads at which watts are priced, from none to the most; between them they are on a line."""


@dataclass(frozen=True, slots=True)
class PoolConditions:
    """How a plan's service stands in pools. tp: degrees of tensor parallelism that a pool may have, all where none is
    given.  devices: that the pools together may hold, 0 for those of the plan twice.  start_up_s, weights_from,
    image_pulled: as of `ScalingConditions`.  scale: times as fast as the trace was."""

    tp: tuple[int, ...] = ()
    devices: int = 0
    start_up_s: float | None = None
    weights_from: str = "object_store"
    image_pulled: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.devices < 0 or any(one < 1 for one in self.tp) or not (self.start_up_s is None or self.start_up_s >= 0):
            raise InputError(
                f"pools: tensor parallelism {', '.join(map(str, self.tp)) or 'any'}, {self.devices} devices, start-up "
                f"{self.start_up_s} s; allowed: from 1, from 0 (twice the plan's), from 0 s"
            )


class PoolLayouts:
    """The layouts of a plan's service by degree of tensor parallelism. tp: the degrees.  documents: the service on one
    replica of each.

    Raises:
        InputError: a degree that cannot be had.
        UnsupportedError: the plan's layout is not of tensor parallelism alone.
    """

    def __init__(self, plan: Plan, service: ServiceDocument, how: PoolConditions, priced: TimingCalibration) -> None:
        self._plan, self._service, self._how, self._calibration = plan, service, how, priced
        (self._planned,) = service.deployment.pools
        self.tp = self._degrees()
        self.documents = tuple(self._document(tp) for tp in self.tp)

    def _degrees(self) -> tuple[int, ...]:
        """Degrees of tensor parallelism: those asked for, or all in a node that hold the model; the plan's own too."""
        one = replica_of_pool(self._service.deployment, self._planned, self._plan.library)
        known = tuple(
            each.tp for each in layouts(one.model, one.device) if each.devices == each.tp == max(each.tp, each.ep)
        )
        if one.layout.devices != one.layout.tp:
            raise UnsupportedError(
                f"{self._service.id}: pools have layouts of tensor parallelism alone, not {one.layout}"
            )
        if strange := [tp for tp in self._how.tp if tp not in known]:
            raise InputError(f"--tp {strange[0]}: not one of {one.model.id} on {one.device.id}; allowed: "
                             f"{', '.join(map(str, known))}")  # fmt: skip
        found = []
        for tp in sorted({*(self._how.tp or known), self._planned.tp}):
            try:
                memory(replica_of_pool(self._service.deployment, self._document(tp).deployment.pools[0],
                                       self._plan.library))  # fmt: skip
            except InsufficientMemoryError as error:
                if tp in self._how.tp:
                    raise InputError(f"--tp {tp}: {error}") from error
                continue
            found.append(tp)
        return tuple(found)

    def _document(self, tp: int) -> ServiceDocument:
        """The service on one replica of a degree, at the same price of a device."""
        pool = self._planned.model_copy(update={"tp": tp, "replicas": 1})
        deployment = self._service.deployment.model_copy(update={"pools": (pool,)})
        usd_per_h = self._service.usd_per_h * pool.devices / self._planned.devices
        return self._service.model_copy(update={"deployment": deployment, "usd_per_h": usd_per_h})

    def profiles(self, clocks: Sequence[PowerSetting], load: SlicedLoad) -> tuple[LayoutProfile, ...]:
        """Each layout under the requests of a pool at each clock, by the equations that plans are sized with.

        Where none holds the objectives, that which misses them least at the highest clock carries what it then does.
        """
        shape = len(self.documents), len(clocks)
        most = np.array([[self.most_per_s(n, clock, load) for clock in clocks] for n in range(shape[0])])
        if not most.any():
            missed = [self._carried(n, clocks[0], load) for n in range(shape[0])]
            best = min(range(shape[0]), key=lambda n: missed[n][0].min(initial=np.inf))
            late, carried = missed[best]
            if not late.size:
                raise InputError("pools: no layout has room for one request of the largest sizes; allow more devices")
            most[best, 0] = carried[late.argmin()]
        return tuple(self._profile(n, clocks, load, most[n]) for n in range(shape[0]))

    def _profile(self, place: int, clocks: Sequence[PowerSetting], load: SlicedLoad, per_s: Floats) -> LayoutProfile:
        document = self.documents[place]
        own = replica_of_pool(document.deployment, document.deployment.pools[0], self._plan.library)
        rates = np.linspace(0.0, max(float(per_s.max()), 1e-9), LOADS)
        watts = np.array([self._watts(document, clock, load, rates) for clock in clocks])
        start_up_s = self._how.start_up_s
        if start_up_s is None:
            start_up_s = start_up(own, self._how.weights_from, self._how.image_pulled).total_s
        return LayoutProfile(own.layout.devices, per_s, rates, watts, start_up_s)

    def most_per_s(self, place: int, clock: PowerSetting, load: SlicedLoad) -> float:
        """Requests a second of a mixture that a layout carries at a clock within the objectives; 0 where none."""
        late, carried = self._carried(place, clock, load)
        return float(carried[late <= 1].max(initial=0.0))

    def _carried(self, place: int, clock: PowerSetting, load: SlicedLoad) -> tuple[Floats, Floats]:
        """At each batch cap, shape (caps,): the latency furthest from its objective over it, and requests a second."""
        ready = self._timer(self.documents[place], clock)
        targets = tuple(LatencyTarget(one.quantity, one.quantile, one.most_s) for one in self._plan.latency)
        found = curve(ready, memory(ready.replica), load, targets)
        if found is None:
            return np.zeros(0), np.zeros(0)
        late = [found.latency_s[one.quantity, one.quantile] / one.sized_s for one in targets]
        return np.max([np.zeros(len(found.cap)), *late], axis=0), 1.0 / (load.weight @ (1.0 / found.rate_per_s))

    def _watts(self, document: ServiceDocument, clock: PowerSetting, load: SlicedLoad, rates: Floats) -> list[float]:
        """Watts of a replica at each of some loads; none is next to none."""
        ready, pue = self._timer(document, clock), self._plan.library.site(document.deployment.site).pue
        some = np.maximum(rates, 1e-9 * rates[-1])
        return [operating_point(ready, replace(load, rate_per_s=load.weight * rate), (), pue).w for rate in some]

    def _timer(self, document: ServiceDocument, clock: PowerSetting) -> ReplicaTimer:
        pool = pool_at(document.deployment, clock, self._plan.library)
        return replica_timer(replica_of_pool(document.deployment, pool, self._plan.library), self._calibration)
