"""The replay world: dealing, gaps, clocks, partial tokens, nested grids, intervals, and closed forms."""

from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.inference_units import ModelCostShape, TokenPrice
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import causal_pairs
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.strategies.drive import StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, Answer, Ask, QuestionBudget
from comptroller.strategies.recorded_price import recorded_price
from comptroller.strategies.recorded_roles import uses
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService, ServicePace
from comptroller.strategies.replay_intervals import estimate, setting_estimates
from comptroller.strategies.results import nested_results, replay_strategy
from comptroller.strategies.rules.cascade import CascadeStrategy
from comptroller.strategies.spelling import names, parse
from comptroller.strategies.study import ReplayConditions, study
from comptroller.strategies.success_prediction import reply_signals, success_predictor
from comptroller.work.best_means import expected_best
from comptroller.work.evidence import Evidence, RecordedAskKey, RecordedModel, RecordedQuestion, columns
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.vote_means import expected_vote
from comptroller_lab import closed_forms
from comptroller_lab.baseline import BaselineCalibration
from comptroller_lab.deployment_service import on_deployment
from strategy_evidence import ARMS, PRICE, bound, drawn, scrambled
from strategy_worlds import signature

ASKED = [
    "once",
    "once(greedy=false)",
    "sample_and_vote(n=9)",
    "sample_and_vote(n=9,weight=score)",
    "sample_and_vote(n=9,weight=likelihood)",
    "best_of_n(n=9)",
    "best_of_n(n=9,by=likelihood)",
    "adaptive_consistency(cap=16)",
    "adaptive_consistency(cap=16,width=5)",
    "adaptive_consistency(cap=16,rule=share,threshold=0.75,doubling=true)",
    "generative_verification(s=5,v=2)",
    "sequential_revision(rounds=2,chains=3)",
    "stop_on_success(cap=9,checker=verifier)",
    "stop_on_success(cap=9,width=3,checker=verifier)",
    "repair(rounds=1,checker=verifier)",
    "cascade(threshold=0.8)",
    "verdict_cascade(checker=verifier)",
    "route(spend=0.5)",
    "route(spend=0.3,by=mmlu_win)",
    "difficulty_gate(threshold=0.3)",
    "budget_forcing(limit=20,final_tokens=0)",
    "intrinsic_selection(n=9)",
    "odar(roles=(weak,strong),threshold=0.3)",
    "code_monkeys(chains=3,rounds=1,checker=verifier)",
    "tournament(n=6,rounds=2,checker=verifier)",
    "probe_and_prune(n=4,chunk=9)",
]
UNRECORDED = {"sleep_time", "budget_memory", "scale", "echo", "chunked_thinking", "shared_memory"} | {
    *("react", "reflexion", "plan_and_execute")
}
"""What needs continuations or roles that no drawn sample has; `test_strategies_worlds.py` replays runs of theirs."""


def test_every_strategy_that_ships_is_asked_here_or_needs_what_no_sample_records():
    asked = {text.partition("(")[0] for text in ASKED}
    trees = {name for name in names() if "step" in uses(parse(name))}
    assert asked | trees | UNRECORDED == set(names())


def runs(text, evidence, budget=UNLIMITED):
    replay = bound(evidence)
    for number in range(len(evidence.items)):
        world, rng = replay.world(number), np.random.default_rng(number)
        yield world, play(StrategyDriver(parse(text), replay.questions[number], budget, rng), world)


@pytest.mark.parametrize("text", ASKED)
@pytest.mark.parametrize(
    "budget", [UNLIMITED, QuestionBudget(tokens=150), QuestionBudget(s=1.0), QuestionBudget(usd=3e-4)], ids=str
)
def test_truth_turned_round_changes_no_ask_and_no_answer(text, budget):
    evidence = drawn()
    for (world, run), (other_world, other) in zip(
        runs(text, evidence, budget), runs(text, scrambled(evidence), budget), strict=True
    ):
        assert [signature(reply.ask) for reply in run.replies] == [signature(r.ask) for r in other.replies]
        assert run.answer.answer == other.answer.answer
        assert (run.cost.tokens, run.cost.usd) == (other.cost.tokens, other.cost.usd)
        if run.answer.reply is not None and run.answer.reply.finish == "stop":
            assert world.score(run.answer) == 1 - other_world.score(other.answer)


