"""A plan under a trace: every request once, books that balance, objectives judged over all requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import comptroller
from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.prove.simulated_fleet import fleet_of
from comptroller.planning.question_arrivals import QuestionArrivals, question_arrivals_of
from comptroller.planning.simulation import PlanSimulation, TraceReplaySettings, simulate_plan
from comptroller.report.simulation_figures import record
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker
from comptroller.strategies.replay import RecordedService as Recorded
from comptroller.strategies.spelling import parse
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from simulate_worlds import chat, stream, with_blocks

PLAN = chat()
TRACE = stream()
TICK_S = 1e-11
"""The engine rounds arrivals to ticks of 2^-38 s."""


@pytest.fixture(scope="module")
def simulation() -> PlanSimulation:
    return simulate_plan(PLAN, TRACE, TraceReplaySettings(samples=20))


def test_a_row_per_request_in_the_order_of_the_trace(simulation: PlanSimulation) -> None:
    calls = simulation.calls
    assert len(calls) == len(TRACE)
    assert np.array_equal(calls["arrival_s"], TRACE.arrival_s)
    assert np.array_equal(calls["output_tokens"], TRACE.output_tokens)
    assert {row.source for row in calls.rows()} == {"predicted"}
    for row in calls.rows():
        assert row.finish == "stop"
        assert row.arrival_s - TICK_S <= row.started_s < row.first_s <= row.last_s
        assert row.usd > 0 and row.j_prefill > 0 and row.gco2e > 0


def test_requests_and_idling_use_what_the_fleet_uses(simulation: PlanSimulation) -> None:
    spent = record(simulation)["spent"]
    assert spent["j_prefill"] + spent["j_decode"] + spent["j_waste"] + spent["j_idle"] == pytest.approx(
        spent["j"], rel=1e-5
    )
    assert spent["usd_requests"] + spent["usd_idle"] == pytest.approx(spent["usd"], rel=1e-5)
    assert 0 < spent["usd_requests"] <= spent["usd"] * (1 + 1e-9)
    assert spent["usd"] == pytest.approx(PLAN.totals.usd_per_h.value * simulation.outcome.horizon_s / 3600, rel=1e-4)


def test_requests_go_where_the_plan_sends_their_size(simulation: PlanSimulation) -> None:
    sent = set(simulation.calls.text("service").tolist())
    assert sent <= {service.id for service in PLAN.services}
    if len(PLAN.services) > 1:
        assert len(sent) > 1


def test_attainment_is_counted_over_all_requests(simulation: PlanSimulation) -> None:
    limits = simulation.limits_s
    outcome = simulation.outcome
    within = np.ones(len(TRACE), bool)
    within &= outcome.ttft_s <= limits["ttft_s"]
    within &= ~np.isfinite(outcome.tpot_s) | (outcome.tpot_s <= limits["tpot_s"])
    assert np.array_equal(simulation.within, within)
    assert simulation.attainment == within.mean()
    assert simulation.goodput_per_s == pytest.approx(within.sum() / outcome.horizon_s)
    for entry in simulation.attained():
        assert entry.holds == (entry.seen_s <= entry.objective.most_s)
        assert 0 <= entry.share <= 1


def test_the_command_is_a_function_too() -> None:
    trace = stream(20)
    assert record(comptroller.simulate(PLAN, trace)) == record(simulate_plan(PLAN, trace))


def test_a_faster_trace_is_attained_less() -> None:
    calm, rushed = (simulate_plan(PLAN, TRACE, TraceReplaySettings(scale=scale)) for scale in (0.5, 40.0))
    assert calm.attainment > rushed.attainment
    assert calm.outcome.percentile("ttft_s", 95) < rushed.outcome.percentile("ttft_s", 95)
    assert rushed.trace.rate_per_s == pytest.approx(TRACE.rate_per_s * 40)
    assert not all(entry.holds for entry in rushed.attained())


def test_the_same_conditions_give_the_same_document(simulation: PlanSimulation) -> None:
    assert record(simulate_plan(PLAN, TRACE, TraceReplaySettings(samples=20))) == record(simulation)


def test_a_request_beyond_the_context_is_refused_counted_and_missed() -> None:
    longest = max(
        service.deployment.engine.context_tokens or model(service.deployment.model).context_tokens
        for service in PLAN.services
    )
    tokens = TRACE.input_tokens.copy()
    tokens[7] = longest
    found = simulate_plan(PLAN, replace(TRACE, input_tokens=tokens))
    assert found.outcome.counts()["refused"] == 1
    assert found.calls.row(7).finish == "refused"
    assert not found.within[7]
    assert all(entry.share < 1 for entry in found.attained())
    assert record(found)["ends"]["refused"] == 1


def test_where_nothing_is_served_objectives_are_missed_without_an_end() -> None:
    trace = stream(3)
    found = simulate_plan(PLAN, replace(trace, input_tokens=np.full(3, 9_000_000)))
    assert found.attainment == 0 and found.goodput_per_s == 0
    assert all(np.isinf(entry.seen_s) and not entry.holds for entry in found.attained())
    assert record(found)["per_request_within"]["usd"] is None


def test_prefix_blocks_are_cached_up_to_their_reuse() -> None:
    trace = with_blocks(TRACE)
    found = simulate_plan(PLAN, trace, TraceReplaySettings(routing="prefix_match"))
    assert trace.blocks is not None
    hits = found.calls["cached_tokens"] / trace.blocks.tokens
    assert 0 < hits.sum() <= trace.blocks.reuse * trace.blocks.ids.size
    assert hits.max() <= 4
    cached, plain = simulate_plan(PLAN, trace), simulate_plan(PLAN, TRACE)
    assert cached.outcome.ttft_s.mean() < plain.outcome.ttft_s.mean()
    assert cached.outcome.meter_j < plain.outcome.meter_j


def test_a_routing_policy_can_be_chosen_and_is_checked() -> None:
    assert simulate_plan(PLAN, stream(20), TraceReplaySettings(routing="round_robin")).routing == "round_robin"
    with pytest.raises(InputError, match=r"least_requst.*least_request"):
        simulate_plan(PLAN, stream(20), TraceReplaySettings(routing="least_requst"))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_must_be_a_positive_number(scale: float) -> None:
    with pytest.raises(InputError, match="scale"):
        TraceReplaySettings(scale=scale)


def split(prefill: int = 2, decode: int = 2, accelerator: str = "h100_sxm") -> Plan:
    """The golden plan's first service alone, its replicas in two pools."""
    document = PLAN.model_dump(mode="json")
    service = document["services"][0]
    pool = service["deployment"]["pools"][0]
    service["usd_per_h"] = (prefill + decode) * service["usd_per_h"] / pool["replicas"]
    service["deployment"]["pools"] = [
        {**pool, "phase": "prefill", "replicas": prefill},
        {**pool, "phase": "decode", "replicas": decode, "accelerator": accelerator},
    ]
    document["services"] = [service]
    return Plan.model_validate(document)


