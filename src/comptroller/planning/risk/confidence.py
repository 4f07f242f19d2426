"""Plans for questions that hold on other questions: which ways the evidence supports, and what has to be aimed at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from math import ceil

import numpy as np
from scipy.sparse import csr_array, identity, kron
from scipy.special import ndtri

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Bools, Floats, Goal
from comptroller.planning.ground.risk_document import ChoiceSupport, SelectionOptimism, SupportedWays
from comptroller.planning.ground.way_families import FAMILIES
from comptroller.planning.ground.way_freedom import WayFreedom
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.space import quality_targets
from comptroller.planning.risk.cross_fit import (
    DOUBT,
    FOLDS,
    REPEATS,
    SAME,
    OutOfFoldCurve,
    WayOutcomes,
    cheapest_of,
    curves_of,
    folds_of,
    shares_with_floors,
    variance_of_means,
)
from comptroller.planning.risk.question_draws import QuestionResamples
from comptroller.planning.solve.bound import CallWorth
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import PlanSearch, describe_option
from comptroller.planning.solve.shrinkage import own_weight
from comptroller.quantities import short

OTHER_WAY = "the evidence supports fewer ways"
"""Why a way outside of the chosen family is left out of a plan."""

EVEN = 0.5
"""Where no confidence is asked for, targets hold on other questions in the mean."""

FURTHER = np.sqrt(2.0)
"""The share solved of as many further questions differs from that of the recorded ones by the chance in both."""


def draws_meeting_targets(problem: PlanningProblem, solved: Iterable[Floats], optimism: Mapping[str, float]) -> Bools:
    """In which draws every target that was asked for holds: the shares solved of each, less the optimism."""
    pairs = zip(solved, quality_targets(problem.quality), strict=True)
    held = [share - optimism[task] >= least - SAME for share, (task, least) in pairs]
    return np.asarray(np.all(held, axis=0))


def chance_met(problem: PlanningProblem, drawn: QuestionResamples, optimism: Mapping[str, float]) -> float:
    """The chance that every target holds in a further set of as many questions, by resamples of the recorded ones; and
    by what questions that were not recorded may be (`cross_fit.variance_of_means`), which resamples of a few that are
    all solved do not show."""
    tasks, weight = problem.space.plays.tasks, problem.space.weight
    counts, mean, spread = np.bincount(problem.space.plays.task), drawn.by_task.mean(axis=0), drawn.by_task.var(axis=0)
    noise = np.random.default_rng([problem.workload.seed, 5]).standard_normal(drawn.by_task.shape)

    def by_task(besides: Floats | float) -> Floats:
        """(resamples, classes): shares of a further set, so many questions of either kind taken as seen besides."""
        unseen = np.maximum(variance_of_means(mean, spread * counts**2, counts, besides) - spread, 0.0)
        return np.asarray(mean + FURTHER * (drawn.by_task - mean + np.sqrt(unseen) * noise))

    of_all, each = by_task(weight) @ weight, by_task(1.0)
    names = (task for task, _ in quality_targets(problem.quality))
    further = (each[:, tasks.index(task)] if task else of_all for task in names)
    return float(draws_meeting_targets(problem, further, optimism).mean())


def with_supported_ways(
    problem: PlanningProblem, freedoms: Sequence[WayFreedom] = tuple(WayFreedom), doubt: float = DOUBT
) -> PlanningProblem:
    """The problem kept to what the evidence supports: scores shrunk, ways as free, and targets as high, as it takes for
    the targets to hold on other questions, with the confidence asked for or in the mean.

    freedoms: among which is chosen; where there are several, one way for all may also be one of a family of ways
    (`ground.way_families`), which is the better chosen the fewer it has.  doubt: standard errors that more freedom has
    to be cheaper by (`cross_fit.DOUBT`).  As it is for plain requests, where nothing can be served,
    and where a single question is recorded: nothing is left then when it is left out.

    Raises:
        InfeasibleError: no choice holds the targets with the confidence asked for; says what share the evidence
            supports, and how many questions would do.
    """
    found = None if problem.quality is None else way_outcomes(problem.search, problem.goal)
    if found is not None and len(freedoms) == 1:
        found = replace(found, families={})
    if found is None:
        return problem
    if len(found.task) < 2:
        if problem.quality is not None and problem.quality.confidence is not None:
            raise InfeasibleError(
                f"the targets do not hold with {problem.quality.confidence:.0%} confidence on other questions: "
                f"{problem.search.space.plays.source} has a single question, which tells of no others; record more"
            )
        return problem
    return _Support(problem, found, freedoms, doubt).problem_of()


def way_outcomes(search: PlanSearch, goal: Goal) -> WayOutcomes | None:
    """What every way that can be served or bought did, calls of own devices at their worth on the cheapest units.

    `None` where there is none, or a target beyond the recorded questions' own reach.
    """
    space, options = search.space, search.tried(goal)[0]
    if not len(options):
        return None
    usd = np.nan_to_num(space.usd) * (3600.0 * space.rate_per_s * (goal.objective == "usd"))
    cost = usd + sum((_worth_of_calls(search, goal, model) for model in space.offers), start=np.zeros(usd.shape))
    floor = dict(goal.quality[1:])
    floors = np.array([floor.get(task, 0.0) for task in space.plays.tasks])
    ways = [space.options[number] for number in options.tolist()]
    masks = {name: np.array([may(way) for way in ways]) for name, may in FAMILIES.items()}
    smaller = {name: mask for name, mask in masks.items() if mask.any() and not mask.all()}
    return WayOutcomes(space.score[:, options], cost[:, options], space.plays.task, space.weight, floors, smaller)


def _worth_of_calls(search: PlanSearch, goal: Goal, model: int) -> Floats:
    """(questions, options): what the calls of a model are worth per hour, if all traffic were like the question."""
    space, used = search.space, search.used(model)
    everything = np.ones(len(space.offers[model].deployments), bool)
    market, per_s = space.market(model, goal, everything, used), space.rate_per_s * goal.sizing
    if market is None or not len(used):
        return np.zeros(space.score.shape)
    asked = search.table.calls[model][:, :, used] * (space.weight[:, None, None] * per_s)
    worth = np.zeros(space.buckets[model].count)
    worth[used] = CallWorth.of(market, goal.objective, asked).call
    each = kron(identity(len(space.options), format="csr"), worth[:, None], format="csr")
    return np.asarray((space.calls[model] @ csr_array(each)).toarray()) * per_s


@dataclass(frozen=True)
class _Support:
    """What a problem's evidence supports, worked out of the outcomes of its ways."""

    problem: PlanningProblem
    found: WayOutcomes
    freedoms: Sequence[WayFreedom]
    doubt: float

    @property
    def confidence(self) -> float:
        """Asked for, or that of the mean."""
        quality = self.problem.quality
        return EVEN if quality is None or quality.confidence is None else quality.confidence

    @property
    def least(self) -> Floats:
        """(1 + classes,): the share asked of all questions and of each class."""
        return np.concatenate([[self.problem.goal.quality[0][1]], self.found.floor])

    def problem_of(self) -> PlanningProblem:
        """See `with_supported_ways`."""
        found, problem = self.found, self.problem
        seed = problem.workload.seed
        rng = np.random.default_rng([seed, 2])
        fold = folds_of(found.task, np.random.default_rng([seed, 3]))
        own = own_weight(found.score, found.task, found.weight, fold)
        curves = curves_of(found, float(self.least[0]), own, rng, self.freedoms)
        best = cheapest_of(found, curves, self.confidence, self.least, self.doubt)
        if best is None and problem.quality is not None and problem.quality.confidence is not None:
            raise InfeasibleError(self._beyond(curves))
        curve, place = best or (max(curves, key=lambda one: float(one.solved[0, 0])), 0)
        raised = self._aim(curve, place) - float(self.least[0])
        quality = tuple((task, share + raised) for task, share in problem.goal.quality)
        goal = replace(problem.goal, quality=quality, ways=curve.ways)
        space, may = problem.space.weighing(own), FAMILIES.get(curve.family)
        rejected = problem.rejected
        if may is not None:
            kept = [may(option) for option in space.options]
            rejected = _with_others(
                rejected, [describe_option(space, k) for k, one in enumerate(kept) if not one], curve
            )
            space = replace(space, options=tuple(compress(space.options, kept)))
        return replace(
            problem,
            goal=goal,
            search=PlanSearch(space),
            rejected=rejected,
            optimism=self._optimism(curve, place, own),
            support=self._document(curves, (curve, place), own, held=best is not None),
        )

    def _optimism(self, curve: OutOfFoldCurve, place: int, own: float) -> SelectionOptimism:
        """What the choice solves on all questions less what choices solve of those left out."""
        found = self.found
        table, aims = found.within(curve.family).whole_table(own), curve.aims[: place + 1]
        share = shares_with_floors(table, curve.ways, aims, float(self.least[0]))[place]
        by_class = (share * found.within(curve.family).whole_scores).sum(axis=1)
        told = np.concatenate([[found.weight @ by_class], by_class])
        gained = np.maximum(told - curve.solved[place], 0.0)
        tasks = ("", *self.problem.space.plays.tasks)
        solved = {task: short(float(gained[tasks.index(task)])) for task, _ in self.problem.goal.quality}
        return SelectionOptimism(solved=solved, resamples=FOLDS * REPEATS)

    def _aim(self, curve: OutOfFoldCurve, place: int) -> float:
        """The target where choices were tried below it: on all questions they are the same."""
        return max(float(curve.aims[place]), float(self.least[0]))

    def _document(
        self, curves: Sequence[OutOfFoldCurve], taken: tuple[OutOfFoldCurve, int], own: float, held: bool
    ) -> ChoiceSupport:
        curve, place = taken
        return ChoiceSupport(
            ways=curve.label,
            aim=short(self._aim(curve, place)),
            solved=short(float(curve.solved[place, 0])),
            deviation=short(float(curve.deviation[place, 0])),
            own_weight=short(own),
            questions=len(self.found.task),
            folds=FOLDS,
            tried=tuple(self._tried(one) for one in curves),
            sentence=self._sentence(curves, taken, held),
            needed=None if held else self._needed(curves),
        )

    def _tried(self, curve: OutOfFoldCurve) -> SupportedWays:
        place = curve.lowest(self.confidence, self.least)
        bound = curve.bound(self.confidence)[:, 0]
        at = int(bound.argmax()) if place is None else place
        return SupportedWays(
            ways=curve.label,
            solved=short(float(curve.solved[at, 0])),
            holds=short(float(bound[at])),
            usd_per_h=short(float(curve.cost[at])),
            aim=None if place is None else short(self._aim(curve, at)),
        )

    def _sentence(self, curves: Sequence[OutOfFoldCurve], taken: tuple[OutOfFoldCurve, int], held: bool) -> str:
        curve, place = taken
        if not held:
            more = f"; about {needed:,} questions would tell" if (needed := self._needed(curves)) else ""
            return (
                f"The target is met on the recorded questions alone: of questions left out at most "
                f"{max(float(one.solved[:, 0].max()) for one in curves):.1%} are solved{more}"
            )
        others = [(one, one.lowest(self.confidence, self.least)) for one in curves if one.ways > curve.ways]
        told = [f"{one.label} {one.cost[at] / curve.cost[place] - 1:+.0%}" for one, at in others if at is not None]
        beside = f"; more freedom costs, at the same share of questions left out: {', '.join(told)}" if told else ""
        chance = any(one.cost[at] < curve.cost[place] for one, at in others if at is not None)
        beside += ", which is within chance" if chance else ""
        return f"The evidence supports {curve.label}{beside}"

    def _needed(self, curves: Sequence[OutOfFoldCurve], of: int = 0) -> int | None:
        """Questions with which the bound of the choice that solves most would reach a target.

        of: 0 for the target of all questions, 1 and on for that of a class.
        """
        z, least = float(ndtri(self.confidence)), float(self.least[of])
        needed = []
        for curve in curves:
            place = int(curve.solved[:, of].argmax())
            room = float(curve.solved[place, of]) - least
            if room > 0 and z > 0:
                needed.append(self._questions(of) * (z * float(curve.deviation[place, of]) / room) ** 2)
        return ceil(min(needed)) if needed else None

    def _questions(self, of: int) -> int:
        return len(self.found.task) if of == 0 else int((self.found.task == of - 1).sum())

    def _beyond(self, curves: Sequence[OutOfFoldCurve]) -> str:
        """The target that the evidence is shortest of, what it supports and what would do."""
        supported = np.max([curve.bound(self.confidence).max(axis=0) for curve in curves], axis=0)
        of = int(np.where(self.least > 0.0, self.least - supported, -np.inf).argmax())
        most, needed = float(supported[of]), self._needed(curves, of)
        if most >= float(self.least[of]):
            return (
                f"the targets do not hold with {self.confidence:.0%} confidence on other questions: each alone would, "
                "all at once are met by no choice; lower one of them, or measure more questions or other models"
            )
        named = f" of {self.problem.space.plays.tasks[of - 1]}" if of else ""
        would = (
            f"about {needed:,} questions{named} would support it; measure more questions or other models"
            if needed
            else "no number of questions like these would: measure other models, or name further strategies"
        )
        return (
            f"the targets do not hold with {self.confidence:.0%} confidence on other questions: "
            f"{self._questions(of):,} questions{named} support {max(most, 0.0):.1%} at most; {would}"
        )


def _with_others(rejected: RejectionTally, names: Iterable[str], curve: OutOfFoldCurve) -> RejectionTally:
    """What fell out, and the ways outside of the family that the evidence supports."""
    every = RejectionTally()
    every.merge(rejected)
    for name in names:
        every.add(OTHER_WAY, f"{name}: not {curve.label}")
    return every


def optimism_of(problem: PlanningProblem) -> SelectionOptimism:
    """That of the problem's choice; none where nothing could be left out."""
    none = {task: 0.0 for task, _ in quality_targets(problem.quality)}
    return problem.optimism or SelectionOptimism(solved=none, resamples=0)
