"""Claims about fleets, each as its own benchmark last found it; `claims.py` writes the table."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from claims_strategies import Claim
from fleet_spot import SpotRow
from record import RESULTS


def found(name: str) -> Any:
    """The figures of a benchmark's last result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]


def _times(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f} times"


def semi_pd() -> list[Claim]:
    """Latency of a DeepSeek model, and calls within objectives of a Llama model, against SGLang."""
    claims = found("fleet_semi_pd")["claims"]
    how = "recorded lengths (Azure 2023, conversation); modelled: arrivals, steps, shares of devices, objectives"
    return [
        Claim(
            "semi-PD: mean end-to-end latency on DeepSeek models",
            "1.27 to 2.58 times better (arXiv 2504.19867)",
            f"{_times(claims['latency'])} better than prompts first, by rate (fleet_semi_pd.md)",
            how,
            "modelled",
        ),
        Claim(
            "semi-PD: more calls within objectives on Llama models",
            "1.55 to 1.72 times (arXiv 2504.19867)",
            f"{_times(claims['goodput_pools'])} against pools apart, {_times(claims['goodput'])} against prompts first,"
            " by objectives (fleet_semi_pd.md)",
            how,
            "modelled",
        ),
    ]


def faults() -> Claim:
    """C4's efficiency from what faults take."""
    figures = found("fleet_faults")
    return Claim(
        "C4: efficiency of training from faults seen and isolated sooner, and fewer collisions of flows",
        "30 to 45 % (arXiv 2406.04594)",
        f"30 to {figures['modelled']:.1%} with both losses by the fault model, to {figures['with_network']:.1%} with"
        " both as published (fleet_faults.md)",
        "recorded: faults of Llama 3's run, C4's 15 % and 30 % of communication; modelled: loss by faults",
        "modelled",
    )


def spot() -> Claim:
    """SkyServe's SpotHedge on recorded zones."""
    figures = found("fleet_spot")
    rows = [one["row"] for one in figures["judged"] if one["row"]["policy"] == "spot_hedge" and one["rule"] == "worst"]
    told = []
    for attempt in sorted({row["attempt"] for row in rows}):
        own = [SpotRow(**row) for row in rows if row["attempt"] == attempt]
        saved = [float(np.mean([row.saved(ratio) for row in own])) for ratio in figures["price_ratios"].values()]
        within = float(np.mean([row.within for row in own]))
        told.append(f"{min(saved):.0%} to {max(saved):.0%} with no more calls {attempt}, {within:.1%} within")
    return Claim(
        "SkyServe: SpotHedge costs less than replicas on demand",
        "43 % (arXiv 2411.01438)",
        f"{'; '.join(told)}, by the price of spot (fleet_spot.md)",
        "recorded: capacity of ten spot zones, arrivals and lengths, prices; modelled: steps, start-up, notice",
        "modelled",
    )


def spot_latency() -> Claim:
    """SkyServe's latencies against those of a fixed share of spot."""
    figures = found("fleet_spot_latency")
    better = np.exp(np.mean(np.log([one["better"] for one in figures["lines"]]), axis=0))
    records = len(figures["lines"])
    near = [abs(ours / theirs - 1) <= 0.2 for ours, theirs in zip(better, figures["published"], strict=True)]
    return Claim(
        "SkyServe: latency of SpotHedge against a fixed share of spot",
        "p50, p90, p99 2.3, 2.1, 2.1 times better (arXiv 2411.01438)",
        f"{better[0]:.2f}, {better[1]:.2f}, {better[2]:.2f} times better in the mean of {records} records, "
        f"{sum(near)} of 3 within 20 % of the published (fleet_spot_latency.md)",
        "recorded: capacity of ten spot zones, arrivals and lengths; modelled: steps, start-up, notice",
        "modelled",
    )


def switching() -> Claim:
    """FastSwitch's groups beside the steps against pages that steps wait for."""
    figures = found("fleet_switching")
    return Claim(
        "FastSwitch: tails of TTFT and of the time between tokens under changing priorities",
        "1.4 to 11.2 times better (arXiv 2411.18424)",
        f"{_times(figures['stressed'])} better where switches of pages take the share of p99 that is published, "
        f"{_times(figures['overloaded'])} where both are overloaded; between any ratio can be had, and the load is not "
        "stated where we can read it (fleet_switching.md)",
        "recorded: lengths (Azure 2023, conversation); modelled: arrivals, steps, host link, 10 us a copy",
        "modelled",
    )


