"""Jobs on a cluster: a reference by the second, invariants of every policy, what tiers and reservations promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array

from comptroller.cluster.defragmentation import defragment
from comptroller.cluster.job_outcome import JobOutcome
from comptroller.cluster.job_run import quotas_by_work
from comptroller.cluster.job_simulation import JobCluster, JobSettings, ServingShare
from comptroller.cluster.job_table import SINGULARITY_TIERS, JobTable
from comptroller.cluster.nodes import NodePool
from comptroller.cluster.policies import JOB_POLICIES
from comptroller.cluster.policies.max_min import tenant_shares
from comptroller.errors import InputError
from comptroller.highs import MixedIntegerProgram, solve

NODES = (4, 4)
RIGID = [name for name in JOB_POLICIES.names() if "goodput" not in getattr(JOB_POLICIES.module(name), "NEEDS", ())]
"""Policies that need not know how jobs go on more GPUs than they ask for."""
JobRow = tuple[int, int, int, int]
ROWS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 40), st.sampled_from([1, 1, 1, 2, 3, 4, 8]), st.integers(0, 1)),
    min_size=1,
    max_size=14,
)


def table(rows: list[JobRow], tiers: bool = True) -> JobTable:
    """Jobs of (submission, duration, GPUs, tenant) rows; the first tenant is premium."""
    rows = sorted(rows)
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    jobs = JobTable(
        (columns[0] - columns[0][0]).astype(float), columns[1].astype(float), columns[2] * 1000, columns[3], ("a", "b"),
        np.zeros(len(rows), np.int64),
    )  # fmt: skip
    return jobs.in_tiers(SINGULARITY_TIERS, np.array([0, 2])) if tiers else jobs


def simulation(rows: list[JobRow], policy: str, nodes: tuple[int, ...] = NODES, restart_s: float = 3.0) -> JobOutcome:
    jobs = table(rows)
    quota = np.array([8, 8]) if len(nodes) < 4 else quotas_by_work(jobs, sum(nodes))
    return JobCluster(jobs, JobSettings(nodes, policy, restart_s, quota=quota)).run()


@dataclass(eq=False)
class ReferenceJob:
    submitted: int
    left: int
    gpus: int
    tenant: int
    place: dict[int, int] = field(default_factory=dict)
    pause: int = 0
    ran: bool = False
    ended: int = -1


class ReferenceCluster:
    """Seconds one by one: ends, submissions, a decision where anything happened, then a second of work."""

    def __init__(self, jobs: JobTable, restart_s: int) -> None:
        self.free = list(NODES)
        self.restart_s = restart_s
        columns = (jobs.submitted_s, jobs.duration_s, jobs.gpus, jobs.tenant)
        self.jobs = [ReferenceJob(int(a), int(b), int(c), int(d)) for a, b, c, d in zip(*columns, strict=True)]

    def place(self, gpus: int) -> dict[int, int] | None:
        room = [(free, node) for node, free in enumerate(self.free) if free >= gpus]
        if room:
            return {min(room)[1]: gpus}
        whole = gpus == sum(NODES) and self.free == list(NODES)
        return dict(enumerate(NODES)) if whole else None

    def start(self, job: ReferenceJob) -> bool:
        place = self.place(job.gpus)
        if place is None:
            return False
        for node, count in place.items():
            self.free[node] -= count
        job.place, job.pause, job.ran = place, self.restart_s if job.ran else 0, True
        return True

    def stop(self, job: ReferenceJob) -> None:
        for node, count in job.place.items():
            self.free[node] += count
        job.place = {}

    def run(self, decide: Callable[[list[ReferenceJob]], None]) -> list[int]:
        clock = 0
        while any(job.ended < 0 for job in self.jobs):
            news = False
            for job in self.jobs:
                if job.place and job.left == 0:
                    self.stop(job)
                    job.ended, news = clock, True
                news |= job.submitted == clock
            live = [job for job in self.jobs if job.submitted <= clock and job.ended < 0]
            if news:
                decide(live)
            for job in live:
                if job.place and job.pause:
                    job.pause -= 1
                elif job.place:
                    job.left -= 1
            clock += 1
        return [job.ended for job in self.jobs]

    def fcfs(self, live: list[ReferenceJob]) -> None:
        for job in live:
            if not job.place and not self.start(job):
                return

    def first_fit(self, live: list[ReferenceJob]) -> None:
        for job in live:
            if not job.place:
                self.start(job)

    def shortest_remaining(self, live: list[ReferenceJob]) -> None:
        if all(job.place for job in live):
            return
        left, chosen = sum(NODES), []
        for job in sorted(live, key=lambda job: job.left * job.gpus):
            if job.gpus <= left:
                chosen.append(job)
                left -= job.gpus
        for job in live:
            if job.place and job not in chosen:
                self.stop(job)
        for job in chosen:
            if not job.place:
                self.start(job)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.sampled_from(["fcfs", "first_fit", "shortest_remaining"]))
def test_ends_are_those_of_a_simulation_by_the_second(rows: list[JobRow], policy: str) -> None:
    reference = ReferenceCluster(table(rows), 3)
    assert simulation(rows, policy).ended_s.tolist() == reference.run(getattr(reference, policy))


@settings(max_examples=25, deadline=None)
@given(rows=ROWS)
@pytest.mark.parametrize("policy", RIGID)
def test_every_policy_ends_all_jobs_within_the_cluster_and_its_books_balance(policy: str, rows: list[JobRow]) -> None:
    found = simulation(rows, policy)
    assert (found.ended_s >= found.started_s + found.jobs.duration_s - 1e-9).all()
    assert (found.started_s >= found.jobs.submitted_s).all()
    assert (found.samples[:, 1] <= sum(NODES)).all() and (found.samples[:, 1] >= 0).all()
    assert found.lost_gpu_s.sum() == 0, "what a policy stops writes a checkpoint first"
    spent = found.jobs.work_gpu_s + found.restart_gpu_s
    turns = 0.03 / 0.97  # a job on fewer GPUs than it asks for loses so much of its work to taking turns, or more
    assert (found.held_gpu_s >= spent - 1e-6).all()
    if policy != "gpu_fraction":
        assert found.held_gpu_s == pytest.approx(spent)
    else:
        assert (found.held_gpu_s <= spent + found.jobs.work_gpu_s * (turns + 1e-9) + 1e-6).all()


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from(["fcfs", "first_fit"]))
def test_one_more_node_delays_no_job_of_one_gpu(rows: list[JobRow], policy: str) -> None:
    rows = [(submitted, duration, 1, tenant) for submitted, duration, _, tenant in rows]
    few, more = simulation(rows, policy, (1, 1)), simulation(rows, policy, (1, 1, 1))
    assert (more.ended_s <= few.ended_s + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_backfill_delays_the_first_that_waits_no_more_than_waiting_alone(rows: list[JobRow]) -> None:
    """On one node, where GPUs alone decide: the first job that fcfs lets wait starts when it does there."""
    alone, behind = (simulation(rows, policy, (8,)) for policy in ("fcfs", "backfill"))
    waits = np.flatnonzero(alone.wait_s > 0)
    if len(waits):
        assert behind.started_s[waits[0]] <= alone.started_s[waits[0]] + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 60))
def test_shares_of_tenants_are_the_optimum_of_the_linear_program(asked: list[int], capacity: int) -> None:
    """Gavel's: maximise the least share of those that could use more, within the capacity; then with that fixed."""
    got = tenant_shares(np.array(asked, float), capacity)
    assert got.sum() == pytest.approx(min(sum(asked), capacity))
    n = len(asked)
    rows = np.zeros((n + 1, n + 1))
    rows[:n, :n], rows[:n, n], rows[n, :n] = np.eye(n), -1.0, 1.0
    fair = np.where(np.array(asked) > got + 1e-9, got, np.inf)
    level = float(fair.min())
    assert (got <= np.array(asked) + 1e-9).all() and ((got >= level - 1e-9) | (got == np.array(asked))).all()
    if np.isfinite(level):
        program = MixedIntegerProgram(
            np.append(np.zeros(n), -1.0), csc_array(rows),
            np.append(np.where(np.array(asked) > level, 0.0, -np.inf), -np.inf),
            np.append(np.full(n, np.inf), capacity - np.array(asked)[np.array(asked) <= level].sum()),
            np.append(np.where(np.array(asked) > level, np.array(asked, float), 0.0), np.inf), np.zeros(n + 1, bool),
        )  # fmt: skip
        assert -solve(program).objective == pytest.approx(level)


