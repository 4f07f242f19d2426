"""`comptroller books` as it is called."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger
from comptroller.books.schema import writing
from comptroller.cli import main
from comptroller.costs.rating import PUSD, TokenUsage
from comptroller.facts.prices import ProviderPrice
from test_books_reports import NOW_US, Clock, book, gpt5  # noqa: F401

Capture = pytest.CaptureFixture[str]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["books", *words])
    return ended.value.code or 0


@pytest.fixture
def file(tmp_path: Path, gpt5: ProviderPrice) -> str:  # noqa: F811
    path = str(tmp_path / "books.sqlite")
    with CallLedger.open(path, Clock()) as books:
        books.set_budget(SpendBudget("key", "shop", "day", 5 * PUSD))
        for finish in ("stop", "stop", "failed"):
            call = book(books, TokenUsage(1000, 500, reasoning=4000), gpt5, finish=finish, strategy="once")
        books.score(call.request, 1.0)
    return path


def test_the_command_line_reports(file: str, tmp_path: Path, capsys: Capture) -> None:
    out = {name: tmp_path / name for name in ("t.csv", "t.parquet", "p.html")}
    assert (
        run("report", file, "--by", "key,model", "--json", "--table", str(out["t.csv"]), "--html", str(out["p.html"]))
        == 0
    )
    (record,) = json.loads(capsys.readouterr().out)
    expected = {"key": "shop", "model": "openai/gpt-5", "requests": 3, "usd": 0.13875, "reasoning_tokens": 12000}
    assert (
        expected.items() <= record.items()
        and record["energy"] == "3 predicted"
        and record["usd_per_solved"] == pytest.approx(0.04625)
    )
    (line,) = csv.DictReader(out["t.csv"].open())
    assert float(line["usd"]) == record["usd"] and int(line["output_tokens"]) == 13500
    page = out["p.html"].read_text()
    assert page.count("<svg") == 2 and "Waste" in page and "http" not in page.replace("http-equiv", "")
    assert run("report", file, "--table", str(out["t.parquet"])) == 0 and out["t.parquet"].stat().st_size > 500
    for words in (
        ["waste", file],
        ["overflow", file],
        ["success", file],
        ["reversal", file],
        ["patterns", file],
        ["budgets", file],
    ):
        assert run(*words) == 0
    text = capsys.readouterr().out
    assert "ended as failed" in text and "100" in text and "0 of 0 pairs" in text and "key shop per day" in text


def test_the_command_line_keeps_keys_and_budgets(file: str, capsys: Capture) -> None:
    assert run("keys", file, "--create", "desk", "--project", "web") == 0
    assert capsys.readouterr().out.startswith("ck-")
    assert run("keys", file, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "desk"
    assert run("budgets", file, "--set", "project web per month 12.50", "--json") == 0
    found = {item["budget"]: item["limit_usd"] for item in json.loads(capsys.readouterr().out)}
    assert found == {"key shop per day": 5.0, "project web per month": 12.5}
    assert run("budgets", file, "--drop", "project web per month") == 0
    assert run("budgets", file, "--set", "all in total 100") == 0


def test_the_command_line_verifies_and_signs(file: str, tmp_path: Path, capsys: Capture) -> None:
    digest = str(tmp_path / "digest.json")
    assert run("digest", file, "--out", digest) == 0 and run("verify", file, "--digest", digest) == 0
    assert "3 rows fit" in capsys.readouterr().out
    with CallLedger.open(file) as books, writing(books.engine) as connection:
        connection.exec_driver_sql("UPDATE entry SET pusd = 1 WHERE number = 1")
    assert run("verify", file) == 2
    error = capsys.readouterr().err
    assert "row 1" in error and "was changed" in error and "Traceback" not in error


def test_the_command_line_attributes_reconciles_and_exports(file: str, tmp_path: Path, capsys: Capture) -> None:
    with CallLedger.open(file, Clock()) as books:
        times = {"started_s": NOW_US / 1e6, "first_s": NOW_US / 1e6 + 1, "last_s": NOW_US / 1e6 + 30}
        book(books, TokenUsage(10, 10), None, service="own/llama", **times)
    meter = tmp_path / "meter.csv"
    meter.write_text(f"start_s,end_s,joules\n{NOW_US / 1e6},{NOW_US / 1e6 + 60},30000\n")
    words = ["--service", "own/llama", "--meter", str(meter), "--usd-per-h", "3.60", "--idle-w", "100"]
    assert run("attribute", file, *words) == 0
    assert run("report", file, "--by", "role", "--only", "model=own/llama", "--json") == 0
    text = capsys.readouterr().out
    roles = {item["role"]: item for item in json.loads(text[text.index("[") :])}
    assert sum(item["usd"] for item in roles.values()) == pytest.approx(0.06) and set(roles) == {"", "idle"}
    assert roles["idle"]["energy"] == "1 metered"
    out = str(tmp_path / "focus.csv")
    assert run("export", file, "--out", out) == 0 and run("reconcile", file, "--invoice", out, "--json") == 0
    text = capsys.readouterr().out
    assert all(item["difference"] == 0 for item in json.loads(text[text.index("[\n") :]))
    assert run("export", file, "--out", str(tmp_path / "spans.jsonl"), "--as", "otel") == 0
    assert run("rerate", file, "--dry") == 0 and "0 of 5 rows corrected" in capsys.readouterr().out
    assert run("change", file, "--before", "2026-09-20..2026-09-21", "--after", "2026-09-21..2026-09-22", "--json") == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["report", "missing.sqlite"], "there are no books"),
        (["report", "FILE", "--since", "yesterday"], "is no day"),
        (["report", "FILE", "--only", "colour=red"], "allowed are key, project"),
        (["report", "FILE", "--by", "colour"], "cannot group by"),
        (["budgets", "FILE", "--set", "shop 5"], "write it as"),
        (["change", "FILE", "--before", "2026", "--after", "2027"], "write it as"),
        (["export", "FILE", "--out", "x.csv", "--as", "xml"], "allowed are focus, otel"),
        (["alerts", "FILE", "--webhook", "nowhere"], "begins with http"),
        (["reconcile", "FILE", "--invoice", "missing.csv"], "missing.csv"),
    ],
)
def test_bad_input_exits_with_2_and_says_why(file: str, words: list[str], named: str, capsys: Capture) -> None:
    assert run(*[file if word == "FILE" else word for word in words]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert named in error and "Traceback" not in error
    assert not Path("missing.sqlite").exists()


@pytest.mark.parametrize("content", [b"PAR1\xff\xfe", b"hour,gco2e_per_kwh\n2026-01-01T00:00\n"])
def test_a_grid_that_cannot_be_read_is_refused_by_its_row(
    file: str, tmp_path: Path, content: bytes, capsys: Capture
) -> None:
    meter, grid = tmp_path / "meter.csv", tmp_path / "grid.csv"
    meter.write_text("start_s,end_s,joules\n0,60,6000\n")
    grid.write_bytes(content)
    words = ["--service", "own/llama", "--meter", str(meter), "--usd-per-h", "1", "--idle-w", "10"]
    assert run("attribute", file, *words, "--grid", str(grid)) == 2
    assert "grid.csv: 1 bad row: row" in " ".join(capsys.readouterr().err.split())
