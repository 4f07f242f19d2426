"""The freedoms by which a day departs from one plan held all day, each solved from the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Demand, Fleet, Market
from comptroller.planning.solve.case import ProgramCase
from comptroller.planning.solve.cheapest import cheapest_day

KEPT = 1e-7
"""Room around a share that is kept, for the solver's rounding: its feasibility tolerance."""

ALL_DAY_TERMS = ("reserved", "owned")
"""Terms by which units are rented for the whole day in any case."""


@dataclass(frozen=True, slots=True)
class DayFreedom:
    """One way to run the day: its program. keeps: the shares of the options stay those of the step before."""

    name: str
    case: ProgramCase
    keeps: bool = False

    @property
    def demand(self) -> Demand:
        """Load and work."""
        return self.case.demand

    def day(self, demand: Demand, known: Fleet | None = None) -> Fleet:
        """The cheapest day for a demand, begun from a known one.

        Raises:
            InfeasibleError: as `cheapest_day`; nothing is known of which the shares could be kept.
        """
        case = replace(self.case, demand=demand)
        if not self.keeps:
            return cheapest_day(case, known)
        if known is None:
            raise InfeasibleError("there is no day whose strategies could be kept")
        return cheapest_day(replace(case, options=replace(case.options, most=known.share[0] + KEPT)), known)


def freedoms(case: ProgramCase, terms: Mapping[int, Sequence[str]], allowed: Sequence[str]) -> Iterator[DayFreedom]:
    """From one plan held all day, on demand, to every term and every hour; a step that adds nothing is left out.

    terms: how each column is rented, by model.  allowed: terms of the workload.
    """
    demand = case.demand
    every = list(dict.fromkeys(term for of_model in terms.values() for term in of_model))
    first = "on_demand" if "on_demand" in allowed else allowed[0]
    must = tuple(work for work in demand.works if work.saves is None)
    at_once = replace(demand, works=tuple(replace(work, window_h=1) for work in must))
    only = case.with_markets({model: _of_term(market, terms[model], first) for model, market in case.markets.items()})
    rented = any(market.fits.any() for market in only.markets.values())
    one_option = case.options.count == 1
    what = "peak fleet" if one_option else "one plan"
    held = replace(only, options=replace(case.options, all_day=True)).with_markets(
        {model: replace(market, all_day=np.ones(len(market.rows), bool)) for model, market in only.markets.items()}
    )
    name = f"{what} held all day, {first.replace('_', '-') if rented else 'by API'}"
    yield DayFreedom(name, replace(held, demand=at_once))
    if rented and first not in ALL_DAY_TERMS:
        yield DayFreedom("units rented by the hour", replace(only, demand=at_once), keeps=not one_option)
    if not one_option:
        yield DayFreedom("strategies and routes by the hour", replace(only, demand=at_once))
    if any(work.window_h > 1 for work in must):
        yield DayFreedom("deferrable work moved", replace(only, demand=replace(demand, works=must)))
    if len(must) < len(demand.works):
        yield DayFreedom("sleep-time work where it pays", only)
    others = [term.replace("_", "-") for term in every if term != first]
    if others:
        yield DayFreedom(f"{', '.join(others)} beside", case)


def _of_term(market: Market, terms: Sequence[str], term: str) -> Market:
    """The market with all columns of other terms carrying nothing."""
    return replace(market, load=np.where(np.array([other != term for other in terms]), np.inf, market.load))


def solve_steps(steps: Sequence[DayFreedom]) -> list[tuple[DayFreedom, Fleet]]:
    """The steps with their days, each begun from the one before; one that the limits forbid is left out, but the last.

    Raises:
        InfeasibleError: the last step has no day; names what binds.
    """
    solved: list[tuple[DayFreedom, Fleet]] = []
    for step in steps:
        try:
            solved.append((step, step.day(step.demand, solved[-1][1] if solved else None)))
        except InfeasibleError:
            if step is steps[-1]:
                raise
    return solved