def test_split_pools_hand_the_cache_over_their_link() -> None:
    found = simulate_plan(split(), TRACE)
    table = fleet_of(split().services, shipped_calibration()).services[0].replicas[0].table
    assert table.transfer_bytes_per_s == 2 * accelerator("h100_sxm").scale_up.one_way_bytes_per_s
    outcome = found.outcome
    assert set(outcome.requests.prompt_rank) <= {0, 1} and set(outcome.requests.token_rank) <= {2, 3}
    assert outcome.counts()["stop"] == len(TRACE)
    steps = np.maximum(TRACE.output_tokens - 1, 1)
    gap_s = outcome.e2e_s - outcome.ttft_s
    move_s = TRACE.input_tokens * table.kv_bytes_per_token / table.transfer_bytes_per_s
    assert (gap_s[TRACE.output_tokens > 1] > (move_s + steps * 1e-3)[TRACE.output_tokens > 1]).all()
    spent = record(found)["spent"]
    assert spent["usd"] == pytest.approx(split().services[0].usd_per_h * outcome.horizon_s / 3600, rel=1e-4)


def test_a_large_or_unlike_split_crosses_the_network() -> None:
    nic = 2 * accelerator("h100_sxm").scale_out.one_way_bytes_per_s
    wide, unlike = split(4, 4), split(1, 1, "h200_sxm")
    for plan in (wide, unlike):
        first = fleet_of(plan.services, shipped_calibration()).services[0].replicas[0]
        assert first.table.transfer_bytes_per_s == nic
    with pytest.raises(UnsupportedError, match="mi300x: no known link joins"):
        simulate_plan(split(1, 1, "mi300x"), TRACE)


def test_pools_share_the_rent_by_devices_and_price() -> None:
    document = split(1, 3).model_dump(mode="json")
    document["services"][0]["deployment"]["pools"][1]["usd_per_device_h"] = 1.0
    plan = Plan.model_validate(document)
    replicas = fleet_of(plan.services, shipped_calibration()).services[0].replicas
    usd = np.array([replica.table.usd_per_s for replica in replicas]) * 3600
    assert usd.sum() == pytest.approx(plan.services[0].usd_per_h)
    assert usd[0] / usd[1] == pytest.approx(plan.services[0].price.usd_per_device_h / 1.0)


@pytest.mark.parametrize("cut", [{"pp": 2}, {"tp": 4}, {"dp": 2}, {"tp": 1, "pp": 2, "dp": 2}])
def test_every_layout_is_simulated(cut: dict[str, int]) -> None:
    document = split(2, 2).model_dump(mode="json")
    for pool in document["services"][0]["deployment"]["pools"]:
        pool.update(cut)
    found = simulate_plan(Plan.model_validate(document), TRACE)
    assert found.outcome.counts()["stop"] == len(TRACE)
    assert found.outcome.meter_usd == pytest.approx(
        split(2, 2).services[0].usd_per_h * found.outcome.horizon_s / 3600, rel=1e-9
    )
    assert len(found.outcome.meters.steps) == 4 * cut.get("dp", 1)


