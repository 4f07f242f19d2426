"""A simulation in figures: what the tables show and `--json` prints, raw and in SI."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from comptroller.costs.inference_units import per_solved
from comptroller.planning.simulation import QUANTITIES, PlanSimulation
from comptroller.quantities import round_significant
from comptroller.report.latency_spread import spread
from comptroller.report.perfetto import power_w
from comptroller.report.sharing_figures import sharing_records
from comptroller.report.task_figures import task_record
from comptroller.serving.fleet import stores_of
from comptroller.serving.state import PoolRole

POOLS = {PoolRole.MIXED: "mixed", PoolRole.PROMPT: "prefill", PoolRole.TOKEN: "decode"}

Record = dict[str, Any]


def solving(simulation: PlanSimulation) -> Record:
    """What came of questions: how many were solved, what a solved one took of everything the fleet used, its seconds.

    The unsolved are paid for by the solved; infinite where none is.
    """
    solved, outcome = simulation.solved, simulation.outcome
    if solved is None:
        return {}
    whole = {"usd": outcome.meter_usd, "j": outcome.meter_j, "gco2e": outcome.meter_gco2e}
    return {
        "strategy": simulation.asked.names["strategy"][0],
        "questions": int(solved.score.size),
        "solved": float(solved.score.sum()),
        "share": float(solved.score.mean()),
        **{f"{name}_per_solved": per_solved(amount, solved.score) for name, amount in whole.items()},
        "calls_per_question": len(simulation.asked) / solved.score.size,
        "answer_s": spread(solved.answer_s),
    }


def series(simulation: PlanSimulation) -> Record:
    """The time series over all ranks: requests waiting and running, tokens in cache, watts since the sample before."""
    samples = simulation.outcome.series
    watts = [float(power_w(simulation, a, b).sum()) for a, b in pairwise(samples)]
    return {
        "at_s": [sample.at_s for sample in samples],
        "waiting": [int(sample.queued.sum()) for sample in samples],
        "running": [int(sample.running.sum()) for sample in samples],
        "kv_tokens": [float(sample.kv_tokens.sum()) for sample in samples],
        "w": [math.nan, *watts] if samples else [],
    }


def spending_totals(simulation: PlanSimulation) -> dict[str, float]:
    """Totals of dollars, joules by phase, idle and waste, and grams; parts add up to their whole."""
    outcome = simulation.outcome
    used = float(outcome.requests.usd.sum())
    return {
        "usd": outcome.meter_usd,
        "usd_requests": used,
        "usd_idle": outcome.meter_usd - used,
        "j": outcome.meter_j,
        "j_prefill": float(outcome.requests.j_prefill.sum()),
        "j_decode": float(outcome.requests.j_decode.sum()),
        "j_waste": float(outcome.waste_j.sum()),
        "j_idle": float(outcome.idle_j.sum()),
        "gco2e": outcome.meter_gco2e,
    }


def token_counts(simulation: PlanSimulation) -> dict[str, int]:
    """Tokens of all calls by what became of them, preemptions, and calls with an adapter and loads for them."""
    outcome = simulation.outcome
    done = outcome.requests
    return {
        "prompt": int(simulation.asked["input_tokens"].sum()),
        "cached": int(done.cached.sum()),
        "loaded": int(done.loaded.sum()),
        "output": int(done.generated.sum()),
        "preemptions": int(done.preemptions.sum()),
        "recomputed": int(outcome.meters.recomputed_tokens.sum()),
        "adapter_calls": int(((outcome.jobs.adapter > 0) & (done.started >= 0)).sum()),
        "adapter_loads": int(done.adapter_loads.sum()),
    }


def session_counts(simulation: PlanSimulation) -> dict[str, int]:
    """Sessions of the calls, those of them whose calls all were done within the objectives, and those whose calls, as
    far as any replica had them, one had; empty without sessions."""
    session, requests = simulation.asked["session"], simulation.outcome.requests
    own = session >= 0
    if not own.any():
        return {}
    _, place = np.unique(session[own], return_inverse=True)
    rank = requests.prompt_rank[own]
    count = int(place.max()) + 1
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(first, place, np.where(rank >= 0, rank, first[place]))
    np.maximum.at(last, place, rank)
    late = np.bincount(place, ~simulation.within[own], count)
    return {"sessions": count, "within": int((late == 0).sum()), "one_replica": int((first == last).sum())}


def tier_records(simulation: PlanSimulation) -> list[Record]:
    """Per cache tier, over all replicas: blocks that fit, loaded, written and forgotten; seconds that loads took."""
    outcome = simulation.outcome
    stores, meters = stores_of(outcome.fleet), outcome.stores
    if meters is None:
        return []
    size = outcome.fleet.prefix_block_tokens
    records: dict[str, Record] = {}
    for place, (store, replica) in enumerate(stores):
        one = records.setdefault(
            store.name, {"tier": store.name, "blocks": 0, "loaded": 0, "written": 0, "forgotten": 0, "load_s": 0.0}
        )
        loads = int(meters.loads[place])
        one["blocks"] += store.tokens // size if size else 0
        one["loaded"] += loads
        one["written"] += int(meters.writes[place])
        one["forgotten"] += int(meters.evictions[place])
        one["load_s"] += loads * store.block_s(size * replica.table.kv_bytes_per_token)
    return list(records.values())


def service_records(simulation: PlanSimulation) -> list[Record]:
    """Per service, or pool of a split one: replicas, requests, busy share, share within the objectives, tails, mean
    power."""
    fleet = simulation.outcome.fleet
    owners = [(s.name, r.pool) for s, r in fleet.replicas() for _ in range(r.ranks)]
    replicas = Counter((service.name, replica.pool) for service, replica in fleet.replicas())
    return [
        {"service": part[0], "pool": POOLS[part[1]], "replicas": replicas[part]}
        | _of_ranks(simulation, part, np.array([owner == part for owner in owners]))
        for part in dict.fromkeys(owners)
    ]


def _of_ranks(simulation: PlanSimulation, part: tuple[str, PoolRole], ranks: Any) -> Record:
    outcome, (service, pool) = simulation.outcome, part
    rows = simulation.calls.text("service") == service
    if pool != PoolRole.MIXED:
        ran = outcome.requests.prompt_rank if pool == PoolRole.PROMPT else outcome.requests.token_rank
        rows = np.append(ranks, False)[ran]
    joules = float((outcome.meters.step_j + outcome.idle_j)[ranks].sum())
    return {
        "requests": int(rows.sum()),
        "busy": float(outcome.meters.busy_s[ranks].mean() / outcome.horizon_s),
        "within": float(simulation.within[rows].mean()) if rows.any() else math.nan,
        "ttft_p95_s": spread(outcome.ttft_s[rows])["p95"],
        "tpot_p95_s": spread(outcome.tpot_s[rows])["p95"],
        "w": joules / outcome.horizon_s,
    }


def record(simulation: PlanSimulation) -> Record:
    """A simulation as a document: raw figures in SI, six significant digits, unknown ones as None."""
    used, good = spending_totals(simulation), int(simulation.within.sum())
    requests = len(simulation.asked)
    figures: Record = {
        "plan": simulation.plan.name,
        "trace": simulation.trace.source,
        "scale": simulation.conditions.scale,
        "routing": simulation.routing,
        "requests": requests,
        "dropped": simulation.trace.dropped,
        "rate_per_s": simulation.trace.rate_per_s,
        "horizon_s": simulation.outcome.horizon_s,
        "ends": simulation.outcome.counts(),
        "within": good,
        "attainment": simulation.attainment,
        "goodput_per_s": simulation.goodput_per_s,
        "latency": {name: spread(getattr(simulation.outcome, name)) for name in QUANTITIES},
        "objectives": [
            {
                "quantity": entry.objective.quantity,
                "quantile": entry.objective.quantile,
                "most_s": entry.objective.most_s,
                "planned_s": entry.objective.predicted_s.value,
                "simulated_s": entry.seen_s,
                "share": entry.share,
                "holds": entry.holds,
            }
            for entry in simulation.attained()
        ],
        "tokens": token_counts(simulation),
        "sessions": session_counts(simulation) or None,
        "spent": used,
        "per_request": {key: used[key] / requests for key in ("usd", "j", "gco2e")},
        "per_request_within": {key: used[key] / good if good else math.nan for key in ("usd", "j", "gco2e")},
        "services": service_records(simulation),
        "sharing": sharing_records(simulation),
        "cache_tiers": tier_records(simulation),
        "questions": solving(simulation) or None,
        "tasks": task_record(simulation) or None,
        "series": series(simulation),
    }
    whole: Record = round_floats(figures)
    return whole


def round_floats(value: Any) -> Any:
    """A value of JSON with six significant digits in its numbers; what is not finite is None."""
    if isinstance(value, dict):
        return {key: round_floats(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [round_floats(inner) for inner in value]
    if isinstance(value, float):
        return round_significant(value) if math.isfinite(value) else None
    return value
