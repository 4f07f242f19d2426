"""Faults of nodes under jobs: Daly's formula with detection, a reference by hand, books that balance."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from comptroller.cli import application
from comptroller.cluster.job_faults import JobFaults
from comptroller.cluster.job_outcome import JobOutcome
from comptroller.cluster.job_simulation import JobCluster, JobSettings, ServingShare
from comptroller.cluster.job_table import JobTable
from comptroller.costs.training_faults import checkpoint_interval_s, checkpoint_schedule
from comptroller.errors import InputError
from test_cluster_jobs import RIGID, ROWS, JobRow, table


def one_job(gpus: int, duration_s: float) -> JobTable:
    none = np.zeros(1, np.int64)
    return JobTable(np.zeros(1), np.array([duration_s]), np.array([gpus * 1000]), none, ("a",), none)


def run(
    jobs: JobTable, nodes: tuple[int, ...], faults: JobFaults | None, policy: str = "first_fit", **how: float
) -> JobOutcome:
    quota = np.array([sum(nodes) // len(jobs.tenants)] * len(jobs.tenants))
    return JobCluster(jobs, JobSettings(nodes, policy, quota=quota, faults=faults, **how)).run()  # type: ignore[arg-type]


@pytest.mark.parametrize(("detect_s", "restart_s"), [(0.0, 0.0), (1800.0, 300.0), (30.0, 900.0)])
def test_a_long_job_goes_on_as_the_exponential_model_has_it(detect_s: float, restart_s: float) -> None:
    """The mean time of an interval of work W: (M + D) exp(R / M) (exp(W / M) - 1); faults hit restarts too, not what
    hangs already. With D = 0 it is Daly's (FGCS 2006, equation 13) with free checkpoints."""
    apart_s, step_s, intervals = 7200.0, 1800.0, 3000
    faults = JobFaults(apart_s * 8, detect_s, 0.0, seed=3)
    found = run(one_job(8, step_s * intervals), (8,), faults, restart_s=restart_s, checkpoint_s=step_s)
    expected = (apart_s + detect_s) * math.exp(restart_s / apart_s) * math.expm1(step_s / apart_s) * intervals
    assert found.turnaround_s[0] == pytest.approx(expected, rel=0.04)
    assert found.hung_gpu_s[0] == pytest.approx(found.faults[0] * detect_s * 8, rel=1e-9)


