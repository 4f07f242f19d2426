"""A million requests with autoscaling, lost replicas and samples of power: `python benchmarks/fleet_speed.py`.

CPU seconds of one process after warm-up, the median of the repeats, beside the same requests on a fleet that never
changes. Losses are drawn, one a minute with the work begun anew; they are no record of spot machines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from comptroller.serving.elastic import ElasticEngine, ElasticOutcome, ReplicaPhase
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.power_rows import PowerConditions, PowerRows
from comptroller.serving.scaling import ScalingSettings, scale
from comptroller.serving.ticks import linear
from poisson import poisson_calls
from record import table, write

MANY, REPLICAS, FIRST, RATE_PER_S = 1_000_000, 80, 60, 800.0
LOSS_EVERY_S = 60
REPEATS, TARGET_S = 3, 3.0


class FleetWatch:
    """What is done every second: samples of power that are due, and a replica that is lost."""

    sample_s = 2.0

    def __init__(self, fleet: SimulatedFleet) -> None:
        self.rows = PowerRows(fleet, PowerConditions("none", 1e9, rows=4))
        self.rng, self.lost = np.random.default_rng(0), 0

    def next_s(self) -> float:
        """The next sample."""
        return self.rows.next_s()

    def see(self, engine: ElasticEngine) -> None:
        """At a second."""
        self.rows.see(engine.engine, engine.paid_s())
        taking = engine.of(ReplicaPhase.OPEN)
        if round(engine.now_s) % LOSS_EVERY_S == 0 and len(taking) > 1:
            engine.lose(taking[int(self.rng.integers(len(taking)))])
            self.lost += 1


def changing(fleet: SimulatedFleet, count: int) -> tuple[ElasticOutcome, FleetWatch]:
    """Requests on a fleet that is scaled, loses replicas and is sampled."""
    watch = FleetWatch(fleet)
    settings = ScalingSettings("kpa", target_calls=24.0, target_per_s=RATE_PER_S / FIRST, first=FIRST)
    return scale(fleet, poisson_calls(count, RATE_PER_S), settings, watch), watch


def cpu_s(task: Callable[[], object]) -> float:
    """Median CPU seconds."""
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        task()
        taken.append(time.process_time() - start)
    return median(taken)


def main() -> int:
    """Measure, print and write."""
    fleet = SimulatedFleet.uniform(linear(kv_token_s=2e-9), REPLICAS)
    changing(fleet, 20_000)
    found, watch = changing(fleet, MANY)
    plain_s = cpu_s(lambda: simulate(fleet, poisson_calls(MANY, RATE_PER_S)))
    whole_s = cpu_s(lambda: changing(fleet, MANY))
    seen = watch.rows.record()
    starts = sum(event.phase == ReplicaPhase.STARTING for event in found.events)
    met = "met" if whole_s <= TARGET_S else "missed"
    cells = [
        ["a fleet that never changes", f"{plain_s:.2f} s", ""],
        ["autoscaling, losses, power", f"{whole_s:.2f} s", f"{TARGET_S:g} s: {met}"],
    ]
    text = (
        f"# A million requests on a fleet that changes\n\n{MANY:,} requests at {RATE_PER_S:g}/s on up to {REPLICAS} "
        f"replicas (straight-line step times); KPA scales every 2 s ({starts} starts), {watch.lost} replicas are lost "
        f"with their work begun anew ({len(found.outcome) - MANY:,} calls), power is sampled every 2 s in "
        f"{seen.row_w.shape[1]} rows ({seen.at_s.size} samples). CPU seconds of one process, the calls made "
        f"included, median of {REPEATS}.\n\n" + table(("task", "CPU", "target"), cells)
    )
    print(text)
    write(
        "fleet_speed",
        {"plain_s": plain_s, "whole_s": whole_s, "starts": starts, "lost": watch.lost},
        text,
        ("numpy", "numba"),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
