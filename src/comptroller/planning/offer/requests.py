"""The choice space of plain requests: one class with the option "once", its sizes as questions of a known frequency."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.steady import UniformRequests
from comptroller.errors import InfeasibleError, InputError
from comptroller.planning.ground.executor import Progress, SearchExecutor, gather
from comptroller.planning.ground.nouns import Goal, Option
from comptroller.planning.ground.strategy_plays import OptionCalls, PlaySet, StrategyPlay
from comptroller.planning.offer.choices import CallBuckets, ChoiceSpace
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.evaluation import ReplicaEvaluator, chunks, table_of
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.offer.matched_pools import with_matched_pools
from comptroller.planning.offer.space import allowed_deployments, space_of
from comptroller.work.demand import TrafficDemand, demand
from comptroller.work.workload import Workload

GRID = (6, 6)
"""Buckets of request sizes, input x output: twice as many a side change the optimum by less than the model's error."""

ANYBODY = 0
"""The number under which all deployments stand: any model that the workload names may serve any request."""


def traffic_of(workload: Workload) -> TrafficDemand:
    """The sizes and the rate that a fleet must carry."""
    return demand(workload, GRID)


def load_of(traffic: TrafficDemand) -> SlicedLoad:
    """A demand as the costs take it."""
    sizes = UniformRequests(traffic.sizes.input_tokens, traffic.sizes.output_tokens)
    if traffic.cached_tokens is not None:
        sizes = replace(sizes, cached_tokens=traffic.cached_tokens)
    return SlicedLoad(sizes, traffic.rates_per_s, traffic.window_cv, traffic.longest_tokens, traffic.working_tokens)


def request_space(
    workload: Workload,
    goal: Goal,
    calibration: TimingCalibration,
    rejected: RejectionTally,
    progress: Progress,
    executor: SearchExecutor,
) -> ChoiceSpace:
    """Every deployment that may serve the requests of a workload, evaluated.

    Raises:
        InfeasibleError: nothing that is allowed fits its memory, has a price and runs the formats; says why.
        InputError: a cache tier for prompts that have nothing in common.
    """
    traffic = traffic_of(workload)
    if workload.cache_tier is not None and traffic.cached_tokens is None:
        raise InputError("cache_tier keeps prefix blocks, which the trace does not name; name them by columns.blocks")
    load = load_of(traffic)
    deployments = list(allowed_deployments(workload, space_of(workload), calibration, rejected))
    evaluate = ReplicaEvaluator(goal.targets, calibration)
    evaluated = gather(executor, evaluate, chunks(deployments, load), progress)
    table = with_matched_pools(table_of(deployments, load, evaluated, goal.targets, rejected), goal.targets)
    if not table.candidates:
        raise InfeasibleError(f"nothing that is allowed can serve {', '.join(workload.models)}: {rejected}")
    return once_space(DeploymentOffers(table), traffic)


def once_space(offers: DeploymentOffers, traffic: TrafficDemand) -> ChoiceSpace:
    """The space of one class with one option: every request is one call, answered once by anybody."""
    count = len(traffic)
    number, none = np.arange(count), np.zeros(count)
    sizes = traffic.sizes
    calls = OptionCalls(number, np.full(count, ANYBODY), sizes.input_tokens, sizes.output_tokens, none, none)
    roles = {"solver": ANYBODY}
    play = StrategyPlay("once", roles, roles, np.ones(count), calls)
    plays = PlaySet(None, number, np.zeros(count, np.int64), ("",), (play,))
    return ChoiceSpace(
        plays=plays,
        weight=np.ones(1),
        options=(Option(play, {ANYBODY: "own"}, {}),),
        offers={ANYBODY: offers},
        buckets={ANYBODY: CallBuckets(offers.table.load, traffic.longest_tokens)},
        rate_per_s=traffic.rate_per_s,
        arrival_cv=traffic.window_cv,
        frequency=traffic.rates_per_s,
    )
