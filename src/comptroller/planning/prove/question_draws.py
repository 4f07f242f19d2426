"""Draws of questions: they arrive, strategies create their calls on the fleet, and percentiles are observed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from comptroller.costs.timing import TimingCalibration
from comptroller.planning.ground.nouns import Bools, Fleet, Floats, Goal, Ints, Option
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.prove.arrivals import (
    MOST,
    QUARTERS,
    SPAN_S,
    RehearsalSettings,
    block_bootstrap,
    observed_quantiles,
)
from comptroller.planning.prove.services import ModelServices, services_of, shared_block_tokens
from comptroller.planning.prove.simulated_fleet import fleet_of, with_default_prefix_caching
from comptroller.planning.solve.description import LEAST_SHARE
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.question_graphs import QuestionGraphRecord
from comptroller.serving.question_replay import solve_recorded
from comptroller.serving.state import RequestState
from comptroller.serving.world import ELSEWHERE, Place, QuestionStream, QuestionStreamOutcome, SimulatedStrategy
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


@dataclass(frozen=True)
class QuestionLoad:
    """What one simulated fleet of questions does: who answers what, and the services that play.

    share: (classes, options), of the questions.  own: services by model, at the calls that they get.  block_tokens: of
    the prefix blocks that its calls share, 0 for none.
    """

    share: Floats
    own: Mapping[int, ModelServices]
    block_tokens: int

    @property
    def services(self) -> list[ServiceDocument]:
        """All services."""
        return [service for model in self.own.values() for service in model.services]


class QuestionDraws:
    """Draws of questions: each is solved by a strategy of its class, in the plan's shares.

    What a strategy asks is recorded once where no clock decides it, for all draws and fleets.
    """

    def __init__(
        self, problem: PlanningProblem, best: Fleet, calibration: TimingCalibration, settings: RehearsalSettings
    ) -> None:
        self._problem, self._calibration, self._seed = problem, calibration, settings.seed
        self._arrivals = [self._arrive(best, number) for number in range(settings.most_draws)]
        self._record = QuestionGraphRecord()
        self._replays: dict[tuple[tuple[str, int], ...], EvidenceReplay] = {}
        self.requests = len(self._arrivals[0])

    def quantiles(self, fleet: Fleet, goal: Goal) -> Iterator[Floats]:
        """The objectives' quantiles, in seconds, draw by draw.

        TTFT and TPOT are those of calls on the fleets, end to end is from question to answer.
        """
        return self.quantiles_of(self._load(fleet, goal), goal)

    def quantiles_of(self, load: QuestionLoad, goal: Goal, factor: float = 1.0) -> Iterator[Floats]:
        """The same of services that stand. factor: on the rate of the questions; of fewer, fewer arrive in a draw."""
        if not load.services:
            # Nothing runs: APIs keep the objectives by their record, or are no choice.
            yield from (np.zeros(max(len(goal.targets), QUARTERS)) for _ in self._arrivals)
            return
        fleet = self._fleet(load)
        for row, arrival_s in enumerate(self._arrivals):
            outcome = self._played(load, fleet, row, factor)
            yield observed_quantiles(
                arrival_s[: len(outcome.answer_s)], goal.targets, partial(_question_quantity, outcome)
            )

    def played(self, fleet: Fleet, goal: Goal, draw: int, factor: float = 1.0) -> QuestionStreamOutcome:
        """What came of one draw: every call, and every question. factor: on the rate of the questions."""
        load = self._load(fleet, goal)
        return self._played(load, self._fleet(load), draw, factor)

    def _load(self, fleet: Fleet, goal: Goal) -> QuestionLoad:
        problem = replace(self._problem, goal=goal)
        return QuestionLoad(fleet.share[0], services_of(problem, fleet), shared_block_tokens(problem, fleet))

    def _arrive(self, best: Fleet, number: int) -> Floats:
        """Arrivals of one draw: the trace or its windows, or gaps of the stated variability."""
        rng = np.random.default_rng([self._seed, number])
        workload, space = self._problem.workload, self._problem.space
        if workload.trace is not None:
            whole = recorded_trace(workload)
            drawn = block_bootstrap(whole, (workload.peak or PeakQuantile()).window_s, rng) if number else whole
            return np.sort(drawn.arrival_s - drawn.arrival_s[0])[:MOST]
        residence_s = max((own.residence_s for own in services_of(self._problem, best).values()), default=0.0)
        usual = float(np.clip(space.rate_per_s * SPAN_S, FEWEST, ENOUGH))
        count = int(min(max(usual, space.rate_per_s * RESIDENCES * residence_s), MOST))
        return gamma_arrivals(space.rate_per_s, space.arrival_cv, count, rng)

    def _fleet(self, load: QuestionLoad) -> SimulatedFleet:
        """The services as the simulator runs them."""
        library = self._problem.workload.library
        fleet = fleet_of(load.services, self._calibration, library, load.block_tokens)
        return with_default_prefix_caching(fleet, load.services, library)

    def _played(self, load: QuestionLoad, fleet: SimulatedFleet, draw: int, factor: float) -> QuestionStreamOutcome:
        """One draw: every question of a class, each by one of its options, on the services of the plan."""
        space, arrival_s = self._problem.space, self._arrivals[draw] / factor
        arrival_s = arrival_s[: max(FEWEST, int(np.ceil(min(factor, 1.0) * len(arrival_s))))]
        rng = np.random.default_rng([self._seed, draw, 1])
        task = rng.choice(len(space.weight), len(arrival_s), p=space.weight)
        options = np.flatnonzero(load.share.sum(axis=0) > LEAST_SHARE)
        question, play = np.empty(len(task), np.int64), np.empty(len(task), np.int64)
        for number, share in enumerate(load.share[:, options]):
            of_class = np.flatnonzero(task == number)
            question[of_class] = rng.choice(space.plays.question[space.plays.task == number], len(of_class))
            play[of_class] = rng.choice(len(options), len(of_class), p=share / share.sum())
        places: dict[int, _ServiceShares] = {}
        first = 1
        for model, of_model in load.own.items():
            places[model] = _ServiceShares.drawn(of_model.calls_per_s, first, len(task), rng)
            first += len(of_model.calls_per_s)
        plays = tuple(self._play(space.options[option], places) for option in options)
        stream = QuestionStream(plays, arrival_s, question, seed=int(rng.integers(1 << 32)), play=play)
        return solve_recorded(fleet, stream, self._record)

    def _play(self, option: Option, places: Mapping[int, _ServiceShares]) -> SimulatedStrategy:
        plays, quality = self._problem.space.plays, self._problem.quality
        assert plays.evidence is not None and quality is not None
        bound = tuple(sorted(option.play.bound.items()))
        if bound not in self._replays:
            roles: dict[str, RecordedService | ModelledChecker] = {
                role: RecordedService(plays.models[model], pace=AT_ONCE) for role, model in bound
            }
            if quality.checker is not None:
                roles["checker"] = ModelledChecker(quality.checker.tpr, quality.checker.fpr)
            self._replays[bound] = EvidenceReplay(plays.evidence, roles)
        at = {role: places[model] for role, model in bound if option.routes.get(model) == "own"}
        return SimulatedStrategy(parse(option.play.strategy), self._replays[bound], _place(at))


@dataclass(frozen=True)
class _ServiceShares:
    """Where the calls of a model go: its services, in the shares that the plan gives them; all calls on one question to
    the same, as the gateway sends them, or no cache would know them again.

    chosen: by question, one more than its place.
    """

    chosen: list[int]

    @classmethod
    def drawn(cls, calls_per_s: Floats, first: int, questions: int, rng: np.random.Generator) -> _ServiceShares:
        """A service for every question. first: one more than the place of the first."""
        edges = np.cumsum(calls_per_s / calls_per_s.sum())
        drawn = np.searchsorted(edges, rng.uniform(size=questions), side="right")
        return cls((first + np.minimum(drawn, len(edges) - 1)).tolist())

    def __call__(self, number: int) -> int:
        """One more than the place of a question's service."""
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
