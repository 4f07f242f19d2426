"""What a plan tells, planned again: breakpoints, runners-up and explanations, by public functions and the document.

A breakpoint is right where nothing changes 2 % before it and the told amount is there half a per cent beyond it, to 1 %
of the cost. What is labelled as of the steady state is planned again without simulation. Runners-up without a device, a
site, an engine or a term, and explanations with one device or site, are planned again with that allow-list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.plan_document import BreakpointDocument, Plan, ShadowPrice
from comptroller.planning.planner import REHEARSAL, plan, why_not
from comptroller.work.workload import Workload, parse
from right_workloads import CHAT

AMOUNT, PLACE, BEYOND = 0.01, 0.02, 0.005
"""Of the cost, and of the place of a breakpoint, relative; how far beyond it the amount is looked at."""

LISTS = {"accelerator": "accelerators", "site": "sites", "engine": "engines", "term": "terms"}
"""Axes that an allow-list can leave out."""

EXPLAINED = ("accelerator", "site")
EACH = 2
"""Explanations of each axis that are planned again."""

LABEL = "steady state, not simulated"


@dataclass(frozen=True)
class ToldCheck:
    """A figure that a plan tells. told, found: $/h, infinite where infeasible.  amount, place, sign: whether right."""

    what: str
    told: float
    found: float
    amount: bool
    place: bool
    sign: bool

    @property
    def right(self) -> bool:
        """Whether all of it is."""
        return self.amount and self.place and self.sign


class Replanner:
    """Plans changed documents, each once."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._known: dict[str, float] = {}

    def workload(self, **changes: Any) -> Workload:
        """The workload with some fields replaced."""
        return parse({**self.document, **changes}, CHAT)

    def usd(self, steady: bool = False, **changes: Any) -> float:
        """Dollars per hour of the plan, infinite where there is none."""
        key = f"{steady} {sorted(changes.items(), key=str)}"
        if key not in self._known:
            try:
                found = plan(self.workload(**changes), rehearsal=None if steady else REHEARSAL, quick=True)
                self._known[key] = found.totals.usd_per_h.value
            except InfeasibleError:
                self._known[key] = math.inf
        return self._known[key]

    def moved(self, constraint: str, value: float) -> dict[str, Any] | None:
        """The fields with a constraint at another value; `None` where it is none of them."""
        name = constraint.partition(" ")[0].lower()
        if name in self.document["objectives"]:
            asked = self.document["objectives"]
            return {"objectives": {**asked, name: {**asked[name], "max": value, "unit": "ms"}}}
        return {"rate_per_s": self.document["rate_per_s"] * value} if name == "demand" else None


def checks(document: Mapping[str, Any], made: Plan) -> Iterator[dict[str, Any]]:
    """Every figure of a plan that can be planned again."""
    again = Replanner(document)
    for price in made.shadow_prices:
        yield from map(asdict, _price_checks(again, made, price))
    yield from map(asdict, _runner_up_checks(again, made))
    yield from map(asdict, _explanation_checks(again, made))


def _same(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= AMOUNT * abs(other)


def _price_checks(again: Replanner, made: Plan, price: ShadowPrice) -> Iterator[ToldCheck]:
    if again.moved(price.constraint, price.value) is None:
        return
    steady = LABEL in price.sentence
    base = again.usd(steady=True) if steady else made.totals.usd_per_h.value
    for side, found, far in (
        ("relaxed", price.relaxed, max(price.searched) if price.constraint != "demand" else min(price.searched)),
        ("tightened", price.tightened, None),
    ):
        if found is not None and found.per_unit is None:
            yield _breakpoint_check(again, (price, side, found), base, steady)
        elif found is None and far is not None:
            there = again.usd(steady, **(again.moved(price.constraint, far) or {}))
            flat = _same(there, base)
            yield ToldCheck(f"{price.constraint} {side}: nothing up to {far:g}", base, there, flat, flat, there <= base)


def _breakpoint_check(
    again: Replanner, what: tuple[ShadowPrice, str, BreakpointDocument], base: float, steady: bool
) -> ToldCheck:
    price, side, told = what
    away = 1.0 if told.value > price.value else -1.0
    at, before = (told.value * (1 + away * step) for step in (BEYOND, -PLACE))
    there = again.usd(steady, **(again.moved(price.constraint, at) or {}))
    nearer = (before - price.value) * away <= 0
    still = base if nearer else again.usd(steady, **(again.moved(price.constraint, before) or {}))
    due = math.inf if told.change_per_h is None else base + told.change_per_h
    sign = (there > base) == (due > base) and (there < base) == (due < base)
    name = f"{price.constraint} {side} to {told.value:g}{' (steady state)' if steady else ''}"
    return ToldCheck(name, due, there, _same(there, due), _same(still, base), sign)


def _runner_up_checks(again: Replanner, made: Plan) -> Iterator[ToldCheck]:
    allow = again.document["allow"]
    for rival in made.runners_up:
        listed = allow.get(LISTS.get(rival.axis, ""), [])
        left = [name for name in listed if name != rival.without]
        if rival.objective_per_h is None or not left or len(left) == len(listed):
            continue
        there = again.usd(allow={**allow, LISTS[rival.axis]: left})
        told, base = rival.objective_per_h, made.totals.usd_per_h.value
        right = _same(there, told)
        yield ToldCheck(f"without {rival.axis} {rival.without}", told, there, right, True, there >= base * (1 - AMOUNT))


def _explanation_checks(again: Replanner, made: Plan) -> Iterator[ToldCheck]:
    allow = again.document["allow"]
    used = {service.deployment.pools[0].accelerator for service in made.services}
    used |= {service.deployment.site for service in made.services}
    wanted = [
        (axis, name) for axis in EXPLAINED for name in [x for x in allow.get(LISTS[axis], []) if x not in used][:EACH]
    ]
    for found in why_not(again.workload(), [f"{axis}={name}" for axis, name in wanted]):
        there = again.usd(allow={**allow, LISTS[found.axis]: [found.value]})
        told = math.inf if found.with_per_h is None else found.with_per_h
        yield ToldCheck(
            f"with {found.axis} {found.value}", told, there, _same(there, told), True,
            (there > made.totals.usd_per_h.value * (1 + 1e-6)) == bool(told > found.best_per_h * (1 + 1e-6)),
        )  # fmt: skip
