"""Stale telemetry herds: the older the router's view, the more requests run to the same replica."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace

import numpy as np

from comptroller.costs.steptable import StepTable
from comptroller.errors import FactError
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import RouterTelemetry, ServingPolicies, SimulatedFleet
from comptroller.serving.jobs import calls_of
from comptroller.work.call import CallTable
from record import table, write
from served import WORDS, recorded, step_table

TRACE = "azure_2023_conv.csv"
REPLICAS = 16
SCALE = 40.0
ROUTINGS = ("least_request", "power_of_two", "round_robin")
AGES_S = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""The view is taken this often and is visible this much later: between one and two ages old."""
SAMPLE_S = 0.25


@dataclass(frozen=True)
class Line:
    """One run. spread: standard deviation of requests on a replica over their mean, over time."""

    routing: str
    age_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    tpot_p99_s: float
    spread: float


def run(one: StepTable, calls: CallTable, routing: str, age_s: float) -> Line:
    """One routing at one age of the view."""
    fleet = replace(
        SimulatedFleet.uniform(one, REPLICAS, ServingPolicies(routing, seed=1)),
        telemetry=RouterTelemetry(period_s=age_s, delay_s=age_s),
    )
    outcome = simulate(fleet, calls, SAMPLE_S)
    on = np.array([sample.queued + sample.running for sample in outcome.series], float)
    on = on[on.sum(axis=1) > 0]
    return Line(
        routing,
        age_s,
        outcome.percentile("ttft_s", 50),
        outcome.percentile("ttft_s", 99),
        outcome.percentile("tpot_s", 99),
        float((on.std(axis=1) / on.mean(axis=1)).mean()),
    )


def main() -> int:
    """Run, print and write."""
    try:
        calls = calls_of(recorded(TRACE).scaled(SCALE))
    except FactError as error:
        print(f"herding: {error}", file=sys.stderr)
        return 2
    one = step_table()
    lines = [run(one, calls, routing, age_s) for age_s in AGES_S for routing in ROUTINGS]
    rows = []
    for number, age_s in enumerate(AGES_S):
        mine = lines[number * len(ROUTINGS) : (number + 1) * len(ROUTINGS)]
        rows.append([f"{age_s:g} s", *(f"{x.ttft_p99_s:.3g} s" for x in mine), *(f"{x.spread:.2f}" for x in mine)])
    heads = ("age of the view", *(f"p99 TTFT, {r}" for r in ROUTINGS), *(f"imbalance, {r}" for r in ROUTINGS))
    text = (
        f"# Herding on stale telemetry\n\n{REPLICAS} replicas ({WORDS}); {TRACE} {SCALE:g} times as fast. The router "
        "sees the replicas as they were one to two ages ago. Imbalance is the standard deviation of requests per "
        f"replica over their mean, averaged over time.\n\n{table(heads, rows)}"
    )
    print(text)
    write("herding", {"runs": [asdict(line) for line in lines]}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
