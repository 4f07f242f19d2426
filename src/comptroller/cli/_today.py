"""The fleet of today beside a plan, for `comptroller plan --against`."""

from __future__ import annotations

from pathlib import Path

from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.offer.space import goal_of
from comptroller.planning.planner import calibration_of
from comptroller.planning.reasons.against import FleetComparison, compare
from comptroller.planning.reasons.current_fleet import CurrentFleet, load_current
from comptroller.work.workload import Workload


def todays_fleet(file: Path | None, moving_usd: float | None) -> CurrentFleet | None:
    """The fleet of a file, from which a move costs so many dollars beside rent; None without a file.

    Raises:
        FactError: the file is malformed.
        InputError: dollars without a file, or no amount.
    """
    if file is None:
        if moving_usd is not None:
            raise InputError("--moving-usd goes with --against")
        return None
    today = load_current(file)
    return today if moving_usd is None else today.with_moving_usd(moving_usd)


def comparison_with_today(asked: Workload, fleet_plan: Plan, today: CurrentFleet) -> FleetComparison:
    """The fleet of today beside a plan for the same workload.

    Raises:
        UnsupportedError: a service of it has no price, does not fit or cannot run.
    """
    problem = traffic_of(asked), goal_of(asked)
    return compare(today, fleet_plan.services, fleet_plan.totals.usd_per_h.value, problem, calibration_of(asked))
