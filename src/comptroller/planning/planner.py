"""`plan`: from a workload to the cheapest fleet that meets its objectives, proven in simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.calibrated import Calibrated
from comptroller.costs.steady import Requests
from comptroller.costs.timing import Calibration
from comptroller.errors import Infeasible
from comptroller.planning.candidates import Rejected, enumerate_candidates
from comptroller.planning.capacity import Load, Target
from comptroller.planning.conflict import solved
from comptroller.planning.document import Problem, Verified, describe, document, service, short
from comptroller.planning.explain import Explanation, explain, of_joint, of_problem
from comptroller.planning.joint_document import joint_document
from comptroller.planning.joint_planner import pose_joint
from comptroller.planning.plan import Plan, Round, Verification
from comptroller.planning.search import Fleet, Goal, Search
from comptroller.planning.space import Progress, goal_of, no_progress, space_of
from comptroller.planning.table import build_table
from comptroller.planning.verify import Rehearsal, Seen, rehearse, traces
from comptroller.serving.jit import COMPILED
from comptroller.work.demand import Demand, demand
from comptroller.work.trace import Trace
from comptroller.work.workload import Workload

GRID = (6, 6)
"""Request-size buckets, input x output: finer ones change the optimum by less than the model's own error."""

ROUNDS = 24
"""Fleets that are simulated before giving up."""

RAISE = (1.03, 1.5)
"""Least and most factor on the demand from one fleet to the next."""

REFINEMENTS = 3
"""Bisections below the first fleet that holds."""

REHEARSAL = Rehearsal()


def plan(
    workload: Workload,
    calibration: Calibration | None = None,
    progress: Progress = no_progress,
    rehearsal: Rehearsal | None = REHEARSAL,
) -> Plan:
    """The cheapest fleet for a workload, simulated and raised until its percentiles hold.

    rehearsal: how it is simulated. With None, or without numba (the `sim` extra), percentiles stay those of the
    queueing approximation, marked `unverified`.

    Raises:
        Infeasible: no choice meets the objectives; names what binds and the closest feasible value.
        InputError: the workload, or a fact it names, is malformed.
    """
    known = calibration or shipped()
    if workload.quality is not None:
        return joint_document(pose_joint(workload, known, progress))
    problem = pose(workload, known, progress)
    best = solved(problem.search, problem.goal)
    if rehearsal is None or not COMPILED:
        return document(problem, best, None)
    proven, best, verified = prove(problem, best, known, rehearsal)
    return document(proven, best, verified)


def why_not(
    workload: Workload,
    wanted: Sequence[str],
    calibration: Calibration | None = None,
    progress: Progress = no_progress,
) -> tuple[Explanation, ...]:
    """What the plan would cost with each choice, written axis=value, in steady state, and what it loses on.

    Raises:
        InputError, UnknownId, Infeasible: as `explain`.
    """
    known = calibration or shipped()
    if workload.quality is not None:
        return explain(of_joint(pose_joint(workload, known, progress)), wanted)
    return explain(of_problem(pose(workload, known, progress)), wanted)


@dataclass(frozen=True, slots=True)
class Trial:
    """A fleet sized for `goal.demand` times the demand, and what simulating the demand itself showed."""

    goal: Goal
    fleet: Fleet
    line: str
    usd_per_h: float
    seen: tuple[Seen, ...]

    @property
    def holds(self) -> bool:
        """Whether every objective held."""
        return all(item.holds for item in self.seen)

    @property
    def excess(self) -> float:
        """The largest ratio of a bound to its objective."""
        return max((item.upper_s / item.target.most_s for item in self.seen), default=0.0)


