"""Draws of questions: they arrive, strategies create their calls on the fleet, and percentiles are observed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from comptroller.costs.timing import TimingCalibration
from comptroller.planning.ground.nouns import Bools, Fleet, Floats, Goal, Ints, Option
from comptroller.planning.prove.arrivals import MOST, SPAN_S, RehearsalSettings, block_bootstrap, observed_quantiles
from comptroller.planning.prove.services import ModelServices, services_of, shared_block_tokens
from comptroller.planning.prove.simulated_fleet import fleet_of, with_default_prefix_caching
from comptroller.planning.solve.description import LEAST_SHARE
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.serving.state import RequestState
from comptroller.serving.world import ELSEWHERE, Place, QuestionStream, QuestionStreamOutcome, SimulatedStrategy, solve
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.spelling import parse
from comptroller.work.arrivals import gamma_arrivals
from comptroller.work.demand import recorded_trace
from comptroller.work.workload import PeakQuantile

FEWEST, ENOUGH = 1_000, 6_000
"""Questions of ten minutes of arrivals, within these bounds: a p95 rests on 50 of the fewest, and a question makes many
calls, so that more of them cost minutes."""

RESIDENCES = 6.0
"""A draw lasts at least so many times as long as a call does: the fleet fills, and then has to hold; the warm-up leaves
out the first of them."""

AT_ONCE = ServicePace(0.0, 0.0, 0.0)
"""An API whose latency is not recorded; no latency objective is judged by it."""


class QuestionDraws:
    """Draws of questions: each is solved by a strategy of its class, in the plan's shares."""

    def __init__(
        self, problem: PlanningProblem, best: Fleet, calibration: TimingCalibration, settings: RehearsalSettings
    ) -> None:
        self._problem, self._calibration, self._seed = problem, calibration, settings.seed
        self._arrivals = [self._arrive(best, number) for number in range(settings.most_draws)]
        self.requests = len(self._arrivals[0])

    def quantiles(self, fleet: Fleet, goal: Goal) -> Iterator[Floats]:
        """The objectives' quantiles, in seconds, draw by draw.

        TTFT and TPOT are those of calls on the fleets, end to end is from question to answer.
        """
        services = services_of(replace(self._problem, goal=goal), fleet)
        for row, arrival_s in enumerate(self._arrivals):
            outcome = self._played(fleet, services, row)
            yield observed_quantiles(arrival_s, goal.targets, partial(_question_quantity, outcome))

    def played(self, fleet: Fleet, goal: Goal, draw: int) -> QuestionStreamOutcome:
        """What came of one draw: every call, and every question."""
        return self._played(fleet, services_of(replace(self._problem, goal=goal), fleet), draw)

    def _arrive(self, best: Fleet, number: int) -> Floats:
        """Arrivals of one draw: the trace or its windows, or gaps of the stated variability."""
        rng = np.random.default_rng([self._seed, number])
        workload, space = self._problem.workload, self._problem.space
        if workload.trace is not None:
            whole = recorded_trace(workload)
            drawn = block_bootstrap(whole, (workload.peak or PeakQuantile()).window_s, rng) if number else whole
            return np.sort(drawn.arrival_s - drawn.arrival_s[0])[:MOST]
        residence_s = max(own.residence_s for own in services_of(self._problem, best).values())
        usual = float(np.clip(space.rate_per_s * SPAN_S, FEWEST, ENOUGH))
        count = int(min(max(usual, space.rate_per_s * RESIDENCES * residence_s), MOST))
        return gamma_arrivals(space.rate_per_s, space.arrival_cv, count, rng)

    def _played(self, fleet: Fleet, own: Mapping[int, ModelServices], draw: int) -> QuestionStreamOutcome:
        """One draw: every question of a class, each by one of its options, on the services of the plan."""
        space, arrival_s = self._problem.space, self._arrivals[draw]
        rng = np.random.default_rng([self._seed, draw, 1])
        services = [service for model in own.values() for service in model.services]
        task = rng.choice(len(space.weight), len(arrival_s), p=space.weight)
        options = np.flatnonzero(fleet.share[0].sum(axis=0) > LEAST_SHARE)
        question, play = np.empty(len(task), np.int64), np.empty(len(task), np.int64)
        for number, share in enumerate(fleet.share[0][:, options]):
            of_class = np.flatnonzero(task == number)
            question[of_class] = rng.choice(space.plays.question[space.plays.task == number], len(of_class))
            play[of_class] = rng.choice(len(options), len(of_class), p=share / share.sum())
        places: dict[int, _ServiceShares] = {}
        for model, of_model in own.items():
            first = 1 + sum(len(before.calls_per_s) for before in places.values())
            places[model] = _ServiceShares(of_model.calls_per_s, first, rng)
        plays = tuple(self._play(space.options[option], places) for option in options)
        stream = QuestionStream(plays, arrival_s, question, seed=int(rng.integers(1 << 32)), play=play)
        block, library = shared_block_tokens(self._problem, fleet), self._problem.workload.library
        own_fleet = fleet_of(services, self._calibration, library, block)
        return solve(with_default_prefix_caching(own_fleet, services, library), stream)

    def _play(self, option: Option, places: Mapping[int, _ServiceShares]) -> SimulatedStrategy:
        plays, quality = self._problem.space.plays, self._problem.quality
        assert plays.evidence is not None and quality is not None
        roles: dict[str, RecordedService | ModelledChecker] = {
            role: RecordedService(plays.models[model], pace=AT_ONCE) for role, model in option.play.bound.items()
        }
        if quality.checker is not None:
            roles["checker"] = ModelledChecker(quality.checker.tpr, quality.checker.fpr)
        at = {role: places[model] for role, model in option.play.bound.items() if option.routes.get(model) == "own"}
        return SimulatedStrategy(parse(option.play.strategy), EvidenceReplay(plays.evidence, roles), _place(at))


@dataclass(frozen=True)
class _ServiceShares:
    """Where the calls of a model go: its services, in the shares that the plan gives them; all calls on one question to
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


def _place(at: Mapping[str, _ServiceShares]) -> Place:
    """Calls of a role that own devices play go there, the others to their API."""
    return lambda number, role, prompt, output: at[role](number) if role in at else ELSEWHERE


def _question_quantity(outcome: QuestionStreamOutcome, quantity: str, counted: Bools) -> Floats:
    """A quantity of the counted questions: of their calls on the fleet, or from question to answer."""
    if quantity == "e2e_s":
        return outcome.answer_s[counted]
    of_fleet = outcome.calls["input_tokens"] > 0
    kept = outcome.outcome.requests.state != RequestState.CANCELLED
    chosen: Ints = counted[outcome.calls["request"]] & of_fleet & kept
    return np.asarray(getattr(outcome.outcome, quantity)[chosen])
