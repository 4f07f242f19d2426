"""A fleet in one line, and what it costs."""

from __future__ import annotations

import numpy as np

from comptroller.planning.ground.nouns import Fleet, Ints
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.solve.search import PlanSearch, describe_option

LEAST_SHARE = 1e-6
"""Shares of the questions below this are left out: one question in a million."""

OPTIONS_SHOWN = 2
"""Options named in a line; the rest are counted."""


def describe_units(offers: DeploymentOffers, units: Ints) -> str:
    """Units of deployments in one line: replicas x model on devices, layout, formats, site."""
    parts = []
    for row in np.flatnonzero(units):
        replicas = round(units[row] * offers.unit.replicas[row])
        parts.append(f"{replicas}x [{offers.deployments[row].label}]")
    return " + ".join(parts)


def describe_fleet(search: PlanSearch, fleet: Fleet) -> str:
    """A fleet in one line: what each option gets of the traffic, where there are several, and what is rented."""
    space = search.space
    rented = [describe_units(space.offers[model], units[0]) for model, units in fleet.units.items()]
    if space.plays.evidence is None:
        return "; ".join(rented)
    gets = space.weight @ fleet.share[0]
    order = [int(number) for number in np.argsort(-gets, kind="stable") if gets[number] > LEAST_SHARE]
    options = [f"{gets[number]:.0%} {describe_option(space, number)}" for number in order[:OPTIONS_SHOWN]]
    more = [f"{len(order) - OPTIONS_SHOWN} more"] if len(order) > OPTIONS_SHOWN else []
    return "; ".join([" + ".join([*options, *more]), *rented])


def usd_per_h(search: PlanSearch, fleet: Fleet) -> float:
    """Dollars per hour of rent and of what is bought, at the demand itself."""
    space = search.space
    per_question = np.nan_to_num(search.table.usd * fleet.share[0]).sum(axis=1)
    bought = float(space.weight @ per_question) * space.rate_per_s * 3600.0
    return bought + sum(float(space.offers[m].unit.usd_per_h @ units[0]) for m, units in fleet.units.items())
