"""`comptroller show evidence` and `comptroller fit laws`, as a user runs them."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from pyarrow import parquet

from comptroller.cli import main
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.evidence_summary import summarise
from comptroller.work.laws import law
from evidence_files import measured, plain_counts, plain_csv, plain_jsonl

MONKEYS, PRICES = "monkeys_pythia_math_counts.csv", "pricing_reversal.parquet"


def ran(words, capsys):
    """Exit code, what was printed, and what was said on the error stream."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        code = end.code or 0
    out = capsys.readouterr()
    return code, out.out, out.err


def test_showing_evidence_prints_coverage_cost_truncation_and_gaps(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # so that no sentence wraps
    code, out, _ = ran(["show", "evidence", measured(PRICES)], capsys)
    assert code == 0
    assert "5,107 questions, 8 models, 29,371 replies" in out
    assert "2,545 of 5,105 replies end at 2,048 tokens: a suspected cap" in out
    assert "112 failed requests" in out
    assert "no reply to 2 questions" in out


def test_showing_evidence_as_json_has_raw_numbers_and_null_for_unknown(capsys, tmp_path):
    code, out, _ = ran(["show", "evidence", plain_csv(tmp_path), "--json"], capsys)
    document = json.loads(out)
    (arm,) = document["arms"]
    assert code == 0 and document["source"] == "mine.csv"
    assert arm["score"] == pytest.approx(2 / 3, abs=1e-6) and arm["greedy"] is None
    assert arm["truncated"] == pytest.approx(1 / 3, abs=1e-6)
    assert arm["usd_per_solved"] == pytest.approx(0.046)


def test_showing_evidence_without_a_file_lists_the_formats(capsys):
    code, out, _ = ran(["show", "evidence"], capsys)
    assert code == 0 and "inspect_ai" in out and "litellm_spend" in out and "own" in out


def test_fitting_laws_forecasts_and_refuses_what_lies_beyond(capsys):
    words = ["fit", "laws", measured(MONKEYS), "--law", "forecast", "--draws", 50]
    code, out, _ = ran([*words, "--at", 40_000, "--json"], capsys)
    found = json.loads(out)["findings"]
    one = next(f for f in found if f["subject"] == "Pythia 1B" and f["quantity"] == "coverage at 40000, power law")
    assert code == 0 and one["low"] < one["value"] < one["high"] and "held-out error" in one["note"]
    code, _, err = ran([*words, "--at", 10**12], capsys)
    assert code == 2 and "not supported by 10000 samples" in err
    code, out, _ = ran([*words, "--at", 10**12, "--beyond", "--json"], capsys)
    assert code == 0 and json.loads(out)["findings"]


def test_a_law_that_cannot_be_fitted_is_said_and_the_others_are_shown(capsys):
    code, out, _ = ran(["fit", "laws", measured("llmrouter_nine_models.parquet"), "--draws", 20], capsys)
    assert code == 0
    assert "coverage: not supported:" in out and "scores are not all 0 or 1" in out
    assert "equivalence" in out


@pytest.mark.parametrize("beside", [[], ["--law", "coverage"]])
@pytest.mark.parametrize("name", ["price_order", "target_compute", "verification_gap", "solutions_and_verdicts"])
def test_a_law_asked_for_by_name_says_what_the_table_lacks(name, beside, capsys, tmp_path):
    file = tmp_path / "bare.csv"
    rows = [f"q{q},m,{k},{(q + k) % 2}" for q in (0, 1) for k in (0, 1)]
    file.write_text("\n".join(["question,model,sample,score", *rows]))
    code, out, err = ran(["fit", "laws", file, "--law", name, *beside, "--draws", 20], capsys)
    assert code == 2 and not out and f"{name} needs {law(name).needs}" in " ".join(err.split())


@pytest.mark.slow
def test_fitting_writes_a_page_a_picture_and_tables(capsys, tmp_path):
    files = {name: tmp_path / f"laws{name}" for name in (".html", ".png", ".tex", ".parquet", ".md", ".csv")}
    words = ["fit", "laws", measured(PRICES), "--law", "frontier", "--law", "price_order", "--draws", 20]
    for table in (".tex", ".parquet", ".md", ".csv"):
        code, _, err = ran([*words, "--table", files[table]], capsys)
        assert code == 0, err
    code, out, err = ran([*words, "--html", files[".html"], "--png", files[".png"]], capsys)
    assert code == 0 and "wrote" in err
    assert "20" in out and "of 99 pairs" in out
    page = files[".html"].read_text()
    HTMLParser().feed(page)
    assert "<svg" in page and "http" not in page.replace("http://www.w3.org", "")
    assert files[".png"].read_bytes()[:4] == b"\x89PNG"
    assert parquet.read_table(files[".parquet"]).column("law").to_pylist().count("price_order") == 4
    assert files[".tex"].read_text().startswith("%")


WRONG = {
    "no such file": (["fit", "laws", "absent.csv"], "is not there; looked in"),
    "no such subject": (["fit", "rules", "x.csv"], "unknown subject 'rules'; nearest: routers"),
    "no such law": (["fit", "laws", "{counts}", "--law", "coverge"], "unknown law 'coverge'; nearest: coverage"),
    "level": (["fit", "laws", "{counts}", "--level", "2"], "level between 0 and 1"),
    "nothing to fit": (["fit", "laws", "{counts}", "--law", "caps"], "caps needs output_tokens of replies"),
    "table ending": (["fit", "laws", "{counts}", "--table", "{folder}/x.xls"], "a table ends in one of"),
    "show absent": (["show", "evidence", "absent.csv"], "is not there; looked in"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_ends_with_two_and_one_clear_line(name, capsys, tmp_path):
    words, message = WRONG[name]
    counts = plain_counts(tmp_path)
    code, _, err = ran([word.format(counts=counts, folder=tmp_path) for word in words], capsys)
    assert code == 2
    assert message in " ".join(err.split()) and "Traceback" not in err


def test_replies_without_repeats_or_prices_still_fit_what_can_be(capsys, tmp_path):
    code, out, _ = ran(["fit", "laws", plain_jsonl(tmp_path), "--draws", 20, "--json"], capsys)
    assert code == 0
    assert {found["law"] for found in json.loads(out)["findings"]} == {"coverage"}


def test_own_evidence_ships_and_meets_what_was_promised():
    read = read_evidence("own")
    found, rows = summarise(read), read.rows
    direct = [number for number, arm in enumerate(found.arms) if arm.arm.effort == "direct"]
    assert len(direct) == 2 and len({found.arms[number].arm.format for number in direct}) == 2
    for number in direct:
        assert found.arms[number].questions >= 300 and found.arms[number].samples == (16, 16)
        assert sum(0.05 <= task.scores[number] <= 0.95 for task in found.tasks) >= 5
    solver = rows.role == "solver"
    assert (read.greedy & solver).sum() >= 600
    assert not np.isnan(rows.output_tokens).any() and not np.isnan(rows.latency_s[solver]).any()
    assert all(logs is not None for logs in read.logprobs)
    judged = rows.parent[rows.role == "verifier"]
    assert set(np.bincount(judged)[np.unique(judged)]) == {2}
    second = rows.parent[rows.parent[rows.role == "reviser"]] >= 0
    for role in ("verifier", "reviser"):
        assert len(np.unique(rows.question[rows.role == role])) >= 100
    assert 0 < second.sum() <= (~second).sum()
