"""How fast the simulator is: `python benchmarks/simulate_speed.py` writes results/simulate_speed.{json,md}.

CPU seconds of one process after warm-up, the median of the repeats; the process start and the first compilation
are wall seconds of fresh processes. Step times come from the shipped cost model (`served.step_table`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import served
from comptroller.serving.engine import EngineJob, EventEngine, simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace
from poisson import poisson_calls
from record import table, write

REPEATS = 3
MANY, REPLICAS, RATE_PER_S = 1_000_000, 80, 800.0
CREATED, FAN_OUT = 100_000, 8
QUESTIONS = 10_000
ONE = (
    "import sys; sys.path.insert(0, 'benchmarks'); import served\n"
    "from comptroller.serving.engine import simulate\n"
    "from comptroller.serving.fleet import SimulatedFleet\n"
    "from comptroller.work.call import CallTable\n"
    "one = CallTable.of(arrival_s=[0.0], input_tokens=[100], output_tokens=[10])\n"
    "simulate(SimulatedFleet.uniform(served.step_table(), 1), one)\n"
)


def cpu_s(task: Callable[[], object]) -> float:
    """Median CPU seconds."""
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        task()
        taken.append(time.process_time() - start)
    return median(taken)


def of_trace(trace: RequestTrace) -> CallTable:
    """The calls of a trace."""
    return CallTable.of(arrival_s=trace.arrival_s, input_tokens=trace.input_tokens, output_tokens=trace.output_tokens)


def created(fleet: SimulatedFleet) -> int:
    """Calls that a strategy creates while the simulation runs: each that ends asks for the next one."""
    engine = EventEngine(fleet)
    left = CREATED - FAN_OUT * REPLICAS
    engine.ask([EngineJob(0.0, prompt=200, output=40, predicted=40)] * (FAN_OUT * REPLICAS))
    while (ended := engine.advance()).size:
        again = min(left, int(ended.size))
        left -= again
        if again:
            engine.ask([EngineJob(0.0, prompt=200, output=40, predicted=40)] * again)
    return CREATED


def thought(fleet: SimulatedFleet) -> int:
    """Calls of a strategy: recorded questions, five samples each, every reply read, booked and voted over."""
    # Imported here, or the memory of the large run would count them.
    from comptroller.serving.world import QuestionStream, SimulatedStrategy, solve  # noqa: PLC0415
    from comptroller.strategies.replay import EvidenceReplay, RecordedService  # noqa: PLC0415
    from comptroller.strategies.spelling import parse  # noqa: PLC0415
    from comptroller.work.evidence_readers import read_evidence  # noqa: PLC0415

    records = read_evidence("own")
    replay = EvidenceReplay(records, {"solver": RecordedService(records.arms[0])})
    question = np.resize(replay.covered(), QUESTIONS)
    thinking = QuestionStream(
        (SimulatedStrategy(parse("sample_and_vote(n=5)"), replay),), np.arange(QUESTIONS) / 100.0, question
    )
    return len(solve(fleet, thinking).calls)


def started_s(cache: str) -> float:
    """Wall seconds of a fresh process that simulates one request, with compiled code kept in a folder."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", ONE],
        check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        cwd=served.ROOT,
    )
    return time.perf_counter() - start


def peak_gib() -> float:
    """The most memory a fresh process holds for the large run."""
    code = (
        "import sys, resource; sys.path.insert(0, 'benchmarks'); import simulate_speed as s, served\n"
        "s.simulate(s.SimulatedFleet.uniform(served.step_table(), s.REPLICAS), s.poisson_calls(s.MANY, s.RATE_PER_S))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=served.ROOT)
    return float(run.stdout)


def main() -> None:
    """Measure, print and write."""
    fleet, few = (SimulatedFleet.uniform(served.step_table(), count) for count in (REPLICAS, 4))
    many, azure = poisson_calls(MANY, RATE_PER_S), of_trace(served.recorded("azure_2023_conv.csv"))
    simulate(fleet, poisson_calls(1000, RATE_PER_S))
    steps = int(simulate(fleet, many).meters.steps.sum())
    with tempfile.TemporaryDirectory() as cache:
        first_s = started_s(cache)
        again_s = median(started_s(cache) for _ in range(REPEATS))
    thought_per_s = thought(fleet) / cpu_s(lambda: thought(fleet))
    per_s = CREATED / cpu_s(lambda: created(fleet))
    figures = {
        "million_s": cpu_s(lambda: simulate(fleet, many)),
        "azure_s": cpu_s(lambda: simulate(few, azure)),
        "start_s": again_s,
        "first_s": first_s,
        "created_per_s": per_s,
        "thought_per_s": thought_per_s,
        "peak_gib": peak_gib(),
        "steps": steps,
    }
    lines = (
        ("1,000,000 requests on 80 replicas", f"{figures['million_s']:.2f} s", "2 s", figures["million_s"] <= 2),
        (
            "Azure conversation trace, 19,366 requests",
            f"{figures['azure_s'] * 1e3:.0f} ms",
            "50 ms",
            figures["azure_s"] <= 0.05,
        ),
        ("process start, compiled code on disk", f"{again_s:.1f} s", "5 s", again_s <= 5),
        ("first run, with compilation", f"{first_s:.0f} s", "30 s", first_s <= 30),
        ("calls created while it runs", f"{per_s:,.0f} a second", "50,000", per_s >= 50_000),
        ("calls of recorded questions, five samples each", f"{thought_per_s:,.0f} a second", "", None),
        ("most memory, a million requests", f"{figures['peak_gib']:.2f} GiB", "1 GiB", figures["peak_gib"] < 1),
    )
    rows = [
        [what, value, target, "" if met is None else "met" if met else "missed"] for what, value, target, met in lines
    ]
    text = "# Speed of the simulator\n\n" + table(["task", "ours", "target", ""], rows)
    text += f"\n\nThe million requests took {steps:,} engine iterations."
    print(text)
    write("simulate_speed", figures, text, ("numpy", "numba"))


if __name__ == "__main__":
    main()
