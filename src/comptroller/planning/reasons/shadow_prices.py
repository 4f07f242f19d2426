"""Shadow prices by re-solving: the next value of a constraint at which the optimum changes, on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.executor import side_by_side
from comptroller.planning.ground.limit_names import AVAILABLE, LIMITS
from comptroller.planning.ground.nouns import Fleet, Goal
from comptroller.planning.ground.plan_document import BreakpointDocument, ShadowPrice
from comptroller.planning.reasons.proof_reader import STEADY, ProofReader
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.infeasible import target_name
from comptroller.planning.solve.search import PlanSearch

REACH = 4.0
"""How far a constraint is moved, as a factor on either side: an objective four times as long is another service."""

RESOLUTION = 0.005
"""Relative precision of a breakpoint: half as much costs one more program on each side of each constraint."""

EVEN = 0.01
"""Relative deviation of a change that still counts as one at the same rate: twice `RESOLUTION`, which its own value is
known to."""

BESIDE = 1e-3
"""Relative distance beside a bound at which the search is asked for what holds there: a bound itself is met by the
fleet that it was seen of. Twice as much would be a tenth of the precision that breakpoints are told to."""

CHANGE = 1e-6
"""Relative change of the objective that counts as one: a thousand times the gap that programs are solved to."""


@dataclass(frozen=True, slots=True)
class GoalConstraint:
    """A number of the goal that can be moved.

    looser: +1 if larger values relax it, -1 if smaller ones do.  scale: SI value per unit shown.
    """

    name: str
    unit: str
    value: float
    looser: int
    scale: float
    moved: Callable[[float], Goal]
    whole: bool = False


def constraints(goal: Goal) -> Iterator[GoalConstraint]:
    """Every constraint of a goal that somebody sets: latency targets, limits but what offers have available, spares,
    shares solved, demand."""
    for number, target in enumerate(goal.targets):
        yield GoalConstraint(target_name(target), "ms", target.most_s, 1, 1e-3, _move_target(goal, number))
    for number, (name, most) in enumerate(goal.limits):
        if name.startswith(AVAILABLE):
            continue
        unit = LIMITS.get(name, "devices")
        yield GoalConstraint(name, unit, most, 1, 1.0, _move_limit(goal, number), whole=name not in LIMITS)
    if goal.spare:
        yield GoalConstraint(
            "spare", "replicas", float(goal.spare), -1, 1.0, lambda x: replace(goal, spare=int(x)), whole=True
        )
    for number, (task, least) in enumerate(goal.quality):
        name = f"solved {task}".strip()
        yield GoalConstraint(name, "%", least, -1, 0.01, _move_quality(goal, number))
    yield GoalConstraint("demand", "x", goal.demand, -1, goal.demand, lambda x: replace(goal, demand=x))


def shadow_price(
    search: PlanSearch, goal: Goal, best: Fleet, constraint: GoalConstraint, describe: Callable[[Fleet], str]
) -> ShadowPrice:
    """The price of one constraint at the optimum `best`."""
    relaxed, tightened = (
        _ConstraintSide(search, constraint, best, towards).breakpoint(describe)
        for towards in (constraint.looser, -constraint.looser)
    )
    low, high = constraint.value / REACH, constraint.value * REACH
    return ShadowPrice(
        constraint=constraint.name,
        unit=constraint.unit,
        value=_display_value(constraint, constraint.value),
        relaxed=relaxed,
        tightened=tightened,
        searched=(_display_value(constraint, low), _display_value(constraint, high)),
        sentence=_sentence(constraint, relaxed, tightened, goal.objective),
    )


def shadow_prices(search: PlanSearch, proofs: ProofReader | None, goal: Goal, best: Fleet) -> list[ShadowPrice]:
    """The prices of all constraints of a plan.

    proofs: what was simulated, where the best was. Those of latency objectives are then read off what fleets were seen
    to keep, and proven there; all others are those of the steady state beside its own optimum, which their sentences
    say.
    """
    describe = partial(describe_fleet, search)
    base = best if proofs is None else search.solve(goal)
    every = list(enumerate(constraints(goal)))
    simulated = len(goal.targets) if proofs is not None else 0
    steady = side_by_side(partial(shadow_price, search, goal, base, each, describe) for _, each in every[simulated:])
    if proofs is None:
        return steady
    told = [price.model_copy(update={"sentence": f"{price.sentence} ({STEADY})"}) for price in steady]
    return [*(_latency_price(proofs, goal, best, each, describe) for each in every[:simulated]), *told]


def _latency_price(
    proofs: ProofReader, goal: Goal, best: Fleet, what: tuple[int, GoalConstraint], describe: Callable[[Fleet], str]
) -> ShadowPrice:
    place, constraint = what
    relaxed = _relaxed_latency(proofs, goal, best, what, describe)
    tightened = _tightened_latency(proofs, goal, best, what, describe)
    low, high = (_display_value(constraint, goal.targets[place].most_s * factor) for factor in (1 / REACH, REACH))
    return ShadowPrice(
        constraint=constraint.name,
        unit=constraint.unit,
        value=_display_value(constraint, constraint.value),
        relaxed=relaxed,
        tightened=tightened,
        searched=(low, high),
        sentence=_sentence(constraint, relaxed, tightened, goal.objective),
    )


def _relaxed_latency(
    proofs: ProofReader, goal: Goal, best: Fleet, what: tuple[int, GoalConstraint], describe: Callable[[Fleet], str]
) -> BreakpointDocument | None:
    """The smallest limit at which a cheaper fleet was seen to hold, and what the search finds there."""
    place, constraint = what
    limit = proofs.relaxed_s(goal, place, REACH)
    if limit is None:
        return None
    limit *= 1 + BESIDE
    fleet = proofs.solve(constraint.moved(limit))
    return _proven_breakpoint(constraint, limit, best, fleet, describe)


def _tightened_latency(
    proofs: ProofReader, goal: Goal, best: Fleet, what: tuple[int, GoalConstraint], describe: Callable[[Fleet], str]
) -> BreakpointDocument | None:
    """The smallest limit that a fleet for no more keeps: what the best keeps, then what the search finds just below."""
    place, constraint = what
    limit = proofs.bound_s(goal, place)
    while limit > constraint.value / REACH:
        other = constraint.moved(limit * (1 - BESIDE))
        try:
            fleet = proofs.solve(other)
        except InfeasibleError:
            return BreakpointDocument(value=_display_value(constraint, limit), change_per_h=None, fleet="infeasible")
        if fleet.objective > best.objective * (1 + CHANGE):
            return _proven_breakpoint(constraint, limit, best, fleet, describe)
        limit = min(proofs.bound_s(other, place), limit * (1 - BESIDE))
    return None


def _proven_breakpoint(
    constraint: GoalConstraint, limit: float, best: Fleet, fleet: Fleet, describe: Callable[[Fleet], str]
) -> BreakpointDocument:
    return BreakpointDocument(
        value=_display_value(constraint, limit),
        change_per_h=float(f"{fleet.objective - best.objective:.6g}"),
        fleet=describe(fleet),
    )


@dataclass(frozen=True, slots=True)
class _ConstraintSide:
    """One side of a constraint, seen from the optimum `best`."""

    search: PlanSearch
    constraint: GoalConstraint
    best: Fleet
    towards: int

    def breakpoint(self, describe: Callable[[Fleet], str]) -> BreakpointDocument | None:
        """The next value at which the optimum changes; nearer values change it no more than farther ones."""
        unchanged = self.constraint.value
        if not self.constraint.whole and self.relaxes and not self._changed(_farthest(self.constraint, self.towards)):
            return None
        for step in _ladder(self.constraint, self.towards):
            if self._changed(step):
                return self._told(self._bisected(unchanged, step), describe)
            unchanged = step
        return None

    def _told(self, value: float, describe: Callable[[Fleet], str]) -> BreakpointDocument:
        """The breakpoint at a value; where the optimum changes at once, how far it does so at an even rate."""
        fleet, now = self._solved(value), self.constraint.value
        if fleet is None:
            return BreakpointDocument(
                value=_display_value(self.constraint, value), change_per_h=None, fleet="infeasible"
            )
        rate = None
        if not self.constraint.whole and abs(value - now) <= RESOLUTION * now:
            rate = (fleet.objective - self.best.objective) / (value - now)
            value, fleet = self._even(rate, value, fleet)
        return BreakpointDocument(
            value=_display_value(self.constraint, value),
            change_per_h=float(f"{fleet.objective - self.best.objective:.6g}"),
            fleet=describe(fleet),
            per_unit=None if rate is None else float(f"{rate * self.constraint.scale:.6g}"),
        )

    def _even(self, rate: float, value: float, fleet: Fleet) -> tuple[float, Fleet]:
        """The farthest value up to which the optimum changes at a rate, and the optimum there: steps, then halves."""
        far = None
        for step in _ladder(self.constraint, self.towards):
            if abs(step - self.constraint.value) > abs(value - self.constraint.value):
                reached = self._at_rate(rate, step)
                if reached is None:
                    far = step
                    break
                value, fleet = step, reached
        while far is not None and abs(far - value) > RESOLUTION * self.constraint.value:
            middle = (far + value) / 2
            reached = self._at_rate(rate, middle)
            far, value, fleet = (middle, value, fleet) if reached is None else (far, middle, reached)
        return value, fleet

    def _at_rate(self, rate: float, value: float) -> Fleet | None:
        """The optimum at a value, if it has changed at the rate."""
        found, due = self._solved(value), rate * (value - self.constraint.value)
        even = found is not None and abs(found.objective - self.best.objective - due) <= EVEN * abs(due)
        return found if even else None

    @property
    def relaxes(self) -> bool:
        """Whether this is the side on which the optimum cannot cost more."""
        return self.towards == self.constraint.looser

    def _bisected(self, unchanged: float, changed: float) -> float:
        most = RESOLUTION * self.constraint.value
        while not self.constraint.whole and abs(changed - unchanged) > most:
            middle = (changed + unchanged) / 2
            unchanged, changed = (unchanged, middle) if self._changed(middle) else (middle, changed)
        return changed

    def _changed(self, value: float) -> bool:
        """Whether the optimum is another: cheaper on one side; on the other dearer, unless its units still hold."""
        goal, before = self.constraint.moved(value), self.best.objective
        if self.relaxes:
            return self.search.within(goal, before * (1 - CHANGE))
        same = self.search.held(self.best, goal)
        if same is not None and same.objective <= before * (1 + CHANGE):
            return False
        return not self.search.within(goal, before * (1 + CHANGE))

    def _solved(self, value: float) -> Fleet | None:
        try:
            return self.search.solve(self.constraint.moved(value))
        except InfeasibleError:
            return None


def _ladder(constraint: GoalConstraint, towards: int) -> Iterator[float]:
    if constraint.whole:
        for step in range(1, max(4, round(constraint.value * (REACH - 1))) + 1):
            if constraint.value + towards * step >= 0:
                yield constraint.value + towards * step
        return
    factor = 1.02
    while factor <= REACH:
        yield constraint.value * (factor if towards > 0 else 1 / factor)
        factor *= factor if factor > 1.1 else 1.05
    yield _farthest(constraint, towards)


def _farthest(constraint: GoalConstraint, towards: int) -> float:
    return constraint.value * (REACH if towards > 0 else 1 / REACH)


def _move_target(goal: Goal, number: int) -> Callable[[float], Goal]:
    def moved(value: float) -> Goal:
        targets = list(goal.targets)
        targets[number] = replace(targets[number], most_s=value)
        return replace(goal, targets=tuple(targets))

    return moved


def _move_quality(goal: Goal, number: int) -> Callable[[float], Goal]:
    def moved(value: float) -> Goal:
        quality = list(goal.quality)
        quality[number] = (quality[number][0], value)
        return replace(goal, quality=tuple(quality))

    return moved


def _move_limit(goal: Goal, number: int) -> Callable[[float], Goal]:
    def moved(value: float) -> Goal:
        limits = list(goal.limits)
        limits[number] = (limits[number][0], value)
        return replace(goal, limits=tuple(limits))

    return moved


def _display_value(constraint: GoalConstraint, value: float) -> float:
    return float(f"{value / constraint.scale:.6g}")


UNIT = {"usd": ("$", ""), "j": ("", " J"), "gco2e": ("", " gCO2e")}


def amount(value: float, objective: str) -> str:
    """A value of the objective with its unit.

    >>> amount(1.9, "usd")
    '$1.90'
    """
    before, after = UNIT[objective]
    return f"{before}{value:,.2f}{after}" if objective == "usd" else f"{value:,.4g}{after}"


def _sentence(
    constraint: GoalConstraint, relaxed: BreakpointDocument | None, tightened: BreakpointDocument | None, objective: str
) -> str:
    now = f"{constraint.name} {_display_value(constraint, constraint.value):g} {constraint.unit}"
    parts = []
    if relaxed and relaxed.change_per_h is not None and relaxed.change_per_h < 0:
        saved = amount(-relaxed.change_per_h, objective)
        parts.append(f"relax {now} to {relaxed.value:.4g} and save {saved}/h{_evenly(relaxed, constraint, objective)}")
    if tightened:
        if tightened.change_per_h is None:
            parts.append(f"{constraint.name} {tightened.value:g} {constraint.unit} is infeasible")
        else:
            what = "tighten" if parts else f"tighten {now}"
            more = amount(tightened.change_per_h, objective)
            evenly = _evenly(tightened, constraint, objective)
            parts.append(f"{what} to {tightened.value:.4g} and pay {more}/h more{evenly}")
    return "; ".join(parts) or f"{now} does not bind within a factor of {REACH:g}"


def _evenly(found: BreakpointDocument, constraint: GoalConstraint, objective: str) -> str:
    if found.per_unit is None:
        return ""
    return f", {amount(abs(found.per_unit), objective)} for each {constraint.unit} all the way"
