"""Caches in tool waits: the ways to treat them side by side, and what arithmetic says of them."""

from __future__ import annotations

import math
from typing import Any

from comptroller.planning.tool_gaps import ToolGapComparison, ToolGapOutcome
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.latency_spread import spread
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.report.task_figures import task_record

GAPS: SheetColumns[ToolGapOutcome] = (
    left("name", "caches in tool waits"),
    right("cached", "found cached", lambda one: f"{one.cached:.1%}"),
    right("ended", "tasks done", lambda one: "{ended:,} of {tasks:,}".format(**task_record(one.simulation))),
    right("ttft_p50", "TTFT p50", lambda one: seconds(spread(one.simulation.outcome.ttft_s)["p50"])),
    right("ttft_p95", "TTFT p95", lambda one: seconds(spread(one.simulation.outcome.ttft_s)["p95"])),
    right("task", "task p50", lambda one: seconds(task_record(one.simulation)["task_s"]["p50"])),
    right("j", "J per task", lambda one: with_prefix(task_record(one.simulation)["j_per_task"], "J")),
    right("usd", "$ per task", lambda one: dollars(task_record(one.simulation)["usd_per_task"])),
)


def tool_gaps_sheet(found: ToolGapComparison) -> ReportSheet:
    """The ways side by side."""
    routing = found.outcomes[0].simulation.routing
    return ReportSheet.of(f"Caches while tools run, routing {routing}", GAPS, found.outcomes)


def tool_gaps_sentence(found: ToolGapComparison) -> str:
    """What arithmetic says, in a sentence."""
    return (
        f"a kept cache outlives waits up to {seconds(found.survival_s)}, which {found.outlived:.1%} of the waits pass; "
        f"where memory is short, holding one is cheaper than computing it up to {seconds(found.hold_s)}; "
        f"a tier beats computing from {number(found.load_bytes_per_s / 1e9)} GB/s; least prefill by "
        f"arithmetic: {found.foretold}, simulated: {found.best.name}"
    )


def tool_gaps_record(found: ToolGapComparison) -> dict[str, Any]:
    """The comparison as a document."""
    ways = {
        one.name: {
            "cached": one.cached,
            "prefill_s": one.prefill_s,
            "ttft_s": spread(one.simulation.outcome.ttft_s),
            "tasks": task_record(one.simulation),
        }
        for one in found.outcomes
    }
    limit = found.survival_s if math.isfinite(found.survival_s) else None
    return {
        "routing": found.outcomes[0].simulation.routing,
        "ways": ways,
        "best": found.best.name,
        "foretold": found.foretold,
        "survival_s": limit,
        "outlived": found.outlived,
        "hold_s": found.hold_s,
        "load_bytes_per_s": found.load_bytes_per_s,
    }
