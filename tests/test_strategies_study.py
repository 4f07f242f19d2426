"""Studies: strategies side by side, what is missing, what is flagged, and the command that prints them."""

import json
from dataclasses import astuple, replace

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.costs.inference_units import (
    ModelCostShape,
    attention_flops,
    cache_bytes_read,
    parameter_flops,
    prefill_gamma,
)
from comptroller.errors import InfeasibleError, InputError, UnsupportedError
from comptroller.report import replay_report as report
from comptroller.report.tables import WRITERS, writer_of
from comptroller.strategies.protocol import StrategyQuestion
from comptroller.strategies.replay import ModelledChecker, ServicePace
from comptroller.strategies.spelling import parse, settings
from comptroller.strategies.study import ReplayConditions, study
from comptroller.strategies.success_prediction import success_predictor, text_signals
from comptroller.work.evidence import Evidence, RecordedModel, columns
from comptroller.work.evidence_readers import read_evidence
from strategy_evidence import ARMS, drawn

BOTH = {"weak": ARMS[0], "strong": ARMS[1]}


def strategies(*texts):
    return [parse(text) for text in texts]


def test_greedy_stands_beside_every_strategy_and_every_model_plays():
    found = study(drawn(), strategies("sample_and_vote(n=4)", "best_of_n(n=4)"))
    assert [(item.who, item.strategy) for item in found.settings] == [
        (model, text) for model in ("small", "large") for text in ("once", "sample_and_vote(n=4)", "best_of_n(n=4)")
    ]
    assert [item.baseline for item in found.settings] == [True, False, False] * 2
    for item in found.settings:
        assert item.score.low <= item.score.value <= item.score.high
        if not item.baseline:
            base = next(one for one in found.settings if one.baseline and one.who == item.who)
            assert item.gain.value == pytest.approx(item.score.value - base.score.value)


def test_a_grid_is_every_setting_the_evidence_supports_and_names_the_others():
    found = study(drawn(), strategies("sample_and_vote"), ReplayConditions(arms=ARMS[:1]), grid=True)
    assert [item.strategy for item in found.settings] == ["once", *(f"sample_and_vote(n={n})" for n in (2, 4, 8, 16))]
    assert [name for name, _ in found.missing] == ["sample_and_vote(n=64)", "sample_and_vote(n=32)"]
    assert all("17 is asked, 16 are recorded" in reason for _, reason in found.missing)


def test_a_grid_is_the_same_whether_prefixes_are_shared_or_a_budget_forbids_it():
    shared = study(drawn(), strategies("best_of_n"), ReplayConditions(arms=ARMS[:1]), grid=True)
    for point in settings(parse("best_of_n"))[:4]:
        alone = study(drawn(), [point], ReplayConditions(arms=ARMS[:1])).settings[1]
        same = next(item for item in shared.settings if item.strategy == alone.strategy)
        for one, other in ((same.score, alone.score), (same.usd_per_solved, alone.usd_per_solved)):
            np.testing.assert_allclose(astuple(one), astuple(other))


def test_the_frontier_is_what_nothing_beats():
    found = study(
        drawn(2, questions=30), strategies("sample_and_vote", "cascade"), ReplayConditions(roles=BOTH), grid=True
    )
    front = found.frontier()
    for item in found.settings:
        better = [
            other
            for other in found.settings
            if other.score.value >= item.score.value
            and other.amount("usd") <= item.amount("usd")
            and (other.score.value, other.amount("usd")) != (item.score.value, item.amount("usd"))
        ]
        assert (item in front) == (not better) or item in front
        assert not (item in front and better)
    assert found.over == "usd"


def test_roles_bind_a_cascade_and_its_baseline_is_the_last():
    found = study(drawn(), strategies("cascade"), ReplayConditions(roles=BOTH))
    once, cascade = found.settings
    assert (once.who, cascade.who) == ("large", "small > large")
    with pytest.raises(UnsupportedError, match="nothing plays the role 'weak'"):
        study(drawn(), strategies("cascade"))


def test_a_strategy_whose_trained_part_lacks_a_signal_is_left_out_with_its_reason():
    evidence = drawn()
    rows = evidence.rows
    blank = np.full(len(rows), np.nan)
    bare = replace(evidence, rows=replace(rows, output_tokens=blank, reasoning_tokens=blank))
    found = study(bare, strategies("cascade", "route"), ReplayConditions(roles=BOTH))
    assert [item.strategy for item in found.settings] == ["once", "route(spend=0.5)"]
    assert dict(found.missing)["cascade(threshold=0.7,samples=1)"].endswith("signal 'log_tokens', which is not there")


