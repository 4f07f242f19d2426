"""A plan over time against the best fixed fleet on recorded traces: dollars on the part that neither was chosen on."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from comptroller.errors import FactError, InfeasibleError
from comptroller.planning.over_time import FleetOverTime, OverTimeWish, fleet_over_time
from comptroller.planning.planner import plan
from comptroller.planning.scaled_simulation import ScalingConditions
from comptroller.report.over_time_tables import over_time_record
from comptroller.work.trace import Ints, RequestTrace
from comptroller.work.workload import parse
from record import table, write
from served import recorded

TRACES = {"azure_2023_code": 3, "azure_2023_conv": 6, "mooncake_conversation": 4}
"""Trace -> copies of it that are laid over each other, each request moved by up to `JITTER_S`."""
FILES = {"azure_2023_code": "azure_2023_code.csv", "azure_2023_conv": "azure_2023_conv.csv",
         "mooncake_conversation": "mooncake_conversation.jsonl"}  # fmt: skip
JITTER_S = 5.0
START_UP_S = 180.0
WISH = OverTimeWish(0.9, 4, ("forecast", "harmony", "hpa"))


def laid_over(trace: RequestTrace, copies: int) -> RequestTrace:
    """Copies of a trace, moved by some seconds."""
    rng = np.random.default_rng(1)
    arrivals = np.concatenate([trace.arrival_s + rng.uniform(0, JITTER_S, len(trace)) for _ in range(copies)])
    order = np.argsort(arrivals, kind="stable")
    rows = np.tile(np.arange(len(trace)), copies)[order]
    return RequestTrace(arrivals[order] - arrivals.min(), trace.input_tokens[rows], trace.output_tokens[rows])


def spread(tokens: Ints) -> dict[str, float]:
    """Lengths of a trace as a workload states them."""
    return {
        "median": float(np.median(tokens)), "p99": float(np.quantile(tokens, 0.99)), "most": int(tokens.max()),
    }  # fmt: skip


def planned_over_time(name: str) -> FleetOverTime:
    """The plan for the mean rate and sizes of a trace, and what is chosen over time."""
    trace = laid_over(recorded(FILES[name]), TRACES[name])
    lengths = {"input": spread(trace.input_tokens), "output": spread(trace.output_tokens)}
    document: dict[str, Any] = {"name": name, "models": ["llama_3_1_8b"], "rate_per_s": trace.rate_per_s}
    document |= {"lengths": lengths, "objectives": {"ttft": {"p": 95, "max": 5, "unit": "s"}}}
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "engines": ["vllm"]}
    found = plan(parse({**document, "allow": allow}), quick=True)
    most = 4 * found.services[0].deployment.pools[0].replicas
    return fleet_over_time(found, trace, WISH, ScalingConditions(START_UP_S, most))


def row_of(name: str, one: FleetOverTime) -> list[str]:
    """A trace's line."""
    fixed, kept = one.fixed, one.fixed_kept
    return [
        name, one.winner.name, f"{one.kept.shares[0]:.1%}", f"{one.kept.spent:.2f}",
        fixed.name if fixed else "none held",
        f"{kept.shares[0]:.1%}" if kept else "–", f"{kept.spent:.2f}" if kept else "–", f"{one.saved:+.1%}",
    ]  # fmt: skip


def main() -> int:
    """Run, print and write."""
    rows, figures = [], {}
    for name in TRACES:
        try:
            one = planned_over_time(name)
        except FactError as error:
            print(f"fleet_over_time: {error}", file=sys.stderr)
            return 2
        except InfeasibleError as error:
            rows.append([name, str(error), *["–"] * 6])
            continue
        rows.append(row_of(name, one))
        figures[name] = over_time_record(one)
        print(rows[-1], flush=True)
    heads = ("trace", "chosen", "within, unseen", "dollars", "best fixed fleet", "within, unseen", "dollars", "saved")
    text = (
        "# A plan over time against the best fixed fleet\n\nRecorded: arrivals and lengths, an hour each, in copies "
        f"moved by up to {JITTER_S:g} s. Modelled: Llama 3.1 8B on H100, {START_UP_S:g} s to start. Both hold "
        f"{WISH.share:.0%} of the calls in each of the first three quarters; dollars are those of the last quarter, "
        f"which neither was chosen on. A further quarter holds with odds of {(WISH.parts - 1) / WISH.parts:.0%}.\n\n"
        f"{table(heads, rows)}"
    )
    print(text)
    write("fleet_over_time", figures, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
