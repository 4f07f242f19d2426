"""Last month's ledger as the next plan's trace, evidence and calibration."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.query import LedgerScope
from comptroller.books.traffic import traffic
from comptroller.cli import main
from comptroller.cli._books_input import BooksOptions
from comptroller.cli._from_books import calibration_request, workload_from_books
from comptroller.costs.rating import CallReceipt
from comptroller.gateway.plan_drift import digest_of
from comptroller.planning.ground.plan_document import load_plan
from comptroller.work.call import Call
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.traces import read_trace
from comptroller.work.workload import load, parse
from test_books_reports import NOW_US, Clock

GOLDEN = Path(__file__).parent / "golden" / "two_services.json"
NOW_S = NOW_US / 1e6
DAY = datetime.fromtimestamp(NOW_S, UTC).date()
WORKLOAD = """
name = "chat"
models = ["llama_3_1_70b"]
rate_per_s = 20.0
lengths = { input = { fixed = 500 }, output = { fixed = 100 } }
[objectives]
ttft = { p = 95, max = 2000, unit = "ms" }
[allow]
accelerators = ["h100_sxm"]
sites = ["us_neocloud"]
terms = ["on_demand"]
engines = ["sglang"]
"""
Capture = pytest.CaptureFixture[str]


def fill(file: str, service: str, plan: str, count: int, streamed: bool = True) -> None:
    """Calls half a second apart, of 500 to 900 tokens in and 100 out, which take 0.1 s and 20 ms a token."""
    rng = np.random.default_rng(7)
    with CallLedger.open(file, Clock()) as books:
        for number in range(count):
            start_s = NOW_S + number * 0.5
            first_s, last_s = start_s + 0.1, start_s + 0.1 + 99 * 0.02
            call = Call(
                call=books.new_id(), request=books.new_id(), service=service, question=f"q{number}", finish="stop",
                arrival_s=start_s - 0.01, started_s=start_s, first_s=first_s if streamed else last_s, last_s=last_s,
                input_tokens=int(rng.integers(500, 900)), output_tokens=100 if number else -1,
            )  # fmt: skip
            books.reserve(call, CallQuote(10, plan=plan))
            books.settle(call, CallReceipt(10))
            if number < 20:
                books.score(call.request, float(number % 2))


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    told = capsys.readouterr()
    return ended.value.code or 0, told.out, told.err


def test_calls_are_a_trace_logs_and_evidence(tmp_path: Path) -> None:
    file = str(tmp_path / "books.sqlite")
    fill(file, "one", "p", 30)
    fill(file, "two", "", 10, streamed=False)
    with CallLedger.open(file, Clock()) as books:
        told, planned = traffic(books), traffic(books, plan="p")
        assert len(traffic(books, LedgerScope(since=date(2030, 1, 1))).trace) == 0
    assert (len(told.trace), len(planned.trace), told.unknown) == (38, 29, 2)
    assert set(told.logs) == {"one", "two"} and len(told.answers) == 19 + 9
    one, two = (told.logs[name].measured for name in ("one", "two"))
    assert one is not None and two is not None
    assert np.allclose(one.ttft_s, 0.1, atol=1e-6) and np.allclose(one.e2e_s, 0.1 + 99 * 0.02, atol=1e-6)
    assert np.isnan(two.ttft_s).all(), "a reply that was not streamed has no time of its first token"
    assert planned.trace.rate_per_s == pytest.approx(2.0)


def test_a_workload_gets_the_calls_and_the_scored_answers(tmp_path: Path, capsys: Capture) -> None:
    file, folder, workload = str(tmp_path / "books.sqlite"), tmp_path / "read", tmp_path / "chat.toml"
    workload.write_text(WORKLOAD)
    served = load_plan(GOLDEN)
    fill(file, served.services[0].id, digest_of(served), 30)
    fill(file, "elsewhere", "", 3)
    made = workload_from_books(load(workload), BooksOptions(file, GOLDEN, folder, DAY))
    notes = " ".join(capsys.readouterr().err.split())
    assert (made.trace, made.rate_per_s, made.lengths) == (str(folder / "trace.csv"), None, None)
    assert made.calibration is None and "29 timed calls where 100 are needed" in notes
    assert "29 calls over" in notes and "1 without known tokens" in notes
    assert len(read_trace(folder / "trace.csv")) == 29
    quality = {"evidence": "own", "solve": {"min": 10, "unit": "%"}}
    asked = parse({"name": "questions", "rate_per_s": 1.0, "quality": quality})
    questions = workload_from_books(asked, BooksOptions(file, None, folder, DAY))
    assert questions.quality is not None and questions.rate_per_s == pytest.approx(2.0, rel=0.2)
    arms = read_evidence(questions.quality.evidence).arms  # type: ignore[union-attr]
    assert {arm.model for arm in arms} == {served.services[0].id, "elsewhere"}


def test_times_of_a_service_are_runs_of_its_deployment(tmp_path: Path) -> None:
    served = load_plan(GOLDEN)
    file, service = str(tmp_path / "books.sqlite"), served.services[0]
    fill(file, service.id, digest_of(served), 60)
    with CallLedger.open(file, Clock()) as books:
        log = traffic(books).logs[service.id]
    found = calibration_request(log, (served, service), tmp_path, None).read()
    assert len(found.observations) == 2 and not found.left_out.lines()
    assert {run.replica.device.id for run in found.observations} == {"h100_sxm"}


@pytest.mark.slow
def test_one_command_plans_again_and_calibrates(tmp_path: Path, capsys: Capture) -> None:
    file, folder = str(tmp_path / "books.sqlite"), tmp_path / "read"
    workload, out = tmp_path / "chat.toml", tmp_path / "plan.json"
    workload.write_text(WORKLOAD)
    served = load_plan(GOLDEN)
    fill(file, served.services[0].id, digest_of(served), 140)
    words = ["plan", str(workload), "--quick", "--out", str(out), "--from-books", file, "--served", str(GOLDEN)]
    code, _, notes = run(capsys, *words, "--books-out", str(folder), "--books-since", str(DAY))
    assert code == 0, notes
    assert "fitted to" in notes and (folder / "calibration" / "serving.toml").is_file()
    found = json.loads(out.read_text())
    assert sum(item["rate_per_s"] for item in found["services"][0]["slices"]) < 10


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--from-books", "none.sqlite"], "none.sqlite: there are no books"),
        (["--served", "plan.json"], "--served names the plan whose calls stand in the books"),
        (["--from-books", "none.sqlite", "--books-since", "May"], "'May' is no day"),
    ],
)
def test_bad_input(tmp_path: Path, words: list[str], named: str, capsys: Capture) -> None:
    workload = tmp_path / "chat.toml"
    workload.write_text(WORKLOAD)
    code, _, told = run(capsys, "plan", str(workload), *words)
    assert code == 2 and named in " ".join(told.split())