def test_names_lose_what_all_models_have_in_common():
    evidence = drawn()
    arms = (RecordedModel("tiny", "Q4", "direct"), RecordedModel("tiny", "Q8", "direct"))
    found = study(
        replace(evidence, arms=arms), strategies("route"), ReplayConditions(roles={"weak": arms[0], "strong": arms[1]})
    )
    assert set(report.short_names(found).values()) == {"Q8", "Q4 > Q8"}


def test_the_price_the_pace_and_the_checker_are_said_to_be_modelled():
    said = ReplayConditions(arms=ARMS[:1], pace=ServicePace(0.1, 0.0, 0.01), checker=ModelledChecker(0.9, 0.1))
    found = study(drawn(), strategies("stop_on_success(cap=4)"), said)
    assert any("accepts 90% of right and 10% of wrong" in note for note in found.notes)
    assert any("seconds from the declared ServicePace" in note for note in found.notes)
    assert found.settings[1].amount("elapsed_s") > 0


def test_a_cap_that_many_replies_end_at_is_flagged_and_its_replies_count_as_truncated():
    evidence = drawn()
    rows = evidence.rows
    made, none = np.minimum(rows.output_tokens, 30.0), np.zeros(len(rows))
    piled = replace(rows, output_tokens=made, reasoning_tokens=none, finish=np.full(len(rows), "", "U7"))
    found = study(replace(evidence, rows=piled), strategies("once"))
    assert any("of small end at exactly 30 tokens: truncated" in note for note in found.notes)
    assert any(item.amount("truncated") > 0 for item in found.settings)
    assert not study(evidence, strategies("once")).notes


def test_where_no_greedy_reply_is_recorded_a_sample_is_the_baseline():
    evidence = drawn()
    sampled = evidence.only(~evidence.greedy)
    found = study(sampled, strategies("sample_and_vote(n=4)"))
    assert found.settings[0].strategy == "once(greedy=False)"
    assert "no greedy reply is recorded; the baseline is one sample" in found.notes
    assert found.missing == ()


def test_studies_of_nothing_are_refused():
    with pytest.raises(InputError, match="no task 'x'"):
        study(drawn(), strategies("once"), ReplayConditions(tasks=("x",)))
    with pytest.raises(InputError, match="frontier is over one of usd"):
        study(drawn(), strategies("once"), over="luck")
    empty = Evidence(drawn().items, ARMS, columns(0), source="empty")
    with pytest.raises(UnsupportedError, match="no question has a reply of every model"):
        study(empty, strategies("once"))


def texts(questions=60):
    """Evidence whose texts tell how hard a question is: the odd ones are never solved by either model."""
    evidence = drawn(4, questions=questions)
    items = tuple(item._replace(text="1234 " * 30) if at % 2 else item for at, item in enumerate(evidence.items))
    rows = evidence.rows
    return replace(evidence, items=items, rows=replace(rows, score=np.where(rows.question % 2, 0.0, rows.score)))


def test_a_mean_is_spread_by_predicted_difficulty_and_judged_on_the_other_half():
    found = study(
        texts(), strategies("sample_and_vote"), ReplayConditions(arms=ARMS[:1], spread=300.0), grid=True, over="tokens"
    )
    (each,) = found.spread
    assert each.mean <= 300 * 1.15
    assert sum(each.shares.values()) == pytest.approx(1)
    assert set(each.shares) == {item.strategy for item in found.settings}
    assert each.score.low <= each.score.value <= min(each.score.high, each.ceiling + 1e-9)
    assert each.gain.value == pytest.approx(each.score.value - each.single)
    (row,) = report.spread(found).records()
    assert row["models"] == "small" and "sample_and_vote" in row["shares"]
    assert json.loads(json.dumps(report.record(found)))["spread"][0]["shares"] == each.shares
    assert "Spread by predicted difficulty" in report.page(found)


