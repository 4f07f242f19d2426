"""Spot policies from the command line: beside the fleet on demand, as a table and as JSON; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_ends import ends
from comptroller.planning.ground.plan_document import load_plan
from comptroller.planning.scaled_simulation import replica_targets
from export_plans import OFFER, plan_of
from golden_replicas import replicated, written
from spot_worlds import record_file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A service of two replicas, half an hour of load for them, and zones of which one goes for a while."""
    place = tmp_path_factory.mktemp("spot")
    per_s, _ = replica_targets(replicated(2))
    plan, trace = written(place, 2, np.random.default_rng(0).uniform(0, 1800, int(1800 * 0.8 * per_s)))
    (place / "zones.csv").write_text(record_file(["a,0,15,4", "a,15,25,0", "a,25,90,4", "b,0,90,4"]), encoding="utf-8")
    zones = ["--availability", str(place / "zones.csv"), "--start-up", "60"]
    return ["simulate", plan, "--trace", trace, *zones]


def test_policies_stand_beside_the_fleet_on_demand(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [*files, "--spot", "spot_hedge", "--spot", "spread_cover", "--spot-price", "0.5"]
    assert ends([*words, "--json"]) == 0
    rows = {row["policy"]: row for row in json.loads(capsys.readouterr().out)["spot"]}
    assert list(rows) == ["on_demand", "spot_hedge", "spread_cover"]
    assert rows["on_demand"]["saved"] == 0 and rows["on_demand"]["spot_h"] == 0
    for name in ("spot_hedge", "spread_cover"):
        row = rows[name]
        assert 0 < row["saved"] < 1 and row["spot_h"] > 0 and row["taken_back"], name
        assert {zone for _, zone, _, _ in row["taken_back"]} == {"a"} and row["zones"]["b"] == 1.0
        paid = row["usd_per_replica_h"]
        hours = row["spot_h"] * paid["spot"] + row["on_demand_h"] * paid["on_demand"]
        assert row["usd"] == pytest.approx(hours, rel=1e-4)
        assert row["within"] >= rows["on_demand"]["within"] - 0.02
    assert ends(words) == 0
    out = capsys.readouterr().out
    assert "Spot in 2 zones of 2023-02-15" in out and "Taken back from spread_cover" in out


@pytest.mark.parametrize("work", ["restart", "resume", "move"])
def test_what_becomes_of_calls_is_chosen(files: list[str], work: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--spot", "spot_hedge", "--spot-price", "0.5", "--after-loss", work, "--notice", "0.2"]
    assert ends([*files, *words, "--move-gb-per-s", "25", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["spot"][1]
    assert row["work"] == work and row["calls_again"] > 0 and (row["calls_moved"] > 0) == (work == "move")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--spot", "spot_hegde"], "spot_hegde"),
        (["--spot", "spot_hedge"], "has no spot price of h100_sxm; state it with --spot-price"),
        (["--spot", "spot_hedge", "--spot-price", "-1"], "a spot price of -1"),
        (["--spot", "spot_hedge", "--spot-price", "1", "--after-loss", "forget"], "allowed: restart, resume, move"),
        (["--spot", "spot_hedge", "--spot-price", "1", "--repeat", "9"], "the record 2023-02-15 ends after 1.5 h"),
        (["--spot", "spot_hedge", "--spot-price", "1", "--record", "2020"], "no record '2020'"),
        (["--spot", "spot_hedge", "--spot-price", "1", "--notice", "-1"], "a notice of -1 s"),
    ],
)
def test_what_cannot_be_is_refused(
    files: list[str], more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends([*files, *more]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_record_is_needed_and_one_service(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends([*files[:4], "--spot", "spot_hedge"]) == 2
    assert "--spot takes --availability FILE" in capsys.readouterr().err
    two = tmp_path / "two.json"
    two.write_text(plan_of(load_plan(Path(files[1])).services[0], offers=(OFFER,)).model_dump_json())
    assert ends([files[0], str(two), *files[2:], "--spot", "spot_hedge", "--spot-price", "1"]) == 2
    assert "one service of one pool, and no API beside it" in capsys.readouterr().err


def test_a_picture_and_a_page_are_drawn(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, page = tmp_path / "spot.svg", tmp_path / "spot.html"
    words = [*files, "--spot", "spread_cover", "--spot-price", "0.6", "--drain", "10", "--spot-share", "0.5"]
    assert ends([*words, "--png", str(picture), "--html", str(page)]) == 0
    assert picture.read_text().startswith("<?xml") and "Replicas paid for" in page.read_text()
    assert "on_demand" in capsys.readouterr().out