def test_samples_are_dealt_once_and_in_the_recorded_order():
    evidence = drawn()
    world = bound(evidence).world(2)
    rows = [world.reply(ask, 0.0) for ask in Ask().times(16)]
    place = (evidence.rows.question == 2) & (evidence.rows.arm == 0) & evidence.samples
    assert [reply.answer for reply in rows] == evidence.rows.answer[place].tolist()
    with pytest.raises(UnsupportedError, match=r"question q2, small, role solver: sample 17 is asked, 16 are recorded"):
        world.reply(Ask(), 0.0)


def test_a_seed_deals_another_order_and_the_same_one_again():
    evidence = drawn()
    first, again, other = (
        [bound(evidence, seed=seed).world(0).reply(ask, 0.0).cost.tokens.output for ask in Ask().times(1)]
        for seed in (1, 1, 2)
    )
    assert first == again
    deals = []
    for seed in (1, 2):
        world = bound(evidence, seed=seed).world(0)
        deals.append([world.reply(ask, 0.0).cost.usd for ask in Ask().times(16)])
    assert deals[0] != deals[1]
    assert sorted(deals[0]) == sorted(deals[1])
    assert other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sleep_time", r"needs a context and notes on it \(questions with a `context`"),
        ("best_of_n(n=4,by=reward)", r"needs scores of a reward model \(`--role reward=MODEL`"),
        ("sample_and_vote(n=17)", "sample 17 is asked, 16 are recorded"),
        ("generative_verification(s=2,v=3)", "sample 3 is asked, 2 are recorded"),
        ("sequential_revision(rounds=3)", "no reply of a reviser is recorded"),
        ("budget_forcing(limit=5)", "no recorded reply goes on from another"),
        ("budget_forcing(efforts=none)", "nothing recorded for small none"),
    ],
)
def test_a_gap_in_the_evidence_is_named(text, message):
    with pytest.raises(UnsupportedError, match=message):
        replay_strategy(parse(text), bound(drawn()))


def bare(**given):
    count = len(given["question"])
    table = {"arm": np.zeros(count, np.int64), "finish": np.full(count, "stop")} | given
    items = tuple(RecordedQuestion(f"q{n}") for n in range(int(given["question"].max()) + 1))
    return Evidence(items, (RecordedModel("m"),), columns(count, **table), source="bare")


def test_evidence_without_answers_cannot_vote_but_can_be_checked():
    evidence = bare(question=np.zeros(4, np.int64), sample=np.arange(4), score=np.array([0.0, 0.0, 1.0, 0.0]))
    replay = EvidenceReplay(evidence, {"solver": RecordedService(RecordedModel("m")), "checker": ModelledChecker()})
    with pytest.raises(UnsupportedError, match="needs answers that compare"):
        replay_strategy(parse("sample_and_vote(n=4)"), replay)
    found = replay_strategy(parse("stop_on_success(cap=4)"), replay)
    assert found.score.tolist() == [1.0]
    assert found.calls.tolist() == [6.0]
    assert np.isnan(found.mean("tokens"))
    assert np.isnan(found.elapsed_s).all()


def test_a_lone_reply_of_unknown_decoding_is_what_greedy_gets():
    one = bare(question=np.array([0]), score=np.array([1.0]))
    assert replay_strategy(
        parse("once"), EvidenceReplay(one, {"solver": RecordedService(RecordedModel("m"))})
    ).score.tolist() == [1.0]
    two = bare(question=np.array([0, 0]), sample=np.array([0, 1]), score=np.array([1.0, 0.0]))
    with pytest.raises(UnsupportedError, match="no greedy reply is recorded, only samples"):
        replay_strategy(parse("once"), EvidenceReplay(two, {"solver": RecordedService(RecordedModel("m"))}))


