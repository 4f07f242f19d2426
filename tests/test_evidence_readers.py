"""Every format that evidence is read from: what is read, and what damage does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import ComptrollerError, FactError, InputError, RecordError
from comptroller.work.arrow import write_columns
from comptroller.work.evidence import Evidence, EvidenceCounts, RecordedAskKey, RecordedModel
from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_readers import packaged_evidence, read_evidence, reader_of, readers
from comptroller.work.evidence_readers import parquet as own_format
from evidence_files import (
    DATA,
    ISSUES,
    MAKERS,
    agent_calls,
    helm,
    inspect_eval,
    inspect_json,
    langfuse,
    litellm_spend,
    lm_eval,
    measured,
    openai_batch,
    openai_log,
    openhands,
    openrouter,
    plain_counts,
    plain_csv,
    plain_jsonl,
    routerarena,
    routerbench,
    swe_agent,
    swe_bench,
)


def same(one, other):
    """Whether two readings are equal, unknown being equal to unknown."""
    assert type(one) is type(other)
    assert one.items == other.items and one.arms == other.arms
    if isinstance(one, EvidenceCounts):
        return np.array_equal(one.n, other.n) and np.array_equal(one.correct, other.correct)
    columns = one.rows.__dataclass_fields__
    for name in columns:
        left, right = getattr(one.rows, name), getattr(other.rows, name)
        nan = left.dtype.kind == "f"
        assert np.array_equal(left, right, equal_nan=nan) if nan else (left == right).all(), name
    return True


def test_every_reader_is_named_like_its_file_and_says_what_it_reads():
    folder = Path(own_format.__file__).parent
    stems = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {reader.name for reader in readers()} == stems
    assert all(reader.looks_like for reader in readers())


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_a_format_is_told_from_its_content_and_written_evidence_reads_back_the_same(maker, tmp_path):
    path = maker(tmp_path)
    name = maker.__name__
    assert reader_of(path).name == {"openai_batch": "openai_log"}.get(
        name, "plain" if name.startswith("plain") else "inspect_ai" if name.startswith("inspect") else name
    )
    read = read_evidence(path)
    out = tmp_path / "written.parquet"
    own_format.write_evidence(read, out)
    back = read_evidence(out)
    assert same(read, back)
    assert back.source == read.source


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_damage_is_an_error_that_names_the_file_never_a_traceback(maker, tmp_path):
    path = maker(tmp_path)
    path = next(path.rglob("*.traj")) if path.is_dir() else path
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(60):
        data = bytearray(whole[: int(rng.integers(1, len(whole)))] if trial % 2 else whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(data))
        try:
            read_evidence(path)
        except ComptrollerError as error:
            assert path.name in str(error)


def test_csv_of_a_user_samples_are_numbered_as_they_come(tmp_path):
    read = read_evidence(plain_csv(tmp_path))
    assert isinstance(read, Evidence)
    assert read.arms == (RecordedModel("m", "", "low"),)
    assert read.rows.sample.tolist() == [0, 1, 0]
    assert read.rows.score.tolist() == [1.0, 0.0, 1.0]
    assert read.rows.finish.tolist() == ["stop", "stop", "length"]
    assert np.isnan(read.rows.input_tokens).all()


def test_json_lines_keep_parents_greedy_replies_and_log_probabilities(tmp_path):
    read = read_evidence(plain_jsonl(tmp_path))
    greedy = read.at(RecordedAskKey(0, 0, greedy=True))
    assert read.rows.answer[greedy].tolist() == ["42"]
    verdicts = read.at(RecordedAskKey(0, 0, "verifier", int(greedy[0])))
    assert read.rows.judgement[verdicts].tolist() == [0.75]
    sampled = read.at(RecordedAskKey(0, 0))
    assert read.logprobs[int(sampled[0])].tolist() == [-0.5, -0.25]
    assert read.logprobs[int(greedy[0])] is None


def test_counts_of_a_user(tmp_path):
    read = read_evidence(plain_counts(tmp_path))
    assert isinstance(read, EvidenceCounts)
    assert read.n.tolist() == [[100], [100]] and read.correct.tolist() == [[3.0], [0.0]]


def test_openai_logs_put_every_token_in_one_bucket_and_group_equal_messages(tmp_path):
    read = read_evidence(openai_log(tmp_path))
    assert len(read.items) == 1 and read.items[0].text == "6 times 7?"
    assert read.arms == (RecordedModel("gpt-5-mini", "", "low"),)
    tokens = read.cost(0).tokens
    assert (tokens.input, tokens.cached, tokens.output, tokens.reasoning) == (36, 64, 20, 30)
    assert tokens.total == 150
    assert read.rows.finish.tolist() == ["stop", "length"]


def test_a_reply_with_several_choices_has_no_tokens_of_its_own(tmp_path):
    path = openai_log(tmp_path)
    text = path.read_text().splitlines()[0]
    twice = text.replace('"choices": [{', '"choices": [{"index": 1, "message": {"content": "43"}}, {')
    path.write_text(twice + "\n")
    read = read_evidence(path)
    assert len(read) == 2
    assert np.isnan(read.rows.output_tokens).all() and np.isnan(read.rows.reasoning_tokens).all()


def test_a_failed_request_of_a_batch_is_a_failed_reply(tmp_path):
    read = read_evidence(openai_batch(tmp_path))
    assert [item.id for item in read.items] == ["q1", "q2"]
    assert read.rows.finish.tolist() == ["stop", "failed"]


def test_litellm_spend_has_dollars_and_seconds(tmp_path):
    read = read_evidence(litellm_spend(tmp_path))
    assert read.rows.usd.tolist() == [0.00125, 0.00125]
    assert read.rows.latency_s.tolist() == [2.25, 2.25] and read.rows.ttft_s.tolist() == [0.5, 0.5]
    assert read.rows.finish.tolist() == ["stop", "failed"]
    assert read.cost(0).tokens.total == 150
    assert np.isnan(read.rows.score).all()


@pytest.mark.parametrize("maker", [inspect_json, inspect_eval])
def test_inspect_epochs_are_samples_and_letters_are_scores(maker, tmp_path):
    read = read_evidence(maker(tmp_path))
    assert [item.id for item in read.items] == ["sums/1", "sums/2"]
    assert read.arms == (RecordedModel("openai/gpt-5-mini", "", "high"),)
    assert read.rows.sample.tolist() == [0, 1, 0]
    assert read.rows.score.tolist() == [1.0, 0.0, 0.5]
    assert read.rows.finish.tolist() == ["stop", "stop", "length"]
    tokens = read.cost(0).tokens
    assert (tokens.input, tokens.cached, tokens.output, tokens.reasoning) == (36, 64, 20, 30)
    assert read.rows.usd[0] == 0.002 and read.rows.latency_s[0] == 2.5


def test_lm_eval_reads_the_first_filter_and_names_it(tmp_path):
    read = read_evidence(lm_eval(tmp_path))
    assert read.arms == (RecordedModel("EleutherAI/pythia-160m"),)
    assert [item.id for item in read.items] == ["gsm8k/1", "gsm8k/2"]
    assert read.rows.answer.tolist() == ["41", "42"] and read.rows.score.tolist() == [0.0, 1.0]
    assert read.greedy.all()
    assert "strict-match" in read.source


SHAPES = {
    "llmrouter_nine_models.parquet": (6108, 9, 54972),
    "pricing_reversal.parquet": (None, 8, 29371),
    "pricing_reversal_repeats.parquet": (60, 3, 902),
    "routellm_gsm8k.parquet": (1319, 2, 2638),
    "routellm_mmlu.parquet": (14042, 2, 28084),
}


@pytest.mark.parametrize("name", SHAPES)
def test_measured_sets_are_read_whole(name):
    read = read_evidence(measured(name))
    questions, arms, rows = SHAPES[name]
    assert questions in (None, len(read.items))
    assert (len(read.arms), len(read)) == (arms, rows)


def test_measured_counts_are_read_whole():
    read = read_evidence(measured("monkeys_pythia_math_counts.csv"))
    assert read.n.shape == (128, 4) and (read.n == 10_000).all()


def test_recorded_tokens_times_prices_are_recorded_dollars():
    read = read_evidence(measured("pricing_reversal.parquet"))
    rows = read.rows
    failed = rows.finish == "failed"
    assert failed.sum() == 112 and (rows.score[failed] == 0).all()
    assert (rows.output_tokens >= 0).all() and not np.isnan(rows.usd).any()


def test_a_cost_of_nothing_for_tokens_is_unknown():
    read = read_evidence(measured("pricing_reversal_repeats.parquet"))
    assert np.isnan(read.rows.usd).sum() == 16
    assert np.isnan(read.rows.score).all()


def test_what_is_not_evidence_is_refused_with_what_would_be(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP,ContextTokens\n1,2\n")
    with pytest.raises(FactError, match=r"not evidence in a known format .*plain"):
        read_evidence(path)
    with pytest.raises(FactError, match="No such file"):
        read_evidence(tmp_path / "absent.parquet")


def test_unknown_columns_are_named(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("question,model,scroe\na,m,1\n")
    with pytest.raises(RecordError, match="row 1: unknown column scroe; known: id, "):
        read_evidence(path)


def test_shipped_evidence_is_found_by_name():
    for name in packaged_evidence():
        assert len(read_evidence(name)) > 0
    assert DATA.name == "evidence"


def test_a_number_too_large_for_any_float_is_named(tmp_path):
    """As it stands among plain numbers, which are read without a closer look."""
    rows = [{"question": "q", "model": "m", "score": 1, "sample": n, "usd": 10**n} for n in (0, 400)]
    file = tmp_path / "huge.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecordError, match=r"usd is 10{3,}.*must be a number"):
        read_evidence(file)


def test_routers_have_scores_and_dollars(tmp_path):
    read = read_evidence(routerarena(tmp_path))
    assert [(item.id, item.task) for item in read.items] == [("AIME_112", "AIME")]
    assert sorted(read.rows.score.tolist()) == [0.0, 1.0] and set(read.rows.answer.tolist()) == {"982", "610"}
    wide = read_evidence(routerbench(tmp_path))
    assert {arm.model for arm in wide.arms} == {"small", "large"} and len(wide.rows) == 4
    assert wide.rows.usd.sum() == pytest.approx(0.0042) and wide.rows.score.sum() == 3


def test_submissions_to_swe_bench_need_to_know_what_was_tried(tmp_path):
    path = swe_bench(tmp_path)
    read = read_evidence(path)
    assert [item.id for item in read.items] == list(ISSUES) and read.rows.score.tolist() == [1.0, 0.0, 0.0]
    assert read.rows.finish.tolist() == ["", "failed", ""] and read.arms == (RecordedModel("20260101_agent"),)
    (path.parents[1] / "all_preds.jsonl").unlink()
    path.write_text(json.dumps({"no_generation": [], "no_logs": [], "resolved": list(ISSUES)}))
    with pytest.raises(FactError, match=r"all_preds\.jsonl"):
        read_evidence(path)


def test_details_of_a_board_are_read(tmp_path):
    told = {issue: {"cost": 0.1, "api_calls": 9, "resolved": issue == ISSUES[0]} for issue in ISSUES}
    path = tmp_path / "per_instance_details.json"
    path.write_text(json.dumps(told))
    read = read_evidence(path)
    assert read.rows.usd.sum() == pytest.approx(0.3) and read.rows.score.sum() == 1


def test_trajectories_are_read_by_the_folder(tmp_path):
    read = read_evidence(swe_agent(tmp_path))
    assert read.rows.score.tolist() == [0.0, 0.0, 1.0] and read.rows.finish.tolist() == ["stop", "length", "stop"]
    assert read.rows.input_tokens.sum() == 270_000 and read.rows.usd.sum() == pytest.approx(1.5)
    one = read_evidence(tmp_path / "20260102_agent" / "trajs" / f"{ISSUES[2]}.traj")
    assert one.rows.score.tolist() == [1.0]


def test_a_run_without_a_report_is_not_scored(tmp_path):
    rows = read_evidence(openhands(tmp_path)).rows
    assert rows.score[0] == 1.0 and np.isnan(rows.score[1])
    assert (rows.input_tokens[0], rows.cached_tokens[0], rows.output_tokens[0]) == (400, 600, 50)


def test_the_score_of_several_is_chosen(tmp_path):
    path = helm(tmp_path)
    read = read_evidence(path)
    assert read.rows.score.tolist() == [1.0, 1.0] and read.rows.sample.tolist() == [0, 1]
    assert read.arms == (RecordedModel("org/small"),) and read.items[0].task == "mmlu"
    chosen = read_evidence(path, EvidenceColumnNames({"score": "prefix_exact_match"}))
    assert chosen.rows.score.tolist() == [0.0, 0.0]
    with pytest.raises(FactError, match="no score 'f1'"):
        read_evidence(path, EvidenceColumnNames({"score": "f1"}))
    with pytest.raises(FactError, match="one score"):
        read_evidence(openai_log(tmp_path), EvidenceColumnNames({"score": "f1"}))


def test_one_of_several_scorers_of_inspect_is_chosen(tmp_path):
    path = inspect_json(tmp_path)
    log = json.loads(path.read_text())
    for one in log["samples"]:
        one["scores"] = {"match": {"value": "C"}, "judge": {"value": "I"}}
    path.write_text(json.dumps(log))
    with pytest.raises(FactError, match="--map score=judge"):
        read_evidence(path)
    assert not read_evidence(path, EvidenceColumnNames({"score": "judge"})).rows.score.any()
    assert read_evidence(path, EvidenceColumnNames({"score": "match"})).rows.score.all()


@pytest.mark.parametrize("maker", [langfuse, openrouter])
def test_exports_of_observers_put_every_token_in_one_bucket(maker, tmp_path):
    rows = read_evidence(maker(tmp_path)).rows
    names = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "usd", "ttft_s", "latency_s")
    found = [getattr(rows, name).tolist() for name in names]
    assert found == [[36.0], [64.0], [20.0], [30.0], [0.00125], [0.25], [2.0]]


def test_a_reader_of_the_users_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from comptroller.work.evidence_readers.openai_log import table\n"
        "from comptroller.work.evidence_rows import EvidenceReader\n"
        "def read(path):\n"
        "    cells = [line.split() for line in path.read_text().splitlines()]\n"
        "    rows = [dict(zip(('question', 'model', 'score'), each)) for each in cells]\n"
        "    return table(path, list(range(1, len(rows) + 1)), [[row] for row in rows])\n"
        "READER = EvidenceReader('mine', 'lines', lambda preview: True, read)\n"
    )
    (tmp_path / "log.txt").write_text("a small 1\nb small 0\n")
    (tmp_path / "none.py").write_text("")
    assert read_evidence(f"{tmp_path}/mine.py:{tmp_path}/log.txt").rows.score.tolist() == [1.0, 0.0]
    with pytest.raises(InputError, match="no READER"):
        read_evidence(f"{tmp_path}/none.py:{tmp_path}/log.txt")


def test_counts_are_read_from_parquet_too(tmp_path):
    cells = {"Model": ["m"], "Benchmark": ["b"], "Problem Idx": [3], "Num. Samples Total": [10]}
    write_columns(tmp_path / "counts.parquet", {**cells, "Num. Samples Correct": [4]}, {})
    read = read_evidence(tmp_path / "counts.parquet")
    assert read.n.tolist() == [[10]] and read.correct.tolist() == [[4.0]]


def test_a_run_of_calls_is_a_reply_that_took_what_its_calls_took(tmp_path):
    path = agent_calls(tmp_path)
    read = read_evidence(path)
    calls = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert [item.id for item in read.items] == [f"repo{n}__task-{n}" for n in range(3)] and len(read.rows) == 3
    for place in range(3):
        mine = [row for row in calls if row[1] == str(place)]
        assert read.rows.usd[place] == pytest.approx(sum(float(row[9]) for row in mine))
        sent = read.rows.input_tokens[place] + read.rows.cached_tokens[place]
        assert sent == sum(int(row[5]) for row in mine)
        assert read.rows.score[place] == float(mine[0][-1] == "true")
        assert read.rows.latency_s[place] == pytest.approx(
            sum(float(row[10]) for row in mine) + sum(float(row[11]) for row in mine[:-1])
        )


def test_predictions_are_read_with_the_results_beside_them_and_refused_without(tmp_path):
    results = swe_bench(tmp_path)
    predictions = results.parents[1] / "all_preds.jsonl"
    assert same(read_evidence(predictions), read_evidence(results))
    results.unlink()
    with pytest.raises(FactError, match="do not say what was resolved"):
        read_evidence(predictions)
