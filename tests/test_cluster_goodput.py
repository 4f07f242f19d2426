"""Goodput of cluster jobs: its equation against Pollux's own, allotments against all there are, runs by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from comptroller.cli import application
from comptroller.cluster.job_faults import JobFaults
from comptroller.cluster.job_goodput import GoodputModel, JobGoodput, of_models
from comptroller.cluster.job_outcome import JobOutcome
from comptroller.cluster.job_simulation import JobCluster, JobSettings
from comptroller.cluster.job_table import JobTable
from comptroller.cluster.policies.pollux import allotments
from test_cluster_jobs import JobRow, table

LINEAR = GoodputModel("linear", 64, 1e6, 1, 64, 1e15, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0, 64, "by hand")
"""As many times as fast on as many GPUs: no exchange, and a sample is worth the same in any batch."""
FIXED = replace(LINEAR, model="fixed", most_batch=64, sample_s=0.0001, compute_s=1.0)
"""No faster on more GPUs: a step takes a second however few samples a GPU has."""
MODELS = st.builds(
    GoodputModel, st.just("any"), st.sampled_from([32, 128]), st.sampled_from([128, 4096]), st.just(1),
    st.sampled_from([32, 256]), st.floats(0, 1e5), st.floats(0, 0.2), st.floats(1e-4, 0.1), st.floats(0, 0.2),
    st.floats(0, 0.02), st.floats(0, 0.5), st.floats(0, 0.05), st.floats(1, 10), st.just(64), st.just("drawn"),
)  # fmt: skip


def published(model: GoodputModel, gpus: int, nodes: int, local: float, sqr: float, var: float) -> float:
    """Throughput times efficiency as Pollux's code has them: the step from local batches, the worth of a sample from
    the square and the variance of gradients at the first batch."""
    compute_s = model.compute_s + model.sample_s * local
    first_s, more_s = (0.0, 0.0)
    if gpus > 1:
        first_s, more_s = (model.network_s, model.network_gpu_s) if nodes > 1 else (model.node_s, model.node_gpu_s)
    network_s = first_s + more_s * max(gpus - 2, 0)
    step_s = (compute_s**model.overlap + network_s**model.overlap) ** (1 / model.overlap)
    scale = gpus * local / model.batch
    gain = (var + sqr) / (var / scale + sqr)
    return gpus * local / step_s * gain / scale


@settings(max_examples=60, deadline=None)
@given(MODELS, st.integers(1, 16), st.floats(0.01, 10.0))
def test_goodput_is_the_best_of_the_published_equation(model: GoodputModel, gpus: int, sqr: float) -> None:
    """The noise scale is var / sqr batches; a plain search over local batches finds no more, and no less by 0.5 %."""
    nodes, var = -(-gpus // 8), sqr * model.noise / model.batch
    least, most = max(model.batch, gpus), min(model.most_batch, model.most_local * gpus)
    if least > most:
        assert model.goodput(gpus, nodes) == 0
        return
    best = max(published(model, gpus, nodes, size / gpus, sqr, var) for size in np.geomspace(least, most, 2001))
    assert best * 0.995 <= model.goodput(gpus, nodes) <= best * (1 + 1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.randoms(use_true_random=False))
def test_allotments_are_those_of_exhaustive_search(jobs: int, gpus: int, rng: object) -> None:
    sizes = np.array([1, 2, 3, 4, 8])
    terms = np.array([[rng.uniform(0, 10) for _ in range(len(sizes) + 1)] for _ in range(jobs)])  # type: ignore[attr-defined]
    got = allotments(sizes, terms, gpus)
    counts = [0, *sizes.tolist()]
    able = [one for one in product(range(len(counts)), repeat=jobs) if sum(counts[n] for n in one) <= gpus]
    best = min(sum(terms[job, n] for job, n in enumerate(one)) for one in able)
    assert got.sum() <= gpus
    assert sum(terms[job, counts.index(int(n))] for job, n in enumerate(got)) == pytest.approx(best, rel=1e-12)


def ran(rows: list[JobRow], models: list[GoodputModel], policy: str = "pollux", nodes: tuple[int, ...] = (4, 4),
        restart_s: float = 0.0, faults: JobFaults | None = None) -> JobOutcome:  # fmt: skip
    """Jobs, each of a model of its own in the order of submission."""
    jobs: JobTable = table(rows, tiers=False)
    names = tuple(dict.fromkeys(one.model for one in models))
    jobs = replace(jobs, model=np.array([names.index(one.model) for one in models]), models=names)
    growth = of_models(list(dict.fromkeys(models)), jobs, nodes, "by hand")
    return JobCluster(jobs, JobSettings(nodes, policy, restart_s, goodput=growth, faults=faults)).run()


def test_a_job_alone_grows_to_all_gpus_that_make_it_faster() -> None:
    """Submitted at the first round it has no age yet and waits for the next; then 4,000 s of one GPU take 500."""
    assert ran([(0, 4000, 1, 0)], [LINEAR]).ended_s.tolist() == [pytest.approx(560.0)]
    slow = ran([(0, 4000, 1, 0)], [FIXED])
    assert slow.ended_s.tolist() == [pytest.approx(4060.0, rel=0.01)]


def test_equal_jobs_share_evenly_and_rigid_ones_give_way() -> None:
    """Two linear jobs on eight GPUs have four each; beside a job that more GPUs do not help, one has the rest."""
    assert ran([(0, 800, 1, 0), (0, 800, 1, 1)], [LINEAR, LINEAR]).ended_s.tolist() == [260.0, 260.0]
    found = ran([(0, 700, 1, 0), (0, 4000, 1, 1)], [FIXED, LINEAR], nodes=(8,))
    assert found.ended_s[1] == pytest.approx(60 + 4000 / 7)


def test_a_change_costs_its_restart() -> None:
    """A job grows when the other has ended: without a cost at once, with one for as long and no more often."""
    rows, models = [(0, 800, 1, 0), (0, 8000, 1, 1)], [LINEAR, LINEAR]
    free, dear = ran(rows, models), ran(rows, models, restart_s=40.0)
    assert free.ended_s[0] == dear.ended_s[0] == 260.0
    assert dear.ended_s[1] == pytest.approx(free.ended_s[1] + 40.0 * dear.stops[1]) and dear.stops[1] == 1


def test_jobs_wait_out_the_hours_in_which_every_node_is_away() -> None:
    """Repairs take ten times what lies between two faults of a node, so that rounds fall where no GPU is there."""
    found = ran([(0, 4000, 1, 0), (0, 4000, 1, 1)], [LINEAR, LINEAR], faults=JobFaults(4000.0, 0.0, 10_000.0))
    assert np.isfinite(found.ended_s).all() and found.ended_s.max() > 10_000.0
    none = JobGoodput((LINEAR, FIXED), np.array([0, 1]), 4)
    assert none.at_sizes(none.sizes(0)).shape == (2, 0)


def test_policies_that_give_what_is_asked_do_not_see_goodput() -> None:
    rows = [(0, 500, 2, 0), (10, 300, 4, 1), (20, 700, 8, 0)]
    jobs = table(rows, tiers=False)
    for policy in ("fcfs", "first_fit", "backfill"):
        plain = JobCluster(jobs, JobSettings((4, 4), policy)).run()
        known = ran(rows, [LINEAR] * 3, policy, restart_s=60.0)
        np.testing.assert_allclose(known.ended_s, plain.ended_s)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 600), st.integers(60, 3000), st.sampled_from([1, 2, 4]), st.just(0)),
                min_size=1, max_size=6))  # fmt: skip
def test_every_job_ends_and_none_holds_what_there_is_not(rows: list[JobRow]) -> None:
    found = ran(rows, [LINEAR] * len(rows), restart_s=30.0)
    assert np.isfinite(found.ended_s).all() and (found.samples[:, 1] <= 8).all()
    work_gpu_s = found.jobs.work_gpu_s.sum()
    assert found.held_gpu_s.sum() == pytest.approx(work_gpu_s + found.restart_gpu_s.sum(), rel=1e-6)


def test_places_of_a_job_are_a_node_or_whole_nodes() -> None:
    assert JobGoodput((), np.zeros(0, np.int64), 4).sizes(13).tolist() == [1, 2, 3, 4, 8, 12]


HEAD = ",".join(GoodputModel.__dataclass_fields__)
ROW = "resnet,64,1024,1,64,500,0.02,0.001,0.01,0.001,0.09,0.01,2,16,assumed"


def run_cli(tmp_path: Path, jobs: str, models: str, *more: str) -> tuple[int, str]:
    (tmp_path / "jobs.csv").write_text(jobs, encoding="utf-8")
    (tmp_path / "models.csv").write_text(models, encoding="utf-8")
    words = ["cluster", "jobs", str(tmp_path / "jobs.csv"), "--nodes", "2x4", "--policy", "pollux", *more]
    found = CliRunner().invoke(application(words), words)
    return found.exit_code, str(found.exception or "") + found.output


JOBS = "submitted_s,duration_s,gpus,tenant,model\n0,3000,1,a,resnet\n100,3000,2,b,resnet\n"


def test_goodput_from_the_command_line(tmp_path: Path) -> None:
    file = str(tmp_path / "models.csv")
    code, text = run_cli(tmp_path, JOBS, f"{HEAD}\n{ROW}\n", "--goodput", file, "--policy", "first_fit", "--json")
    assert code == 0
    rows = {row["policy"]: row for row in json.loads(text)["policies"]}
    assert rows["pollux"]["turnaround_mean_s"] < rows["first_fit"]["turnaround_mean_s"]


@pytest.mark.parametrize(
    ("jobs", "models", "says"),
    [
        (JOBS, f"{HEAD}\n{ROW}\n{ROW}\n", "resnet stands twice"),
        (JOBS, f"{HEAD}\n{ROW.replace('resnet', 'bert')}\n", "no row for the model 'resnet'"),
        (JOBS, f"{HEAD}\n{ROW.replace('assumed', '')}\n", "no source says where"),
        (JOBS, f"{HEAD}\n{ROW.replace('500', 'x')}\n", "noise"),
        (JOBS, f"{HEAD}\n{ROW.replace('64,1024', '64,32')}\n", "batch 64 to 32"),
        (JOBS, f"{HEAD.replace(',noise', '')}\n", "none is called noise"),
        (JOBS.replace("100,3000,2", "100,3000,0.5"), f"{HEAD}\n{ROW}\n", "asks for 0.5 GPUs; allowed: whole ones"),
        (JOBS.replace("0,3000,1", "0,3000,8"), f"{HEAD}\n{ROW.replace('2,16', '2,4')}\n", "cannot train on the 8 GPUs"),
        (JOBS.replace(",model", ",what"), f"{HEAD}\n{ROW}\n", "name the column by --column model=NAME"),
        (JOBS.replace("b,resnet", "b,"), f"{HEAD}\n{ROW}\n", "1 of 2 jobs do not say what they train"),
    ],
)
def test_what_is_lacking_is_refused_by_name(tmp_path: Path, jobs: str, models: str, says: str) -> None:
    code, text = run_cli(tmp_path, jobs, models, "--goodput", str(tmp_path / "models.csv"))
    assert code and says in text


@pytest.mark.parametrize("model", ["", "bert"])
def test_models_are_asked_for_only_of_jobs_that_are_left(tmp_path: Path, model: str) -> None:
    """An empty cell, or a model without a row, of a job of no GPU and of one that options leave out."""
    jobs = f"{JOBS}200,3000,0,a,{model}\n300,3000,8,b,{model}\n"
    words = ("--goodput", str(tmp_path / "models.csv"))
    code, text = run_cli(tmp_path, jobs, f"{HEAD}\n{ROW}\n", *words, "--most-gpus", "4", "--json")
    assert code == 0
    left, alone = json.loads(text), json.loads(run_cli(tmp_path, JOBS, f"{HEAD}\n{ROW}\n", *words, "--json")[1])
    assert left["policies"] == alone["policies"]
    code, text = run_cli(tmp_path, jobs, f"{HEAD}\n{ROW}\n", *words)
    assert code and ("no row for the model 'bert'" if model else "1 of 3 jobs do not say what they train") in text


def test_cells_of_models_may_be_empty_where_nobody_asks_for_goodput(tmp_path: Path) -> None:
    words = ["cluster", "jobs", str(tmp_path / "jobs.csv"), "--nodes", "2x4", "--json"]
    found = []
    for jobs in (JOBS, JOBS.replace("b,resnet", "b,"), JOBS.replace("resnet", "")):
        (tmp_path / "jobs.csv").write_text(jobs, encoding="utf-8")
        ended = CliRunner().invoke(application(words), words)
        assert ended.exit_code == 0
        found.append(json.loads(ended.output)["policies"])
    assert found[0] == found[1] == found[2]


def test_pollux_without_goodput_is_refused(tmp_path: Path) -> None:
    code, text = run_cli(tmp_path, JOBS, "")
    assert code and "--goodput FILE" in text
    code, text = run_cli(tmp_path, JOBS, "", "--goodput", str(tmp_path / "none.csv"))
    assert code and "is not there" in text
