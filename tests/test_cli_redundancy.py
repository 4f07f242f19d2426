"""Copies of calls and faults of replicas from the command line: tables, JSON that adds up, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from command_ends import ends
from golden_replicas import calls_file, written


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A service of three replicas and ten minutes of load; the same with replies of one token."""
    place = tmp_path_factory.mktemp("copies")
    arrivals = np.random.default_rng(0).uniform(0, 600, 400)
    return [*written(place, 3, arrivals), calls_file(place / "one.csv", arrivals, 1)]


def test_copies_stand_beside_the_plain_service(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plan, trace, one = files
    words = ["simulate", plan, "--trace", trace, "--slowed", "8"]
    assert ends([*words, "--hedge", "0.05", "--hedge-share", "0.05", "--json"]) == 0
    plain, fixed, shared = json.loads(capsys.readouterr().out)["redundancy"]
    assert plain["sent"] == 0 and plain["replica_time"] == 1
    assert fixed["won"] > 0 and fixed["ttft_p99_s"] < plain["ttft_p99_s"]
    assert 0 < shared["sent"] <= 0.05 * 400
    assert ends(["simulate", plan, "--trace", one, "--coded", "2of3"]) == 0
    assert "2 of 3 coded" in capsys.readouterr().out


def test_faults_stand_beside_none(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", *files[:1], "--trace", files[1], "--faults", "0.5", "--start-up", "30", "--repair", "0.01"]
    assert ends([*words, "--detect", "5", "--detect", "60", "--json"]) == 0
    none, soon, late = json.loads(capsys.readouterr().out)["faults"]
    assert none["faults"] == [] and none["healthy"] == 1
    assert soon["faults"] and soon["hung_s"] < late["hung_s"]
    assert ends([*words, "--repeat", "2"]) == 0
    assert "seen after 30 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--coded", "4of4"], "is not CALLSofCOPIES"),
        (["--coded", "2of3"], "reply with more than one token"),
        (["--hedge", "-1"], "a delay is above 0 s"),
        (["--hedge", "1", "--slowed", "0.5"], "--slowed 0.5: allowed: from 1"),
        (["--faults", "never"], "hours of a device between two faults"),
        (["--faults", "10", "--detect", "0"], "seen after 0 s"),
        (["--faults", "10", "--hedge", "1"], "--faults and --hedge: each is a simulation of its own"),
        (["--faults", "10", "--spares", "-1"], "-1 spares"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(
    files: list[str], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(["simulate", files[0], "--trace", files[1], *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
