"""Dollars per million tokens at mean and at full use, beside what APIs of the same open model ask."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from comptroller.facts.prices import PriceBook, services_of_model
from comptroller.planning.ground.plan_document import Plan, TokenPriceDocument, load_plan
from comptroller.planning.planner import plan
from comptroller.report.plan_page import page
from comptroller.report.terminal import print_plan
from comptroller.work.workload import parse

WORKLOAD: dict[str, Any] = {
    "name": "small",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 4.0,
    "lengths": {"input": {"fixed": 900}, "output": {"fixed": 100}},
    "objectives": {"tpot": {"max": 50.0, "unit": "ms"}},
    "allow": {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "formats": ["bf16"]},
}


@lru_cache(maxsize=1)
def planned() -> Plan:
    return plan(parse(WORKLOAD), rehearsal=None)


def prices_of(found: Plan) -> TokenPriceDocument:
    assert found.prices is not None
    return found.prices


def test_the_price_at_mean_use_is_the_rent_over_the_tokens_of_a_mean_hour() -> None:
    found = prices_of(planned())
    usd_per_h = planned().totals.usd_per_h.value
    assert found.mean_requests_per_s == 4.0
    assert found.usd_per_million_at_mean_use == pytest.approx(usd_per_h / (4.0 * 1000 * 3600) * 1e6, rel=1e-5)
    assert found.usd_per_million_at_mean_use == pytest.approx(planned().totals.usd_per_million_tokens.value, rel=1e-4)


def test_full_use_is_every_replica_as_full_as_the_objectives_let_it_be() -> None:
    found, (service,) = prices_of(planned()), planned().services
    assert found.mean_use == pytest.approx(service.utilisation, rel=1e-4)
    assert found.usd_per_million_at_full_use == pytest.approx(
        found.usd_per_million_at_mean_use * found.mean_use, rel=1e-4
    )
    assert found.usd_per_million_at_full_use < found.usd_per_million_at_mean_use


def test_a_day_that_is_busy_for_a_part_of_it_makes_tokens_dearer() -> None:
    day = {"tokens_per_day": 4.0 * 3600 * 1000 / (1 / 12), "busiest_hour_share": 1 / 12}
    asked = parse({key: value for key, value in WORKLOAD.items() if key != "rate_per_s"} | day)
    assert asked.rate_per_s == pytest.approx(4.0)
    found = prices_of(plan(asked, rehearsal=None))
    assert found.mean_requests_per_s == pytest.approx(2.0)
    assert found.usd_per_million_at_mean_use == pytest.approx(
        2 * prices_of(planned()).usd_per_million_at_mean_use, rel=1e-4
    )
    assert found.usd_per_million_at_full_use == pytest.approx(
        prices_of(planned()).usd_per_million_at_full_use, rel=1e-4
    )


def test_apis_are_priced_at_the_same_mix_on_the_day_of_the_rent() -> None:
    found = prices_of(planned())
    assert found.priced_on == max(service.price.since for service in planned().services)
    asked = [offer.usd_per_million_tokens for offer in found.apis]
    assert asked == sorted(asked) and len(asked) >= 5
    at = datetime.fromisoformat(found.priced_on).replace(tzinfo=UTC)
    for offer in found.apis:
        price = PriceBook.read().price(offer.service, at)
        rates = [float(price.rate(unit, 900)) * 1e-6 for unit in ("input_tokens", "output_tokens")]
        assert [offer.usd_per_million_input, offer.usd_per_million_output] == pytest.approx(rates, rel=1e-5)
        assert offer.usd_per_million_tokens == pytest.approx((900 * rates[0] + 100 * rates[1]) / 1000, rel=1e-5)
        assert offer.usd_per_million_tokens > 0 and offer.source == price.source


def test_only_the_model_itself_is_compared() -> None:
    services = services_of_model("meta-llama/Llama-3.1-70B-Instruct")
    assert {"novita/meta-llama/llama-3.1-70b-instruct", "avian/Meta-Llama-3.1-70B-Instruct"} <= set(services)
    assert not [name for name in services if any(word in name.lower() for word in ("turbo", "fp8", "free", "hermes"))]
    assert services == services_of_model("meta-llama/Meta-Llama-3.1-70B")
    assert "groq/qwen/qwen3-32b" in services_of_model("Qwen/Qwen3-32B")
    assert not [name for name in services_of_model("openai/gpt-oss-120b") if ":" in name]
    assert services_of_model("") == services_of_model("nobody/of-this-name") == ()


def test_the_plan_says_what_the_rent_leaves_out(tmp_path: Path) -> None:
    said = Console(file=io.StringIO(), width=120, highlight=False)
    print_plan(planned(), said)
    text = said.file.getvalue()  # type: ignore[attr-defined]
    for words in ("this fleet, mean use", "this fleet, full use", "The rent of the fleet leaves out people who run it"):
        assert words in text and words in page(planned())
    (tmp_path / "plan.json").write_text(planned().to_json())
    assert load_plan(tmp_path / "plan.json") == planned()


def test_a_plan_of_before_has_none() -> None:
    old = load_plan(Path(__file__).parent / "golden" / "two_services.json")
    assert old.prices is None
    said = Console(file=io.StringIO(), width=120)
    print_plan(old, said)
    assert "this fleet" not in said.file.getvalue()  # type: ignore[attr-defined]
