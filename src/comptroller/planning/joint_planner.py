"""From a workload with a quality target to a joint search: evidence replayed, fleets priced, routes found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import lcm

import numpy as np

from comptroller.costs.capacity import LatencyTarget, SlicedLoad
from comptroller.costs.steady import UniformRequests
from comptroller.costs.timing import TimingCalibration
from comptroller.errors import FactError, InfeasibleError, UnknownIdError, UnsupportedError
from comptroller.facts.config import model
from comptroller.facts.model import Model
from comptroller.facts.reader import ids
from comptroller.planning.candidates import DeploymentSpace, RejectionTally, enumerate_candidates
from comptroller.planning.executor import HERE, Progress, SearchExecutor, gather
from comptroller.planning.joint import JointSearch
from comptroller.planning.joint_ground import CallBuckets, JointSearchSpace, ways_of
from comptroller.planning.option_play import choices
from comptroller.planning.options import OptionSet
from comptroller.planning.risk_document import SelectionOptimism
from comptroller.planning.search import FleetSearch, Goal
from comptroller.planning.space import goal_of, space_of
from comptroller.planning.table import ReplicaEvaluator, chunks, table_of
from comptroller.work.demand import DEFAULT_PEAK, demand_of, recorded_trace
from comptroller.work.evidence import Evidence, RecordedModel
from comptroller.work.lengths import edges_of, points
from comptroller.work.quality import WorkloadQuality, records
from comptroller.work.workload import Workload

GRID = (3, 3)
"""Buckets of the calls of a model, input x output."""


@dataclass(frozen=True)
class JointProblem:
    """A workload with a quality target, ready to be solved. cv: of arrivals.  optimism: its goal allows for."""

    workload: Workload
    quality: WorkloadQuality
    goal: Goal
    joint: JointSearch
    rejected: RejectionTally
    cv: float
    optimism: SelectionOptimism | None = None


def pose_joint(
    workload: Workload, calibration: TimingCalibration, progress: Progress, executor: SearchExecutor = HERE
) -> JointProblem:
    """Replay what the evidence supports, and price every recorded model on devices and at its recorded price.

    Raises:
        InfeasibleError: no recorded model can be bought or served; says why.
        UnsupportedError: the evidence supports no strategy.
    """
    quality = workload.quality
    if quality is None:
        raise UnsupportedError(f"{workload.name}: no quality target")
    rejected = RejectionTally()
    evidence = records(quality, workload.seed)
    found = choices(quality, workload.models, evidence, rejected, half(progress, 0), executor)
    goal = replace(goal_of(workload), quality=targets_of(quality))
    rate, cv = _arrivals(workload)
    arms = sorted({arm for option in found.options for arm in option.arms})
    bought = list(_buyable_models(arms, found, goal, rejected)) if "api" in quality.routes else []
    served = {arm: who for arm in arms if (who := _facts_model(found.evidence.arms[arm], quality, rejected))}
    blocks = {arm: _block_tokens(who, workload) for arm, who in served.items()}
    sized = {arm: _sizes(arm, found, rate, cv, blocks[arm]) for arm in served if "own" in quality.routes}
    sizes = {arm: held for arm, held in sized.items() if held}
    offered = {
        arm: list(enumerate_candidates(space_of_arm(served[arm], found.evidence.arms[arm], workload), rejected))
        for arm in sizes
    }
    parts = {arm: chunks(candidates, sizes[arm].load) for arm, candidates in offered.items()}
    evaluate = ReplicaEvaluator(goal.targets, calibration)
    tables = iter(gather(executor, evaluate, list(chain.from_iterable(parts.values())), half(progress, 1)))
    searches = {}
    for arm, candidates in offered.items():
        evaluated = islice(tables, len(parts[arm]))
        table = table_of(candidates, sizes[arm].load, evaluated, goal.targets, rejected)
        if table.candidates:
            searches[arm] = FleetSearch(table)
    ways = tuple(ways_of(found, list(searches), quality.routes, bought))
    if not ways:
        raise InfeasibleError(f"no recorded model can be bought or served: {rejected}")
    ground = JointSearchSpace(found, _weights(found, quality), ways, searches, sizes, rate)
    return JointProblem(workload, quality, goal, JointSearch(ground), rejected, cv)


def targets_of(quality: WorkloadQuality) -> tuple[tuple[str, float], ...]:
    """The shares to solve: over all, then by task."""
    return (("", quality.solve.least), *((task, share.least) for task, share in quality.each.items()))


def _weights(found: OptionSet, quality: WorkloadQuality) -> np.ndarray:
    """Weight of each task in the traffic."""
    counts = np.bincount(found.task, minlength=len(found.tasks)).astype(float)
    if quality.mix:
        counts = np.array([quality.mix.get(task, 0.0) for task in found.tasks])
    return np.asarray(counts / counts.sum())


def _arrivals(workload: Workload) -> tuple[float, float]:
    """Questions per second to hold, and the variability of their gaps."""
    if workload.trace is None:
        return float(workload.rate_per_s or 0.0), 1.0 if workload.cv is None else workload.cv
    asked = demand_of(recorded_trace(workload), workload.peak or DEFAULT_PEAK)
    return asked.rate_per_s, asked.window_cv


def _buyable_models(arms: list[int], found: OptionSet, goal: Goal, rejected: RejectionTally) -> Iterator[int]:
    """Arms whose dollars are recorded, and whose recorded latencies keep the objectives."""
    for arm in arms:
        who = str(found.evidence.arms[arm])
        usd = [o.asked.usd[o.asked.arm == arm] for o in found.options if arm in o.arms]
        if goal.objective != "usd":
            rejected.add("no API", f"{who}: what an API takes in {goal.objective} is not known")
        elif any(np.isnan(each).any() for each in usd):
            rejected.add("no API price", f"{who}: no dollars are recorded")
        elif late := _late(found.evidence, arm, goal.targets):
            rejected.add("API latency", f"{who}: {late}")
        else:
            yield arm


def _late(evidence: Evidence, arm: int, targets: tuple[LatencyTarget, ...]) -> str:
    """The objective that an API's recorded latencies do not keep; empty if they keep all."""
    rows = evidence.rows
    mine = rows.arm == arm
    first, last = rows.ttft_s[mine], rows.latency_s[mine]
    made = rows.output_tokens[mine] + np.nan_to_num(rows.reasoning_tokens[mine])
    seen = {"ttft_s": first, "e2e_s": last, "tpot_s": (last - first) / np.maximum(made - 1, 1)}
    for target in targets:
        values = seen[target.quantity]
        if np.isnan(values).all():
            return f"{target.quantity[:-2].upper()} is not recorded"
        if np.nanquantile(values, target.quantile) > target.most_s:
            return f"{target.quantity[:-2].upper()} is recorded at more than {target.most_s:g} s"
    return ""