def test_unbound_and_unrecorded_are_refused():
    with pytest.raises(UnsupportedError, match="nothing recorded for medium; recorded: small, large"):
        EvidenceReplay(drawn(), {"solver": RecordedService(RecordedModel("medium"))})
    with pytest.raises(InputError, match="rates must lie"):
        ModelledChecker(tpr=1.5)
    evidence = drawn()
    untimed = EvidenceReplay(evidence, {"solver": RecordedService(ARMS[0])})
    with pytest.raises(InputError, match="budget in seconds"):
        replay_strategy(parse("once"), untimed, budget=QuestionBudget(s=1.0))


def test_recorded_dollars_tell_the_price_and_so_the_dollars_of_a_cut_reply():
    evidence = drawn()
    price = recorded_price(evidence, 0)
    assert price.input == pytest.approx(PRICE.input)
    assert price.output == pytest.approx(PRICE.output)
    world = bound(evidence).world(0)
    whole = world.reply(Ask(), 10.0)
    half = world.cut(whole, 10.0 + 0.5 + 0.02 + 0.101)
    assert half.finish == "cancelled"
    assert half.cost.tokens.input == 20
    assert half.cost.tokens.output + half.cost.tokens.reasoning == 10
    assert half.cost.usd == pytest.approx(float(PRICE.usd(20.0, 10.0)))
    assert world.cut(whole, whole.done_s).cost == whole.cost
    assert world.cut(whole, 10.0).cost.tokens.total == 20


def test_dollars_that_follow_no_price_are_unknown_when_a_reply_is_cut():
    evidence = drawn()
    odd = replace(evidence, rows=replace(evidence.rows, usd=evidence.rows.usd**2))
    assert recorded_price(odd, 0) is None
    world = bound(odd).world(0)
    whole = world.reply(Ask(), 0.0)
    assert np.isnan(world.cut(whole, whole.done_s / 2).cost.usd)


def test_max_tokens_truncates_the_record():
    world = bound(drawn()).world(0)
    reply = world.reply(Ask(max_tokens=3), 0.0)
    assert (reply.finish, reply.answer) == ("length", None)
    assert reply.cost.tokens.output + reply.cost.tokens.reasoning == 3
    assert replay_strategy(parse("budget_forcing(limit=1,final_tokens=0)"), bound(drawn())).score.sum() == 0


def test_recorded_latency_is_the_clock_where_there_is_no_pace():
    evidence = drawn()
    rows = replace(evidence.rows, latency_s=evidence.rows.output_tokens / 10, ttft_s=np.full(len(evidence), 0.1))
    replay = EvidenceReplay(replace(evidence, rows=rows), {"solver": RecordedService(ARMS[0])})
    found = replay_strategy(parse("once"), replay)
    np.testing.assert_allclose(found.elapsed_s, found.cost.tokens.output / 10)


def test_a_service_may_state_dollars_joules_and_the_shape_of_its_model():
    shape = ModelCostShape(1e9, 4096.0, 8192.0)
    service = RecordedService(ARMS[0], ServicePace(0, 0, 1), TokenPrice(1.0, 2.0), TokenPrice(0.1, 0.5), shape)
    found = replay_strategy(parse("sample_and_vote(n=3)"), EvidenceReplay(drawn(questions=12), {"solver": service}))
    made = found.column("output_tokens")
    np.testing.assert_allclose(found.cost.usd, 60 + 2 * made)
    np.testing.assert_allclose(found.cost.j, 6 + 0.5 * made)
    assert (found.cost.flops > 2e9 * made).all()
    assert found.per_solved("j") == pytest.approx(found.cost.j.sum() / found.score.sum())


def test_a_verifier_of_stated_rates_errs_at_them():
    evidence = drawn(questions=60)
    accepted = {True: [], False: []}
    replay = bound(evidence, ModelledChecker(tpr=0.8, fpr=0.3))
    for number in range(60):
        world = replay.world(number)
        for ask in Ask().times(16):
            sample = world.reply(ask, 0.0)
            verdict = world.reply(Ask("checker", after=sample), 0.0)
            accepted[sample.answer == "a"].append(verdict.score)
    assert np.mean(accepted[True]) == pytest.approx(0.8, abs=0.06)
    assert np.mean(accepted[False]) == pytest.approx(0.3, abs=0.06)


