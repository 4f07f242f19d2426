"""Pools of requests from the command line: beside the fleet as it is, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from comptroller.planning.ground.plan_document import load_plan
from comptroller.planning.pool_simulation import PoolConditions, simulate_pools
from comptroller.planning.simulation import simulate_plan
from comptroller.work.trace import RequestTrace
from export_plans import GOLDEN, OFFER, plan_of
from test_cli_scaling import ends


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The first service of the golden plan on four replicas of two devices, and short and long requests for them."""
    place = tmp_path_factory.mktemp("pools")
    first = GOLDEN.services[0]
    pools = (first.deployment.pools[0].model_copy(update={"replicas": 4, "tp": 2}),)
    changes = {"deployment": first.deployment.model_copy(update={"pools": pools}), "rate_per_s": 40.0}
    (place / "plan.json").write_text(plan_of(first.model_copy(update=changes)).model_dump_json(), encoding="utf-8")
    rng = np.random.default_rng(0)
    count = 40 * 400
    lengths = np.where(rng.uniform(size=count) < 0.5, 100, 1500), np.where(rng.uniform(size=count) < 0.5, 40, 400)
    rows = "".join(
        f"{at:.3f},{a},{b}\n" for at, a, b in zip(np.sort(rng.uniform(0, 400, count)), *lengths, strict=True)
    )
    (place / "trace.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}", encoding="utf-8")
    return str(place / "plan.json"), str(place / "trace.csv")


def test_pools_stand_beside_the_fleet_as_it_is(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trace = files
    words = ["simulate", plan, "--trace", trace, "--pools", "dynamo_llm", "--tp", "2", "--tp", "4", "--start-up", "20"]
    assert ends([*words, "--json"]) == 0
    rows = {row["policy"]: row for row in json.loads(capsys.readouterr().out)["pools"]}
    assert list(rows) == ["none", "dynamo_llm"] and rows["none"]["tp"] == [2, 4]
    assert len(rows["none"]["decisions"]) == 1 and rows["none"]["reshardings"] == 0
    pools, decisions = rows["dynamo_llm"]["pools"], rows["dynamo_llm"]["decisions"]
    assert {one["pool"] for one in decisions} == {one["name"] for one in pools} and len(pools) > 1
    assert sum(one["expected_per_s"] for one in pools) == pytest.approx(40.0, rel=1e-3)
    for one in pools:
        assert one["start_up_s"] == [20, 20]
        for per_s in one["most_per_s"]:
            assert per_s == sorted(per_s, reverse=True), "a lower clock never takes more"
    pages = tmp_path / "time.html", tmp_path / "time.svg"
    assert ends([*words, "--html", str(pages[0]), "--png", str(pages[1])]) == 0
    assert all("Replicas paid for" in page.read_text(encoding="utf-8") for page in pages)
    assert "Pools of requests, tensor parallelism of 2, 4" in capsys.readouterr().out


def test_as_it_is_is_the_plain_simulation(files: tuple[str, str]) -> None:
    """Energy, dollars and latencies of the fleet that nothing is done to are those of `simulate` alone."""
    plan = load_plan(Path(files[0]))
    rng = np.random.default_rng(3)
    count = 3000
    trace = RequestTrace(np.sort(rng.uniform(0, 90, count)), rng.integers(50, 900, count), rng.integers(5, 200, count))
    (found,) = simulate_pools(plan, trace, ("none",), PoolConditions(tp=(2,)))
    plain = simulate_plan(plan, trace)
    np.testing.assert_array_equal(found.outcome.elastic.latency_s("e2e_s"), plain.outcome.e2e_s)
    assert found.attainment == plain.attainment
    assert found.energy_j == pytest.approx(float((plain.outcome.meters.step_j + plain.outcome.idle_j).sum()))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--pools", "dynamo"], "unknown pools policy 'dynamo'; nearest: dynamo_llm"),
        (["--pools", "none", "--tp", "3"], "--tp 3: not one of"),
        (["--pools", "none", "--tp", "0"], "tensor parallelism 0"),
        (["--pools", "dynamo_llm", "--most-devices", "7"], "7 devices are fewer than the 8 of the plan"),
        (["--pools", "none", "--scaling", "hpa"], "each is a simulation of its own"),
        (["--pools", "none", "--calls", "calls.csv"], "--calls is not used with --pools, only with the fleet as it is"),
    ],
)
def test_what_cannot_be_parted_is_refused(
    files: tuple[str, str], more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(["simulate", files[0], "--trace", files[1], *more]) == 2
    assert says in capsys.readouterr().err


def test_a_plan_that_buys_is_refused(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bought = plan_of(load_plan(Path(files[0])).services[0], offers=(OFFER,))
    (tmp_path / "two.json").write_text(bought.model_dump_json(), encoding="utf-8")
    assert ends(["simulate", str(tmp_path / "two.json"), "--trace", files[1], "--pools", "none"]) == 2
    assert "one service of one pool, and no API beside it" in capsys.readouterr().err
