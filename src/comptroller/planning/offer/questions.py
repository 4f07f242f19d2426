"""The choice space of questions: evidence replayed as options, and every recorded model priced and evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import lcm

import numpy as np

from comptroller.costs.capacity import LatencyTarget, SlicedLoad
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.steady import UniformRequests
from comptroller.errors import FactError, InfeasibleError, UnknownIdError
from comptroller.facts.model import Model
from comptroller.facts.reader import ids
from comptroller.planning.ground.executor import Progress, SearchExecutor, gather
from comptroller.planning.ground.nouns import Deployment, Floats, Goal
from comptroller.planning.ground.strategy_plays import PlaySet
from comptroller.planning.offer.choices import CallBuckets, ChoiceSpace, cached_tokens, cells, options_of
from comptroller.planning.offer.deployments import DeploymentSpace, RejectionTally
from comptroller.planning.offer.evaluation import ReplicaEvaluator, chunks, table_of
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.offer.matched_pools import with_matched_pools
from comptroller.planning.offer.option_play import plays_of
from comptroller.planning.offer.space import allowed_deployments, space_of
from comptroller.work.demand import DEFAULT_PEAK, demand_of, recorded_trace
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.lengths import edges_of, points
from comptroller.work.quality import WorkloadQuality, records
from comptroller.work.workload import Workload

GRID = (3, 3)
"""Buckets of the calls of a model, input x output: there are as many sets of them as models, and each is a row of the
program; the sizes of one model's calls on one question are much alike."""


def question_space(
    workload: Workload,
    goal: Goal,
    calibration: TimingCalibration,
    rejected: RejectionTally,
    progress: Progress,
    executor: SearchExecutor,
) -> ChoiceSpace:
    """Replay what the evidence supports, and price every recorded model on devices and at its recorded price.

    Raises:
        InfeasibleError: no recorded model can be bought or served; says why.
        UnsupportedError: the evidence supports no strategy.
    """
    quality = workload.quality
    assert quality is not None
    evidence = records(quality, workload.seed)
    plays = plays_of(quality, workload.models, evidence, rejected, _half(progress, 0), executor)
    models = RecordedModels(workload, quality, plays, rejected)
    buckets = models.buckets() if "own" in quality.routes else {}
    offered = {
        m: list(allowed_deployments(workload, models.deployment_space(m), calibration, rejected)) for m in buckets
    }
    evaluate = ReplicaEvaluator(goal.targets, calibration)
    offers = dict(_offers_by_model(offered, buckets, evaluate, rejected, (_half(progress, 1), executor)))
    bought = list(models.buyable(goal)) if "api" in quality.routes else []
    options = tuple(options_of(plays, list(offers), quality.routes, bought))
    if not options:
        raise InfeasibleError(f"no recorded model can be bought or served: {rejected}")
    rate, cv = models.arrivals
    return ChoiceSpace(plays, _class_weights(plays, quality), options, offers, buckets, rate, cv)


def _offers_by_model(
    offered: Mapping[int, list[Deployment]],
    buckets: Mapping[int, CallBuckets],
    evaluate: ReplicaEvaluator,
    rejected: RejectionTally,
    how: tuple[Progress, SearchExecutor],
) -> Iterator[tuple[int, DeploymentOffers]]:
    """The deployments of all models, evaluated as one work."""
    progress, executor = how
    parts = {m: chunks(deployments, buckets[m].load) for m, deployments in offered.items()}
    results = iter(gather(executor, evaluate, list(chain.from_iterable(parts.values())), progress))
    for number, deployments in offered.items():
        evaluated = islice(results, len(parts[number]))
        table = table_of(deployments, buckets[number].load, evaluated, evaluate.targets, rejected)
        table = with_matched_pools(table, evaluate.targets)
        if table.candidates:
            yield number, DeploymentOffers(table)


def _class_weights(plays: PlaySet, quality: WorkloadQuality) -> Floats:
    """Weight of each class in the traffic."""
    counts = np.bincount(plays.task, minlength=len(plays.tasks)).astype(float)
    if quality.mix:
        counts = np.array([quality.mix.get(task, 0.0) for task in plays.tasks])
    return np.asarray(counts / counts.sum())