NESTED = [
    "sample_and_vote",
    "sample_and_vote(weight=score)",
    "best_of_n",
    "best_of_n(by=likelihood)",
    "adaptive_consistency(threshold=0.9)",
    "adaptive_consistency(threshold=0.75,rule=share,doubling=true)",
    "stop_on_success(checker=verifier)",
    "generative_verification(v=2)",
    "generative_verification(v=1,pick=vote)",
]


@pytest.mark.parametrize("text", NESTED)
def test_a_nested_grid_is_a_replay_at_every_size(text):
    replay, strategy = bound(drawn(3)), parse(text)
    sizes = list(range(1, 17))
    for size, found in zip(sizes, nested_results(strategy, replay, sizes), strict=True):
        alone = replay_strategy(replace(strategy, **{strategy.nested: size}), replay)
        assert found.strategy == alone.strategy
        for name in ("score", "tokens", "usd", "calls", "elapsed_s", "lost"):
            np.testing.assert_allclose(found.column(name), alone.column(name), err_msg=f"{size} {name}")


def test_what_is_not_nested_says_so():
    for text in ("once", "adaptive_consistency(width=3)", "best_of_n(by=reward)"):
        with pytest.raises(InputError, match="not prefixes"):
            nested_results(parse(text), bound(drawn()), [1, 2])


def samples_of(evidence):
    shape = (len(evidence.items), 16)
    keep = (evidence.rows.arm == 0) & evidence.samples
    names = {"a": 0, "b": 1, "c": 2, "d": 3}
    answer = np.array([names[text] for text in evidence.rows.answer[keep]]).reshape(shape)
    rated = evidence.rows.judgement[keep].reshape(shape)
    return closed_forms.RecordedSamples(answer, evidence.rows.score[keep].reshape(shape)), rated


@pytest.mark.parametrize("seed", range(4))
def test_paths_are_what_the_generators_answer(seed):
    evidence = drawn(seed, questions=12)
    replay, sizes = bound(evidence), list(range(1, 17))
    samples, rated = samples_of(evidence)
    vote = [found.score for found in nested_results(parse("sample_and_vote"), replay, sizes)]
    np.testing.assert_array_equal(closed_forms.vote_path(samples).score, np.stack(vote, axis=1))
    weighted = [found.score for found in nested_results(parse("sample_and_vote(weight=score)"), replay, sizes)]
    np.testing.assert_array_equal(closed_forms.vote_path(samples, rated).score, np.stack(weighted, axis=1))
    best = [found.score for found in nested_results(parse("best_of_n"), replay, sizes)]
    np.testing.assert_array_equal(closed_forms.best_path(samples, rated), np.stack(best, axis=1))


@pytest.mark.parametrize("threshold", [0.7, 0.9, 0.95])
def test_the_adaptive_path_is_what_the_generator_draws_and_answers(threshold):
    evidence = drawn(5, questions=12)
    votes = closed_forms.vote_path(samples_of(evidence)[0])
    drawn_samples, score = closed_forms.adaptive_path(votes, [threshold])
    found = nested_results(parse(f"adaptive_consistency(threshold={threshold})"), bound(evidence), list(range(1, 17)))
    np.testing.assert_array_equal(drawn_samples[:, 0], np.stack([item.calls for item in found], axis=1))
    np.testing.assert_array_equal(score[:, 0], np.stack([item.score for item in found], axis=1))


def test_the_verified_path_is_what_the_generator_answers():
    evidence = drawn(6, questions=12)
    samples, _ = samples_of(evidence)
    rows = evidence.rows
    on_samples = evidence.samples[rows.parent]
    keep = (rows.arm == 0) & (rows.role == "verifier") & on_samples
    verdicts = rows.judgement[keep].reshape(12, 16, 2)
    path = closed_forms.verified_path(samples, verdicts)
    for s in (1, 3, 8, 16):
        for v in (1, 2):
            found = replay_strategy(parse(f"generative_verification(s={s},v={v})"), bound(evidence))
            np.testing.assert_array_equal(path[:, s - 1, v - 1], found.score)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=7), st.data())
