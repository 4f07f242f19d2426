"""A joint plan simulated: questions arrive, strategies create their calls on the fleet, and percentiles are judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.timing import TimingCalibration
from comptroller.planning.offer.call_buckets import RoutedOption
from comptroller.planning.offer.question_offer import JointProblem
from comptroller.planning.prove.arrivals import (
    MOST,
    SPAN_S,
    WARM_UP,
    RehearsalSettings,
    SimulatedQuantile,
    block_bootstrap,
    judge_draws,
    quantile,
)
from comptroller.planning.prove.rehearsal import RehearsalProof, raise_until_proven
from comptroller.planning.prove.services import ModelServices, model_services, shared_block_tokens
from comptroller.planning.prove.simulated_fleet import fleet_of, with_default_prefix_caching
from comptroller.planning.reasons.runners_up import describe_solution, usd_per_h
from comptroller.planning.risk.question_draws import LEAST
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.search import JointSolution
from comptroller.planning.write.plan import VerificationResult
from comptroller.serving.state import RequestState
from comptroller.serving.world import ELSEWHERE, Place, QuestionStream, QuestionStreamOutcome, SimulatedStrategy, solve
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, ServicePace
from comptroller.strategies.replay import RecordedService as Recorded
from comptroller.strategies.spelling import parse
from comptroller.work.arrivals import gamma_arrivals
from comptroller.work.demand import recorded_trace
from comptroller.work.workload import PeakQuantile

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEWEST, ENOUGH = 1_000, 6_000
"""Questions of ten minutes of arrivals, within these bounds."""

RESIDENCES = 6.0
"""A draw lasts at least so many times as long as a call does: the fleet fills, and then has to hold."""

AT_ONCE = ServicePace(0.0, 0.0, 0.0)
"""An API whose latency is not recorded; no latency objective is judged by it."""


def prove_joint(
    problem: JointProblem, best: JointSolution, calibration: TimingCalibration, rehearsal: RehearsalSettings
) -> tuple[JointProblem, JointSolution, VerificationResult]:
    """Simulate the fleets with the call graphs of their strategies, and raise them until the percentiles hold.

    Raises:
        InfeasibleError: as `raise_until_proven`.
    """
    found: RehearsalProof[JointSolution] = raise_until_proven(
        QuestionStage(problem, best, calibration, rehearsal), best, rehearsal
    )
    return replace(problem, goal=found.goal), found.fleet, VerificationResult(found.document, found.seen)


class QuestionStage:
    """The stage of a plan for questions: each is solved by a strategy of its class, in the plan's shares."""

    def __init__(
        self, problem: JointProblem, best: JointSolution, calibration: TimingCalibration, rehearsal: RehearsalSettings
    ) -> None:
        self.goal, self._problem = problem.goal, problem
        self._calibration, self._rehearsal = calibration, rehearsal
        self._arrivals = [self._arrive(best, number) for number in range(rehearsal.draws)]
        self.requests = len(self._arrivals[0])

    def sized(self, goal: Goal) -> JointSolution:
        """The cheapest strategies and fleets for a goal."""
        return self._problem.joint.solve(goal)

    def line(self, fleet: JointSolution) -> str:
        """A solution in one line."""
        return describe_solution(self._problem.joint, fleet)

    def usd_per_h(self, fleet: JointSolution) -> float:
        """Its price at the demand itself."""
        return usd_per_h(self._problem.joint, fleet)

    def seen(self, fleet: JointSolution, goal: Goal) -> tuple[SimulatedQuantile, ...]:
        """What simulating it showed."""
        return judge_draws(self.measured(fleet, goal), goal.targets, self._rehearsal)

    def measured(self, fleet: JointSolution, goal: Goal) -> Iterator[Floats]:
        """The objectives' quantiles, in seconds, draw by draw.

        TTFT and TPOT are those of calls on the fleets, end to end is from question to answer.
        """
        held = model_services(replace(self._problem, goal=goal), fleet)
        for row, arrival_s in enumerate(self._arrivals):
            found = self._played(fleet, held, row)
            counted = arrival_s >= arrival_s[0] + WARM_UP * (arrival_s[-1] - arrival_s[0])
            yield np.array([quantile(_question_quantity(found, t.quantity, counted), t) for t in goal.targets])

    def _arrive(self, best: JointSolution, number: int) -> Floats:
        """Arrivals of one draw: the trace or its windows, or gaps of the stated variability."""
        rng = np.random.default_rng([self._rehearsal.seed, number])
        workload, rate = self._problem.workload, self._problem.joint.ground.rate_per_s
        if workload.trace is not None:
            whole = recorded_trace(workload)
            drawn = block_bootstrap(whole, (workload.peak or PeakQuantile()).window_s, rng) if number else whole
            return np.sort(drawn.arrival_s - drawn.arrival_s[0])[:MOST]
        residence_s = max(each.residence_s for each in model_services(self._problem, best).values())
        usual = float(np.clip(rate * SPAN_S, FEWEST, ENOUGH))
        count = int(min(max(usual, rate * RESIDENCES * residence_s), MOST))
        return gamma_arrivals(rate, self._problem.cv, count, rng)

    def played(self, fleet: JointSolution, goal: Goal, draw: int) -> QuestionStreamOutcome:
        """What came of one draw: every call, and every question."""
        return self._played(fleet, model_services(replace(self._problem, goal=goal), fleet), draw)

    def _played(self, fleet: JointSolution, held: Mapping[int, ModelServices], draw: int) -> QuestionStreamOutcome:
        """One draw: every question of a class, each by one of its ways, on the services of the plan."""
        ground, arrival_s = self._problem.joint.ground, self._arrivals[draw]
        rng = np.random.default_rng([self._rehearsal.seed, draw, 1])
        services = [service for each in held.values() for service in each.services]
        task = rng.choice(len(ground.weight), len(arrival_s), p=ground.weight)
        ways = np.flatnonzero(fleet.share.sum(axis=0) > LEAST)
        question, play = np.empty(len(task), np.int64), np.empty(len(task), np.int64)
        for number, share in enumerate(fleet.share[:, ways]):
            mine = np.flatnonzero(task == number)
            question[mine] = rng.choice(ground.choices.question[ground.choices.task == number], len(mine))
            play[mine] = rng.choice(len(ways), len(mine), p=share / share.sum())
        places: dict[int, _Shares] = {}
        for arm, each in held.items():
            first = 1 + sum(len(before.calls_per_s) for before in places.values())
            places[arm] = _Shares(each.calls_per_s, first, rng)
        plays = tuple(self._play(ground.ways[way], places) for way in ways)
        seed = int(rng.integers(1 << 32))
        thinking = QuestionStream(plays, arrival_s, question, seed=seed, play=play)
        block = shared_block_tokens(self._problem, fleet)
        return solve(with_default_prefix_caching(fleet_of(services, self._calibration, block), services), thinking)

    def _play(self, way: RoutedOption, places: Mapping[int, _Shares]) -> SimulatedStrategy:
        evidence, checker = self._problem.joint.ground.choices.evidence, self._problem.quality.checker
        roles: dict[str, Recorded | ModelledChecker] = {
            role: Recorded(evidence.arms[arm], pace=AT_ONCE) for role, arm in way.option.bound.items()
        }
        if checker is not None:
            roles["checker"] = ModelledChecker(checker.tpr, checker.fpr)
        at = {role: places[arm] for role, arm in way.option.bound.items() if way.routes.get(arm) == "own"}
        return SimulatedStrategy(parse(way.option.strategy), EvidenceReplay(evidence, roles), _place(at))