def prove(
    problem: Problem, best: Fleet, calibration: Calibration, rehearsal: Rehearsal
) -> tuple[Problem, Fleet, Verified]:
    """Simulate the fleet; while a percentile fails at the stated confidence, size it for more demand.

    Demand for sizing climbs faster the further the bound is off; once a fleet holds, a few bisections look for a
    cheaper one below it.

    Raises:
        Infeasible: no fleet held within `ROUNDS` trials; says by how much the last one missed.
    """
    draws = traces(problem.workload, problem.asked, rehearsal)
    trials = [_trial(problem, problem.goal, best, calibration, draws, rehearsal)]
    while not trials[-1].holds and len(trials) < ROUNDS:
        step = float(np.clip(trials[-1].excess ** 0.25, *RAISE))
        trials.append(_sized(problem, trials, trials[-1].goal.demand * step, calibration, draws, rehearsal))
    if not trials[-1].holds:
        missed = ", ".join(
            f"{_label_of(x.target)} {x.upper_s * 1e3:.4g} ms" for x in trials[-1].seen if not x.holds
        )
        demand = trials[-1].goal.demand
        raise Infeasible(f"no fleet held its percentiles in simulation, sized for {demand:.2f}x: {missed}")
    held = trials[-1]
    for _ in range(REFINEMENTS if len(trials) > 1 else 0):
        failed = max(t.goal.demand for t in trials if not t.holds and t.goal.demand < held.goal.demand)
        middle = (failed + held.goal.demand) / 2
        trials.append(_sized(problem, trials, middle, calibration, draws, rehearsal))
        if trials[-1].holds and trials[-1].usd_per_h <= held.usd_per_h:
            held = trials[-1]
    document_ = _verification(rehearsal, draws, trials, held)
    return replace(problem, goal=held.goal), held.fleet, Verified(document_, held.seen)


def _sized(
    problem: Problem,
    trials: Sequence[Trial],
    demand: float,
    calibration: Calibration,
    draws: Sequence[Trace],
    rehearsal: Rehearsal,
) -> Trial:
    """A trial of the fleet for a demand; one that was tried before is not simulated again."""
    goal = replace(problem.goal, demand=demand)
    fleet = problem.search.solve(goal)
    known = next((t for t in trials if t.line == describe(problem.search, fleet.units)), None)
    if known:
        return replace(known, goal=goal, fleet=fleet)
    return _trial(problem, goal, fleet, calibration, draws, rehearsal)


def _trial(
    problem: Problem,
    goal: Goal,
    fleet: Fleet,
    calibration: Calibration,
    draws: Sequence[Trace],
    rehearsal: Rehearsal,
) -> Trial:
    services = [service(problem, fleet, int(row))[0] for row in np.flatnonzero(fleet.units)]
    seen = rehearse(services, calibration, draws, goal.targets, rehearsal)
    return Trial(goal, fleet, describe(problem.search, fleet.units), _price(problem, fleet), seen)


def _verification(
    rehearsal: Rehearsal, draws: Sequence[Trace], trials: Sequence[Trial], held: Trial
) -> Verification:
    climb = sorted((t for t in trials if t.goal.demand <= held.goal.demand), key=lambda t: -t.goal.demand)
    distinct = {trial.line: trial for trial in climb}
    return Verification(
        draws=rehearsal.draws,
        requests_per_draw=len(draws[0]),
        confidence=rehearsal.confidence,
        steady_usd_per_h=short(trials[0].usd_per_h),
        added_usd_per_h=short(held.usd_per_h - trials[0].usd_per_h),
        rounds=tuple(
            Round(
                sized_for=short(trial.goal.demand),
                usd_per_h=short(trial.usd_per_h),
                fleet=trial.line,
                upper_s=tuple(short(item.upper_s) for item in trial.seen),
                holds=trial.holds,
            )
            for trial in reversed(distinct.values())
        ),
    )


def _price(problem: Problem, fleet: Fleet) -> float:
    return float(problem.search.unit.usd_per_h @ fleet.units)


def _label_of(target: Target) -> str:
    return f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}"


def shipped() -> Calibration:
    """The calibration that ships with the package."""
    return Calibrated.shipped()


def pose(workload: Workload, calibration: Calibration, progress: Progress = no_progress) -> Problem:
    """Enumerate the choices of a workload and evaluate them all.

    Raises:
        Infeasible: nothing that is allowed fits its memory, has a price and runs the formats; says why.
    """
    asked = demand(workload, GRID)
    rejected = Rejected()
    candidates = list(enumerate_candidates(space_of(workload), rejected))
    goal = goal_of(workload)
    table = build_table(candidates, load_of(asked), goal.targets, calibration, rejected, progress)
    if not table.candidates:
        raise Infeasible(f"nothing that is allowed can serve {', '.join(workload.models)}: {rejected}")
    return Problem(workload, asked, goal, Search(table), rejected)


def load_of(asked: Demand) -> Load:
    """A demand as the costs take it."""
    sizes = Requests(asked.sizes.input_tokens, asked.sizes.output_tokens)
    return Load(sizes, asked.rates_per_s, asked.window_cv)