@settings(max_examples=60)
def test_expected_forms_are_means_over_all_choices(pairs, data):
    answers = np.array([answer for answer, _ in pairs])
    rated = np.array([float(rating) for _, rating in pairs])
    right = np.array([float(answer == 0) for answer in answers])
    size = data.draw(st.integers(1, len(pairs)))
    vote, best = [], []
    for chosen in combinations(range(len(pairs)), size):
        some = list(chosen)
        counts = np.bincount(answers[some], minlength=3)
        vote.append(float(counts[0] == counts.max()) / (counts == counts.max()).sum())
        top = rated[some] == rated[some].max()
        best.append(right[some][top].mean())
    counts = np.bincount(answers, minlength=3)[None]
    worth = np.array([[1.0, 0.0, 0.0]])
    assert expected_vote(counts, worth, [size])[0, 0] == pytest.approx(np.mean(vote), abs=1e-9)
    assert expected_best(rated[None], [right[None]], [size])[0][0, 0] == pytest.approx(np.mean(best), abs=1e-9)


def test_votes_in_random_orders_come_to_the_expected_vote():
    rng = np.random.default_rng(0)
    answer = rng.integers(0, 4, (300, 9))
    counts = np.stack([(answer == label).sum(axis=1) for label in range(4)], axis=1)
    expected = expected_vote(counts, np.tile([1.0, 0, 0, 0], (300, 1)), np.arange(1, 10))
    found = closed_forms.shuffled_vote(closed_forms.RecordedSamples(answer, (answer == 0).astype(float)), 64, rng)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.mean(axis=0), expected.mean(axis=0), atol=0.02)
    assert np.abs(found - expected).max() < 0.3
    np.testing.assert_allclose(found[:, -1].mean(), expected[:, -1].mean(), atol=0.02)


def test_the_expected_vote_is_the_mean_of_the_generator_over_deals():
    evidence = drawn(8, questions=4)
    samples, _ = samples_of(evidence)
    counts = np.stack([(samples.answer == label).sum(axis=1) for label in range(4)], axis=1)
    expected = expected_vote(counts, np.tile([1.0, 0, 0, 0], (4, 1)), [3, 8])
    at_once = ServicePace(0.0, 0.0, 0.0)  # so that no answer is first for being short
    deals = [
        nested_results(parse("sample_and_vote"), bound(evidence, pace=at_once, seed=seed), [3, 8])
        for seed in range(400)
    ]
    for at in range(2):
        mean = np.mean([deal[at].score for deal in deals], axis=0)
        np.testing.assert_allclose(mean, expected[:, at], atol=0.08)


@pytest.mark.slow
@pytest.mark.parametrize(("tpr", "fpr"), [(1.0, 0.0), (0.8, 0.3)])
def test_stop_on_success_over_fresh_draws_is_its_closed_form(tpr, fpr):
    rng = np.random.default_rng(0)
    count, cap = 3000, 5
    score = (rng.random((count, cap)) < 0.3).astype(float)
    evidence = bare(
        question=np.repeat(np.arange(count), cap), sample=np.tile(np.arange(cap), count), score=score.ravel()
    )
    replay = EvidenceReplay(
        evidence, {"solver": RecordedService(RecordedModel("m")), "checker": ModelledChecker(tpr, fpr)}
    )
    sizes = [1, 2, 5]
    found = nested_results(parse("stop_on_success"), replay, sizes)
    expected = closed_forms.stop_on_success_outcome(0.3, sizes, tpr, fpr)
    for at, item in enumerate(found):
        assert item.mean("calls") / 2 == pytest.approx(expected.samples[at], rel=0.05)
        assert item.mean("score") == pytest.approx(expected.right[at], abs=0.03)