def jobs() -> Claim:
    """Singularity's tiers against a static partition on Philly's jobs."""
    figures = found("fleet_jobs")
    ours = next(one for one in figures["ends"] if one["policy"] == "gpu_fraction")
    short_of = [name for name, tier in ours["tiers"].items() if tier["received"] < tier["promise"]]
    return Claim(
        "Singularity: work of shared, elastic tiers against a static partition at the same promises",
        "target: 20 points more, no tier below its fraction, no work lost",
        f"{figures['points']:+.1f} points on {figures['shared_gpus']} GPUs in place of {figures['static_gpus']}, "
        f"{'no tier' if not short_of else ' and '.join(short_of)} below its fraction, {ours['lost_gpu_h']:g} GPU-hours "
        "of work lost (fleet_jobs.md)",
        "recorded: Philly's submissions, durations, GPUs and virtual clusters; modelled: nodes, tiers, restarts",
        "modelled",
    )


def scaling() -> Claim:
    """Our forecast against three published scaling policies."""
    rows = [one for one in found("fleet_scaling")["policies"] if one["policy"] in {"kpa", "hpa", "dynamo"}]
    told = []
    for one in rows:
        saved, more = (one["forecast"][name][0] for name in ("saved", "more"))
        told.append(f"{one['trace']} {one['policy']} {saved:+.0%} hours, {100 * more:+.1f}")
    held = sum(one["forecast"]["saved"][0] > 0 and one["forecast"]["more"][0] >= 0 for one in rows)
    return Claim(
        "forecast scaling against KPA, HPA and Dynamo, 180 s to start",
        "target: fewer replica-hours at no fewer calls within objectives",
        f"in {held} of {len(rows)}; hours saved and points of calls more: {', '.join(told)} (fleet_scaling.md)",
        "recorded: arrivals and lengths (Azure 2023); modelled: steps, start-up",
        "modelled",
    )


def power() -> Claim:
    """POLCA's servers more on the same feed."""
    runs = [one for one in found("fleet_power")["runs"] if one["policy"] == "polca"]

    def held(one: dict[str, float]) -> bool:
        return not one["over_s"] and not one["brakes"] and one["worst_high_p99"] < 0.05 and one["low_p50"] < 0.05

    watts_beside = sorted({one["other_w"] for one in runs})
    told = {watts: [held(one) for one in runs if one["other_w"] == watts] for watts in watts_beside}
    shown = ", ".join(f"{sum(each)} of {len(each)} at {watts:,.0f} W" for watts, each in told.items())
    return Claim(
        "POLCA: 30 % more servers on a feed, its budget never passed, no brake",
        "30 % with high priority less than 5 % later at p99 and low at p50 (arXiv 2308.12908)",
        f"held on {shown} that a server draws beside its devices, of two traces apart and together (fleet_power.md)",
        "recorded: steps and watts of BLOOM, arrivals and lengths; modelled: queues, clocks; assumed: priorities",
        "modelled",
    )


def balancers() -> Claim:
    """Who removes most overload, and at what cost of moves."""
    told = []
    for load, rows in found("fleet_balance").items():
        best = min(rows, key=lambda name: (round(rows[name]["after"], 2), rows[name]["cost_s"]))
        removed = [1 - one["after"] / one["still"] for one in rows.values()]
        agents = rows["agents"]["cost_s"] / rows[best]["cost_s"]
        told.append(
            f"at a load of {load} {min(removed):.0%} to {max(removed):.0%} removed, most for least by {best}, "
            f"agents at {agents:.2f} of its cost of moves"
        )
    return Claim(
        "balancers, central and agents: overload removed at the cost of moves",
        "target: which wins when",
        f"{'; '.join(told)} (fleet_balance.md)",
        "recorded: a month of loads of containers; modelled: nodes, services, seconds of a move",
        "modelled",
    )


def cache() -> Claim:
    """Cache tiers against the bound of reuse, and first tokens sooner by what is spared less the loads."""
    told = []
    for trace, rows in found("fleet_cache").items():
        best = [one for one in rows["runs"] if one["of_bound"] >= 0.9]
        off = [
            abs(one["change_s"] + one["spared_s"] - one["load_s"]) / one["spared_s"]
            for one in rows["apart"] if one["spared_s"]
        ]  # fmt: skip
        told.append(
            f"{trace.removeprefix('mooncake_').removesuffix('.jsonl')}: bound {rows['bound']:.0%}, at or above 90 % of "
            f"it {len(best)} of {len(rows['runs'])} (device alone {rows['runs'][0]['of_bound']:.0%}), first tokens "
            f"sooner by what is spared less loads within {max(off):.0%}"
        )
    return Claim(
        "cache tiers: blocks found against the bound of reuse, and first tokens",
        "target: 90 % of 38 % and 66 % of the blocks; 5 to 42 % hit today",
        f"{'; '.join(told)} (fleet_cache.md)",
        "recorded: arrivals, lengths and hashes of prefixes (Mooncake); modelled: steps, links, memory",
        "modelled",
    )


