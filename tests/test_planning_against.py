"""Today's fleet beside a plan: its own prices, the cost of the move, and equal cost keeps what runs."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from comptroller.cli import main
from comptroller.cli._today import comparison_with_today
from comptroller.errors import FactError, InputError, UnsupportedError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import plan
from comptroller.planning.reasons.against import FleetComparison
from comptroller.planning.reasons.current_fleet import load_current
from comptroller.report.plan_tables import comparison
from comptroller.work.workload import Workload, parse

WORKLOAD: dict[str, Any] = {
    "name": "small",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 4.0,
    "lengths": {"input": {"fixed": 900}, "output": {"fixed": 100}},
    "objectives": {"tpot": {"max": 50.0, "unit": "ms"}},
    "allow": {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "formats": ["bf16"], "engines": ["vllm"]},
}
SERVICE = '[[services]]\nmodel = "llama_3_1_8b"\naccelerator = "h100_sxm"\n'


@lru_cache(maxsize=1)
def planned() -> tuple[Workload, Plan]:
    asked = parse(WORKLOAD)
    return asked, plan(asked, rehearsal=None)


def beside(folder: Path, keys: str, moving: str = "") -> FleetComparison:
    """The plan beside one service of today with these keys."""
    file = folder / "current.toml"
    file.write_text(f"{SERVICE}{keys}\n{moving}")
    return comparison_with_today(*planned(), load_current(file))


def rows_of(found: FleetComparison) -> dict[str, str]:
    return {str(row[0]): str(row[1]) for row in comparison(found).rows}


def test_the_fleet_that_the_plan_would_choose_is_kept(tmp_path: Path) -> None:
    service = planned()[1].services[0]
    pool, recipe = service.deployment.pools[0], service.deployment.recipe
    keys = f'site = "us_neocloud"\nreplicas = {pool.replicas}\nkv = "{recipe.kv}"\nweights = "{recipe.weights}"\n'
    found = beside(tmp_path, f"{keys}max_batch = {service.deployment.engine.max_batch}")
    assert found.keep and found.changes == ()
    assert found.moving_usd == 0 and found.saves_usd_per_h == pytest.approx(0, abs=1e-4)
    assert rows_of(found)["advice"].startswith("keep what runs")


def test_equal_cost_keeps_another_fleet_that_runs(tmp_path: Path) -> None:
    usd = planned()[1].totals.usd_per_h.value
    found = beside(tmp_path, f'site = "aws_us_east"\nreplicas = 1\nusd_per_device_h = {usd}')
    assert found.usd_per_h == pytest.approx(usd) and found.carries > 1
    assert found.moving_usd == pytest.approx(usd), "the replica of the plan runs beside it for an hour"
    assert found.keep and found.changes == () and found.net_usd_per_h < 0


def test_what_a_move_costs_decides_over_a_small_saving(tmp_path: Path) -> None:
    usd = planned()[1].totals.usd_per_h.value
    keys = f'site = "aws_us_east"\nreplicas = 1\nusd_per_device_h = {usd + 0.5}'
    free = beside(tmp_path, keys, "[moving]\noverlap_h = 2.0\nspread_h = 100.0\n")
    assert free.moving_usd == pytest.approx(2 * usd)
    assert free.net_usd_per_h == pytest.approx(0.5 - 2 * usd / 100)
    assert not free.keep and len(free.changes) == 2
    dear = beside(tmp_path, keys, "[moving]\nusd = 1000.0\n")
    assert dear.saves_usd_per_h == pytest.approx(0.5) and dear.net_usd_per_h == pytest.approx(0.5 - (1000 + usd) / 730)
    assert dear.keep and dear.changes == ()
    assert rows_of(free)["moving costs"].endswith(f"paid back in {2 * usd / 0.5:.3g} h")


def test_a_fleet_that_does_not_carry_the_demand_is_never_kept(tmp_path: Path) -> None:
    asked = parse(WORKLOAD | {"rate_per_s": 400.0})
    file = tmp_path / "current.toml"
    file.write_text(f'{SERVICE}site = "us_neocloud"\nreplicas = 1\n')
    found = comparison_with_today(asked, plan(asked, rehearsal=None), load_current(file))
    assert found.carries < 1 and found.saves_usd_per_h < 0
    assert not found.keep and found.changes
    assert rows_of(found)["advice"] == "change: what runs does not carry the demand"


def test_an_own_price_needs_no_offer_of_the_site(tmp_path: Path) -> None:
    keys = 'site = "us_neocloud"\nterm = "reserved"\nreplicas = 2\n'
    with pytest.raises(UnsupportedError, match="reserved"):
        beside(tmp_path, keys)
    assert beside(tmp_path, f"{keys}usd_per_device_h = 1.25").usd_per_h == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("keys", "moving", "says"),
    [
        ("usd_per_device_h = 0.0", "", "usd_per_device_h"),
        ("", "[moving]\nspread_h = 0.0\n", "moving.spread_h"),
        ("", "[moving]\nhours = 2.0\n", "moving.hours"),
        ("", "[moving]\nusd = -1.0\n", "moving.usd"),
    ],
)
def test_a_wrong_price_names_the_field(tmp_path: Path, keys: str, moving: str, says: str) -> None:
    with pytest.raises(FactError, match=says):
        beside(tmp_path, f'site = "us_neocloud"\nreplicas = 1\n{keys}', moving)


def test_the_option_adds_dollars_to_the_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    today, workload = tmp_path / "current.toml", tmp_path / "w.toml"
    today.write_text(f'{SERVICE}site = "aws_us_east"\nreplicas = 1\n')
    workload.write_text(
        'name = "x"\nmodels = ["llama_3_1_8b"]\nrate_per_s = 1.0\nlengths.input = { fixed = 900 }\n'
        'lengths.output = { fixed = 100 }\nallow.accelerators = ["h100_sxm"]\nallow.sites = ["us_neocloud"]\n'
    )
    words = ["plan", str(workload), "--json", "--against", str(today)]
    told = []
    for more in ([], ["--moving-usd", "500"]):
        with pytest.raises(SystemExit):
            main([*words, *more])
        told.append(json.loads(capsys.readouterr().out)["against"])
    assert told[1]["moving_usd"] == pytest.approx(told[0]["moving_usd"] + 500)
    assert told[1]["saves_usd_per_h"] == told[0]["saves_usd_per_h"]
    with pytest.raises(InputError, match="an amount of 0 or more"):
        load_current(today).with_moving_usd(-1)
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(workload), "--moving-usd", "5"])
    assert ended.value.code == 2 and "--moving-usd goes with --against" in capsys.readouterr().err
