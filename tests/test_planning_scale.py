"""Large searches: the same answer wherever they are worked on, nothing left behind, and nothing done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from functools import cache, partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from comptroller.errors import UnknownIdError, UnsupportedError
from comptroller.planning.ground.executor import (
    HERE,
    AdaptiveExecutor,
    CachingExecutor,
    ProcessExecutor,
    RayExecutor,
    SearchExecutor,
    executor,
    gather,
    no_progress,
)
from comptroller.planning.offer.deployments import RejectionTally, enumerate_deployments
from comptroller.planning.offer.evaluation import ReplicaChunk, ReplicaEvaluator, chunks
from comptroller.planning.offer.requests import load_of, traffic_of
from comptroller.planning.offer.space import goal_of, space_of
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.solve.case import OptionTable
from comptroller.planning.solve.option_dominance import undominated_options
from comptroller.work.workload import Workload, load, parse

WORKLOAD = {
    "name": "small",
    "models": ["llama_3_1_8b", "gpt_oss_20b"],
    "rate_per_s": 20.0,
    "objectives": {"tpot": {"max": 50.0, "unit": "ms"}},
    "lengths": {"input_edges": [1, 512, 2048], "output_edges": [1, 128, 512], "weights": [[1, 2], [2, 1]]},
    "allow": {"accelerators": ["h100_sxm", "l4"], "sites": ["us_neocloud"]},
}


@cache
def parts() -> tuple[ReplicaEvaluator, list[ReplicaChunk]]:
    return parts_of(parse(WORKLOAD))


def parts_of(asked: Workload) -> tuple[ReplicaEvaluator, list[ReplicaChunk]]:
    deployments = list(enumerate_deployments(space_of(asked), RejectionTally()))
    evaluate = ReplicaEvaluator(goal_of(asked).targets, shipped_calibration())
    return evaluate, chunks(deployments, load_of(traffic_of(asked)))


@cache
def planned() -> str:
    return plan(parse(WORKLOAD), rehearsal=None).to_json()


@pytest.mark.slow
def test_processes_find_the_same_bytes_and_end() -> None:
    assert plan(parse(WORKLOAD), rehearsal=None, executor=ProcessExecutor(2)).to_json() == planned()
    assert not active_children()


def test_ray_finds_the_same_bytes() -> None:
    pytest.importorskip("ray", reason="ray is not installed; make test-export installs it beside")
    assert plan(parse(WORKLOAD), rehearsal=None, executor=RayExecutor()).to_json() == planned()


def test_ray_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"comptroller\[ray\]"):
        gather(RayExecutor(), *parts(), no_progress)


def slow(number: int) -> int:
    time.sleep(0.02 if number else 0.0)
    return number * number


def counted(folder: Path, number: int) -> int:
    (folder / str(number)).touch()
    return slow(number)


def dies(number: int) -> int:
    os._exit(9)


def long(folder: Path, number: int) -> bytes:
    (folder / str(number)).touch()
    return bytes(1 << 24)


@pytest.mark.slow
@pytest.mark.parametrize("work", [counted, long])
def test_what_is_called_off_leaves_no_process(work: Any, tmp_path: Path) -> None:
    """Not even in the middle of a result that takes a while to send; and what was not begun is not done."""
    parts = 10_000
    mine = partial(work, tmp_path)
    finished = ProcessExecutor(2).map(mine, list(range(parts)))
    place, found = next(finished)
    assert found == mine(place) and active_children()
    finished.close()
    assert not active_children() and len(list(tmp_path.iterdir())) < parts / 2


def test_a_process_that_dies_is_an_error_not_a_wait() -> None:
    with pytest.raises(UnsupportedError, match="ended abruptly"):
        gather(ProcessExecutor(1), dies, [1, 2], no_progress)
    assert not active_children()


class Refuses:
    """An executor that must have nothing left to do."""

    def map(self, work: Any, given: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
        assert not given, f"{len(given)} parts done twice"
        yield from ()


def test_finished_parts_are_not_done_again(tmp_path: Path) -> None:
    work, given = parts()
    first = CachingExecutor(HERE, tmp_path).map(work, given)
    next(first)
    first.close()
    assert len(list(tmp_path.glob("*.part"))) == 1
    whole = gather(CachingExecutor(HERE, tmp_path), work, given, no_progress)
    again = gather(CachingExecutor(Refuses(), tmp_path), work, given, no_progress)
    assert [len(part) for part in again] == [len(part) for part in whole] and len(whole) == len(given)
    other = ReplicaEvaluator(work.targets[:0], work.calibration)
    with pytest.raises(AssertionError, match="done twice"):
        gather(CachingExecutor(Refuses(), tmp_path), other, given, no_progress)


def test_parts_have_the_same_names_in_another_process() -> None:
    code = (
        "import hashlib, pickle, test_planning_scale as t\n"
        "work, given = t.parts()\n"
        "print(hashlib.sha256(pickle.dumps(work) + pickle.dumps(given)).hexdigest())"
    )
    names = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(names) == 1


def test_little_work_stays_here() -> None:
    assert gather(AdaptiveExecutor(Refuses()), slow, [1, 2, 3], no_progress) == [1, 4, 9]
    with pytest.raises(AssertionError, match="1000 parts"):
        gather(AdaptiveExecutor(Refuses()), slow, range(1000), no_progress)


@given(st.lists(st.integers(0, 50), max_size=20))
def test_results_come_in_order_and_progress_reaches_the_end(numbers: list[int]) -> None:
    class Shuffled:
        """Finishes the last part first."""

        def map(self, work: Any, given: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
            yield from ((place, work(given[place])) for place in reversed(range(len(given))))

    told: list[tuple[int, int]] = []
    shuffled: SearchExecutor = Shuffled()
    found = gather(shuffled, abs, numbers, lambda done, total: told.append((done, total)))
    assert found == numbers and told == [(n, len(numbers)) for n in range(len(numbers))]


def test_an_unknown_executor_lists_the_known_ones() -> None:
    with pytest.raises(UnknownIdError, match="processes"):
        executor("proceses")


def running(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = file.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, of, *_ = rest.split()
        if int(of) == group and state != "Z":
            found.append(name)
    return found


@pytest.mark.slow
def test_an_interrupted_search_goes_on(tmp_path: Path) -> None:
    """Ctrl-C in the middle: exit code 130, no process left, parts kept and taken up again."""
    file = tmp_path / "wide.toml"
    file.write_text(
        'name = "wide"\nmodels = ["llama_3_1_8b", "gpt_oss_20b"]\nrate_per_s = 5.0\n'
        "[lengths]\ninput_edges = [1, 900]\noutput_edges = [1, 300]\nweights = [[1]]\n"
        '[allow]\naccelerators = ["h100_sxm", "l40s", "l4"]\nsites = ["us_neocloud"]\n'
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [sys.executable, "-m", "comptroller", "plan", str(file), "--executor", "processes", "--resume"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["env", "--default-signal=INT", *words], env=env, stdout=pipe, stderr=pipe, start_new_session=True
    ) as run:
        while not (kept := list(tmp_path.glob("cache/comptroller/plan/*/*.part"))):
            assert run.poll() is None, run.communicate()
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=600)
    assert run.returncode == 130 and b"Traceback" not in said
    until = time.monotonic() + 600
    while left := running(run.pid):
        assert time.monotonic() < until, left
        time.sleep(0.05)
    stamps = {each: each.stat().st_mtime_ns for each in kept}
    work, given = parts_of(load(file))
    resumed = gather(CachingExecutor(HERE, kept[0].parent), work, given, no_progress)
    assert {each: each.stat().st_mtime_ns for each in kept} == stamps
    assert len(list(kept[0].parent.glob("*.part"))) >= len(given)
    assert [repr(each) for each in resumed] == [repr(work(each)) for each in given]


COARSE = st.integers(0, 3)


@settings(deadline=None)
@given(st.data())
def test_options_left_out_change_no_optimum(data: st.DataObject) -> None:
    """The linear program of one class with capacities of two models, with and without what was left out."""
    options, rng = data.draw(st.integers(1, 24)), np.random.default_rng(data.draw(st.integers(0, 10**6)))
    own = [frozenset(np.flatnonzero(row).tolist()) for row in rng.random((options, 2)) < 0.5]
    score, usd = rng.integers(0, 4, (1, options)) / 3, rng.integers(0, 4, (1, options)).astype(float)
    calls = {model: rng.integers(0, 3, (1, options, 2)) * np.array([[[model in x] for x in own]]) for model in (0, 1)}
    kept = undominated_options(own, OptionTable(score, usd, calls), np.arange(options))
    room = float(data.draw(COARSE))

    def least(of: np.ndarray) -> float:
        bounds = [-score[0, of], *(calls[model][0, of, place] for model in (0, 1) for place in (0, 1))]
        found = linprog(usd[0, of], bounds, [-0.5, *[room] * 4], [np.ones(len(of))], [1.0])
        return float(found.fun) if found.success else np.inf

    assert np.isclose(least(kept), least(np.arange(options))) or least(kept) == least(np.arange(options))
