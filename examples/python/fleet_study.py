"""A fleet study on the Azure trace: what share of an hour's requests comes in time, as traffic and the fleet grow.

    python examples/python/fleet_study.py azure_2023_conv.csv    (github.com/Azure/AzurePublicDataset, CC-BY 4.0)

Without a file it is of a stand-in: twenty minutes whose rate and lengths are those of the trace on average, drawn.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from comptroller import Plan, load_plan, simulate
from comptroller.planning.simulation import PlanSimulation, TraceReplaySettings
from comptroller.work.trace import RequestTrace
from comptroller.work.traces import read_trace

PLAN = load_plan("tests/golden/chat.json")


def drawn(minutes: int = 20, rate_per_s: float = 5.5, seed: int = 0) -> RequestTrace:
    """A stand-in: the rate swings by a half within ten minutes; 1,155 tokens in and 211 out on average."""
    rng = np.random.default_rng(seed)
    at_s = np.sort(rng.uniform(0, 60 * minutes, rng.poisson(60 * minutes * rate_per_s * 1.5)))
    rate = (1 + 0.5 * np.sin(2 * np.pi * at_s / 600)) / 1.5
    at_s = at_s[rng.random(at_s.size) < rate]
    prompts = np.clip(rng.lognormal(np.log(790), 0.87, at_s.size), 1, 14_050)
    answers = np.clip(rng.lognormal(np.log(150), 0.83, at_s.size), 1, 1_000)
    return RequestTrace(at_s - at_s[0], prompts.astype(int), answers.astype(int), source="a stand-in, drawn")


def fleets(plan: Plan, counts: tuple[int, ...]) -> Iterator[tuple[int, Plan]]:
    """The plan with other numbers of replicas of its only pool."""
    (service,) = plan.services
    (pool,) = service.deployment.pools
    for count in counts:
        pools = (pool.model_copy(update={"replicas": count}),)
        deployment = service.deployment.model_copy(update={"pools": pools})
        yield count, plan.model_copy(update={"services": (service.model_copy(update={"deployment": deployment}),)})


def told(what: str, outcome: PlanSimulation) -> str:
    """One line: the percentiles that the plan limits, what came in time, and what a thousand of those cost."""
    ttft, tpot = (entry.seen_s * 1e3 for entry in outcome.attained())
    usd = 1000 * outcome.outcome.meter_usd / max(outcome.within.sum(), 1)
    return f"{what:<18} {ttft:10,.0f} {tpot:9.1f} {outcome.attainment:9.1%} {usd:12.2f}"


trace = read_trace(Path(sys.argv[1])) if len(sys.argv) > 1 else drawn()
span_s = float(trace.arrival_s[-1])
print(f"{trace.source}: {len(trace):,} requests over {span_s / 60:.0f} minutes, {len(trace) / span_s:.2f} a second")
print(f"{'fleet and traffic':<18} {'TTFT, ms':>10} {'TPOT, ms':>9} {'in time':>9} {'$/1,000 of':>12}")
for count, plan in fleets(PLAN, (1, 2, 3)):
    for scale in (1, 2, 4):
        outcome = simulate(plan, trace, TraceReplaySettings(scale=scale))
        print(told(f"{count} x B200, {scale}x", outcome))
crowded = TraceReplaySettings(scale=4)
for routing in ("round_robin", "least_request", "power_of_two"):
    print(told(routing, simulate(PLAN, trace, replace(crowded, routing=routing))))
