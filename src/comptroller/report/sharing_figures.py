"""Who shared a simulated fleet, in figures: what the tables show and `--json` prints, raw and in SI."""

from __future__ import annotations

from typing import Any

import numpy as np

from comptroller.planning.fleet_sharing import CallGrouping, SharingSlowdown, call_grouping, grouping_roles, pace_per_s
from comptroller.planning.simulation import PlanSimulation
from comptroller.report.latency_spread import spread
from comptroller.serving.fairness import jain_index

Record = dict[str, Any]


def sharing_records(simulation: PlanSimulation) -> list[Record]:
    """Of each role that the calls can be grouped by: Jain's index of the groups' paces, and each group's figures."""
    records = []
    for role in grouping_roles(simulation.asked):
        grouping = call_grouping(simulation.asked, role)
        paces = pace_per_s(simulation.outcome, grouping)
        groups = [_group(simulation, grouping, group, float(pace)) for group, pace in enumerate(paces)]
        records.append({"role": role, "jain_pace": jain_index(paces), "groups": groups})
    return records


def _group(simulation: PlanSimulation, grouping: CallGrouping, group: int, pace: float) -> Record:
    rows, outcome = grouping.rows(group), simulation.outcome
    ttft, tpot, queue = (spread(values[rows]) for values in (outcome.ttft_s, outcome.tpot_s, outcome.queue_s))
    return {
        "name": grouping.names[group],
        "requests": int(rows.sum()),
        "tokens": int((simulation.asked["input_tokens"] + simulation.asked["output_tokens"])[rows].sum()),
        "within": float(simulation.within[rows].mean()),
        "queue_p99_s": queue["p99"],
        "ttft_p50_s": ttft["p50"],
        "ttft_p99_s": ttft["p99"],
        "tpot_p99_s": tpot["p99"],
        "preemptions": int(outcome.requests.preemptions[rows].sum()),
        "pace_tokens_per_s": pace,
    }


def slowdown_record(found: SharingSlowdown) -> Record:
    """The same as a record, times in seconds."""
    names = found.grouping.names
    return {
        "role": found.grouping.role,
        "jain_speed": found.fairness,
        "groups": [
            {
                "name": name,
                "slowdown": float(found.slowdown[group]),
                "ttft_p99_ratio": float(found.ttft_p99_ratio[group]),
                "later_s": {
                    other: float(value)
                    for other, value in zip(names, found.later_s[group], strict=True)
                    if not np.isnan(value)
                },
            }
            for group, name in enumerate(names)
        ],
    }
