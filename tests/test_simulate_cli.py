"""`comptroller simulate`: what goes to stdout, what to files, and how bad input ends."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from command_ends import ends as exit_of
from comptroller.cli import main
from comptroller.work.traces import plain
from simulate_worlds import GOLDEN, stream


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulate") / "requests.csv"
    plain.write(stream(120), path)
    return path


@pytest.fixture
def broken(trace: Path, tmp_path: Path) -> Path:
    lines = trace.read_text().splitlines()
    lines[4] = "-3.0,100,10"
    lines[9] = f"{lines[9].split(',')[0]},,10"
    path = tmp_path / "broken.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def ends(*words: object) -> int:
    """The exit code of `comptroller simulate` on the golden plan."""
    return exit_of(["simulate", str(GOLDEN), *words])


def test_the_tables_are_printed(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("--trace", trace) == 0
    said = capsys.readouterr().out
    for words in ("TTFT", "within the objectives", "per request within", "idle", "preemptions"):
        assert words in said


def test_json_is_one_document_with_the_other_routings_beside_it(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    routings = ("--routing", "least_request", "--routing", "round_robin", "--routing", "least_request")
    assert ends("--trace", trace, "--scale", 2, "--json", *routings) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["requests"] == 120 and document["scale"] == 2
    assert document["routing"] == "least_request"
    assert [other["routing"] for other in document["beside"]] == ["round_robin"]


ASKED = ("--evidence", "own", "--model", "SmolLM2-135M-Instruct Q8_0 direct", "--strategy", "sample_and_vote(n=2)")


def test_questions_cost_per_solved_question(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls, html = tmp_path / "calls.csv", tmp_path / "line.html"
    assert ends("--trace", trace, *ASKED, "--calls", calls, "--html", html) == 0
    said = capsys.readouterr().out
    assert "120 questions" in said and "dollars per solved question" in said
    assert "dollars per solved question" in html.read_text()
    rows = calls.read_text().splitlines()
    assert len(rows) == 241 and "sample_and_vote(n=2)" in rows[1]
    assert ends("--trace", trace, *ASKED, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["questions"]["calls_per_question"] == 2 and found["questions"]["usd_per_solved"] > 0
    assert len(found["series"]["at_s"]) == len(found["series"]["w"]) > 100


def test_a_gate_says_what_it_was_trained_on_and_that_it_decides_nothing(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends("--trace", trace, *ASKED[:-1], "difficulty_gate(threshold=0.4)") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the trained part question_text was trained on" in said and "no gate here: the slow way" in said


SMALL, LARGE = "meta-llama/Llama-3.1-8B-Instruct", "llama_3_1_70b"


def test_strategies_stand_side_by_side_on_the_same_questions(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each as it is when asked for alone, where all can solve the same questions; one row each on screen and page."""
    names, page = ("once", "sample_and_vote(n=2)", "sample_and_vote(n=4)"), tmp_path / "page.html"
    words = ("--trace", trace, *ASKED[:4])
    alone = []
    for name in names:
        assert ends(*words, "--strategy", name, "--json") == 0
        alone.append(json.loads(capsys.readouterr().out)["questions"])
    beside = [word for name in names for word in ("--strategy", name)]
    assert ends(*words, *beside, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [document["questions"], *(one["questions"] for one in document["beside"])] == alone
    assert ends(*words, *beside, "--html", page) == 0
    table = capsys.readouterr().out.rpartition("Strategies on the same questions and fleet")[2]
    assert [line.split()[0] for line in table.splitlines() if line.startswith(("once", "sample"))] == list(names)
    assert "Strategies on the same questions and fleet" in page.read_text(encoding="utf-8")
    assert ends(*words, *beside, "--routing", "least_request", "--routing", "round_robin") == 2
    assert "several of both" in capsys.readouterr().err


CASCADE = ("--strategy", "verdict_cascade", "--role", f"weak={SMALL}", "--role", f"strong={LARGE}")


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden plan with another model on its second service."""
    document = json.loads(GOLDEN.read_text())
    first, second = document["services"]
    second["deployment"]["model"] = "llama_3_1_8b"
    second["id"] = second["id"].replace("70b", "8b")
    for shares in document["classes"][0]["roles"].values():
        shares[1]["service"] = second["id"]
    second["slices"] = first["slices"]
    for service in (first, second):
        for part in service["slices"]:
            part["share"] = 1.0
    path = tmp_path_factory.mktemp("two") / "plan.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten questions; the small model is right on seven of them, the large one on all, also in a format."""
    rows = ["question,model,format,score,answer,input_tokens,output_tokens"]
    for number in range(10):
        rows.append(f"q{number},{SMALL},,{int(number < 7)},a{number},40,{20 + number}")
        rows.append(f"q{number},{LARGE},,1,b{number},40,{30 + number}")
        rows.append(f"q{number},{LARGE},mxfp4,1,c{number},40,{30 + number}")
    path = tmp_path_factory.mktemp("replies") / "replies.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def simulated(plan: Path, *words: object) -> int:
    """The exit code of `comptroller simulate` on a plan."""
    with pytest.raises(SystemExit) as ended:
        main(["simulate", str(plan), *map(str, words)])
    return int(ended.value.code or 0)


def test_each_role_s_calls_go_to_the_services_of_its_model(
    two_models: Path, replies: Path, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = tmp_path / "calls.csv"
    words = ("--trace", trace, "--evidence", replies, *CASCADE[:-1], f"strong={LARGE} mxfp4")
    assert simulated(two_models, *words, "--served", f"{LARGE} mxfp4={LARGE}", "--calls", calls, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["questions"]["share"] == 1.0
    with calls.open() as file:
        made = [(row["role"], row["service"].partition(".")[0]) for row in csv.DictReader(file)]
    assert Counter(made) == {("weak", "llama_3_1_8b"): 120, ("strong", "llama_3_1_70b"): 36, ("checker", ""): 120}


def test_a_single_model_of_several_goes_to_its_own_services(
    two_models: Path, replies: Path, trace: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls.csv"
    words = ("--trace", trace, "--evidence", replies, "--strategy", "once", "--model", SMALL, "--calls", calls)
    assert simulated(two_models, *words) == 0
    with calls.open() as file:
        assert {row["service"].partition(".")[0] for row in csv.DictReader(file)} == {"llama_3_1_8b"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (CASCADE, "no service of the plan serves meta-llama/Llama-3.1-8B-Instruct (role weak)"),
        ((*CASCADE, "--served", "gpt-5=llama_3_1_8b"), "'gpt-5' is not recorded"),
        ((*CASCADE, "--served", f"{SMALL}=llama_3_1_8b"), "does not serve 'llama_3_1_8b'; it serves llama_3_1_70b"),
        ((*CASCADE, "--model", SMALL), "--model and --role"),
        ((*CASCADE, "--role", "weak"), "write it as ROLE=MODEL"),
        ((*CASCADE, "--role", f"weak={LARGE}"), f"weak is {SMALL} already"),
        (("--strategy", "cascade", "--role", "weak=gpt-5"), "none is recorded"),
        (("--strategy", "best_of_n:by=reward", "--role", f"reward={SMALL}"), "--model: whose replies?"),
    ],
)
def test_roles_that_cannot_be_played_are_refused_by_name(
    words: tuple[str, ...], said: str, replies: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [f"strong={LARGE} mxfp4" if word == f"strong={LARGE}" else word for word in words]
    assert ends("--trace", trace, "--evidence", replies, *named) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_recorded_format_is_served_in_that_format_or_not_at_all(
    two_models: Path, replies: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--trace", trace, "--evidence", replies, "--strategy", "once", "--model", f"{LARGE} mxfp4")
    assert simulated(two_models, *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"no service of the plan serves {LARGE} mxfp4" in said and "llama_3_1_70b in fp8_e4m3" in said


def test_options_of_questions_need_questions(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("--trace", trace, "--role", "weak=a") == 2
    assert "go with --strategy and --evidence" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_files_are_written(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html, events, calls = (tmp_path / "new" / name for name in ("line.html", "trace.json", "calls.csv"))
    assert ends("--trace", trace, "--html", html, "--perfetto", events, "--calls", calls) == 0
    assert html.read_text().startswith("<!doctype html>")
    assert json.loads(events.read_text())["traceEvents"]
    assert len(calls.read_text().splitlines()) == 121
    said = capsys.readouterr().err
    assert all(f"wrote {path}" in said for path in (html, events, calls))


def test_a_trace_is_found_by_name_in_the_data_folder(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "named.csv").write_bytes(trace.read_bytes())
    monkeypatch.setenv("COMPTROLLER_DATA", str(tmp_path))
    assert ends("--trace", "named.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["trace"] == "named.csv"


def test_bad_rows_are_named_and_nothing_is_simulated(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html = tmp_path / "line.html"
    assert ends("--trace", broken, "--html", html) == 2
    seen = capsys.readouterr()
    assert "2 bad rows" in seen.err and "row 5" in seen.err and "row 10" in seen.err
    assert "negative" in seen.err and "missing" in seen.err
    assert not seen.out and not html.exists()


def test_bad_rows_are_dropped_and_counted_when_asked(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("--trace", broken, "--skip-bad", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["requests"] == 118 and document["dropped"] == 2
    assert ends("--trace", broken, "--skip-bad") == 0
    assert "2 bad rows left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--trace", "nowhere.csv"), "nowhere.csv"),
        (("--trace", "{trace}", "--scale", "0"), "scale"),
        (("--trace", "{trace}", "--routing", "magic"), "magic"),
        (("--trace", "{trace}", "--scheduling", "{folder}/none.py"), "unknown scheduling policy"),
        (("--trace", "{trace}", "--strategy", "once"), "--strategy and --evidence go together"),
        (("--trace", "{trace}", "--strategy", "once", "--evidence", "own"), "--model: whose replies?"),
        (("--trace", "{trace}", *ASKED, "--budget", "7 apples"), "cannot read"),
        (("--trace", "{trace}", "--calls", "{folder}/calls.xlsx"), ".csv or .parquet"),
        (("--trace", "{trace}", "--html", "{folder}"), "a folder"),
    ],
)
def test_bad_input_ends_with_2_and_says_why(
    words: tuple[str, ...], said: str, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(*(word.format(trace=trace, folder=tmp_path) for word in words)) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_is_not_a_plan_is_refused(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", str(trace), "--trace", str(trace)])
    assert ended.value.code == 2
    assert "a plan of schema version 1" in " ".join(capsys.readouterr().err.split())


def test_the_time_line_is_drawn_as_svg_and_png(trace: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    svg, png = tmp_path / "line.svg", tmp_path / "line.png"
    assert ends("--trace", trace, "--png", svg) == 0 and ends("--trace", trace, "--png", png) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    for title in ("Requests waiting", "KV cache in use", "Power at the meter", "Time to first token, p95 by arrival"):
        assert title in svg.read_text()
