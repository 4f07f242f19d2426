"""Draws of questions: they arrive, strategies create their calls on the fleet, and percentiles are observed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.nouns import Fleet, Floats, Goal
from comptroller.planning.prove.arrivals import (
    MOST,
    QUARTERS,
    SPAN_S,
    DrawnOutcome,
    DrawRecord,
    RehearsalSettings,
    block_bootstrap,
    observed_quantiles,
)
from comptroller.planning.prove.question_load import QuestionLoad, QuestionPlayers, ServiceShares, question_quantity
from comptroller.planning.prove.services import services_of, shared_block_tokens
from comptroller.planning.prove.simulated_fleet import fleet_of, with_default_prefix_caching
from comptroller.planning.solve.description import LEAST_SHARE
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.question_graphs import QuestionGraphRecord
from comptroller.serving.question_replay import solve_recorded
from comptroller.serving.world import QuestionStream, QuestionStreamOutcome
from comptroller.work.arrivals import gamma_arrivals
from comptroller.work.demand import recorded_trace
from comptroller.work.workload import PeakQuantile

FEWEST, ENOUGH = 1_000, 6_000
"""Questions of ten minutes of arrivals, within these bounds: a p95 rests on 50 of the fewest, and a question makes many
calls, so that more of them cost minutes."""

RESIDENCES = 6.0
"""A draw lasts at least so many times as long as a call does: the fleet fills, and then has to hold; the warm-up leaves
out the first of them."""


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
        self._players = QuestionPlayers(problem)
        self.requests = len(self._arrivals[0])

    def record(self, fleet: Fleet, goal: Goal) -> DrawRecord:
        """The objectives' quantiles, in seconds, draw by draw.

        TTFT and TPOT are those of calls on the fleets, end to end is from question to answer.
        """
        return DrawRecord(self.quantiles_of(self._load(fleet, goal), goal))

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
                arrival_s[: len(outcome.answer_s)], goal.targets, partial(question_quantity, outcome)
            )

    def played(self, fleet: Fleet, goal: Goal, draw: int, factor: float = 1.0) -> QuestionStreamOutcome:
        """What came of one draw: every call, and every question. factor: on the rate of the questions."""
        load = self._load(fleet, goal)
        return self._played(load, self._fleet(load), draw, factor)

    def first(self, fleet: Fleet, goal: Goal) -> DrawnOutcome:
        """The first draw on a fleet, question by question."""
        outcome = self.played(fleet, goal, 0)
        arrival_s = self._arrivals[0][: len(outcome.answer_s)]
        return DrawnOutcome(arrival_s, partial(question_quantity, outcome), outcome.outcome)

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
        places: dict[int, ServiceShares] = {}
        first = 1
        for model, of_model in load.own.items():
            places[model] = ServiceShares.drawn(of_model.calls_per_s, first, len(task), rng)
            first += len(of_model.calls_per_s)
        plays = tuple(self._players.play(space.options[option], places) for option in options)
        stream = QuestionStream(plays, arrival_s, question, seed=int(rng.integers(1 << 32)), play=play)
        return solve_recorded(fleet, stream, self._record)
