"""Monitors of agents' runs: thresholds, what stopping spares, and what is held out."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runs import write_runs
from command_ends import ends as exit_of
from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.monitor_study import (
    MonitorFinding,
    findings,
    folds_of,
    held_out_signal,
    judge,
    peaks,
    stops,
    threshold_within,
)
from comptroller.strategies.monitors import monitor, monitors
from comptroller.work.trajectories import COUNTED, AgentTrajectories
from comptroller.work.trajectory_files import read_trajectories

SOURCES = (("a", "m1"), ("a", "m2"), ("b", "m3"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> AgentTrajectories:
    path = tmp_path_factory.mktemp("runs") / "calls.csv"
    write_runs(path)
    return read_trajectories(path)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.floats(0, 0.9))
def test_no_more_successes_are_lost_than_may_be(runs: list[tuple[float, bool]], most_lost: float) -> None:
    peak, success = (np.array(column) for column in zip(*runs, strict=True))
    if not success.any():
        return
    threshold = threshold_within(peak, success, most_lost)
    assert (peak[success] > threshold).sum() <= most_lost * success.sum() + 1e-6


@pytest.mark.parametrize("name", monitors())
def test_every_monitor_sees_only_what_was_until_then(name: str, drawn: AgentTrajectories) -> None:
    """The signal after a call is the same, whatever comes later."""
    signal_of = monitor(name).fit(drawn)
    whole = signal_of(drawn)
    half = drawn.step < 12
    columns = {name: getattr(drawn, name)[half] for name in ("run", "line", *COUNTED)}
    cut = replace(drawn, **columns)
    assert whole.shape == drawn.run.shape and np.isfinite(whole).all()
    assert signal_of(cut).tolist() == pytest.approx(whole[half].tolist())


@pytest.mark.parametrize("name", monitors())
def test_a_higher_threshold_stops_fewer_and_spares_less(name: str, drawn: AgentTrajectories) -> None:
    signal = monitor(name).fit(drawn)(drawn)
    low, high = np.quantile(peaks(drawn, signal), [0.3, 0.7])
    early, late = (stops(drawn, signal, np.full(len(drawn.runs), at)) for at in (low, high))
    assert (early.ended >= late.ended).all() and (early.spared_usd >= late.spared_usd - 1e-12).all()
    assert (late.spared_usd >= 0).all() and (early.spared_usd <= drawn.total(drawn.usd)).all()


def test_whole_groups_are_held_out(drawn: AgentTrajectories) -> None:
    fold = folds_of(drawn, 3)
    groups = np.array([run.group for run in drawn.runs])
    assert all(len(set(fold[groups == name])) == 1 for name in set(groups)) and len(set(fold)) == 3


def test_runs_that_get_stuck_are_told_from_others(drawn: AgentTrajectories) -> None:
    found = judge("agent_stop", "drawn", drawn)
    assert found.lost <= 0.1 * found.successes and found.cut > 0.15
    assert found.usd_per_solved_after < found.usd_per_solved


def test_a_label_that_says_nothing_saves_nothing(drawn: AgentTrajectories) -> None:
    """Runs that are alike and marked at random look alike to a monitor, held out."""
    rng = np.random.default_rng(0)
    alike = drawn.take(drawn.score > 0)
    marked = replace(alike, runs=tuple(replace(run, score=float(rng.uniform() < 0.5)) for run in alike.runs))
    peak = peaks(marked, held_out_signal("agent_stop", marked))
    assert abs(peak[marked.score > 0].mean() - peak[marked.score == 0].mean()) < 0.1


def test_what_cannot_be_judged_says_why(tmp_path: Path, drawn: AgentTrajectories) -> None:
    with pytest.raises(UnsupportedError, match="solved of"):
        judge("repetition", "all solved", drawn.take(drawn.score > 0))
    one = drawn.take(np.array([run.group == "repo1" for run in drawn.runs]))
    with pytest.raises(UnsupportedError, match=r"1 group \(repo1\)"):
        judge("repetition", "one", one)
    path = tmp_path / "calls.csv"
    path.write_text("instance,step,input_tokens,output_tokens\na,0,10,5\n")
    with pytest.raises(InputError, match="no run was judged"):
        list(findings(read_trajectories(path)))


def ends(*words: object) -> int:
    return exit_of(["fit", "monitors", *words])


def test_the_command_prints_every_monitor_by_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calls.csv"
    write_runs(path)
    assert ends(path, "--json", "--at", 10) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["most_lost"] == 0.1 and {one["monitor"] for one in document["findings"]} == set(monitors())
    assert ends(path, "--kind", "clairvoyance") == 2
    assert "agent_stop" in capsys.readouterr().err


def test_a_stated_budget_of_steps_is_judged_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of n calls at $0.1: of those with more than ten, ten are paid for and none is solved."""
    path, lengths = tmp_path / "calls.csv", [4, 10, 11, 30, 8, 20]
    rows = [f"r{run}-{run},{step},10,5,0.1,{int(run % 2 == 0)}\n" for run, n in enumerate(lengths) for step in range(n)]
    path.write_text("instance,step,input_tokens,output_tokens,cost_usd,resolved\n" + "".join(rows))
    assert ends(path, "--json", "--kind", "step_budget=9", "--kind", "step_budget=29") == 0
    ten, thirty = json.loads(capsys.readouterr().out)["findings"]
    assert (ten["threshold"], ten["lost"], ten["successes"]) == (9, 1, 3)
    assert ten["saved"] == pytest.approx(sum(max(n - 10, 0) for n in lengths) / sum(lengths))
    assert ten["usd_per_solved_after"] == pytest.approx(0.1 * sum(min(n, 10) for n in lengths) / 2)
    assert thirty["lost"] == 0 and thirty["saved"] == 0
    for kind, said in (("step_budget=x", "a threshold is a number"), ("agent_stop=0.5", "learns from runs")):
        assert ends(path, "--kind", kind) == 2
        assert said in capsys.readouterr().err
    assert ends(path, "--kind", "step_budget=9", "--out", tmp_path / "stop.json") == 2


def test_a_file_for_a_gateway_of_several_sources_says_which_models_to_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.csv"
    rows = [f"{source},{model},r{n % 3}-{n},0,10,5,0.1,{n % 2}\n" for source, model in SOURCES for n in range(12)]
    path.write_text("source,model,instance,step,input_tokens,output_tokens,cost_usd,resolved\n" + "".join(rows))
    assert ends(path, "--kind", "step_budget", "--out", tmp_path / "stop.json") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--model m1 --model m2 for a; --model m3 for b" in said


def test_recorded_runs_by_repository() -> None:
    """Counts, lengths and times alone tell little of these 312 runs; the docs say so with these figures."""
    file = Path(os.environ.get("COMPTROLLER_DATA", "")) / "agents" / "agent_calls.parquet"
    if not file.exists():
        pytest.skip("the recorded trajectories are not there (COMPTROLLER_DATA)")
    found = [one for one in findings(read_trajectories(file), ("agent_stop",)) if isinstance(one, MonitorFinding)]
    first = next(one for one in found if one.source == "mini-swe-agent")
    assert (first.runs, first.successes) == (312, 238)
    assert first.lost <= 0.05 * first.successes and first.cut == pytest.approx(0.072, abs=0.02)
