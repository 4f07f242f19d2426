"""What the day of a quality target chooses from, and the freedoms by which it departs from one plan held all day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.offer.day_market import DeploymentMarket
from comptroller.planning.offer.question_offer import JointProblem
from comptroller.planning.solve.hours import DayDemand
from comptroller.planning.solve.joint_hours import QuestionDayFleet, cheapest
from comptroller.planning.solve.program import ModelMarket, QuestionTraffic
from comptroller.planning.solve.program_blocks import Indices

KEPT = 1e-7
"""Room around a share that is kept, for the solver's rounding."""


@dataclass(frozen=True)
class QuestionDaySpace:
    """What the day of a quality target chooses from. ways: numbers in the joint search.  offers: by arm.

    least: no day of all that is allowed costs less; None where nothing was left out.
    """

    problem: JointProblem
    traffic: QuestionTraffic
    asked: DayDemand
    ways: Indices
    offers: Mapping[int, DeploymentMarket]
    least: float | None = None


@dataclass(frozen=True, slots=True)
class QuestionDayFreedom:
    """One way to run the day: who may answer, and what is asked.

    keeps: the strategies stay those of the step before.
    """

    name: str
    traffic: QuestionTraffic
    asked: DayDemand
    keeps: bool = False

    def day(self, asked: DayDemand, known: QuestionDayFleet | None = None) -> QuestionDayFleet:
        """The cheapest day for what is asked, begun from a known one.

        Raises:
            InfeasibleError: as `cheapest`; nothing is known of which the strategies could be kept.
        """
        if not self.keeps:
            return cheapest(self.traffic, asked, known)
        if known is None:
            raise InfeasibleError("there is no day whose strategies could be kept")
        return cheapest(replace(self.traffic, most=known.share[0] + KEPT), asked, known)


def freedoms(of: QuestionDaySpace) -> Iterator[QuestionDayFreedom]:
    """From one plan held all day, on demand, to every term and every hour; a step that adds nothing is left out."""
    asked, traffic = of.asked, of.traffic
    allowed = of.problem.workload.allow.terms
    terms = list(dict.fromkeys(term for offered in of.offers.values() for term in offered.terms))
    first = "on_demand" if "on_demand" in allowed else allowed[0]
    must = tuple(work for work in asked.works if work.saves is None)
    at_once = replace(asked, works=tuple(replace(work, window_h=1) for work in must))
    only = traffic.with_arms(dict(_of_term(of, first)))
    some = any(arm.market.fits.any() for arm in only.arms.values())
    named = first.replace("_", "-")
    yield QuestionDayFreedom(
        f"one plan held all day, {named if some else 'by API'}", replace(_constant(only), held=True), at_once
    )
    if some and first not in ("reserved", "owned"):
        yield QuestionDayFreedom("units rented by the hour", only, at_once, keeps=True)
    yield QuestionDayFreedom("strategies and routes by the hour", only, at_once)
    if any(work.window_h > 1 for work in must):
        yield QuestionDayFreedom("deferrable work moved", only, replace(asked, works=must))
    if len(must) < len(asked.works):
        yield QuestionDayFreedom("sleep-time work where it pays", only, asked)
    others = [term.replace("_", "-") for term in terms if term != first]
    if others:
        yield QuestionDayFreedom(f"{', '.join(others)} beside", traffic, asked)


def _of_term(of: QuestionDaySpace, term: str) -> Iterator[tuple[int, ModelMarket]]:
    """The arms with all columns of other terms carrying nothing."""
    for number, arm in of.traffic.arms.items():
        others = np.array([other != term for other in of.offers[number].terms])
        yield number, replace(arm, market=replace(arm.market, load=np.where(others, np.inf, arm.market.load)))


def _constant(traffic: QuestionTraffic) -> QuestionTraffic:
    """The same with every unit rented for the whole day."""
    return traffic.with_arms(
        {
            number: replace(arm, market=replace(arm.market, constant=np.ones(len(arm.market.constant), np.bool_)))
            for number, arm in traffic.arms.items()
        }
    )
