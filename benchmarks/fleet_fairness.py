"""A light tenant beside a flooding one: its first tokens under each policy against those it has alone."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace

import numpy as np

from comptroller.costs.steptable import StepTable
from comptroller.errors import FactError
from comptroller.serving.engine import simulate
from comptroller.serving.fairness import jain_index
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet
from comptroller.serving.jobs import calls_of
from comptroller.serving.outcome import EngineOutcome
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace
from record import table, write
from served import WORDS, recorded, step_table

TRACE = "azure_2023_conv.csv"
REPLICAS = 8
SPAN_S = 600.0
LIGHT_PER_S = 1.0
FLOODS_PER_S = (120.0, 360.0)
"""The first keeps the fleet busy, the second is about twice what it carries: a queue that only grows."""
GOAL = 1.1
LIGHT, FLOOD = 0, 1


@dataclass(frozen=True)
class FairnessPolicy:
    """Who chooses, and in which order; a step's prompt tokens in place of the engine's 8,192, if given."""

    words: str
    routing: str = "least_request"
    scheduling: str = "fcfs"
    chunk_tokens: int = 0


POLICIES = (
    FairnessPolicy("first come, first served"),
    FairnessPolicy("fair share", scheduling="fair_share"),
    FairnessPolicy("virtual token counter", scheduling="vtc"),
    FairnessPolicy("priority", scheduling="priority"),
    FairnessPolicy("priority, preemptive", scheduling="priority_preemptive"),
    FairnessPolicy("priority, preemptive, steps of 512", scheduling="priority_preemptive", chunk_tokens=512),
    FairnessPolicy("virtual token counter, steps of 512", scheduling="vtc", chunk_tokens=512),
    FairnessPolicy("shuffle sharding", "shuffle_shard"),
    FairnessPolicy("shuffle sharding, virtual token counter", "shuffle_shard", "vtc"),
)


SHARDED = FairnessPolicy("shuffle sharding", "shuffle_shard")
HASHES = range(6)


@dataclass(frozen=True)
class FairnessLine:
    """One policy beside one flood. Ratios are against the light tenant alone on the same fleet, under that policy.

    flood_tokens_per_s: what the flooding tenant got while requests arrived; jain: of tokens that the two asked for and
    got by the end of the arrivals.
    """

    policy: str
    flood_per_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    alone_p99_s: float
    ratio_p99: float
    ratio_p50: float
    flood_tokens_per_s: float
    jain: float


def crowd(trace: RequestTrace, flood_per_s: float, seed: int) -> CallTable:
    """The light tenant's requests and the flood's, lengths drawn from the trace, Poisson arrivals; the light one has
    the higher priority."""
    rng = np.random.default_rng(seed)
    parts = []
    for tenant, rate in ((LIGHT, LIGHT_PER_S), (FLOOD, flood_per_s)):
        own = np.random.default_rng([seed, tenant])
        count = own.poisson(rate * SPAN_S)
        rows = own.integers(0, len(trace), count)
        parts.append((np.sort(own.uniform(0, SPAN_S, count)), rows, np.full(count, tenant)))
    arrival_s, rows, tenant = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((rng.random(len(rows)), arrival_s))
    drawn = replace(
        trace,
        arrival_s=arrival_s[order],
        input_tokens=trace.input_tokens[rows][order],
        output_tokens=trace.output_tokens[rows][order],
        tenant=tenant[order],
        tenants=("light", "flood"),
        priority=(tenant[order] == LIGHT).astype(float),
    )
    return calls_of(drawn)


def got(found: EngineOutcome, rows: np.ndarray) -> float:
    """Tokens that some requests had got by the end of the arrivals: whole prompts, and outputs as they came."""
    first, last = found.requests.first / 2.0**38, found.requests.last / 2.0**38
    begun = rows & (found.requests.first >= 0) & (first < SPAN_S)
    share = np.clip((SPAN_S - first) / np.maximum(last - first, 1e-9), 0.0, 1.0)
    return float((found.jobs.prompt + share * found.jobs.output)[begun].sum())


def line(policy: FairnessPolicy, one: StepTable, calls: CallTable, flood_per_s: float, seed: int = 0) -> FairnessLine:
    """What a run shows, beside the light tenant alone."""
    steps = replace(one, chunk_tokens=policy.chunk_tokens) if policy.chunk_tokens else one
    policies = ServingPolicies(policy.routing, scheduling=policy.scheduling, seed=seed)
    fleet = replace(SimulatedFleet.uniform(steps, REPLICAS, policies), tenants=2)
    light = calls["key"] == LIGHT
    found, alone = simulate(fleet, calls), simulate(fleet, calls.take(light))
    ttft_s = found.ttft_s[light]
    mine, theirs = (got(found, rows) for rows in (light, ~light))
    asked = [(calls["input_tokens"] + calls["output_tokens"])[rows].sum() for rows in (light, ~light)]
    p99, base = np.nanpercentile(ttft_s, 99), np.nanpercentile(alone.ttft_s, 99)
    return FairnessLine(
        policy.words,
        flood_per_s,
        float(np.nanmedian(ttft_s)),
        float(p99),
        float(base),
        float(p99 / base),
        float(np.nanmedian(ttft_s) / np.nanmedian(alone.ttft_s)),
        theirs / SPAN_S,
        jain_index([mine / asked[0], theirs / asked[1]]),
    )


WHY = """An order in the queue, and preemption, take the wait away (from hundreds of seconds to a third of one) but not
the step that is under way and the flood's requests that decode and prefill beside: on a replica that the flood may use
a first token takes about twice as long as on an idle one even while nothing waits. Only replicas that the flood may
not use bring it to what it is alone; shuffle sharding leaves each tenant three quarters of them, which is what the
flood then loses where it would have taken all."""
HEADS = (
    *("policy", "flood", "light TTFT p50", "p99", "p99 alone", "p99, x alone", "p50, x alone"),
    *("tokens/s of the flood", "Jain's index of shares got"),
)


def cells(one: FairnessLine) -> list[str]:
    """A row of the table."""
    times = (f"{t:.3g} s" for t in (one.ttft_p50_s, one.ttft_p99_s, one.alone_p99_s))
    ratios = (f"{one.ratio_p99:.3g}", f"{one.ratio_p50:.3g}")
    return [one.policy, f"{one.flood_per_s:g}/s", *times, *ratios, f"{one.flood_tokens_per_s:,.0f}", f"{one.jain:.2f}"]


def main() -> int:
    """Run, print and write."""
    try:
        trace = recorded(TRACE)
    except FactError as error:
        print(f"fleet_fairness: {error}", file=sys.stderr)
        return 2
    one = step_table()
    lines = [line(policy, one, crowd(trace, rate, 0), rate) for rate in FLOODS_PER_S for policy in POLICIES]
    hashes = [line(SHARDED, one, crowd(trace, FLOODS_PER_S[-1], 0), FLOODS_PER_S[-1], seed) for seed in HASHES]
    ratios = sorted(each.ratio_p99 for each in hashes)
    within = [f"{each.policy} at {each.flood_per_s:g}/s" for each in lines if each.ratio_p99 <= GOAL]
    text = (
        f"# A light tenant beside a flooding one\n\n{REPLICAS} replicas ({WORDS}). The light tenant asks"
        f" {LIGHT_PER_S:g} times a second, the other floods; arrivals are Poisson over {SPAN_S / 60:.0f} minutes"
        f" (modelled), lengths are those of {TRACE} (recorded). Alone is the light tenant on the same fleet under the"
        " same policy; under priorities it has the higher one. The target is a 99th percentile of its time to first"
        f" token within {GOAL - 1:.0%} of alone: {'; '.join(within) or 'none'}.\n\n"
        f"{table(HEADS, [cells(each) for each in lines])}\n\n{WHY}"
    )
    text += (
        f"\n\nWho shares with whom is a hash: over {len(ratios)} of them, at the larger flood, the ratio under shuffle"
        f" sharding is {ratios[0]:.2f} to {ratios[-1]:.3g}, {ratios[len(ratios) // 2]:.2f} in the middle,"
        f" {sum(ratio <= GOAL for ratio in ratios)} of {len(ratios)} within the target; where both have the same six"
        " replicas the light one waits like the flood."
    )
    print(text)
    figures = {"runs": [asdict(each) for each in lines], "hashes": [asdict(each) for each in hashes]}
    write("fleet_fairness", figures, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