def test_shortest_remaining_has_the_least_mean_on_one_gpu() -> None:
    rows = [(0, 30, 1, 0), (2, 4, 1, 0), (3, 9, 1, 1), (4, 1, 1, 1)]
    means = {p: float(simulation(rows, p, (1,), 0.0).turnaround_s.mean()) for p in RIGID if p != "static_quota"}
    assert min(means.values()) == means["shortest_remaining"] == pytest.approx((44 + 5 + 13 + 1) / 4)


def test_tiers_get_what_they_are_promised_where_the_premium_fits() -> None:
    premium = [(hour * 3600, 3000, 4, 0) for hour in range(24)]
    basic = [(hour * 3600, 20_000, 8, 1) for hour in range(24)]
    found = {p: simulation([*premium, *basic], p, restart_s=30.0) for p in ("first_fit", "gpu_fraction")}
    mine = found["first_fit"].jobs.tenant == 0
    assert found["first_fit"].fraction_of(mine) < 0.5
    assert found["gpu_fraction"].fraction_of(mine) > 0.95
    assert found["gpu_fraction"].ended_s.max() < 1.2 * found["first_fit"].ended_s.max()


def test_what_serving_takes_is_lost_since_the_last_checkpoint_or_saved_where_jobs_are_transparent() -> None:
    jobs = table([(0, 5000, 4, 1), (0, 5000, 4, 1)])
    serving = ServingShare(np.array([2500.0, 3000.0]), np.array([4, 0]))
    lost = JobCluster(jobs, JobSettings(NODES, "first_fit", 0.0, 1000.0, serving=serving)).run()
    saved = JobCluster(jobs, JobSettings(NODES, "gpu_fraction", 0.0, 1000.0, serving=serving)).run()
    assert lost.lost_gpu_s.tolist() == [0.0, 4 * 500.0] and lost.ended_s.tolist() == [5000.0, 6000.0]
    assert saved.lost_gpu_s.sum() == 0