def _facts_model(arm: RecordedModel, quality: WorkloadQuality, rejected: RejectionTally) -> Model | None:
    """The model of facts that a recorded name stands for."""
    named = quality.models.get(str(arm), quality.models.get(arm.model, arm.model))
    try:
        return model(named)
    except (UnknownIdError, FactError):
        rejected.add("no facts of the model", f"{arm}: its architecture is not known; quality.models can name it")
        return None


def _block_tokens(who: Model, workload: Workload) -> int:
    """Tokens of a prefix block that suits every engine allowed that shares any with a model; 0 where none does."""
    blocks = [engine.prefix_block_tokens for engine in space_of(workload).engines if not who.recurrent]
    return lcm(*filter(None, blocks)) if any(blocks) else 0


def _sizes(arm: int, found: OptionSet, rate: float, cv: float, block: int) -> CallBuckets | None:
    """The calls of an arm over all options, in buckets; None where tokens are not recorded."""
    parts = [(o.asked, o.asked.arm == arm) for o in found.options if arm in o.arms]
    inputs = np.concatenate([asked.input_tokens[mine] for asked, mine in parts])
    outputs = np.concatenate([asked.output_tokens[mine] for asked, mine in parts])
    if np.isnan(inputs + outputs).any():
        return None
    outputs = np.maximum(outputs, 1.0)
    edges = edges_of(points(inputs, outputs), GRID)
    longest = float((inputs + outputs).max())
    bare = CallBuckets(
        SlicedLoad(UniformRequests(inputs, outputs), np.ones(len(inputs)), cv),
        (edges.input, edges.output),
        longest,
        block,
    )
    cached = bare.cached(inputs, np.concatenate([asked.common_tokens[mine] for asked, mine in parts]))
    keys, of, count = np.unique(bare.bucket(inputs, outputs, cached), return_inverse=True, return_counts=True)
    means = [np.bincount(of, values, len(keys)) / count for values in (inputs, outputs, cached)]
    return replace(bare, load=SlicedLoad(UniformRequests(*means), rate * count / count.sum(), cv))


def space_of_arm(who: Model, arm: RecordedModel, workload: Workload) -> DeploymentSpace:
    """Every way to serve a recorded model, in the format that it was recorded in where that is known."""
    space = replace(space_of(workload), models=(who,))
    known = arm.format.lower() in ids("formats")
    return replace(space, formats=(arm.format.lower(),)) if known else space


def half(progress: Progress, number: int) -> Progress:
    """The first half of a work (0) or the second (1), told as a part of the whole."""
    return lambda done, total: progress(number * total + done, 2 * total)


def modelling_notes(quality: WorkloadQuality, found: OptionSet, shares: Mapping[int, float]) -> Iterator[str]:
    """What of a plan is modelled rather than recorded.

    shares: traffic by the number of the option that gets it.
    """
    if quality.lengths is not None:
        yield "modelled: lengths of replies without recorded tokens, as quality.lengths declares"
    used = [found.options[number] for number in shares]
    if quality.checker and any(o.name in ("stop_on_success", "repair") for o in used):
        rates = quality.checker
        yield f"modelled: a checker accepts {rates.tpr:.0%} of right and {rates.fpr:.0%} of wrong answers, at no cost"