@given(st.integers(1, 7), st.data())
def test_stop_on_success_over_recorded_samples_is_the_mean_over_orders(total, data):
    correct = data.draw(st.integers(0, total))
    caps = list(range(1, total + 1))
    found = closed_forms.stop_on_success_over_orders([correct], total, caps)
    for at, cap in enumerate(caps):
        drawn_samples, solved = [], []
        for places in combinations(range(total), correct):
            first = min(places, default=total) + 1
            drawn_samples.append(min(first, cap))
            solved.append(first <= cap)
        assert found.samples[0, at] == pytest.approx(np.mean(drawn_samples))
        assert found.right[0, at] == pytest.approx(np.mean(solved))


def test_the_cascade_form_is_the_generator():
    evidence = drawn(9, questions=20)
    score, cost, accept = (np.empty((20, 2)) for _ in range(3))
    for number in range(20):
        world = bound(evidence).world(number)
        for level, role in enumerate(("weak", "strong")):
            reply = world.reply(Ask(role), 0.0)
            score[number, level] = world.score(Answer.of(reply))
            cost[number, level] = reply.cost.usd
            accept[number, level] = success_predictor("reply_length").chance(reply_signals([reply]))
    thresholds = np.quantile(accept[:, 0], [0.2, 0.5, 0.8])
    mean_score, mean_cost = closed_forms.cascade_means(accept, score, cost, thresholds)
    for at, threshold in enumerate(thresholds):
        found = replay_strategy(CascadeStrategy(threshold=float(threshold)), bound(evidence))
        assert found.mean("score") == pytest.approx(mean_score[at])
        assert found.mean("usd") == pytest.approx(mean_cost[at])


def test_intervals_cover_and_pairing_narrows_them():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        values = rng.random(80) < 0.4
        told = estimate(values.astype(float), rng)
        covered += told.low <= 0.4 <= told.high
    assert covered >= 50
    evidence = drawn(2, questions=40)
    few = replay_strategy(parse("sample_and_vote(n=4)"), bound(evidence))
    many = replay_strategy(parse("sample_and_vote(n=12)"), bound(evidence))
    alone = setting_estimates([few, many], few, rng)
    gain, dollars = alone[1].gain, alone[1].usd_per_solved
    assert gain.value == pytest.approx(many.mean("score") - few.mean("score"))
    assert gain.low <= gain.value <= gain.high
    assert gain.high - gain.low < sum(one.score.high - one.score.low for one in alone)
    assert dollars.low <= dollars.value == many.per_solved("usd") <= dollars.high
    assert np.isnan(alone[0].gain.value), "nothing is compared with itself"
    with pytest.raises(InputError, match="not replayed on the same questions"):
        setting_estimates([many, replay_strategy(parse("once"), bound(evidence), [1, 2])], many, rng)


def test_a_budget_in_tokens_is_kept_by_what_the_replay_books():
    for limit in (0, 50, 300, 1000):
        found = replay_strategy(parse("sample_and_vote(n=16)"), bound(drawn()), budget=QuestionBudget(tokens=limit))
        assert (found.column("tokens") <= max(limit, 1) + 16 * 21).all()
        assert (found.expired == 1).all() or limit >= 1000


def deployed(batch):
    replica = ModelReplica(
        model("llama_3_1_8b"),
        accelerator("h100_sxm"),
        PrecisionRecipe(),
        ParallelLayout(),
        EngineSettings.default(engine_facts("vllm")),
    )
    table = tabulate(
        replica_timer(replica, BaselineCalibration.shipped()),
        memory(replica),
        SiteRates(usd_per_s=2.0 / 3600, pue=1.1, gco2e_per_j=1e-4),
    )
    return table, on_deployment(ARMS[0], table, batch, (20.0, 40.0), ModelCostShape.of(model("llama_3_1_8b")))


