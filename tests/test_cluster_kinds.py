"""Kinds of GPUs under jobs: Gavel's program against a search over shares, places by hand, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from comptroller.cli import application
from comptroller.cluster.job_outcome import JobOutcome
from comptroller.cluster.job_run import kind_speeds, node_kinds, node_sizes
from comptroller.cluster.job_simulation import JobCluster, JobSettings
from comptroller.cluster.job_table import JobTable
from comptroller.cluster.policies.hetero_max_min import time_shares
from comptroller.errors import InputError
from test_cluster_jobs import ROWS, JobRow, table

SPEEDS = st.lists(st.tuples(st.floats(0.1, 1.0), st.floats(0.1, 1.0)), min_size=2, max_size=2)


def minimum(shares: np.ndarray, speeds: np.ndarray, capacity: np.ndarray) -> float:
    equal = speeds @ (capacity / capacity.sum())
    return float(((shares * speeds).sum(axis=1) / equal).min())


@settings(max_examples=40, deadline=None)
@given(SPEEDS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_the_least_share_is_that_of_a_search(
    rows: list[tuple[float, float]], first: int, second: int, fast: int, slow: int
) -> None:
    """Two jobs on two kinds, every share of time in steps of a twentieth that the GPUs allow."""
    speeds, asked = np.array(rows), np.array([first, second], float)
    capacity = np.array([fast, slow], float)
    got = time_shares(speeds, asked, capacity)
    assert (got >= -1e-9).all() and (got.sum(axis=1) <= 1 + 1e-6).all() and (asked @ got <= capacity + 1e-6).all()
    steps = np.linspace(0.0, 1.0, 21)
    best = 0.0
    for a in steps:
        for b in steps[steps <= 1 - a + 1e-9]:
            left = capacity - asked[0] * np.array([a, b])
            if (left < -1e-9).any():
                continue
            # The other job has what is left, on the kind where it is faster first.
            other, time = np.zeros(2), 1.0
            for kind in np.argsort(-speeds[1]):
                other[kind] = min(time, left[kind] / asked[1])
                time -= other[kind]
            best = max(best, minimum(np.array([[a, b], other]), speeds, capacity))
    assert minimum(got, speeds, capacity) >= best - 1e-6
    assert minimum(got, speeds, capacity) <= best * 1.1 + 0.06, "the search is as fine as its steps"


def two_kinds(speeds: list[list[float]], policy: str, rows: list[JobRow], restart_s: float = 0.0) -> JobOutcome:
    jobs: JobTable = table(rows, tiers=False)
    how = JobSettings((4, 4), policy, restart_s, kinds=(0, 1), speeds=np.array(speeds), quota=np.array([4, 4]))
    return JobCluster(jobs, how).run()


def test_who_cannot_use_the_slow_kind_is_on_the_fast_one() -> None:
    """The first job is as fast on both kinds, the second ten times slower on the other: by the program they trade."""
    rows = [(0, 7200, 4, 0), (0, 7200, 4, 1)]
    speeds = [[1.0, 1.0], [1.0, 0.1]]
    assert two_kinds(speeds, "hetero_max_min", rows).ended_s.tolist() == [7200.0, 7200.0]
    assert two_kinds(speeds, "first_fit", rows).ended_s.tolist() == [7200.0, 72_000.0]


def test_equal_jobs_take_turns_on_the_fast_kind() -> None:
    rows = [(0, 36_000, 4, 0), (0, 36_000, 4, 0)]
    found = two_kinds([[1.0, 0.5], [1.0, 0.5]], "hetero_max_min", rows)
    assert found.ended_s == pytest.approx([48_000.0, 48_000.0], abs=2 * 360)


def test_a_job_on_a_slow_kind_takes_as_much_longer() -> None:
    assert two_kinds([[0.25, 0.25]] * 2, "first_fit", [(0, 100, 2, 0)]).ended_s.tolist() == [400.0]


def test_a_job_over_both_kinds_goes_as_on_the_slowest() -> None:
    assert two_kinds([[1.0, 0.5]] * 2, "first_fit", [(0, 100, 8, 0)]).ended_s.tolist() == [200.0]


@settings(max_examples=20, deadline=None)
@given(ROWS)
def test_all_jobs_end_and_every_speed_of_one_is_the_plain_cluster(rows: list[JobRow]) -> None:
    small = [(at, long, min(gpus, 4), tenant) for at, long, gpus, tenant in rows]
    assert np.isfinite(two_kinds([[1.0, 0.3], [0.5, 1.0]], "hetero_max_min", small, 3.0).ended_s).all()
    plain = JobCluster(table(small, tiers=False), JobSettings((4, 4), "first_fit", 3.0)).run()
    assert two_kinds([[1.0, 1.0]] * 2, "first_fit", small, 3.0).ended_s.tolist() == plain.ended_s.tolist()


def test_words_of_kinds_and_speeds() -> None:
    words = ["v100:2x8", "k80:1x4", "v100:1x2"]
    assert node_sizes(words) == (8, 8, 4, 2) and node_kinds(words) == (("v100", "k80"), (0, 0, 1, 0))
    with pytest.raises(InputError, match="kinds: v100, k80; tenants: a"):
        kind_speeds(["t4=0.5"], ["a"], ["v100", "k80"])
    with pytest.raises(InputError, match="jobs of a run on no kind"):
        kind_speeds(["v100=0"], ["a"], ["v100"])
    with pytest.raises(InputError, match="first_fit does not know kinds"):
        two_kinds([[1.0, 0.0]] * 2, "first_fit", [(0, 5, 1, 0)])


def test_the_command_takes_kinds(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("submitted_s,duration_s,gpus,tenant\n0,7200,4,a\n1,7200,4,b\n", encoding="utf-8")
    words = ["cluster", "jobs", str(path), "--nodes", "v100:1x4", "--nodes", "k80:1x4", "--speed", "k80=0.5"]
    words += ["--speed", "b/k80=0.1", "--policy", "hetero_max_min", "--policy", "first_fit", "--json"]
    ours, blind = json.loads(CliRunner().invoke(application(words), words).stdout)["policies"]
    assert ours["turnaround_mean_s"] < blind["turnaround_mean_s"]
