"""Scaling policies from the command line: beside the fleet as it is, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_ends import ends
from comptroller.planning.ground.plan_document import load_plan
from comptroller.planning.scaled_simulation import replica_targets
from export_plans import OFFER, plan_of
from golden_replicas import calls_file, replicated, written


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The first service of the golden plan on two replicas, and a trace that is quiet, busy and quiet."""
    per_s, _ = replica_targets(replicated(2))
    rng = np.random.default_rng(0)
    arrivals = np.concatenate([rng.uniform(0, 120, int(24 * per_s)), rng.uniform(40, 60, int(60 * per_s))])
    plan, trace = written(tmp_path_factory.mktemp("scaling"), 2, arrivals)
    return plan, trace


def test_policies_stand_beside_the_fleet_as_it_is(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    plan, trace = files
    words = ["simulate", plan, "--trace", trace, "--scaling", "hpa", "--scaling", "forecast", "--start-up", "10"]
    assert ends([*words, "--most-replicas", "6", "--json"]) == 0
    rows = {row["policy"]: row for row in json.loads(capsys.readouterr().out)["scaling"]}
    assert list(rows) == ["none", "hpa", "forecast"] and rows["none"]["starts"] == 0 and rows["none"]["most"] == 2
    assert rows["hpa"]["starts"] > 0 and 2 < rows["hpa"]["most"] <= 6 and rows["hpa"]["start_up_s"] == 10
    assert all(0 <= row["within"] <= 1 and row["replica_h"] > 0 for row in rows.values())
    paid = {row["policy"]: row["usd"] / row["replica_h"] for row in rows.values()}
    assert paid["hpa"] == pytest.approx(paid["none"], rel=1e-4), "dollars are the same price an hour"
    assert ends([*words, "--most-replicas", "6"]) == 0
    assert "Scaling: 10 s from a decision" in capsys.readouterr().out


def test_a_start_up_that_is_not_stated_is_told_by_its_parts(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trace = files
    words = ["simulate", plan, "--trace", trace, "--scaling", "hpa"]
    assert ends([*words, "--weights-from", "disk", "--pull-image", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["scaling"][0]["start_up_parts_s"]
    assert set(parts) == {"boot", "image", "weights", "warm_up"} and all(value > 0 for value in parts.values())
    assert ends(words) == 0
    assert "boot 100 s, weights" in capsys.readouterr().out
    assert ends([*words, "--weights-from", "tape"]) == 2
    assert "allowed: disk, object_store, peer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--scaling", "kpaa"], "kpaa"),
        (["--scaling", "kpa", "--most-replicas", "1"], "at most 1 replicas are fewer than the 2 of the plan"),
        (["--scaling", "kpa", "--start-up", "-3"], "start-up -3 s"),
    ],
)
def test_what_cannot_be_scaled_is_refused(
    files: tuple[str, str], more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(["simulate", files[0], "--trace", files[1], *more]) == 2
    assert says in capsys.readouterr().err


def test_a_plan_of_several_services_is_refused(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.json").write_text(
        plan_of(load_plan(Path(files[0])).services[0], offers=(OFFER,)).model_dump_json()
    )
    assert ends(["simulate", str(tmp_path / "two.json"), "--trace", files[1], "--scaling", "kpa"]) == 2
    assert "one service of one pool, and no API beside it" in capsys.readouterr().err


def test_a_picture_of_time_and_intervals_over_shifts(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trace = files
    words = ["simulate", plan, "--trace", trace, "--scaling", "forecast", "--start-up", "10", "--most-replicas", "5"]
    page, picture = tmp_path / "time.html", tmp_path / "time.svg"
    assert ends([*words, "--shifts", "2", "--html", str(page), "--png", str(picture)]) == 0
    told = capsys.readouterr().out
    assert "forecast" in told and "% to" in told
    for text in (page.read_text(encoding="utf-8"), picture.read_text(encoding="utf-8")):
        assert all(title in text for title in ("Replicas paid for", "Requests waiting", "Dollars so far"))
    for more, says in (
        (["--fill", "0"], "fill 0"),
        (["--calls", str(tmp_path / "calls.csv")], "--calls is not used with --scaling, only with the fleet as it is"),
    ):
        assert ends([*words, *more]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "compared", [(), ("--scaling", "hpa", "--start-up", "10"), ("--hedge", "0.5")], ids=["alone", "scaling", "copies"]
)
def test_requests_longer_than_the_context_are_told_whatever_is_compared(
    files: tuple[str, str], compared: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{second},{9_000_000 if second % 3 == 0 else 300},50" for second in range(60)]
    trace = tmp_path / "long.csv"
    trace.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]) + "\n")
    assert ends(["simulate", files[0], "--trace", str(trace), *compared]) == 0
    assert "20 of 60 requests are longer than the" in " ".join(capsys.readouterr().err.split())


def test_a_trace_begun_within_a_long_silence_lasts_as_long(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trace = files[0], calls_file(tmp_path / "silent.csv", np.array([*range(100), *range(1900, 2000)]) * 1.0)
    words = ["simulate", plan, "--trace", trace, "--scaling", "hpa", "--start-up", "10", "--shifts", "4", "--json"]
    assert ends(words) == 0
    fixed = json.loads(capsys.readouterr().out)["scaling"][0]
    hours = [fixed["replica_h"], *(one["replica_h"] for one in fixed["again"])]
    assert len(hours) == 4 and hours == pytest.approx([2 * 1999 / 3600] * 4, rel=0.01)
