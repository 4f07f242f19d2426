"""Jobs of a recorded cluster under every policy, tiers against a static partition: `python benchmarks/fleet_jobs.py`.

Recorded: Philly's jobs (submission, duration, GPUs, virtual cluster), of which a part is kept back; days before the
20th have almost none and are left out, and of the others two whole weeks are replayed (`--days`). Modelled: nodes
of 8 GPUs, a minute for each restart, which tier a virtual cluster has (the file says none: by size in turns, so that
each tier has large and small ones), that jobs can be shrunk.

Three questions. Policies side by side on one cluster. At the same promises, how many GPUs does a static partition need,
and how many does a shared cluster need that stops and shrinks jobs? And on the cluster that the static partition of
equal size would have, how much of it works?
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from comptroller.cluster.job_files import jobs_of_file
from comptroller.cluster.job_outcome import JobOutcome
from comptroller.cluster.job_run import largest_jobs, quotas_by_work
from comptroller.cluster.job_simulation import JobCluster, JobSettings
from comptroller.cluster.job_table import SINGULARITY_TIERS, Ints, JobTable
from comptroller.cluster.policies import JOB_POLICIES
from comptroller.report.cluster_tables import job_records
from record import table, write

NODE = 8
FIRST_DAY = 20
"""Of Philly as it is here: from this day on at least 200 jobs a day."""
HEADINGS = (
    "policy",
    "use",
    "useful",
    "mean turnaround h",
    "wait p99 h",
    "fairness",
    "stops",
    "premium",
    "standard",
    "basic",
)


def tiers_by_size(jobs: JobTable) -> JobTable:
    """Premium, standard, basic in turns, from the virtual cluster with the most GPU-hours down."""
    work = np.bincount(jobs.tenant, weights=jobs.work_gpu_s, minlength=len(jobs.tenants))
    place = np.empty(len(work), np.int64)
    place[np.argsort(-work, kind="stable")] = np.arange(len(work)) % len(SINGULARITY_TIERS)
    return jobs.in_tiers(SINGULARITY_TIERS, place)


def told_enough() -> list[str]:
    """Policies that need not know how jobs go on other GPUs than they ask for, which the record does not say; theirs
    is `fleet_goodput.py`."""
    needs = {name: getattr(JOB_POLICIES.module(name), "NEEDS", ()) for name in JOB_POLICIES.names()}
    return [name for name, those in needs.items() if "goodput" not in those]


def run(jobs: JobTable, policy: str, nodes: int, quota: Ints | None = None) -> JobOutcome:
    """A policy on so many nodes; quotas, where none are given, by the GPU-hours that tenants will ask for."""
    given = quotas_by_work(jobs, nodes * NODE) if quota is None else quota
    return JobCluster(jobs, JobSettings((NODE,) * nodes, policy, quota=given)).run()


def kept(found: JobOutcome) -> bool:
    """Whether every tier got what it is promised."""
    jobs = found.jobs
    return all(
        found.fraction_of(mine) >= tier.promise
        for place, tier in enumerate(jobs.tiers)
        if (mine := jobs.tier == place).any()
    )


def fewest(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """The fewest for which something holds that holds for all more."""
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if holds(middle) else (middle + 1, most)
    return least


def static_quotas(jobs: JobTable) -> Ints:
    """GPUs of a partition in which each tenant's own part keeps the promise of its tier (a basic one: that of its
    largest job, and of what it asks for in the mean), each part the smallest that does."""
    found = np.zeros(len(jobs.tenants), np.int64)
    for tenant, largest in enumerate(largest_jobs(jobs)):
        mine = jobs.tenant == tenant
        if not mine.any():
            continue
        own = jobs.rows(mine)
        mean = float(own.work_gpu_s.sum() / jobs.span_s)
        least = max(-(-int(largest) // NODE), -(-int(np.ceil(mean)) // NODE))
        most = max(least, -(-int(own.gpus.sum()) // NODE))

        def holds(nodes: int, own: JobTable = own) -> bool:
            return bool(kept(JobCluster(own, JobSettings((NODE,) * nodes, "first_fit")).run()))

        found[tenant] = fewest(least, most, holds) * NODE
    return found


def main() -> None:
    """Run all three."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=Path("../shared/data/fleet"))
    options.add_argument("--nodes", type=int, default=64, help="of the first table")
    options.add_argument("--days", type=float, default=14.0, help="of Philly, from the first that has jobs")
    data = options.parse_args()
    jobs = jobs_of_file(data.data / "philly_jobs.parquet")
    day = jobs.submitted_s / 86400 - FIRST_DAY
    jobs = tiers_by_size(jobs.rows((day >= 0) & (day < data.days)))
    side_by_side = [run(jobs, policy, data.nodes) for policy in told_enough()]
    quota = static_quotas(jobs)
    static = int(quota.sum()) // NODE
    shared = fewest(static // 8, static, lambda nodes: kept(run(jobs, "gpu_fraction", nodes)))
    ends = {"static_quota": run(jobs, "static_quota", static, quota), "gpu_fraction": run(jobs, "gpu_fraction", shared)}
    same = {policy: run(jobs, policy, shared) for policy in ("static_quota", "first_fit", "gpu_fraction")}
    gain = 100 * (useful(ends["gpu_fraction"]) - useful(ends["static_quota"]))
    text = f"""{__doc__.split(":")[0]}.

{len(jobs):,} jobs of {jobs.span_s / 86400:.1f} days, {jobs.work_gpu_s.sum() / 3600:,.0f} GPU-hours,
on {data.nodes * NODE} GPUs, up to the last submission:

{table(HEADINGS, [row(found) for found in side_by_side])}

At the same promises a static partition, each part the smallest that keeps its own, needs {static * NODE} GPUs,
Singularity's rule {shared * NODE}. The work is {useful(ends["static_quota"]):.1%} of the time of the one and
{useful(ends["gpu_fraction"]):.1%} of the other: {gain:+.1f} points (target +20).
What they received there, and work lost:

{table(HEADINGS, [row(found) for found in ends.values()])}

{", ".join(f"{name} {found.lost_gpu_s.sum() / 3600:.0f} GPU-hours" for name, found in ends.items())}.

On the same {shared * NODE} GPUs, quotas by GPU-hours:

{table(HEADINGS, [row(found) for found in same.values()])}
"""
    result = {
        "side_by_side": job_records(side_by_side), "static_gpus": static * NODE, "shared_gpus": shared * NODE,
        "points": gain, "ends": job_records(list(ends.values())), "same_size": job_records(list(same.values())),
    }  # fmt: skip
    write("fleet_jobs", result, text)


def useful(found: JobOutcome) -> float:
    """Share of the cluster's time, up to the last submission, that was work."""
    return found.useful_until(found.horizon_s)


def row(found: JobOutcome) -> list[str]:
    """A row of a table."""
    tiers = [found.fraction_of(found.jobs.tier == place) for place in range(len(found.jobs.tiers))]
    return [
        found.policy, f"{found.use_until(found.horizon_s):.1%}", f"{useful(found):.1%}",
        f"{found.turnaround_s.mean() / 3600:.2f}", f"{np.quantile(found.wait_s, 0.99) / 3600:.2f}",
        f"{found.fairness:.3f}", f"{found.stops.sum():,}", *(f"{share:.1%}" for share in tiers),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