def test_a_spread_without_texts_or_below_the_cheapest_is_refused():
    evidence = texts()
    bare = replace(evidence, items=tuple(item._replace(text="") for item in evidence.items))
    with pytest.raises(UnsupportedError, match="difficulty is predicted from texts"):
        study(bare, strategies("sample_and_vote"), ReplayConditions(arms=ARMS[:1], spread=300.0), True, "tokens")
    with pytest.raises(InfeasibleError, match="cheapest options cost"):
        study(evidence, strategies("sample_and_vote"), ReplayConditions(arms=ARMS[:1], spread=1.0), True, "tokens")


def test_a_shape_counts_flops_cache_traffic_and_prefill_equivalents():
    shape = ModelCostShape(1e9, 4096.0, 8192.0)
    found = study(drawn(), strategies("once"), ReplayConditions(arms=ARMS[:1], shape=shape))
    (once,) = found.settings
    tokens = once.results.cost.tokens
    made = np.asarray(tokens.output + tokens.reasoning)
    read = cache_bytes_read(shape, np.asarray(tokens.input), made)
    flops = parameter_flops(1e9, np.asarray(tokens.input) + made) + attention_flops(shape, tokens.input, made)
    assert once.amount("flops") == pytest.approx(flops.mean())
    assert once.amount("eflops") == pytest.approx((flops + 562.5 * read).mean())
    assert once.prefill_equivalents == pytest.approx((tokens.input + prefill_gamma(shape, 562.5) * read / 4096).mean())
    assert report.record(found)["settings"][0]["prefill_token_equivalents"] == pytest.approx(
        once.prefill_equivalents, rel=1e-4
    )


@pytest.fixture(scope="module")
def shown():
    return study(
        drawn(3, questions=20), strategies("sample_and_vote", "cascade"), ReplayConditions(roles=BOTH), grid=True
    )


def test_the_record_holds_every_setting_and_is_json(shown):
    record = json.loads(json.dumps(report.record(shown), allow_nan=False))
    assert len(record["settings"]) == len(shown.settings)
    first = record["settings"][0]
    assert first["score"]["low"] <= first["score"]["value"] <= first["score"]["high"]
    assert first["j"] is None
    assert any(item["frontier"] for item in record["settings"])


def test_the_page_is_whole_and_lists_every_setting(shown):
    page = report.page(shown)
    assert page.startswith("<!doctype html>")
    for item in shown.settings:
        assert item.strategy in page
    assert page.count('class="point') == len(report.marks(shown))


def test_the_picture_is_a_png_with_dollars_in_its_title(shown):
    assert "$" in report.headline(shown)
    assert report.picture(shown).png()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(InputError, match="there are none"):
        report.picture(replace(shown, settings=()))


def test_the_table_is_written_in_every_format(shown, tmp_path):
    sheet = report.settings(shown)
    assert {column.key for column in sheet.columns} >= {"strategy", "models", "score", "usd"}
    assert "j" not in {column.key for column in sheet.columns}
    made = {ending: write(sheet) for ending, write in WRITERS.items()}
    assert made[".csv"].decode().count("\n") == len(sheet.rows) + 1
    assert made[".tex"].decode().count(r"\\") == len(sheet.rows) + 1
    assert r"\$/question" in made[".tex"].decode()
    assert made[".parquet"][:4] == b"PAR1"
    with pytest.raises(InputError, match="ends in one of"):
        writer_of(tmp_path / "table.doc")