def fairness() -> list[Claim]:
    """A light tenant beside a flood, in the simulator and at the gateway."""
    runs = found("fleet_fairness")["runs"]
    flood = max(one["flood_per_s"] for one in runs)
    told = [f"{one['policy']} {one['ratio_p99']:.2f}" for one in runs if one["flood_per_s"] == flood]
    rules = found("gateway_tenants")["lines"]
    live = [f"{one['policy']} with {one['per_key']} places of a key {one['p99_ratio']:.2f}" for one in rules]
    target = "target: within 1.1 times alone"
    return [
        Claim(
            "fair share: p99 of the light tenant's first token beside a flood, on replicas that batch",
            target,
            f"at {flood:g}/s: {', '.join(told)} (fleet_fairness.md)",
            "recorded: lengths (Azure 2023, conversation); modelled: arrivals, steps",
            "modelled",
        ),
        Claim(
            "fair share: p99 of the light key's first token beside a flood, at the gateway",
            target,
            f"{', '.join(live)} (gateway_tenants.md)",
            "recorded: a gateway with its books and sockets; a stand-in that sleeps for the service",
            "modelled",
        ),
    ]


def adapters() -> Claim:
    """Loads of base models on recorded requests, against those that were recorded."""
    figures = found("fleet_adapters")
    recorded = figures["recorded"]["per_request"]
    near = min(figures["containers"], key=lambda one: abs(one["loads"] - recorded))
    return Claim(
        "adapters: loads a request as recorded",
        f"{recorded:.3f} loads a request (Alibaba, cluster-trace-v2026-GenAI)",
        f"{near['loads']:.3f} by {near['routing']} with {near['slots']} slot, {near['loads'] / recorded - 1:+.0%}; "
        "which adapter a request wanted is recorded nowhere, base models are (fleet_adapters.md)",
        "recorded: requests, loads and seconds of a load, order of base models; modelled: routing, arrivals",
        "modelled",
    )


def agents() -> list[Claim]:
    """Tools' share of agents' time, and what to do with caches in their waits."""
    figures = found("agent_designs")
    shares = [
        f"{name.rpartition('/')[2]} {one['tools']:.0%}, with its start {one['outside']:.0%}"
        for name, one in figures["tool_share"].items()
    ]
    best = [(one["factor"], one["best"]) for one in figures["gaps"]]
    flip = next((f"{factor} times as long {kept}" for factor, kept in best if kept != best[0][1]), "never another")
    return [
        Claim(
            "agents: share of a task's time in tools and starts",
            "56 to 74 % (AgentCgroup)",
            f"tools by its histograms of sessions {'; '.join(shares)}, by its repository's means (agent_designs.md)",
            "recorded: AgentCgroup's histograms, as published beside its text, starts of 30 tasks",
            "recorded",
        ),
        Claim(
            "agents: caches kept, offloaded or dropped while tools run",
            "target: the best flips where arithmetic says",
            f"least prefill {best[0][1]} at recorded waits, {flip} (agent_designs.md)",
            "recorded: calls, tokens and waits of runs of agents; modelled: steps, memory, links",
            "modelled",
        ),
    ]


def over_time() -> Claim:
    """A plan over time against fixed fleets."""
    told = []
    for name, one in found("fleet_over_time").items():
        savings = one["plan"]["savings"]
        words = [f"{x['mean']:.0%} ({x['low']:.0%} to {x['high']:.0%}) less than {x['against']}" for x in savings]
        told.append(f"{name}: {' and '.join(words) or 'no fixed fleet held'}")
    return Claim(
        "a plan over time costs less than the best fixed fleet on time that none was chosen on",
        "target: 30 % at the same confidence, three traces",
        f"{'; '.join(told)} (fleet_over_time.md)",
        "recorded: rates by ten minutes, lengths, zones; modelled: arrivals within steps, steps, start-up",
        "modelled",
    )


def lines() -> list[Claim]:
    """All of them."""
    systems = [*semi_pd(), faults(), spot(), spot_latency(), switching(), power(), jobs()]
    return [*systems, scaling(), over_time(), balancers(), cache(), *fairness(), adapters(), *agents()]
