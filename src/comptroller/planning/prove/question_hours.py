"""Hours of questions simulated by themselves: who answers what, on what interactive calls get of an hour's fleet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.nouns import Demand, Fleet, Floats, Ints, SimulatedQuantile
from comptroller.planning.prove.arrivals import DrawRecord, RehearsalSettings, judge_draws
from comptroller.planning.prove.hour_rehearsal import dependable_units, headroom_factor
from comptroller.planning.prove.question_draws import QuestionDraws
from comptroller.planning.prove.question_load import QuestionLoad
from comptroller.planning.prove.services import LEAST_RATE_PER_S, ServiceLoad, cached_share_of, model_services
from comptroller.planning.solve.day_space import DaySpace


class QuestionHourStage:
    """Fleets of single hours of questions, simulated once each; draws of the peak's arrivals at the rate of an hour.

    Questions that waited fill units of their own, as work does, and are not simulated.
    """

    def __init__(self, space: DaySpace, calibration: TimingCalibration, settings: RehearsalSettings) -> None:
        self._space, self._calibration, self._settings = space, calibration, settings
        problem = space.problem
        self._draws = QuestionDraws(problem, problem.search.solve(problem.goal), calibration, settings)
        self._known: dict[tuple[object, ...], tuple[SimulatedQuantile, ...]] = {}

    def headroom(self, demand: Demand, day: Fleet, h: int) -> float:
        """See `HourStage`: of the model that has least."""
        return min(
            (
                headroom_factor(offers.market, demand, day, model, h)
                for model, offers in self._space.offers.items()
                if model in day.units and day.calls_per_s[model][h].any()
            ),
            default=1.0,
        )

    def seen(self, demand: Demand, day: Fleet, h: int) -> tuple[SimulatedQuantile, ...]:
        """See `HourStage`."""
        space, goal = self._space.problem.space, self._space.problem.goal
        share = np.zeros((len(space.weight), len(space.options)))
        share[:, self._space.options] = day.share[h]
        factor = float(demand.load[h] * (space.weight @ day.share[h].sum(axis=1)))
        units, calls = {}, {}
        for model, offers in self._space.offers.items():
            if model in day.units:
                units[model] = dependable_units(offers.market, demand, day, model, h)
                calls[model] = day.calls_per_s[model][h] / (goal.demand * demand.sizing[h])
        key = (factor, np.round(share, 6).tobytes(), *(part.tobytes() for part in units.values()))
        key = (*key, *(np.round(part, 6).tobytes() for part in calls.values()))
        if key not in self._known:
            values = self._draws.quantiles_of(self._load(share, units, calls), goal, factor)
            self._known[key] = judge_draws(DrawRecord(values), goal.targets, self._settings)
        return self._known[key]

    def _load(self, share: Floats, units: dict[int, Ints], calls: dict[int, Floats]) -> QuestionLoad:
        """The hour's fleet as services, each deployment with its calls of every size."""
        problem, loads, by_row = self._space.problem, dict[int, ServiceLoad](), dict[int, Ints]()
        blocks = 0
        for model, count in units.items():
            if not count.any():
                continue
            day, buckets = self._space.offers[model], problem.space.buckets[model]
            deployments = day.offers.deployments
            asked = np.zeros((buckets.count, len(deployments)))
            asked[np.ix_(problem.search.used(model), day.market.rows)] = calls[model]
            by_row[model] = np.zeros(len(deployments), np.int64)
            by_row[model][day.market.rows] = count
            load = replace(buckets.load, rate_per_s=np.maximum(asked.sum(axis=1), LEAST_RATE_PER_S))
            loads[model] = ServiceLoad(day.offers, load, asked, buckets.longest_tokens, self._calibration)
            if cached_share_of(load, deployments, asked) > 0:
                blocks = int(np.lcm(max(blocks, 1), buckets.block_tokens))
        own = {model: model_services(problem, what, by_row[model], shared=blocks > 0) for model, what in loads.items()}
        return QuestionLoad(share, own, blocks)