@pytest.fixture
def recorded(tmp_path):
    lines = [
        {
            "question": f"q{question}",
            "model": model,
            "sample": number,
            "temperature": 0.0 if number == 0 else 1.0,
            "answer": "a" if (question + number + len(model)) % 3 else "b",
            "score": float((question + number + len(model)) % 3 != 0),
            "input_tokens": 20,
            "output_tokens": 10 + question + number,
            "usd": 0.001 * (10 + question + number),
            "finish": "stop",
        }
        for question in range(8)
        for model in ("small", "large")
        for number in range(5)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def command(*words):
    try:
        main(["replay", *map(str, words)])
    except SystemExit as stop:
        return stop.code
    return 0


def test_the_command_prints_a_table(recorded, capsys):
    assert command("sample_and_vote(n=4)", "--evidence", recorded, "--model", "small") == 0
    out = capsys.readouterr().out
    assert "sample_and_vote(n=4)" in out
    assert "once" in out
    assert "large" not in out


def test_the_command_writes_json_and_files(recorded, tmp_path, capsys):
    files = [tmp_path / name for name in ("p.png", "p.html", "p.tex")]
    options = [word for pair in zip(("--png", "--html", "--table"), files, strict=True) for word in pair]
    roles = ("--role", "weak=small", "--role", "strong=large")
    assert command("cascade:threshold=0.5", "--evidence", recorded, *roles, "--json", "--frontier", *options) == 0
    record = json.loads(capsys.readouterr().out)
    assert {item["strategy"] for item in record["settings"]} >= {"once", "cascade(threshold=0.5,samples=1)"}
    assert all(path.stat().st_size > 100 for path in files)


def test_a_table_for_programs_holds_raw_values(recorded, tmp_path, capsys):
    for name in ("t.csv", "t.parquet"):
        assert command("once", "--evidence", recorded, "--table", tmp_path / name, "--json") == 0
        told = json.loads(capsys.readouterr().out)["settings"]
    import pyarrow.parquet as pq  # noqa: PLC0415

    for row, item in zip(pq.read_table(tmp_path / "t.parquet").to_pylist(), told, strict=True):
        assert (row["score"], row["score_low"]) == (item["score"]["value"], item["score"]["low"])
        assert (row["usd"], row["truncated"], row["j"]) == (item["usd"], item["truncated"], None)
        assert row["models"] == item["models"]["solver"]
    head, *rows = (tmp_path / "t.csv").read_text().splitlines()
    assert head.startswith("strategy,models,baseline,questions,score,score_low,score_high,gain")
    assert len(rows) == len(told)


def test_a_price_may_be_that_of_a_service_on_a_day(recorded, capsys):
    pytest.importorskip("genai_prices")
    words = ("once", "--evidence", recorded, "--model", "small", "--json", "--shape", "llama_3_1_8b")
    assert command(*words, "--price", "openai/gpt-4o-mini@2026-01-01") == 0
    told = json.loads(capsys.readouterr().out)
    (once,) = told["settings"]
    assert any(note.startswith("price of openai/gpt-4o-mini on 2026-01-01") for note in told["notes"])
    assert command(*words, "--price", "0.15,0.6") == 0
    assert json.loads(capsys.readouterr().out)["settings"][0]["usd"] == pytest.approx(once["usd"])
    assert once["eflops"] > once["flops"] > 0
    assert command(*words, "--price", "openai/none@2026-01-01") == 2


def test_a_price_of_one_model_is_of_all_that_its_name_finds(recorded, capsys):
    """By a part of the name, as roles are bound, and told as declared."""
    words = ("once", "--evidence", recorded, "--json", "--price")
    assert command(*words, "smal=1,2") == 0
    part = json.loads(capsys.readouterr().out)
    assert command(*words, "small=1,2") == 0
    assert json.loads(capsys.readouterr().out)["settings"] == part["settings"]
    assert "modelled: dollars of smal from the declared 1,2 per million tokens" in part["notes"]


def test_a_budget_in_joules_needs_joules_per_token(recorded, capsys):
    words = ("sample_and_vote(n=4)", "--evidence", recorded, "--budget", "20 j", "--json")
    assert command(*words) == 2
    assert "budget limits j" in capsys.readouterr().err
    assert command(*words, "--joules", "0.1,1.0") == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    vote = next(item for item in settings if item["strategy"] == "sample_and_vote(n=4)")
    assert vote["expired"] == 1.0
    assert vote["j"] < 20 + 4 * 3


def test_the_same_command_prints_the_same_bytes(recorded, capsys):
    words = ("stop_on_success", "--evidence", recorded, "--frontier", "--json", "--seed", "3", "--checker", "0.9,0.2")
    assert command(*words) == 0
    first = capsys.readouterr().out
    assert command(*words) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bost_of_n",), "nearest: best_of_n"),
        (("sample_and_vote(n=9)",), "sample 5 is asked, 4 are recorded"),
        (("once", "--model", "medium"), "recorded: small, large"),
        (("once", "--role", "weak"), "write it as ROLE=MODEL"),
        (("once", "--budget", "5 apples"), "cannot read '5 apples'"),
        (("once", "--budget", "5 s"), "budget in seconds"),
        (("once", "--checker", "2"), "write 2 numbers"),
        (("once", "--checker", "2,0"), "rates must lie"),
        (("once", "--pace", "a,b,c"), "write 3 numbers"),
        (("once", "--over", "luck"), "one of usd"),
        (("once", "--shape", "lama_3_1_8b"), "nearest: llama_3_1_8b"),
        (("once", "--price", "openai/gpt-4o-mini@soon"), "write the date as"),
        (("once", "--price", "1,2", "--price", "small=1,2"), "'1,2' is of all models beside small"),
        (("once", "--price", "small=1,2", "--price", "small=1,3"), "small is 1,2 already"),
        (("once", "--price", "smal=1,2", "--price", "small=1,3"), "small has that of 'smal' already"),
        (("once", "--price", "medium=1,2"), "has no such model; it has small, large"),
        (("once", "--spread", "300"), "difficulty is predicted from texts"),
        (("once", "--table", "x.doc"), "ends in one of"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(recorded, capsys, words, message):
    assert command(*words, "--evidence", recorded) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_all_that_is_compared_stands_on_the_questions_that_all_are_recorded_on():
    evidence = drawn(questions=10)
    rows = evidence.rows
    few = evidence.only((rows.role == "solver") | (rows.question < 4))
    found = study(few, strategies("sample_and_vote(n=4)", "generative_verification(s=2,v=2)"))
    assert {len(item.results.question) for item in found.settings} == {4}
    assert "on 4 of 10 questions: those recorded for all that is compared" in found.notes
    bare = few.only(few.rows.role == "solver")
    with pytest.raises(UnsupportedError, match=r"needs verdicts \(rows of the role verifier\)"):
        study(bare, strategies("generative_verification"))
    apart = evidence.only((rows.question < 5) == (rows.arm == 0))
    found = study(apart, strategies("once"))
    assert "the models were asked different questions, so they do not compare" in found.notes
    assert [len(item.results.question) for item in found.settings] == [5, 5]
    one_short = evidence.only((rows.question > 0) | (rows.arm == 0))
    assert {len(item.results.question) for item in study(one_short, strategies("once")).settings} == {9}


def test_a_model_that_was_asked_more_is_shown_on_all_of_it_too():
    evidence = drawn(questions=10)
    rows = evidence.rows
    short = evidence.only((rows.question > 2) | (rows.arm == 0))
    found = study(short, strategies("sample_and_vote(n=4)"), ReplayConditions(deals=4))
    (own,) = found.by_model
    alone = study(short, strategies("sample_and_vote(n=4)"), ReplayConditions(arms=evidence.arms[:1], deals=4))
    assert [item.score for item in own] == [item.score for item in alone.settings] and not alone.by_model
    (sheet,) = report.by_model(found)
    assert sheet.title == "small: all its 10 questions" and len(sheet.rows) == 2
    assert [len(group) for group in report.record(found)["by_model"]] == [2]
    assert "small: all its 10 questions" in report.page(found)
    assert not study(evidence, strategies("once")).by_model


def test_what_all_models_have_in_common_is_not_repeated(shown):
    one, two = shown.settings[0], shown.settings[1]
    named = replace(
        shown, settings=(replace(one, models={"solver": "m Q8 direct"}), replace(two, models={"solver": "m Q4 direct"}))
    )
    assert list(report.short_names(named).values()) == ["Q8", "Q4"]
    alone = replace(named, settings=named.settings[:1])
    assert list(report.short_names(alone).values()) == ["m Q8 direct"]


def test_own_evidence_replays_to_what_its_counts_say():
    own = read_evidence("own")
    arm = next(arm for arm in own.arms if (arm.format, arm.effort) == ("Q8_0", "direct"))
    number, rows = own.arm(arm), own.rows
    texts = ("stop_on_success(cap=16)", "sample_and_vote(n=16)", "best_of_n(n=16,by=likelihood)")
    found = study(own, strategies(*texts), ReplayConditions(arms=(arm,)))
    once, stopped, *_ = found.settings
    greedy = own.greedy & (rows.arm == number) & (rows.role == "solver")
    assert once.score.value == pytest.approx(rows.score[greedy].mean())
    counts = own.counts()
    asked = counts.n[:, number] > 0
    assert stopped.score.value == pytest.approx((counts.correct[asked, number] > 0).mean())
    assert stopped.gain.low > 0
    assert once.score.value < stopped.score.value


def test_own_evidence_holds_verdicts_and_revisions_to_replay():
    own = read_evidence("own")
    arm = next(arm for arm in own.arms if (arm.format, arm.effort) == ("Q8_0", "direct"))
    texts = ("generative_verification(s=4,v=2)", "sequential_revision(rounds=2,chains=4)")
    found = study(own, strategies(*texts), ReplayConditions(arms=(arm,)))
    assert [item.strategy for item in found.settings] == ["once", *texts]
    assert found.settings[1].amount("calls") > 4
    assert any("those recorded for all that is compared" in note for note in found.notes)


def test_a_part_trained_on_the_same_evidence_is_said_to_be_in_sample():
    own = read_evidence("own")
    weak, strong = (next(arm for arm in own.arms if arm.format == form) for form in ("Q4_0", "Q8_0"))
    roles = {"weak": weak, "strong": strong}
    found = study(own, strategies("cascade(samples=4,by=agreement_of_4)"), ReplayConditions(roles=roles))
    assert any("in sample: the trained part agreement_of_4" in note for note in found.notes)


def test_a_part_outside_of_its_domain_and_a_gate_that_decides_nothing_are_said():
    own = read_evidence("own")
    arm = next(arm for arm in own.arms if (arm.format, arm.effort) == ("Q8_0", "direct"))
    gates = ("difficulty_gate(threshold=0.4)", "difficulty_gate(threshold=0.6)", "difficulty_gate(threshold=1.0)")
    found = study(own, strategies(*gates), ReplayConditions(arms=(arm,)))
    told = "\n".join(found.notes)
    assert "question_text was trained on routellm_mmlu.parquet, 14,042 rows, of which 68% were right; here 23%" in told
    assert "question_text: 100% of the questions lie outside of its training (log_chars," in told
    slow = results_by_name(found, gates[0]).mean("calls")
    assert slow == 8 and f"no gate here: the slow way for every question under {gates[0]}" in told
    fast = results_by_name(found, gates[2]).mean("calls")
    assert fast == 1 and f"no gate here: the fast way for every question under {gates[2]}" in told


def results_by_name(found, spelled):
    return next(item.results for item in found.settings if item.strategy == spelled)


@pytest.mark.parametrize(
    ("threshold", "said"),
    [(0.0, "the first model is accepted"), (1.0, "no model before the last is accepted"), (0.3, "")],
)
def test_a_cascade_that_accepts_or_refuses_everything_is_said(threshold, said):
    own = read_evidence("own")
    weak, strong = (next(arm for arm in own.arms if arm.format == form) for form in ("Q4_0", "Q8_0"))
    played = strategies(f"cascade(threshold={threshold},samples=4,by=agreement_of_4)")
    found = study(own, played, ReplayConditions(roles={"weak": weak, "strong": strong}))
    notes = [note for note in found.notes if note.startswith("no gate here")]
    assert len(notes) == bool(said) and all(said in note for note in notes)


def test_signals_outside_of_a_part_s_training_are_named():
    part = success_predictor("question_text")
    inside = {name: np.array([centre]) for name, centre in zip(part.signals, part.centre, strict=True)}
    assert part.beyond(inside) == {}
    far = inside | {"digits": inside["digits"] + 4 * part.scale[part.signals.index("digits")]}
    assert list(part.beyond(far)) == ["digits"] and part.beyond(far)["digits"].all()


def test_the_effort_is_the_shortest_whose_chance_comes_close_to_the_best():
    own = read_evidence("own")
    text = "budget_forcing(limit=0,efforts=(direct,steps),by=(own_direct,own_steps),final_tokens=0,slack={})"
    questions = [StrategyQuestion(item.id, item.text) for item in own.items]
    strict, lenient = parse(text.format(0.0)), parse(text.format(1.0))
    assert {lenient.effort(question) for question in questions} == {"direct"}
    for question in questions:
        signals = text_signals(question.content)
        direct, steps = (success_predictor(name).chance(signals) for name in ("own_direct", "own_steps"))
        assert strict.effort(question) == ("direct" if direct >= steps else "steps")
    found = study(own, [parse(text.format(1.0))], ReplayConditions(arms=(arm_of(own, "direct"),)))
    assert found.settings[1].gain.value == pytest.approx(0.0, abs=0.08)  # a sample in place of the greedy reply


def arm_of(own, effort):
    return next(arm for arm in own.arms if (arm.format, arm.effort) == ("Q8_0", effort))