def test_a_large_job_finds_room_where_small_ones_move() -> None:
    pool = NodePool([4, 4, 4])
    places = {job: place for job in range(9) if (place := pool.take(1000))}
    for job in (0, 1, 2, 4, 5):
        pool.give_back(places.pop(job))
    assert pool.whole.tolist() == [3, 2, 3] and pool.take(4000) is None
    moves = dict(defragment(pool, places, 4000))
    assert len(moves) == 1 and pool.take(4000) is not None
    assert defragment(pool, places | moves, 8000) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([200, 500, 700, 1000, 2000, 5000, 9000]), max_size=30), st.randoms())
def test_what_is_given_back_leaves_the_pool_as_it_was(sizes: list[int], random: Random) -> None:
    pool = NodePool([8, 4, 1])
    places = [place for size in sizes if (place := pool.take(size))]
    assert (pool.whole >= 0).all()
    random.shuffle(places)
    for place in places:
        pool.give_back(place)
    assert pool.whole.tolist() == [8, 4, 1] and not pool.shared


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([8, 8, 4, 2]), min_size=2, max_size=5),
    st.lists(st.integers(1, 12), max_size=20),
    st.sets(st.integers(0, 19)),
    st.integers(1, 30),
)
def test_moves_end_and_make_the_room_or_leave_all_as_it_was(
    nodes: list[int], sizes: list[int], gone: set[int], gpus: int
) -> None:
    pool = NodePool(nodes)
    places = {job: place for job, size in enumerate(sizes) if (place := pool.take(1000 * size))}
    for job in gone & set(places):
        pool.give_back(places.pop(job))
    before = pool.whole.copy()
    moves = dict(defragment(pool, places, 1000 * gpus))
    if not moves:
        assert (pool.whole == before).all()
        return
    assert before.sum() == pool.whole.sum() and pool.take(1000 * gpus) is not None
    used = [pair for place in (places | moves).values() for pair in place.nodes]
    free = np.array(nodes) - np.bincount([n for n, _ in used], [g for _, g in used], len(nodes))
    assert (free >= 0).all() and free.sum() == before.sum()
    assert all(sum(g for _, g in places[job].nodes) == sum(g for _, g in moves[job].nodes) for job in moves)


def test_a_job_larger_than_a_node_is_made_room_for() -> None:
    pool = NodePool([8, 8, 8])
    places = {job: place for job in range(6) if (place := pool.take(4000))}
    for job in (0, 2, 4):
        pool.give_back(places.pop(job))
    assert pool.whole.tolist() == [4, 4, 4] and pool.take(12000) is None
    moves = dict(defragment(pool, places, 12000))
    assert len(moves) == 1 and pool.take(12000) is not None


def test_what_cannot_be_simulated_is_refused_by_name() -> None:
    jobs = table([(0, 10, 8, 0), (1, 5, 1, 1)])
    with pytest.raises(InputError, match="1 of 2 ask for 8 GPUs, which the cluster of 4"):
        JobCluster(jobs, JobSettings((4,)))
    with pytest.raises(InputError, match="static_quota needs a quota for each tenant: --quota a=GPUS"):
        JobCluster(jobs, JobSettings(NODES, "static_quota"))
    with pytest.raises(InputError, match="gpu_fraction needs tiers with a promise"):
        JobCluster(table([(0, 10, 8, 0)], tiers=False), JobSettings(NODES, "gpu_fraction"))
    with pytest.raises(InputError, match="no GPU is left for jobs"):
        JobCluster(jobs, replace(JobSettings(NODES), serving=ServingShare(np.zeros(1), np.array([8]))))
