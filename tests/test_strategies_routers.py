"""Routers: what is learned, what is met, how it is measured, the files, and the command that trains them."""

import csv
import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.cli import main
from comptroller.errors import FactError, InputError, UnknownIdError, UnsupportedError
from comptroller.report.router_report import chart, page, picture, router_sheet
from comptroller.strategies.protocol import StrategyQuestion
from comptroller.strategies.router_training import TRAINERS, held_out, train
from comptroller.strategies.routers import hashed_ngrams, names, router
from comptroller.strategies.routing import (
    RoutingComparison,
    RoutingCurve,
    RoutingOutcomes,
    area,
    choices_by_price,
    hull,
    outcomes,
    references,
    routing_curve,
)
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import ReplayConditions, study
from comptroller.work.evidence import RecordedModel
from comptroller.work.evidence_readers import read_evidence
from evidence_files import DATA
from strategy_evidence import ARMS, drawn

WORDS = {"sums": "add numbers together please", "poems": "write verse about love", "law": "court ruling on appeal"}


def asked(count=300, seed=0, models=2, learnable=True):
    """Questions of three domains; each model is good at one of them, the dearest also everywhere else."""
    rng = np.random.default_rng(seed)
    tasks = rng.choice(list(WORDS), count)
    chance = np.full((count, models), 0.3)
    for model in range(models):
        chance[tasks == list(WORDS)[model], model] = 0.95
    chance[:, -1] += 0.04
    if not learnable:
        chance = np.tile(np.linspace(0.4, 0.6, models), (count, 1))
    texts = [" ".join(rng.permutation(WORDS[task].split())) + f" {number}" for number, task in enumerate(tasks)]
    questions = tuple(
        StrategyQuestion(str(n), text, task=task) for n, (text, task) in enumerate(zip(texts, tasks, strict=True))
    )
    score = (rng.random((count, models)) < chance).astype(float)
    cost = np.tile(np.arange(1.0, models + 1) ** 2, (count, 1)) * rng.uniform(0.8, 1.2, (count, 1))
    return RoutingOutcomes(questions, tuple(f"m{n}" for n in range(models)), score, cost, "usd", "drawn")


points = st.lists(st.tuples(st.integers(0, 64).map(lambda part: part / 64), st.floats(0, 1)), min_size=1, max_size=12)


@settings(deadline=None)
@given(points)
def test_the_hull_is_what_mixing_two_points_reaches_and_never_falls(pairs):
    cost, score = np.array(pairs).T
    x, y = hull(cost, score)
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    for at in np.linspace(cost.min(), cost.max(), 7):
        best = max(score[cost <= at], default=0.0)
        for (a, p), (b, q) in combinations(pairs, 2):
            if a != b and min(a, b) <= at <= max(a, b):
                best = max(best, p + (q - p) * (at - a) / (b - a))
        assert np.interp(at, x, y) == pytest.approx(best, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_apgr_of_two_models_is_routellms_area_over_the_share_of_strong_calls(seed, count):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 2, (count, 2)).astype(float)
    score[:2] = [[0, 1], [0, 1]]
    score[2:, 1] = np.maximum(score[2:, 0], score[2:, 1])
    known = RoutingOutcomes(
        tuple(StrategyQuestion(str(n)) for n in range(count)), ("w", "s"), score, np.tile([0.0, 1.0], (count, 1))
    )
    values = np.stack([np.zeros(count), rng.permutation(count).astype(float)], axis=1)
    gain = (score[:, 1] - score[:, 0])[np.argsort(-values[:, 1])]
    curve = np.concatenate([[0.0], np.cumsum(gain)])
    found = routing_curve("any", values, known)
    assert found.apgr == pytest.approx(np.trapezoid(curve) / (count * curve[-1]))
    assert found.apgr <= references(known)[-1].apgr + 1e-9


def test_random_recovers_half_and_needs_as_much_spending_as_it_recovers():
    known = asked()
    random = references(known)[0]
    assert random.apgr == pytest.approx(0.5)
    assert (random.cpt(0.5), random.cpt(0.8)) == pytest.approx((0.5, 0.8))
    assert random.aiq == pytest.approx(known.score.mean())


