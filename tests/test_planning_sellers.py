"""Plans by seller: all offers that no other undercuts, fleets within what is available, marketplaces left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import FactError, InfeasibleError
from comptroller.facts.site import EVERYBODY, AcceleratorOffer
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.market import DeploymentOffers, with_capacities
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.fleet_search import FleetSearch
from comptroller.planning.prove.kind_table import most_units
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.reasons.current_fleet import deployment_of, load_current
from comptroller.planning.reasons.shadow_prices import constraints
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.search import PlanSearch
from comptroller.quantities import HOUR_S
from comptroller.work.workload import load, parse

FEW = RehearsalSettings(draws=4)
DAY = date(2026, 1, 1)


def workload(rate: float = 12.0, devices: tuple[str, ...] = ("l40s",), **more: Any) -> dict[str, Any]:
    """A small service of an 8B model at the specialised clouds."""
    allow = {"sites": ["us_neocloud"], "accelerators": list(devices), "engines": ["vllm"], "formats": ["fp8_e4m3"]}
    limits = {"ttft": 800.0, "tpot": 40.0}
    return {
        "name": "small",
        "models": ["llama_3_1_8b"],
        "rate_per_s": rate,
        "lengths": {
            "input": {"median": 300, "mean": 450, "most": 3000},
            "output": {"median": 80, "mean": 120, "most": 600},
        },
        "objectives": {name: {"p": 95.0, "max": most, "unit": "ms"} for name, most in limits.items()},
        "kind_usd_per_h": 0.0,
        **more,
        "allow": {**allow, **more.get("allow", {})},
    }


@cache
def posed(text: str) -> PlanningProblem:
    """A problem of a document."""
    return pose_problem(parse(eval(text)), shipped_calibration())


def cheapest(document: dict[str, Any]) -> float:
    """Dollars per hour of the steady state, infinite where nothing is left."""
    try:
        problem = posed(repr(document))
        return problem.search.solve(problem.goal).objective
    except InfeasibleError:
        return np.inf


def of_offers(offers: list[AcceleratorOffer], rate: float) -> float:
    """Dollars per hour of the steady state where nothing but some offers of L40S is rented out."""
    base = posed(repr(workload(rate)))
    ((model, known),) = base.space.offers.items()
    here = replace(known.deployments[0].site, offers=tuple(offers), kinds={})
    pairs = [
        (row, replace(item, site=here, offer=offer))
        for row, item in enumerate(known.deployments)
        for offer in here.offers_for(item.replica.device, "on_demand", item.replica.layout.devices, sellers=EVERYBODY)
    ]
    if not pairs:
        return np.inf
    table = known.table.priced([row for row, _ in pairs], [item for _, item in pairs])
    search = PlanSearch(replace(base.space, offers={model: DeploymentOffers(table)}))
    goal = with_capacities(replace(base.goal, limits=()), table.candidates)
    try:
        return search.solve(goal).objective
    except InfeasibleError:
        return np.inf


def sold(usd_per_h: float, pack: int, few: int | None, seller: str, instance: str = "") -> AcceleratorOffer:
    return AcceleratorOffer("l40s", "on_demand", usd_per_h / HOUR_S, DAY, seller, pack, few, instance)


SOLD = st.builds(
    sold,
    st.sampled_from([0.5, 0.8, 1.0, 1.3]),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([None, 1, 2, 4, 8]),
    st.sampled_from("ABCDE"),
)
MARKETS = st.lists(SOLD, min_size=1, max_size=4, unique_by=lambda item: item.provider)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(MARKETS, SOLD, st.sampled_from([3.0, 20.0, 45.0]))
def test_a_further_offer_never_makes_a_plan_dearer(
    offers: list[AcceleratorOffer], further: AcceleratorOffer, rate: float
) -> None:
    further = replace(further, provider="Z")
    assert of_offers([*offers, further], rate) <= of_offers(offers, rate) * (1 + 1e-6)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(MARKETS, st.sampled_from([1, 2, 8]), st.sampled_from([3.0, 45.0]))
def test_an_offer_that_another_undercuts_changes_nothing(
    offers: list[AcceleratorOffer], pack: int, rate: float
) -> None:
    unlimited = [item for item in offers if item.available is None]
    undercut = [
        sold(item.usd_per_s * HOUR_S * 1.1, max(pack, item.devices), few, "Z")
        for item in unlimited[:1]
        for few in (None, 4)
    ]
    for one in undercut:
        assert of_offers([*offers, one], rate) == of_offers(offers, rate)


def test_a_pack_and_a_single_device_stand_beside_each_other() -> None:
    pack, single = sold(0.8, 8, None, "A"), sold(1.0, 1, None, "B")
    few, many = of_offers([pack, single], 3.0), of_offers([pack, single], 300.0)
    assert few == pytest.approx(of_offers([single], 3.0)) and few < of_offers([pack], 3.0)
    assert many < of_offers([single], 300.0)


def test_few_devices_limit_the_fleet_and_the_rest_comes_from_the_next() -> None:
    listing, rest = sold(0.5, 1, 1, "A"), sold(1.0, 1, None, "B")
    alone = of_offers([rest], 45.0)
    assert alone >= 2.0
    assert of_offers([listing, rest], 45.0) == pytest.approx(alone - 0.5)
    assert of_offers([listing], 45.0) == np.inf
    assert of_offers([listing, replace(listing, provider="C"), rest], 45.0) == pytest.approx(alone - 1.0)


def test_the_limit_of_an_offer_is_nobody_s_to_move() -> None:
    problem = posed(repr(workload(allow={"kinds": ["neocloud", "marketplace"]})))
    ((name, most),) = problem.goal.limits
    assert name == "available Vast.ai listing l40s on_demand at us_neocloud" and most == 1
    assert name not in {one.name for one in constraints(problem.goal)}


RATES = st.sampled_from([4.0, 12.0, 40.0])
KINDS = st.lists(st.sampled_from(["cloud", "neocloud", "marketplace"]), min_size=1, max_size=2, unique=True)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(RATES, KINDS)
def test_more_sellers_cost_no_more(rate: float, kinds: list[str]) -> None:
    every = workload(rate, allow={"kinds": ["cloud", "neocloud", "marketplace", "own"]})
    some = cheapest(workload(rate, allow={"kinds": sorted(kinds)}))
    assert cheapest(every) <= some * (1 + 1e-6)


def test_the_default_is_what_a_company_could_rent() -> None:
    companies = cheapest(workload())
    assert companies == cheapest(workload(allow={"kinds": ["cloud", "neocloud", "own"]}))
    assert companies > cheapest(workload(allow={"kinds": ["cloud", "neocloud", "marketplace"]}))
    assert cheapest(workload(allow={"providers": ["RunPod"]})) == companies


@cache
def planned(kinds: tuple[str, ...] = ()) -> Plan:
    """A plan of the small service that was not simulated."""
    return plan(parse(workload(40.0, allow={"kinds": list(kinds)})), rehearsal=None)


def test_the_plan_says_what_marketplaces_would_save() -> None:
    (told,) = [note for note in planned().notes if note.startswith("marketplaces")]
    wide = planned(("cloud", "neocloud", "marketplace", "own"))
    saved, whole = (float(part.split()[0].split("/")[0]) for part in told.split("$")[1:3])
    assert whole == pytest.approx(planned().totals.usd_per_h.value, abs=0.005)
    assert whole - saved == pytest.approx(wide.totals.usd_per_h.value, abs=0.011)
    assert "RunPod Community" in told and told.endswith("steady state, not simulated)")
    assert not [note for note in wide.notes if note.startswith("marketplaces")]


def test_the_plan_names_seller_kind_and_what_is_available() -> None:
    wide = planned(("cloud", "neocloud", "marketplace", "own"))
    rented = [note for note in wide.notes if "a device and hour" in note]
    assert any("Vast.ai listing (marketplace)" in note and "1 available" in note for note in rented)
    assert any("RunPod (neocloud)" in note for note in planned().notes)
    assert len({service.id for service in wide.services}) == len(wide.services)


def test_a_device_that_only_marketplaces_rent_out_says_so() -> None:
    with pytest.raises(InfeasibleError, match=r"no allowed site offers t4 .*Vast\.ai would \(allow\.providers"):
        pose_problem(parse(workload(devices=("t4",))), shipped_calibration())


@pytest.mark.parametrize(
    ("allow", "field", "says"),
    [
        ({"providers": ["Lamda"]}, "allow.providers", "unknown provider 'Lamda'; nearest: Lambda"),
        ({"providers": ["AWS"]}, "allow.providers", "unknown provider 'AWS'"),
        ({"providers": ["Vast.ai"], "kinds": ["cloud"]}, "allow.kinds", "of the kind 'marketplace'"),
        ({"kinds": ["hobby"]}, "allow.kinds", "marketplace"),
    ],
)
def test_an_unknown_seller_is_an_error(allow: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(FactError) as raised:
        parse(workload(allow=allow))
    assert field in str(raised.value) and says in str(raised.value)


def test_providers_are_known_in_any_case_and_of_own_sites_too(tmp_path: Path) -> None:
    assert parse(workload(allow={"providers": ["vast.AI", "lambda"]})).allow.providers == ("Vast.ai", "Lambda")
    assert parse(workload(allow={"sites": [], "providers": ["aws"]})).allow.providers == ("AWS",)
    (tmp_path / "rack.toml").write_text(
        'name = "Rack"\nelectricity_usd_per_j = { value = 0.1, unit = "USD/kWh", source = "bill" }\n'
        'grid_gco2e_per_j = { value = 300, unit = "gCO2e/kWh", source = "bill" }\n'
        'pue = { value = 1.2, unit = "1", source = "bill" }\n[[offers]]\naccelerator = "l40s"\nterm = "on_demand"\n'
        'usd_per_s = { value = 0.7, unit = "USD/h", source = "bill" }\nsince = 2026-01-01\nprovider = "Our landlord"\n'
        'available = 3\n[sources.bill]\ntitle = "Bill"\nurl = "https://example.org/bill"\ndate = 2026-01-01\n'
    )
    file = tmp_path / "own.toml"
    file.write_text(
        'name = "own"\nmodels = ["llama_3_1_8b"]\nrate_per_s = 100.0\nlengths.input = { fixed = 500 }\n'
        'lengths.output = { fixed = 200 }\nallow.sites = ["rack.toml"]\nallow.accelerators = ["l40s"]\n'
        'allow.providers = ["our landlord"]\nallow.engines = ["vllm"]\n'
    )
    assert load(file).allow.providers == ("Our landlord",)
    with pytest.raises(InfeasibleError, match=r"available Our landlord l40s .* at rack \(at most 3 devices, needs"):
        plan(load(file), rehearsal=None)


def proven(document: dict[str, Any]) -> Fleet:
    """The fleet of a document that held in simulation."""
    problem = posed(repr(document))
    stage = FleetStage(problem, problem.search.solve(problem.goal), shipped_calibration(), FEW)
    return FleetSearch(stage).proven_fleet(problem.goal).fleet


def test_a_proven_fleet_keeps_to_what_is_available() -> None:
    document = workload(40.0, allow={"kinds": ["neocloud", "marketplace"]})
    fleet, problem = proven(document), posed(repr(document))
    ((model, offers),) = problem.space.offers.items()
    rented = np.array([item.offer.available is not None for item in offers.deployments]) * offers.unit.devices
    assert fleet.units[model][0] @ rented <= 1
    assert fleet.objective <= proven(workload(40.0, allow={"kinds": ["neocloud"]})).objective


def test_a_capped_kind_is_counted_within_its_cap() -> None:
    """More units of a kind than the limits allow were tried at once, and the kind given up where they were too many."""
    document = workload(12.0, ("l40s", "h100_sxm"))
    free, capped = proven(document), proven({**document, "caps": {"l40s": 4}})
    problem = posed(repr({**document, "caps": {"l40s": 4}}))
    ((model, offers),) = problem.space.offers.items()
    most = most_units(offers.market(problem.goal), problem.goal)
    devices = np.array([item.replica.device.id for item in offers.deployments])
    assert (most[devices == "l40s"] == 4 // offers.unit.devices[devices == "l40s"]).all()
    assert np.isinf(most[devices == "h100_sxm"]).all()
    taken = free.units[model][0] @ (offers.unit.devices * (devices == "l40s"))
    assert taken > 4 or capped.objective == pytest.approx(free.objective)


def test_what_runs_today_is_priced_as_so_many_are_rented(tmp_path: Path) -> None:
    head = (
        '[[services]]\nmodel = "llama_3_1_8b"\naccelerator = "b200_sxm"\nsite = "us_neocloud"\nweights = "fp8_e4m3"\n'
    )
    file = tmp_path / "now.toml"
    found = {}
    for replicas in (1, 8):
        file.write_text(f"{head}replicas = {replicas}\n")
        now = load_current(file)
        found[replicas] = deployment_of(now.services[0], now.library).offer
    assert (found[1].provider, found[1].devices) == ("RunPod", 1)
    assert (found[8].provider, found[8].devices) == ("Lambda", 8)
    file.write_text(f'{head}replicas = 1\nprovider = "Lambda"\n')
    now = load_current(file)
    assert deployment_of(now.services[0], now.library).offer.instance == "1x"
