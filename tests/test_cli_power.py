"""Rows within a power budget from the command line: a table, JSON, a picture, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_ends import ends
from golden_replicas import written


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The first service of the golden plan on three replicas, and five minutes of calls with a burst."""
    rng = np.random.default_rng(0)
    arrivals = np.concatenate([rng.uniform(0, 300, 600), rng.uniform(100, 130, 400)])
    plan, trace = written(tmp_path_factory.mktemp("power"), 3, arrivals)
    return plan, trace


def budget_of(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> float:
    """What the row draws at most, uncapped."""
    words = ["simulate", files[0], "--trace", files[1], "--power", "none", "--row-budget", "1e9", "--json"]
    assert ends(words) == 0
    return float(json.loads(capsys.readouterr().out)["power"][0]["peak_w"])


def test_policies_stand_beside_the_same_rows_uncapped(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget_w = budget_of(files, capsys) * 1.05
    words = ["simulate", files[0], "--trace", files[1], "--power", "polca", "--power", "static_cap"]
    words += ["--row-budget", f"{budget_w:.1f}", "--low-share", "0.5"]
    picture, page = tmp_path / "row.svg", tmp_path / "row.html"
    assert ends([*words, "--png", str(picture), "--html", str(page), "--json"]) == 0
    rows = {row["policy"]: row for row in json.loads(capsys.readouterr().out)["power"]}
    assert list(rows) == ["polca", "static_cap"]
    polca = rows["polca"]
    assert [tier["tier"] for tier in polca["tiers"]] == ["low priority", "high priority"]
    assert polca["orders"] and polca["setting_shares"][0][0] < 1
    assert polca["peak_share"] == pytest.approx(max(map(max, polca["row_w"])) / budget_w, rel=1e-3)
    assert rows["static_cap"]["over_s"] == 0 and len(rows["static_cap"]["tiers"]) == 1
    assert "budget" in page.read_text() and picture.read_text().startswith("<?xml")
    assert ends(words) == 0
    said = capsys.readouterr().out
    assert "Power: 3 replicas in 1 row of" in said and "low priority" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--power", "polca"], "--power needs --row-budget"),
        (["--power", "polca", "--row-budget", "1e6"], "needs the column 'priority', which"),
        (["--power", "polka", "--row-budget", "1e6", "--low-share", "0.5"], "polka"),
        (["--power", "none", "--row-budget", "10"], "is below what 3 replicas draw idle"),
        (["--power", "static_cap", "--row-budget", "1e6", "--low-share", "2"], "a share between 0 and 1"),
    ],
)
def test_what_rows_cannot_have_is_refused(
    files: tuple[str, str], more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(["simulate", files[0], "--trace", files[1], *more]) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")


def test_power_and_scaling_together(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A budget without bound leaves scaling as it is; a tight one is kept, and told beside the same uncapped."""
    words = ["simulate", files[0], "--trace", files[1], "--scaling", "kpa", "--start-up", "20", "--most-replicas", "4"]
    assert ends([*words, "--json"]) == 0
    plain = {row["policy"]: row for row in json.loads(capsys.readouterr().out)["scaling"]}
    powers = ["--power", "none", "--power", "static_cap", "--power", "polca", "--low-share", "0.5"]
    assert ends([*words, *powers, "--row-budget", "1e9", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["scaled_rows"]
    assert [(row["scaling"], row["power"]) for row in rows] == [
        (scaling, power) for scaling in ("none", "kpa") for power in ("none", "static_cap", "polca")
    ]
    for row in rows:
        assert row["within"] == row["uncapped_within"] and row["replica_h"] == row["uncapped_replica_h"]
        if row["power"] != "polca":  # whose tiers have replicas of their own
            assert row["within"] == plain[row["scaling"]]["within"]
            assert row["replica_h"] == plain[row["scaling"]]["replica_h"]
    (peak,) = {row["peak_share"] * 1e9 for row in rows if row["power"] == "none" and row["scaling"] == "kpa"}
    picture, page = tmp_path / "row.svg", tmp_path / "row.html"
    words += ["--power", "polca", "--low-share", "0.5", "--row-budget", f"{1.05 * peak:.1f}"]
    assert ends([*words, "--png", str(picture), "--html", str(page)]) == 0
    assert "polca" in capsys.readouterr().out and "budget" in page.read_text()
    assert ends([*words, "--json"]) == 0
    (tight,) = [row for row in json.loads(capsys.readouterr().out)["scaled_rows"] if row["scaling"] == "kpa"]
    assert tight["orders"] and tight["peak_share"] == pytest.approx(
        max(map(max, tight["row_w"])) / (1.05 * peak), rel=1e-3
    )


def test_what_power_and_scaling_do_not_share_is_refused(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", files[0], "--trace", files[1], "--scaling", "kpa", "--power", "polca"]
    for more, says in (
        ((), "--power needs --row-budget"),
        (("--row-budget", "1e6", "--shifts", "2"), "--shifts is of --scaling alone"),
        (("--row-budget", "1e6", "--replicas", "9"), "how many replicas there may be is --most-replicas"),
        (("--row-budget", "1e6"), "needs the column 'priority'"),
        (("--row-budget", "10", "--low-share", "0.5"), "10 W is below what 6 replicas draw idle,"),
        (("--row-budget", "1e6", "--spot", "spot_hedge"), "--spot and --scaling: each is a simulation of its own"),
    ):
        assert ends([*words, *more]) == 2
        assert says in " ".join(capsys.readouterr().err.split())