def test_a_deployment_prices_tokens_by_its_own_steps():
    table, alone = deployed(1)
    _, crowd = deployed(64)
    assert alone.pace.token_s == pytest.approx(table.decode_step_s(1, 40))
    assert alone.price.output == pytest.approx(2.0 / 3600 * alone.pace.token_s)
    assert crowd.price.output < alone.price.output / 30  # weights are read once for all that decode together
    assert crowd.joules.output < alone.joules.output / 10
    assert crowd.pace.token_s > alone.pace.token_s
    assert alone.price.input < alone.price.output
    found = replay_strategy(parse("sample_and_vote(n=4)"), EvidenceReplay(drawn(questions=12), {"solver": crowd}))
    assert found.per_solved("j") > 0
    assert found.per_solved("usd") > 0
    assert (found.cost.flops > 0).all()
    for wrong in (0, table.max_batch + 1):
        with pytest.raises(InputError, match="does not run here"):
            on_deployment(ARMS[0], table, wrong, (20.0, 40.0))
    with pytest.raises(InputError, match="tokens in and out"):
        on_deployment(ARMS[0], table, 1, (0.0, 40.0))


def test_a_long_prompt_is_priced_in_the_chunks_the_engine_makes():
    table, _ = deployed(1)
    chunk = table.chunk_tokens
    found = on_deployment(ARMS[0], table, 1, (3.0 * chunk, 40.0)).pace.input_token_s * 3 * chunk
    parts = [table.mixed_step_s(chunk, float(causal_pairs(chunk, past * chunk))) for past in range(3)]
    assert found == pytest.approx(sum(parts))


def test_a_vote_is_the_mean_over_all_choices_of_its_samples_and_says_so():
    rng, recorded, vote = np.random.default_rng(3), drawn(3, questions=12), parse("sample_and_vote(n=4)")
    found = study(recorded, [vote], ReplayConditions(arms=(ARMS[0],), deals=3))
    told = next(one for one in found.settings if one.strategy == "sample_and_vote(n=4)")
    expected = []
    for question in told.results.question.tolist():
        pool = recorded.at(RecordedAskKey(question, recorded.arm(ARMS[0])))
        scores = []
        for _ in range(1500):
            rows = rng.choice(pool, 4, replace=False)
            given = [row for row in rows if recorded.rows.answer[row] is not None]
            counts = [sum(recorded.rows.answer[row] == recorded.rows.answer[one] for one in given) for row in given]
            most = [row for row, count in zip(given, counts, strict=True) if count == max(counts)] or list(rows[:1])
            scores.append(float(recorded.rows.score[rng.choice(most)]))
        expected.append(np.mean(scores))
    assert told.score.value == pytest.approx(np.mean(expected), abs=0.012)
    assert told.score.low < told.score.value < told.score.high and told.results.deals == 0
    assert any("means over all choices" in note for note in found.notes)


def test_where_some_samples_are_judged_those_are_dealt_to_who_reads_verdicts(tmp_path):
    """A study records more solutions than it judges: every deal of a strategy that reads verdicts is on judged ones."""
    rng, rows = np.random.default_rng(1), ["id,parent,question,model,role,sample,answer,score,judgement"]
    for q, s in np.ndindex(30, 12):
        right = int(rng.random() < 0.2)
        rows.append(f"{q}/{s},,q{q},m,solver,{s},{'x' if right else s},{right},")
        if s % 2:
            rows += [f"{q}/{s}/{v},{q}/{s},q{q},m,verifier,{v},,,{right}" for v in range(2)]
    file = tmp_path / "judged.csv"
    file.write_text("\n".join(rows) + "\n")
    recorded = read_evidence(file)
    asked = [parse("generative_verification(s=4,v=2)"), parse("generative_verification(s=4,v=3)")]
    found = study(recorded, asked, ReplayConditions(deals=16))
    told = next(one for one in found.settings if one.strategy == "generative_verification(s=4,v=2)")
    assert told.results.deals == 16
    assert [name for name, _ in found.missing] == ["generative_verification(s=4,v=3)"]
    some = np.array([recorded.rows.score[recorded.at(RecordedAskKey(q, 0))][1::2] for q in range(30)])
    chance = 1 - np.array([comb(6 - n, 4) / comb(6, 4) for n in some.sum(axis=1).astype(int)])
    assert told.score.value == pytest.approx(chance.mean(), abs=0.05), "perfect verdicts find what is there"