@dataclass(frozen=True)
class RecordedModels:
    """The recorded models of a workload: which can be bought, which can be served, and the sizes of their calls."""

    workload: Workload
    quality: WorkloadQuality
    plays: PlaySet
    rejected: RejectionTally

    @property
    def numbers(self) -> list[int]:
        """Those that play in any option."""
        return sorted({number for play in self.plays.plays for number in play.models})

    @property
    def arrivals(self) -> tuple[float, float]:
        """Questions per second to hold, and the variability of their gaps."""
        workload = self.workload
        if workload.trace is None:
            return float(workload.rate_per_s or 0.0), 1.0 if workload.cv is None else workload.cv
        traffic = demand_of(recorded_trace(workload), workload.peak or DEFAULT_PEAK)
        return traffic.rate_per_s, traffic.window_cv

    def buyable(self, goal: Goal) -> Iterator[int]:
        """Models whose dollars are recorded, and whose recorded latencies keep the objectives."""
        for number in self.numbers:
            name, plays = str(self.plays.models[number]), [p for p in self.plays.plays if number in p.models]
            usd = [play.calls.usd[play.calls.model == number] for play in plays]
            if goal.objective != "usd":
                self.rejected.add("no API", f"{name}: what an API takes in {goal.objective} is not known")
            elif unknown := int(sum(np.isnan(dollars).sum() for dollars in usd)):
                told = f"{name}: no dollars are recorded of {unknown:,} of {sum(map(len, usd)):,} calls"
                self.rejected.add("no API price", f"{told}; `quality.prices` declares what its tokens cost")
            elif late := _late(self.plays.evidence, number, goal.targets):
                self.rejected.add("API latency", f"{name}: {late}")
            else:
                yield number

    def buckets(self) -> dict[int, CallBuckets]:
        """The calls of every model whose architecture and tokens are known."""
        facts = {number: self._facts(number) for number in self.numbers}
        found = {number: self._buckets(number, who) for number, who in facts.items() if who is not None}
        return {number: buckets for number, buckets in found.items() if buckets is not None}

    def deployment_space(self, number: int) -> DeploymentSpace:
        """Every way to serve a recorded model, in the format that it was recorded in where that is known."""
        who = self._facts(number)
        assert who is not None
        return space_of_recorded(who, self.plays.models[number], self.workload)

    def _facts(self, number: int) -> Model | None:
        """The model of facts that a recorded name stands for."""
        who = self.plays.models[number]
        try:
            named = self.quality.models.get(str(who), self.quality.models.get(who.model, who.model))
            return self.workload.library.model(named)
        except (UnknownIdError, FactError):
            reason = f"{who}: its architecture is not known; quality.models can name it"
            if reason not in self.rejected.example.values():
                self.rejected.add("no facts of the model", reason)
            return None

    def _buckets(self, number: int, who: Model) -> CallBuckets | None:
        """The calls of a model over all options, in buckets; `None` where tokens are not recorded."""
        parts = [play.calls.only(play.calls.model == number) for play in self.plays.plays if number in play.models]
        inputs, outputs, common = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("input_tokens", "output_tokens", "common_tokens")
        )
        if np.isnan(inputs + outputs).any():
            return None
        outputs = np.maximum(outputs, 1.0)
        found = edges_of(points(inputs, outputs), GRID)
        edges = (found.input, found.output)
        block = _block_tokens(who, self.workload)
        cached = cached_tokens(inputs, common, block)
        keys, of, count = np.unique(cells(edges, inputs, outputs, cached), return_inverse=True, return_counts=True)
        means = [np.bincount(of, values, len(keys)) / count for values in (inputs, outputs, cached)]
        rate, cv = self.arrivals
        place = np.full(2 * (len(edges[0]) + 1) * (len(edges[1]) + 1), -1)
        place[keys] = np.arange(len(keys))
        longest = float((inputs + outputs).max())
        load = SlicedLoad(UniformRequests(*means), rate * count / count.sum(), cv, longest)
        return CallBuckets(load, longest, edges, place, block)


def _late(evidence: Evidence | None, number: int, targets: tuple[LatencyTarget, ...]) -> str:
    """The objective that an API's recorded latencies do not keep; empty if they keep all."""
    assert evidence is not None
    rows = evidence.rows
    own = rows.arm == number
    first, last = rows.ttft_s[own], rows.latency_s[own]
    output = rows.output_tokens[own] + np.nan_to_num(rows.reasoning_tokens[own])
    seen = {"ttft_s": first, "e2e_s": last, "tpot_s": (last - first) / np.maximum(output - 1, 1)}
    for target in targets:
        values = seen[target.quantity]
        if np.isnan(values).all():
            return f"{target.quantity[:-2].upper()} is not recorded"
        if np.nanquantile(values, target.quantile) > target.most_s:
            return f"{target.quantity[:-2].upper()} is recorded at more than {target.most_s:g} s"
    return ""


def _block_tokens(who: Model, workload: Workload) -> int:
    """Tokens of a prefix block that suits every engine allowed that shares any with a model; 0 where none does."""
    blocks = [engine.prefix_block_tokens for engine in space_of(workload).engines if not who.recurrent]
    return lcm(*filter(None, blocks)) if any(blocks) else 0


def space_of_recorded(who: Model, recorded: RecordedModel, workload: Workload) -> DeploymentSpace:
    """Every way to serve a recorded model, in the format that it was recorded in where that is known."""
    space = replace(space_of(workload), models=(who,))
    known = recorded.format.lower() in ids("formats")
    return replace(space, formats=(recorded.format.lower(),)) if known else space


def _half(progress: Progress, number: int) -> Progress:
    """The first half of a work (0) or the second (1), as a part of the whole."""
    return lambda done, total: progress(number * total + done, 2 * total)
