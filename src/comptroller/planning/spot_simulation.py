"""A plan's service under a trace while a policy rents its replicas in zones of recorded spot capacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.start_up import StartUpTime
from comptroller.errors import InputError, UnsupportedError
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.planning.scaled_simulation import fleet_of_size, scaled_service, service_start_up
from comptroller.planning.service_simulation import ServedCalls, ServiceSimulation, replayed_trace
from comptroller.quantities import HOUR_S
from comptroller.serving.policies import module
from comptroller.serving.spot import NOTICE_S, SpotOutcome, SpotSettings, serve_on_spot
from comptroller.serving.work_after_loss import CachePath, WorkAfterLoss
from comptroller.work.trace import RequestTrace
from comptroller.work.zone_record import ZoneRecord

REFERENCE = "on_demand"
"""The policy that the others are held against."""

SLOTS = 3
"""Times target and extra replicas that there may be at once: one set that works, one that starts, one with a notice."""


@dataclass(frozen=True, slots=True)
class SpotConditions:
    """How a plan's service stands on spot. start_up_s: where not given, reckoned, as for scaling.  extra: replicas
    beyond the plan's that a policy may keep.  zone_replicas: room of a zone, as of `SpotSettings`.  work: what
    becomes of calls on a replica that is taken back.  move_bytes_per_s: of the link that caches move over, 0 for the
    replica's own.  spot_usd_per_device_h: where not given, the site's.  from_s: of the record.  repeat: how often the
    trace is played.  drain_s, share: as of `SpotSettings`."""

    start_up_s: float | None = None
    extra: int = 1
    zone_replicas: int = 0
    notice_s: float = NOTICE_S
    work: WorkAfterLoss = WorkAfterLoss.RESUME
    move_bytes_per_s: float = 0.0
    spot_usd_per_device_h: float | None = None
    from_s: float = 0.0
    repeat: int = 1
    scale: float = 1.0
    weights_from: str = "object_store"
    image_pulled: bool = False
    seed: int = 0
    drain_s: float = float("inf")
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class ReplicaPrices:
    """Dollars of a replica and hour, on demand and spot."""

    on_demand_usd_per_h: float
    spot_usd_per_h: float

    @property
    def ratio(self) -> float:
        """Spot over on demand."""
        return self.spot_usd_per_h / self.on_demand_usd_per_h


@dataclass(frozen=True, eq=False)
class SpotSimulation(ServiceSimulation):
    """What came of a trace on replicas that a policy rents in zones."""

    plan: Plan
    trace: RequestTrace
    record: ZoneRecord
    settings: SpotSettings
    prices: ReplicaPrices
    outcome: SpotOutcome
    start_up: StartUpTime | None = None

    @property
    def served(self) -> ServedCalls:
        """What came of the calls."""
        return self.outcome.elastic

    @property
    def usd(self) -> float:
        """Dollars of all that was rented."""
        return self.outcome.usd(self.prices.on_demand_usd_per_h, self.prices.spot_usd_per_h)


def simulate_spot(
    plan: Plan,
    trace: RequestTrace,
    record: ZoneRecord,
    policies: Sequence[str],
    conditions: SpotConditions | None = None,
    calibration: TimingCalibration | None = None,
) -> tuple[SpotSimulation, ...]:
    """Replay a trace on a plan's service under each of the policies, which begin with the plan's replicas on demand.

    Raises:
        InputError: an unknown policy, a record shorter than the trace, or requests that cannot be simulated.
        UnsupportedError: the plan has not one service in one pool, or no price of spot is known.
    """
    how = conditions or SpotConditions()
    for name in policies:
        module("spot", name)
    service = scaled_service(plan)
    prices = replica_prices(plan, how.spot_usd_per_device_h)
    parts = None if how.start_up_s is not None else service_start_up(plan, how.weights_from, how.image_pulled)
    target = service.deployment.pools[0].replicas
    one = fleet_of(plan.services, calibration_of_plan(plan, calibration), plan.library, 0)
    fleet = fleet_of_size(one, SLOTS * (target + how.extra))
    table = fleet.services[0].replicas[0].table
    replayed = replayed_trace(trace, how.scale, how.repeat)
    asked = calls_of(plan.services, replayed, np.random.default_rng(how.seed))
    path = CachePath(how.move_bytes_per_s or table.transfer_bytes_per_s) if how.work == WorkAfterLoss.MOVE else None
    settings = [
        SpotSettings(
            name, target, parts.total_s if parts else float(how.start_up_s or 0.0), how.extra, how.zone_replicas,
            how.notice_s, how.work, path, prices.ratio, how.from_s, how.seed, how.drain_s, how.share,
        )
        for name in policies
    ]  # fmt: skip
    return tuple(
        SpotSimulation(plan, replayed, record, each, prices, serve_on_spot(fleet, asked, record, each), parts)
        for each in settings
    )


def replica_prices(plan: Plan, spot_usd_per_device_h: float | None = None) -> ReplicaPrices:
    """What a replica of a plan's one service costs on demand and spot: the service's own price, else the cheapest of
    the same accelerator, seller and site.

    Raises:
        UnsupportedError: the site has no price of a term; says how to state it.
        InputError: the spot price stated is not above 0.
    """
    if spot_usd_per_device_h is not None and not spot_usd_per_device_h > 0:
        raise InputError(f"a spot price of {spot_usd_per_device_h:g} USD per device and hour; it has to be above 0")
    service = scaled_service(plan)
    pool = service.deployment.pools[0]
    devices = pool.devices // pool.replicas
    found = {"spot": spot_usd_per_device_h, service.price.term: service.price.usd_per_device_h}
    for term in ("on_demand", "spot"):
        if found.get(term) is None:
            offers = [
                offer.usd_per_s * HOUR_S
                for offer in plan.library.site(service.deployment.site).offers
                if (offer.accelerator, offer.term, offer.provider) == (pool.accelerator, term, service.price.provider)
            ]
            if not offers:
                hint = "; state it with --spot-price" if term == "spot" else ""
                seller = f"{service.deployment.site}: {service.price.provider}"
                raise UnsupportedError(f"{seller} has no {term} price of {pool.accelerator}{hint}")
            found[term] = min(offers)
    return ReplicaPrices(float(found["on_demand"] or 0) * devices, float(found["spot"] or 0) * devices)