def test_a_gap_that_is_none_has_no_share_recovered():
    flat = RoutingCurve("any", np.array([0.0, 1.0]), np.array([0.7, 0.6]), (0.7, 0.6))
    assert np.isnan(flat.apgr) and np.isnan(flat.cpt(0.5))
    assert flat.aiq == pytest.approx(0.7)
    assert np.isnan(area(flat.spend, flat.score, (0.5, 0.5)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_every_choice_is_the_best_at_its_price_and_spending_falls_with_it(seed, models):
    rng = np.random.default_rng(seed)
    values, cost = rng.random((20, models)), np.sort(rng.random(models))
    prices, picked = choices_by_price(values, cost)
    assert (np.diff(prices) < 0).all()
    for price, each in zip(prices, picked, strict=True):
        worth = values - price * cost
        assert worth[np.arange(20), each] == pytest.approx(worth.max(axis=1))
    assert (np.diff(cost[picked].mean(axis=1)) >= -1e-9).all()
    assert (picked[0] == 0).all() and (picked[-1] == models - 1).all()


@pytest.mark.parametrize("kind", [kind for kind in TRAINERS if kind != "win"])
def test_it_learns_who_is_good_at_what_and_more_than_two_models(kind):
    known = asked(models=3)
    lesson = train(kind, known, {}, np.random.default_rng(0))
    _, mixed, oracle = references(known)
    assert mixed.aiq + 0.05 < lesson.curve.aiq <= oracle.aiq
    part, third = lesson.router, {task: n for n, task in enumerate(WORDS)}
    picks = [part.choose(question, 0.3) for question in known.questions]
    right = np.mean([pick == third[q.task] for pick, q in zip(picks, known.questions, strict=True)])
    assert right > 0.6


@pytest.mark.parametrize("kind", TRAINERS)
def test_where_nothing_can_be_learned_it_is_no_better_than_random(kind):
    lesson = train(kind, asked(800, learnable=False), {}, np.random.default_rng(0))
    assert lesson.curve.low < 0.5 < lesson.curve.high or abs(lesson.curve.apgr - 0.5) < 0.1


def test_the_win_probability_learns_from_signals_of_the_text():
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5
    questions = tuple(
        StrategyQuestion(str(n), f"what is {'1234 ' * 20 if h else 'love'} {n}") for n, h in enumerate(hard)
    )
    score = np.stack([np.where(hard, 0.0, 1.0), np.ones(400)], axis=1)
    known = RoutingOutcomes(questions, ("weak", "strong"), score, np.tile([0.0, 1.0], (400, 1)))
    lesson = train("win", known, {}, np.random.default_rng(0))
    assert lesson.curve.apgr == pytest.approx(references(known)[-1].apgr, abs=0.01)


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_share_of_spending_is_met_on_questions_that_were_not_seen(kind):
    router_ = train(kind, asked(600), {}, np.random.default_rng(0)).router
    unseen, spent = asked(600, seed=1).questions, []
    for target in (0.0, 0.25, 0.5, 0.75, 1.0):
        spent.append(np.mean([router_.cost[router_.choose(question, target)] for question in unseen]))
        assert spent[-1] <= target + (0.2 if kind == "win" else 0.08)
    assert spent == sorted(spent) and spent[0] == 0 and spent[-1] == 1
    assert kind in ("domain", "win") or spent[2] == pytest.approx(0.5, abs=0.15)


def test_questions_of_the_same_text_never_stand_on_both_sides_of_a_fold():
    known = asked(200, learnable=False)
    twice = RoutingOutcomes(
        tuple(StrategyQuestion(q.id, f"same {number // 2}", task=q.task) for number, q in enumerate(known.questions)),
        known.models,
        np.repeat(np.random.default_rng(3).integers(0, 2, (100, 2)), 2, axis=0).astype(float),
        known.cost,
    )
    values = held_out("nearest", twice, np.random.default_rng(0))
    gain = twice.score[:, 1] - twice.score[:, 0]
    assert abs(np.corrcoef(values[:, 1] - values[:, 0], gain)[0, 1]) < 0.4


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_router_is_read_back_as_it_was_written_the_same_bytes_each_time(kind, tmp_path):
    made = train(kind, asked(), {"data": "drawn"}, np.random.default_rng(0)).router
    for name in ("one.npz", "two.npz"):
        made.save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = router(str(tmp_path / "one.npz"))
    for question in asked(20, seed=5).questions:
        assert back.scores(question) == pytest.approx(made.scores(question))
        assert back.choose(question, 0.4) == made.choose(question, 0.4)
    assert back.models == made.models and back.measured == made.measured
    assert parse(f"route:by={tmp_path}/one.npz,spend=0.25").by == f"{tmp_path}/one.npz"


def test_files_that_are_no_router_are_refused_by_name(tmp_path):
    with pytest.raises(UnknownIdError, match="unknown router 'nope'"):
        router("nope")
    for content in (b"", b"PK\x03\x04broken"):
        (tmp_path / "bad.npz").write_bytes(content)
        router.cache_clear()
        with pytest.raises(FactError, match=r"bad\.npz.*not a router"):
            router(str(tmp_path / "bad.npz"))
    np.savez(tmp_path / "bad.npz", told=np.array('{"kind": "magic"}'))
    router.cache_clear()
    with pytest.raises(FactError, match="not a router: 'magic'"):
        router(str(tmp_path / "bad.npz"))


@pytest.mark.parametrize("name", names())
def test_every_router_that_ships_says_what_trained_it_and_beats_random_held_out(name):
    part = router(name)
    assert part.about["command"] == "python benchmarks/train_strategies.py"
    assert part.measured["apgr_low"] > 0.5
    assert part.cost.min() == 0 and part.cost.max() == 1
    assert np.isfinite(part.scores(StrategyQuestion("q", "Which gas do plants take in?", task="biology"))).all()
    assert np.isfinite(part.scores(StrategyQuestion("q"))).all()
    empty = {part.choose(StrategyQuestion("q"), spend) for spend in (0.0, 1.0)}
    assert empty == {0, len(part.models) - 1}


def test_a_route_needs_as_many_roles_as_its_router_has_models():
    with pytest.raises(InputError, match="chooses among 7 models"):
        parse("route(by=reasoning_domain)")
    with pytest.raises(InputError, match=r"spend is 1\.5"):
        parse("route(spend=1.5)")


@given(st.text(max_size=60))
def test_any_text_falls_into_buckets(text):
    at, weight = hashed_ngrams(text, 1 << 10)
    assert len(at) == len(weight) == len(set(at.tolist()))
    assert ((at >= 0) & (at < 1 << 10)).all() and (weight >= 1).all()


def test_outcomes_are_greedy_replies_samples_where_there_are_none_at_recorded_dollars():
    evidence = drawn()
    known = outcomes(evidence, ARMS)
    rows = evidence.rows
    greedy = (rows.role == "solver") & evidence.greedy
    for arm in range(2):
        assert known.score[:, arm].tolist() == rows.score[greedy & (rows.arm == arm)].tolist()
    sampled = outcomes(evidence.only(~evidence.greedy), ARMS)
    use = evidence.samples & (rows.arm == 0) & (rows.question == 0)
    assert sampled.score[0, 0] == pytest.approx(rows.score[use].mean())
    assert (known.unit, outcomes(evidence, ARMS, [1.0, 7.0]).unit) == ("usd", "declared")
    assert outcomes(evidence, ARMS, [1.0, 7.0]).cost[0].tolist() == [1.0, 7.0]
    assert outcomes(evidence, ARMS[::-1], [7.0, 1.0]).cheapest_first.models == ("small", "large")


def test_what_cannot_be_routed_is_refused():
    evidence = drawn()
    with pytest.raises(InputError, match="two or more different models"):
        outcomes(evidence, ARMS[:1])
    with pytest.raises(InputError, match="all models cost the same"):
        outcomes(evidence, ARMS, [1.0, 1.0])
    with pytest.raises(UnsupportedError, match="nothing recorded for other"):
        outcomes(evidence, (ARMS[0], RecordedModel("other")))
    with pytest.raises(InputError, match="6 questions are scored for all; 100 are needed"):
        train("linear", outcomes(evidence, ARMS, [1, 2]), {}, np.random.default_rng(0))
    with pytest.raises(UnknownIdError, match="kind of router 'magic'"):
        train("magic", asked(), {}, np.random.default_rng(0))


def test_a_study_puts_random_and_the_oracle_beside_every_router_and_counts_strong_calls():
    found = study(
        drawn(questions=20),
        [parse("route"), parse("route(by=mmlu_win)")],
        ReplayConditions(roles={"weak": ARMS[0], "strong": ARMS[1]}),
        grid=True,
        over="strong_calls",
    )
    (each,) = found.routed
    assert [curve.name for curve in each.curves] == ["mmlu_linear", "mmlu_win", "random", "oracle"]
    calls = {item.strategy: item.amount("strong_calls") for item in found.settings}
    assert (calls["once"], calls["route(spend=0.0)"], calls["route(spend=1.0)"]) == (1.0, 0.0, 1.0)
    assert any("mmlu_win was trained on routellm_mmlu.parquet, for" in note for note in found.notes)
    assert all(item.models for item in found.settings)


def test_the_table_the_page_and_the_picture_hold_every_curve():
    known = asked(models=3)
    found = RoutingComparison(
        known.models, "usd", (routing_curve("mine", known.score + 0.1, known), *references(known))
    )
    rows = router_sheet(found).records()
    assert [row["router"] for row in rows] == ["mine", "random", "single models, mixed", "oracle"]
    assert rows[0]["apgr"] == pytest.approx(rows[-1]["apgr"], rel=0.05)
    text = page(found, "drawn")
    assert text.startswith("<!doctype html>") and [line.name for line in chart(found.curves).lines] == [
        row["router"] for row in rows
    ]
    assert picture(found, "$ drawn").png()[:8] == b"\x89PNG\r\n\x1a\n"


def run(*words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


@pytest.fixture
def table(tmp_path):
    known = asked(200)
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "text", "task", "model", "score", "usd"])
        for number, question in enumerate(known.questions):
            for model, name in enumerate(("tiny v1", "huge v1")):
                cells = [known.score[number, model], known.cost[number, model]]
                writer.writerow([question.id, question.content, question.task, name, *cells])
    return tmp_path / "mine.csv"


def test_the_command_trains_measures_and_writes_what_replay_takes(table, tmp_path, capsys):
    out, page_, tex = (tmp_path / name for name in ("r.npz", "r.html", "r.tex"))
    command = ["fit", "routers", str(table), "--model", "huge", "--model", "tiny", "--out", str(out)]
    assert run(*command, "--html", page_, "--table", tex, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["models"] == ["tiny v1", "huge v1"] and told["unit"] == "usd"
    rows = {row["router"]: row for row in told["routers"]}
    assert list(rows) == [*TRAINERS, "random", "oracle"]
    assert rows["linear"]["apgr"] > rows["random"]["apgr"]
    assert "<svg" in page_.read_text() and "tabular" in tex.read_text()
    roles = ["--role", "weak=tiny", "--role", "strong=huge", "--json"]
    assert run("replay", f"route(spend=0.4,by={out})", "--evidence", table, *roles) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert [row["router"] for row in replayed["routers"]] == [str(out), "random", "oracle"]
    assert any("in sample" in note for note in replayed["notes"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "huge"], "two or more different models"),
        (["--model", "huge", "--model", "v1"], "several are recorded"),
        (["--model", "huge", "--model", "tiny", "--kind", "magic"], "kind of router 'magic'"),
        (["--model", "huge", "--model", "tiny", "--out", "r.json"], "a router ends in .npz"),
    ],
)
def test_the_command_refuses_with_a_reason(table, words, said, capsys):
    assert run("fit", "routers", table, *words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not DATA.exists(), reason=f"no measured data at {DATA}")
def test_the_baselines_of_routellm_and_our_router_above_them():
    evidence = read_evidence(DATA / "routellm_mmlu.parquet")
    known = outcomes(evidence, evidence.arms)
    random, oracle = references(known)
    assert (random.apgr, round(oracle.apgr, 3), round(oracle.cpt(0.8), 3)) == (pytest.approx(0.5), 1.285, 0.1)
    length = np.array([[0.0, len(question.content)] for question in known.questions])
    assert routing_curve("length", length, known).apgr == pytest.approx(0.586, abs=0.001)
    assert router("mmlu_linear").measured["apgr"] > 0.675
