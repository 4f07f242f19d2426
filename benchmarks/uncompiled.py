"""How slow the event engine is without numba: `python benchmarks/uncompiled.py` writes results/uncompiled.{json,md}.

Each figure is of a whole process, start and imports included, as the median of `RUNS`; the requests a second are those
of the simulation itself, in CPU seconds. `--before SRC` adds the plain-Python second implementation that the engine had
up to commit 1b034b0, from a checkout's `src`; without it the column is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.ticks import linear
from poisson import poisson_calls
from record import table, write

RUNS = 5
REQUESTS = (1_000, 10_000)
REPLICAS, RATE_PER_S = 4, 40.0
"""Ten requests a second on each replica, about half of what it can serve: batches are full enough to be typical."""


class TimedProcess(NamedTuple):
    """Wall seconds of a process, CPU seconds of its simulation, and the moment at which the simulation ended."""

    wall_s: float
    cpu_s: float
    horizon_s: float


def simulated(before: bool, count: int) -> None:
    """Simulate in this process and print CPU seconds and the horizon."""
    calls, fleet = poisson_calls(count, RATE_PER_S), SimulatedFleet.uniform(linear(), REPLICAS)
    if before:
        from comptroller.serving.twin import EngineTwin as Engine  # noqa: PLC0415
    else:
        from comptroller.serving.engine import EventEngine as Engine  # noqa: PLC0415
    start = time.process_time()
    engine = Engine(fleet)
    engine.submit(calls)
    horizon_s = engine.run().horizon_s
    print(time.process_time() - start, horizon_s)


def timed(source: Path | None, compiled: bool, count: int) -> TimedProcess:
    """One process: of the package as it is, or of another source."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": str(int(not compiled))}
    if source is not None:
        environment["PYTHONPATH"] = str(source)
    command = [sys.executable, __file__, "--simulate", str(count), *(["--before", str(source)] if source else [])]
    start = time.perf_counter()
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    wall_s = time.perf_counter() - start
    return TimedProcess(wall_s, *map(float, run.stdout.split()))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path)
    parser.add_argument("--simulate", type=int)
    options = parser.parse_args()
    if options.simulate:
        simulated(options.before is not None, options.simulate)
        return
    kinds: dict[str, tuple[Path | None, bool]] = {"compiled": (None, True), "uncompiled": (None, False)}
    if options.before:
        kinds["before"] = options.before, True
    timed(None, True, 10)  # compiles, if nobody has
    runs: dict[tuple[str, int], list[TimedProcess]] = {}
    for _ in range(RUNS):
        for count in REQUESTS:
            for kind, (source, compiled) in kinds.items():
                runs.setdefault((kind, count), []).append(timed(source, compiled, count))
    assert all(len({run.horizon_s for kind in kinds for run in runs[kind, count]}) == 1 for count in REQUESTS)
    figures = {
        f"{kind}_{count}": {
            "wall_s": median(run.wall_s for run in of),
            "requests_per_s": count / median(run.cpu_s for run in of),
        }
        for (kind, count), of in runs.items()
    }
    words = {"compiled": "compiled", "uncompiled": "uncompiled", "before": "second implementation, before"}
    rows = [
        [
            f"{words[kind]}, {count:,} requests",
            f"{figures[f'{kind}_{count}']['wall_s']:.2f} s",
            f"{figures[f'{kind}_{count}']['requests_per_s']:,.0f}",
        ]
        for count in REQUESTS
        for kind in kinds
    ]
    text = "# The event engine without numba\n\n" + table(["engine", "whole process", "requests a CPU second"], rows)
    text += f"\n\nMedians of {RUNS} processes each, in turn; {REPLICAS} replicas, {RATE_PER_S:g} requests a second."
    text += " Reading compiled code from disk is counted as the compiled engine's (what it does once that is read:"
    text += " simulate_speed.md). All end at the same moment."
    print(text)
    write("uncompiled", figures, text, ("numpy", "numba"))


if __name__ == "__main__":
    main()
