"""Does a queue grow? Fleets of plans without a latency objective, and with one, simulated for a steady hour.

    python benchmarks/plan_stands.py [--only TEXT] [--workers N]

Writes results/plan_stands.{json,md}. Each workload is planned, and an hour of Poisson arrivals at the rate to hold
played on its fleet, by draws that the planner has not seen. The figure is the p95 of TTFT of what arrives in the last
quarter of the hour over that of the first quarter, as the geometric mean over draws: a queue that keeps up gives 1 and
some noise, one that grows gives as many times as the hour is long.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.facts.reader import parse_toml
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.planner import plan
from comptroller.planning.simulation import simulate_plan
from comptroller.work.demand import requests
from comptroller.work.workload import Workload, parse
from kept_rows import Row, rows_of
from record import table, write

EXAMPLES = Path(__file__).parents[1] / "examples"
HOUR_S, DRAWS, SEED = 3600.0, 4, 20_260_303
GOAL = 1.2

SMALL: Mapping[str, Any] = {"models": ["llama_3_1_8b"]}
STEADY: Mapping[str, Mapping[str, Any]] = {
    "70B, 20/s, no objective": {"objectives": {}},
    "8B, 5/s, no objective": {**SMALL, "objectives": {}, "rate_per_s": 5.0},
    "8B, 40/s, no objective": {**SMALL, "objectives": {}, "rate_per_s": 40.0},
    "8B, 40/s, bursts, no objective": {**SMALL, "objectives": {}, "rate_per_s": 40.0, "cv": 3.0},
    "32B, 12/s, no objective": {"models": ["qwen3_32b"], "objectives": {}, "rate_per_s": 12.0},
    "8B, 20/s, TTFT 1 s and TPOT 50 ms": {**SMALL},
    "70B, 20/s, TTFT 1 s and TPOT 50 ms": {},
}
"""chat.toml with some fields replaced."""


def workload_of(name: str) -> Workload:
    """A workload by its name."""
    return parse({**parse_toml(EXAMPLES / "chat.toml"), "name": name, **STEADY[name]}, EXAMPLES / "chat.toml")


def row_of(name: str) -> Row:
    """A plan, and the p95 of TTFT by quarter of every draw of an hour."""
    workload = workload_of(name)
    made, traffic = plan(workload, quick=True), traffic_of(workload)
    count = int(traffic.rate_per_s * HOUR_S)
    quarters = []
    for draw in range(DRAWS):
        trace = requests(workload, np.random.default_rng([SEED, draw]), count)
        outcome = simulate_plan(made, trace).outcome
        first = np.where(np.isfinite(outcome.ttft_s), outcome.ttft_s, np.inf)
        quarter = np.minimum((trace.arrival_s / trace.arrival_s[-1] * 4).astype(int), 3)
        quarters.append([float(np.quantile(first[quarter == number], 0.95)) for number in range(4)])
    ratio = float(np.exp(np.mean([np.log(each[3] / each[0]) for each in quarters])))
    fleet = " + ".join(f"{service.id} x{service.deployment.pools[0].replicas}" for service in made.services)
    use = max(service.utilisation for service in made.services)
    usd = made.totals.usd_per_h.value
    return {"name": name, "usd_per_h": usd, "fleet": fleet, "use": use, "p95_s": quarters, "ratio": ratio}


def text(rows: list[Row]) -> str:
    """The results as Markdown."""
    about = " ".join((__doc__ or "").partition("Writes results/plan_stands.{json,md}.")[2].split())
    cells = [
        [row["name"], f"${row['usd_per_h']:.2f}", f"{row['use']:.0%}",
         ", ".join(f"{np.mean(part):.2f}" for part in zip(*row["p95_s"], strict=True)), f"{row['ratio']:.2f}"]
        for row in rows
    ]  # fmt: skip
    heads = ["workload", "$/h", "busiest replicas", "p95 TTFT by quarter, s", "last over first"]
    partial = "" if len(rows) == len(STEADY) else f"**Partial: {len(rows)} of {len(STEADY)} workloads were run.**"
    grown = sum(row["ratio"] > GOAL for row in rows)
    verdict = f"Above {GOAL:g}: {grown} of {len(rows)}."
    return "\n\n".join(part for part in ("# Does a queue grow?", about, partial, table(heads, cells), verdict) if part)


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--workers", type=int, default=1, help="workloads that are planned at once")
    given = parser.parse_args()
    asked = {name: dict(fields) for name, fields in STEADY.items() if given.only in name}
    found: dict[str, Row] = {}
    for name, row in rows_of("plan_stands", asked, row_of, given.workers):
        found[name] = row
        print(f"{len(found)}/{len(asked)} {name}: {row['ratio']:.2f}", flush=True)
    rows = [found[name] for name in asked]
    print(write("plan_stands", {"rows": rows}, text(rows)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
