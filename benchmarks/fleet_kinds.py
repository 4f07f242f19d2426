"""Jobs of a recorded cluster on two kinds of GPUs: Gavel's program against policies that do not see kinds.

Recorded: Philly's jobs of three days (submission, duration, GPUs, virtual cluster). Modelled: half of the nodes have a
slower GPU, on which jobs go at so much of their speed, all alike or every second virtual cluster hardly slower (which
jobs gain from a GPU is not recorded); restarts of a minute. Nothing is tuned.

    python benchmarks/fleet_kinds.py
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from comptroller.cluster.job_files import jobs_of_file
from comptroller.cluster.job_simulation import JobCluster, JobSettings
from comptroller.cluster.job_table import JobTable
from record import table, write

DAYS, NODES, NODE, RESTART_S = (20.0, 23.0), 24, 8, 60.0
SLOW, HARDLY = 0.3, 0.9
POLICIES = ("first_fit", "max_min", "hetero_max_min")


@dataclass(frozen=True)
class KindRow:
    """A policy where jobs are alike, or not."""

    speeds: str
    policy: str
    useful: float
    mean_h: float
    p99_h: float
    fairness: float
    stops: int


def row(jobs: JobTable, words: str, speeds: np.ndarray, policy: str) -> KindRow:
    """What comes of the jobs under a policy."""
    kinds = (0,) * NODES + (1,) * NODES
    how = JobSettings((NODE,) * (2 * NODES), policy, RESTART_S, kinds=kinds, speeds=speeds)
    found = JobCluster(jobs, how).run()
    turnaround_h = found.turnaround_s / 3600
    return KindRow(
        words, policy, found.useful_until(found.horizon_s), float(turnaround_h.mean()),
        float(np.quantile(turnaround_h, 0.99)), found.fairness, int(found.stops.sum()),
    )  # fmt: skip


def main() -> int:
    """Run, print and write."""
    folder = Path(os.environ.get("COMPTROLLER_DATA", "../shared/data"))
    jobs = jobs_of_file(folder / "fleet" / "philly_jobs.parquet")
    jobs = jobs.rows((jobs.submitted_s >= DAYS[0] * 86400) & (jobs.submitted_s < DAYS[1] * 86400))
    alike = np.tile([1.0, SLOW], (len(jobs.tenants), 1))
    mixed = alike.copy()
    mixed[::2, 1] = HARDLY
    cases = ((f"{SLOW:g} for all", alike), (f"{SLOW:g}, {HARDLY:g} for every second tenant", mixed))
    rows = [row(jobs, words, speeds, policy) for words, speeds in cases for policy in POLICIES]
    cells = [
        [f"{x.speeds}: {x.policy}", f"{x.useful:.1%}", f"{x.mean_h:.2f}", f"{x.p99_h:.1f}", f"{x.fairness:.3f}",
         f"{x.stops:,}"]
        for x in rows
    ]  # fmt: skip
    heads = ("speed on the slow kind: policy", "useful", "turnaround mean h", "p99 h", "fairness", "stops")
    text = (
        f"# Kinds of GPUs under recorded jobs\n\n{len(jobs):,} of Philly's jobs on {2 * NODES * NODE} GPUs, half of "
        f"them slow.\n\n{table(heads, cells)}\n\n`hetero_max_min` is Gavel's program; the others do not see kinds. "
        "Fairness is Jain's index of tenants' shares of the GPU-hours that they asked for."
    )
    print(text)
    write("fleet_kinds", {"jobs": len(jobs), "rows": [asdict(x) for x in rows]}, text, ("numpy", "highspy"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