@dataclass(frozen=True)
class _Shares:
    """Where the calls of an arm go: its services, in the shares that the plan gives them; all calls on one question to
    the same, as the gateway sends them, or no cache would know them again. first: one more than their first place."""

    calls_per_s: Floats
    first: int
    rng: np.random.Generator
    chosen: dict[int, int] = field(default_factory=dict)

    def __call__(self, number: int) -> int:
        """One more than the place of a question's service."""
        if len(self.calls_per_s) == 1:
            return self.first
        if number not in self.chosen:
            share = self.calls_per_s / self.calls_per_s.sum()
            self.chosen[number] = self.first + int(self.rng.choice(len(share), p=share))
        return self.chosen[number]


def _place(at: Mapping[str, _Shares]) -> Place:
    """Calls of a role that own devices play go there, the others to their API."""
    return lambda number, role, prompt, output: at[role](number) if role in at else ELSEWHERE


def _question_quantity(found: QuestionStreamOutcome, quantity: str, counted: npt.NDArray[np.bool_]) -> Floats:
    """A quantity of the counted questions: of their calls on the fleet, or from question to answer."""
    if quantity == "e2e_s":
        return found.answer_s[counted]
    of_fleet = found.calls["input_tokens"] > 0
    kept = found.outcome.requests.state != RequestState.CANCELLED
    chosen = counted[found.calls["request"]] & of_fleet & kept
    return np.asarray(getattr(found.outcome, quantity)[chosen])
