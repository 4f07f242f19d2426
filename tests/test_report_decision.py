"""Pictures of a plan's decision: what each shows is what the plan says, and what cannot be drawn is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.report import decision, roofline
from comptroller.report.chart import BarSeries, ReportChart
from comptroller.report.plan_page import charts, page, picture
from test_report_page import Reader

CHAT = load_plan(Path(__file__).parent / "golden" / "chat.json")


def bars(chart: ReportChart) -> list[BarSeries]:
    return [series for series in chart.series if isinstance(series, BarSeries)]


def with_verification(steady: float, mean: float, proven: float) -> Plan:
    assert CHAT.verification
    told = {"steady_usd_per_h": steady, "mean_usd_per_h": mean, "added_usd_per_h": proven - steady}
    return CHAT.model_copy(update={"verification": CHAT.verification.model_copy(update=told)})


def test_accelerators_stand_by_price_with_intervals_and_the_chosen_apart() -> None:
    chart = decision.accelerator_chart(CHAT)
    assert chart and [name for name, _ in chart.readings][:2] == ["b200_sxm", "h100_sxm"]
    simulated, chosen, steady = bars(chart)
    assert chosen.heights[0] == CHAT.totals.usd_per_h.value and chosen.ink != simulated.ink
    assert steady.hollow and not any(a and b for a, b in zip(simulated.heights, steady.heights, strict=True))
    assert all(low < high for low, high in chosen.spans[:1]) and "at least" in chart.readings[-1][1]
    assert "mi300x" in decision.beyond_sentence(CHAT)


def test_a_fleet_of_several_kinds_has_a_bar_of_its_own() -> None:
    one = CHAT.services[0]
    pool = one.deployment.pools[0].model_copy(update={"accelerator": "h100_sxm"})
    deployment = one.deployment.model_copy(update={"pools": (pool,)})
    mixed = CHAT.model_copy(update={"services": (one, one.model_copy(update={"deployment": deployment}))})
    chart = decision.accelerator_chart(mixed)
    assert chart and chart.readings[0][0] == decision.THIS_PLAN


def test_every_limit_is_a_bar_up_to_its_share() -> None:
    price = CHAT.shadow_prices[-1]
    limits = {"budget": 40.0, "cap b200_sxm": 4.0}
    told = [price.model_copy(update={"constraint": name, "value": most}) for name, most in limits.items()]
    chart = decision.use_of_limits(CHAT.model_copy(update={"shadow_prices": tuple(told)}))
    assert chart
    shares = dict(zip((name for name, _ in chart.readings), bars(chart)[0].heights, strict=True))
    assert shares["budget"] == pytest.approx(20.37 / 40) and shares["cap b200_sxm"] == 0.75
    assert shares["TPOT p95"] == pytest.approx(CHAT.latency[1].predicted_s.value / 0.05)
    assert shares["b200_sxm busy"] == CHAT.services[0].utilisation


def test_the_waterfall_adds_up_and_is_left_out_where_nothing_was_added() -> None:
    alike = with_verification(13.0, 13.0, 13.0)
    assert decision.certainty_waterfall(alike) is None and "neither" in decision.certainty_sentence(alike)
    plan = with_verification(10.0, 14.0, 13.0)
    chart = decision.certainty_waterfall(plan)
    assert chart and decision.certainty_sentence(plan) == ""
    parts, total = bars(chart)
    assert parts.bases[:3] == (0.0, 10.0, 13.0) and parts.heights[:3] == (10.0, 4.0, 1.0) and total.heights[-1] == 13.0
    assert [text for _, text in chart.readings] == ["$10.00", "+$4.00", "−$1.00", "$13.00"]


def test_the_spread_of_a_latency_has_its_objective_and_its_quantile_marked() -> None:
    assert CHAT.drawn
    first, _ = decision.spread_charts(CHAT, CHAT.drawn)
    (chosen,) = (mark for mark in first.marks if mark.chosen)
    assert chosen.name == "p95" and first.notes[0].x == 1.0 and chosen.x < 1.0
    line = first.lines[0]
    assert list(line.x) == sorted(line.x) and list(line.y) == sorted(line.y)


def test_joules_of_a_request_add_up_to_the_meter() -> None:
    drawn = CHAT.drawn
    assert drawn
    parts, total = bars(decision.energy_waterfall(drawn))
    assert sum(parts.heights) == pytest.approx(total.heights[-1])
    # one draw of the arrivals beside the mean of the steady state
    assert total.heights[-1] == pytest.approx(CHAT.totals.j_per_request.value, rel=0.05)
    assert f"{drawn.requests:,} requests" in decision.chain_sentence(drawn)


def test_operations_lie_under_the_roof_and_decoding_left_of_prompts() -> None:
    (chart,) = roofline.charts(CHAT)
    peak = chart.lines[0].y[-1]
    width = chart.lines[0].y[0] / chart.lines[0].x[0]
    by_name = {mark.name: mark for mark in chart.marks}
    assert all(mark.y <= min(peak, mark.x * width) for mark in chart.marks)
    assert by_name["matrices, decode"].x < by_name["matrices, prefill"].x
    # 2 FLOP for each of the batch's sequences and byte of an fp8 weight
    assert by_name["matrices, decode"].x == pytest.approx(2 * CHAT.services[0].batch, rel=0.1)


def test_a_plan_without_figures_for_pictures_has_a_page_without_them() -> None:
    gone = {"accelerators": (), "drawn": None, "latency": (), "frontier": (), "verification": None}
    bare = CHAT.model_copy(update=gone)
    assert [chart.title for chart in charts(bare)] == ["Use of every limit", "b200_sxm under its roof"]
    assert not Reader(page(bare)).open


def test_all_pictures_are_one_file_of_either_kind() -> None:
    pytest.importorskip("matplotlib")
    assert picture(CHAT).png().startswith(b"\x89PNG") and b"<svg" in picture(CHAT).svg()[:600]