def test_with_free_checkpoints_it_is_dalys_goodput() -> None:
    write_s = 1e-3
    schedule = checkpoint_schedule(write_s, 7200.0, 900.0)
    step_s = checkpoint_interval_s(write_s, 7200.0)
    work_s = 4e6
    found = run(one_job(8, work_s), (8,), JobFaults(7200.0 * 8, 0.0, 0.0), restart_s=900.0, checkpoint_s=step_s)
    assert work_s / found.turnaround_s[0] == pytest.approx(schedule.goodput, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(ROWS, st.floats(200.0, 2000.0), st.floats(0.0, 30.0), st.floats(0.0, 90.0), st.integers(0, 99))
@pytest.mark.parametrize("policy", RIGID)
def test_all_jobs_end_and_what_they_held_is_work_restarts_hangs_or_lost(
    policy: str, rows: list[JobRow], device_s: float, detect_s: float, repair_s: float, seed: int
) -> None:
    jobs = table(rows)
    faults = JobFaults(device_s, detect_s, repair_s, seed)
    cluster = JobCluster(jobs, JobSettings((4, 4), policy, 3.0, 20.0, quota=np.array([8, 8]), faults=faults))
    found = cluster.run()
    assert np.isfinite(found.ended_s).all() and (found.samples[:, 1] <= 8).all()
    spent = found.jobs.work_gpu_s + found.restart_gpu_s + found.lost_gpu_s
    if policy == "gpu_fraction":
        assert (found.held_gpu_s >= found.jobs.work_gpu_s - 1e-6).all()
    else:
        # A job that faults while it restarts is charged for both from then on: the hang may overlap the restart.
        assert (found.held_gpu_s <= spent + found.hung_gpu_s + 1e-6).all()
        assert (found.held_gpu_s >= spent - 1e-6).all()
    assert (found.hung_gpu_s <= found.faults * detect_s * jobs.gpus + 1e-6).all()
    assert cluster.pool.free_milli + 1000 * cluster._away_milli() // 1000 == 8000, "what was taken out is accounted for"


def test_a_fault_by_hand() -> None:
    """One GPU of one node: the first fault at f hangs the job until f + D, then the node is mended, or not broken."""
    faults = JobFaults(1000.0, 50.0, 200.0, seed=1)
    drawn = np.random.default_rng(1)
    at_s, _, breaks = float(drawn.exponential(1000.0)), drawn.integers(1), drawn.random() < 0.85
    second_s = at_s + float(drawn.exponential(1000.0))
    work_s = at_s + 10.0
    found = run(one_job(1, work_s), (1,), faults, restart_s=20.0, checkpoint_s=100.0)
    back_s = at_s + 50.0 + (200.0 if breaks else 0.0)
    kept_s = math.floor(at_s / 100.0) * 100.0
    end_s = back_s + 20.0 + work_s - kept_s
    if second_s > end_s:
        assert found.ended_s[0] == pytest.approx(end_s) and found.lost_gpu_s[0] == pytest.approx(at_s - kept_s)
        assert found.hung_gpu_s[0] == pytest.approx(50.0) and found.faults[0] == 1


def test_sooner_seen_means_more_of_the_time_is_work() -> None:
    jobs = one_job(64, 400_000.0)
    useful = [
        run(jobs, (8,) * 9, JobFaults(3e6, detect_s, 3600.0)).useful_share for detect_s in (10.0, 1800.0, 14_400.0)
    ]
    assert useful == sorted(useful, reverse=True) and useful[0] - useful[-1] > 0.1


@settings(max_examples=20, deadline=None)
@given(ROWS)
def test_faults_that_hardly_come_change_nothing(rows: list[JobRow]) -> None:
    plain = run(table(rows), (4, 4), None, restart_s=3.0)
    rare = run(table(rows), (4, 4), JobFaults(1e15), restart_s=3.0)
    assert rare.ended_s.tolist() == plain.ended_s.tolist()


def test_serving_keeps_its_gpus_when_a_node_of_it_breaks() -> None:
    jobs = one_job(4, 5000.0)
    serving = ServingShare(np.zeros(1), np.array([4]))
    settings_ = JobSettings((4, 4, 4), "first_fit", 10.0, 500.0, serving=serving, faults=JobFaults(6000.0, 5.0, 100.0))
    cluster = JobCluster(jobs, settings_)
    found = cluster.run()
    assert np.isfinite(found.ended_s).all() and len(cluster.serving_places) <= 4
    assert cluster.pool.free_milli + cluster._away_milli() == 12_000


def test_what_cannot_be_simulated_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="hardly ever reached; allowed: up to 625 s"):
        run(one_job(8, 1e6), (8,), JobFaults(1000.0), checkpoint_s=1800.0)
    with pytest.raises(InputError, match="faults of a GPU 0 s apart"):
        JobFaults(0.0)
    assert replace(JobFaults(1.0), seed=2).seed == 2


def test_the_command_says_what_hung_and_what_was_lost(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("jobs") / "jobs.csv"
    path.write_text("submitted_s,duration_s,gpus,tenant\n0,90000,8,a\n80000,90000,8,a\n", encoding="utf-8")
    words = ["cluster", "jobs", str(path), "--nodes", "3x8", "--faults", "100", "--detect", "1800", "--json"]
    found = json.loads(CliRunner().invoke(application(words), words).stdout)["policies"][0]
    assert found["faults"] > 0 and found["hung_gpu_h"] > 0 and found["useful"] < found["use"]
