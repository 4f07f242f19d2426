"""Scaling policies on recorded load: replica-hours and the share of calls within objectives, on time not tuned on.

A policy fills a share of what a replica can take (`HEADROOMS`), chosen on the first half of a trace: the cheapest that
held `GOAL`, else the one that held most. It is judged on the second half, which it has not seen.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import numpy as np

from comptroller.costs.deployment import PrecisionRecipe
from comptroller.costs.steptable import StepTable
from comptroller.errors import FactError
from comptroller.serving.elastic import ElasticOutcome
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import names
from comptroller.serving.scaling import START_UP_S, ScalingSettings, scale
from comptroller.work.call import CallTable
from record import table, write
from served import recorded, step_table

TRACES = {"code": "azure_2023_code.csv", "conversation": "azure_2023_conv.csv"}
FP8 = "fp8_e4m3"
TTFT_S, TPOT_S = 5.0, 0.1
GOAL = 0.95
HEADROOMS = (0.4, 0.55, 0.7, 0.85, 1.0)
PEAK_REPLICAS = 10
"""Copies of the trace are laid over each other until its busiest minute needs so many replicas: whole replicas then are
a tenth of it, and not half."""
JITTER_S = 5.0
"""By how much each copy of a call is moved at most: several tenants with the same minutes, not the same seconds."""


@dataclass(frozen=True)
class ScalingRow:
    """A policy on a trace: what was chosen on the first half, what came of it on the second."""

    trace: str
    policy: str
    headroom: float
    tuned_share: float
    share: float
    replica_h: float
    ttft_p95_s: float


def within(outcome: ElasticOutcome) -> float:
    """Share of calls within the objectives."""
    ttft, tpot = outcome.latency_s("ttft_s"), outcome.latency_s("tpot_s")
    return float(((ttft <= TTFT_S) & ((tpot <= TPOT_S) | ~np.isfinite(tpot))).mean())


def capacity(one: StepTable, tokens: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Calls a second that one replica takes with 99 % within the objectives, and how many are then in flight."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, tokens[0].size, 800)
    waits = np.cumsum(rng.exponential(1.0, rows.size))
    low, high, in_flight = 0.0, 20.0, 1.0
    for _ in range(9):
        rate = 0.5 * (low + high)
        calls = CallTable.of(arrival_s=waits / rate, input_tokens=tokens[0][rows], output_tokens=tokens[1][rows])
        found = simulate(SimulatedFleet.uniform(one, 1), calls)
        tpot = found.tpot_s
        held = float(((found.ttft_s <= TTFT_S) & ((tpot <= TPOT_S) | ~np.isfinite(tpot))).mean()) >= 0.99
        if held:
            low, in_flight = rate, rate * float(np.nanmean(found.e2e_s))
        else:
            high = rate
    return low, in_flight


def halves(name: str, per_s: float) -> tuple[list[CallTable], int]:
    """The two halves of a trace, as many copies of it as its busiest minute needs replicas, and how many those are."""
    trace = recorded(name)
    busiest = np.bincount((trace.arrival_s // 60).astype(int)).max() / 60
    copies = max(1, round(PEAK_REPLICAS * per_s / busiest))
    rng = np.random.default_rng(1)
    arrival_s = np.concatenate([trace.arrival_s + rng.uniform(0, JITTER_S, len(trace)) for _ in range(copies)])
    order = np.argsort(arrival_s, kind="stable")
    columns = [np.tile(column, copies)[order] for column in (trace.input_tokens, trace.output_tokens)]
    arrival_s, middle = arrival_s[order], arrival_s.max() / 2
    cut = int(np.searchsorted(arrival_s, middle))
    parts = [(slice(0, cut), 0.0), (slice(cut, None), middle)]
    return [
        CallTable.of(arrival_s=arrival_s[rows] - start, input_tokens=columns[0][rows], output_tokens=columns[1][rows])
        for rows, start in parts
    ], copies


def judged(label: str, one: StepTable) -> tuple[list[ScalingRow], dict[str, float]]:
    """Every policy on a trace."""
    trace = recorded(TRACES[label])
    per_s, in_flight = capacity(one, (trace.input_tokens, trace.output_tokens))
    (seen, unseen), copies = halves(TRACES[label], per_s)
    fleet = SimulatedFleet.uniform(one, 2 * PEAK_REPLICAS)

    def run(calls: CallTable, policy: str, headroom: float, first: int) -> ElasticOutcome:
        settings = ScalingSettings(policy, headroom * in_flight, headroom * per_s, first=first)
        return scale(fleet, calls, settings)

    start = max(1, round(len(seen) / float(seen["arrival_s"].max()) / per_s))
    rows = []
    for policy in names("scaling"):
        tried = []
        for headroom in HEADROOMS if policy != "none" else (1.0,):
            found = run(seen, policy, headroom, start if policy != "none" else PEAK_REPLICAS)
            tried.append((within(found), found.replica_hours, headroom))
        holding = [row for row in tried if row[0] >= GOAL]
        share, _, headroom = min(holding, key=lambda row: row[1]) if holding else max(tried)
        found = run(unseen, policy, headroom, start if policy != "none" else PEAK_REPLICAS)
        late = np.quantile(found.latency_s("ttft_s"), 0.95)
        rows.append(ScalingRow(label, policy, headroom, share, within(found), found.replica_hours, float(late)))
        print(rows[-1], flush=True)
    return rows, {"per_s": per_s, "in_flight": in_flight, "copies": copies, "calls": len(unseen), "start": start}


def text_of(rows: list[ScalingRow], about: dict[str, dict[str, float]]) -> str:
    """The table, a row for each policy on each trace."""
    cells = [
        [x.trace, x.policy, f"{x.headroom:g}", f"{x.tuned_share:.1%}", f"{x.share:.1%}", f"{x.replica_h:.2f}",
         f"{x.ttft_p95_s:.3g} s"]
        for x in rows
    ]  # fmt: skip
    heads = ("trace", "policy", "filled", "within, first half", "within, unseen half", "replica-hours", "TTFT p95")
    told = "; ".join(
        f"{label}: {x['copies']:g} copies, {x['calls']:,.0f} calls in the unseen half, a replica takes "
        f"{x['per_s']:.2f} a second" for label, x in about.items()
    )  # fmt: skip
    return (
        "# Scaling policies on recorded load\n\nLlama 3.1 8B in fp8 on one L4 each, the shipped calibration: modelled. "
        f"Arrivals and lengths are recorded (Azure 2023), in copies moved by up to {JITTER_S:g} s. Objectives: TTFT "
        f"{TTFT_S:g} s, TPOT {TPOT_S:g} s; {START_UP_S:g} s from a decision until a replica takes calls. What share of "
        "a replica a policy fills is chosen on the first half: the cheapest of "
        f"{', '.join(map(str, HEADROOMS))} that held {GOAL:.0%}, else the one that held most. `none` has "
        f"{PEAK_REPLICAS} replicas, those of the busiest minute. {told}.\n\n{table(heads, cells)}"
    )


def main() -> int:
    """Run, print and write."""
    one = step_table("l4", PrecisionRecipe(FP8, FP8, FP8))
    rows: list[ScalingRow] = []
    about: dict[str, dict[str, float]] = {}
    try:
        for label in TRACES:
            found, about[label] = judged(label, one)
            rows += found
    except FactError as error:
        print(f"fleet_scaling: {error}", file=sys.stderr)
        return 2
    text = text_of(rows, about)
    print(text)
    write("fleet_scaling", {"rows": [asdict(row) for row in rows], "about": about}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