def test_pools_of_a_split_service_are_told_apart() -> None:
    found = simulate_plan(split(2, 2), TRACE)
    prefill, decode = record(found)["services"]
    assert (prefill["pool"], decode["pool"]) == ("prefill", "decode")
    assert prefill["requests"] == decode["requests"] == len(TRACE)
    assert 0 < prefill["busy"] < 1 and 0 < decode["busy"] < 1
    assert prefill["w"] + decode["w"] == pytest.approx(found.outcome.meter_j / found.outcome.horizon_s, rel=1e-5)


def test_a_lone_pool_of_prompts_is_refused() -> None:
    document = split().model_dump(mode="json")
    del document["services"][0]["deployment"]["pools"][1]
    with pytest.raises(InputError, match="come together"):
        simulate_plan(Plan.model_validate(document), TRACE)


def test_what_is_bought_from_an_api_is_not_simulated() -> None:
    document = PLAN.model_dump(mode="json")
    amounts = ("usd_per_h", "calls_per_s", "input_tokens_per_s", "output_tokens_per_s")
    offer = {"id": "api.large", "model": "large", "usd_per_million": None, "source": "evidence"}
    document["offers"] = [offer | dict.fromkeys(amounts, 1.0)]
    with pytest.raises(UnsupportedError, match=r"buys from an API \(api.large\)"):
        simulate_plan(Plan.model_validate(document), TRACE)
    with pytest.raises(UnsupportedError, match="all tokens"):
        simulate_plan(Plan.model_validate(PLAN.model_dump(mode="json") | {"services": []}), TRACE)


def test_the_engine_s_own_context_bounds_requests() -> None:
    document = PLAN.model_dump(mode="json")
    for service in document["services"]:
        service["deployment"]["engine"]["context_tokens"] = 1000
    found = simulate_plan(Plan.model_validate(document), TRACE)
    beyond = TRACE.input_tokens + TRACE.output_tokens > 1000
    assert 0 < beyond.sum() < len(TRACE)
    assert np.array_equal(np.array(found.outcome.finish) == "refused", beyond)


def test_sessions_reach_the_router_and_stay_with_their_service() -> None:
    session = np.random.default_rng(1).integers(0, 25, len(TRACE))
    trace = replace(TRACE, session=np.where(session < 3, -1, session))
    found = simulate_plan(PLAN, trace, TraceReplaySettings(routing="session_affinity", scale=0.2))
    for number in range(3, 25):
        mine = trace.session == number
        assert len(set(found.outcome.requests.prompt_rank[mine].tolist())) == 1


def test_an_unknown_decision_of_a_policy_is_named() -> None:
    document = PLAN.model_dump(mode="json")
    document["services"][0]["deployment"]["policies"].append(["rooting", "fcfs"])
    with pytest.raises(InputError, match=r"rooting.*routing"):
        simulate_plan(Plan.model_validate(document), TRACE)


EVIDENCE = read_evidence("own")


def asked(strategy: str) -> QuestionArrivals:
    """Questions of the evidence that ships, answered by one of its models."""
    assert isinstance(EVIDENCE, Evidence)
    solver = Recorded(EVIDENCE.arms[0])
    return QuestionArrivals(parse(strategy), EvidenceReplay(EVIDENCE, {"solver": solver, "checker": ModelledChecker()}))


def test_questions_are_solved_on_the_plan_s_fleet() -> None:
    once, vote = (simulate_plan(PLAN, TRACE, questions=asked(s)) for s in ("once", "sample_and_vote(n=8)"))
    assert len(once.asked) == len(TRACE) and len(vote.asked) == 8 * len(TRACE)
    assert once.solved is not None and vote.solved is not None
    for found in (once, vote):
        document = record(found)
        solved = found.solved.score.sum()
        assert document["questions"]["solved"] == pytest.approx(solved)
        assert document["questions"]["usd_per_solved"] * solved == pytest.approx(document["spent"]["usd"], rel=1e-4)
        assert document["requests"] == len(found.asked) == len(found.calls)
        assert set(found.calls.text("service")) <= {service.id for service in PLAN.services}
    assert vote.solved.score.mean() > once.solved.score.mean()
    assert vote.outcome.meter_j > once.outcome.meter_j
    assert vote.outcome.requests.cached.sum() > 0, "samples of a question share its prompt"


def test_every_question_is_asked_before_any_is_asked_again() -> None:
    trace = stream(900)
    found = question_arrivals_of(asked("once"), trace, PLAN.services, np.random.default_rng(0))
    known = found.plays[0].replay.covered()
    counts = np.bincount(found.question, minlength=known.max() + 1)[known]
    assert counts.max() - counts.min() <= 1


def test_batching_and_scheduling_can_be_chosen_too(tmp_path: Path) -> None:
    own = tmp_path / "shortest_prompt.py"
    own.write_text("def rank(call):\n    return float(call.prompt)\n")
    how = TraceReplaySettings(batching="prefill_first", scheduling=str(own))
    policies = simulate_plan(PLAN, stream(20), how).outcome.fleet.policies
    assert (policies.batching, policies.scheduling) == ("prefill_first", str(own))
    with pytest.raises(InputError, match="unknown batching policy"):
        simulate_plan(PLAN, stream(5), TraceReplaySettings(batching="nobody"))
