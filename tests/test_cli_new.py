"""`comptroller new`: what it writes loads and plans, every key is explained, and what is missing is named."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_ends import ends
from comptroller.cli.new import answers_of, checked_text
from comptroller.errors import FactError, InputError
from comptroller.facts.reader import ids
from comptroller.planning.ground.plan_document import load_plan
from comptroller.work.demand import demand
from comptroller.work.trace import RequestTrace
from comptroller.work.traces.plain import write
from comptroller.work.workload import Workload, load, parse
from comptroller.work.workload_text import ELSEWHERE, HEADINGS

KEYS = {key: entry for heading in HEADINGS for key, entry in heading.keys.items()}
SMALL = ["--model", "llama_3_1_8b", "--on", "h100_sxm", "--at", "us_neocloud"]


def recorded(folder: Path) -> Path:
    """A small trace: 400 requests, two a second, of 300 tokens in and 50 out."""
    trace = RequestTrace(np.arange(400) / 2, np.full(400, 300), np.full(400, 50), source="x")
    write(trace, folder / "requests.csv")
    return folder / "requests.csv"


@pytest.mark.parametrize("kind", ids("use_cases"))
def test_every_use_case_is_written_and_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"{kind}.toml"
    assert ends(["new", str(file), "--use-case", kind, "--users", "1000", *SMALL]) == 0
    found = load(file)
    assert (found.name, found.use_case, found.users) == (kind, kind, 1000) and found.rate_per_s
    text = " ".join(line.removeprefix("# ") for line in file.read_text().splitlines())
    assert all(sentence in text for sentence in found.assumptions), "what was assumed stands in the file"


def test_what_it_writes_can_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "own.toml", tmp_path / "plan.json"
    assert ends(["new", str(file), "--use-case", "rag", "--users", "2000", *SMALL]) == 0
    assert "next: comptroller plan" in capsys.readouterr().err
    assert ends(["plan", str(file), "--out", str(out)]) == 0
    found = load_plan(out)
    assert found.services and set(load(file).assumptions) <= set(found.notes)


def test_a_trace_is_told_and_used(tmp_path: Path) -> None:
    trace = recorded(tmp_path)
    file = tmp_path / "made" / "own.toml"
    assert ends(["new", str(file), "--trace", str(trace), "--use-case", "chat", *SMALL]) == 0
    assert "400 requests over 0.0554 h: 2 requests/s, mean 300 tokens in, 50 out" in file.read_text()
    asked = demand(load(file))
    assert (asked.mean_input_tokens, asked.mean_output_tokens) == (300, 50)
    assert load(file).objectives.ttft is not None


def test_sellers_are_written_as_the_sites_name_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.toml"
    words = ["new", str(file), "--use-case", "chat", "--users", "100", *SMALL]
    assert ends([*words, "--provider", "Lambda", "--provider", "runpod", "--provider-kind", "neocloud"]) == 0
    assert load(file).allow.providers == ("Lambda", "RunPod") and load(file).allow.kinds == ("neocloud",)
    assert ends([*words, "--force", "--provider", "Lamda"]) == 2
    assert "unknown provider 'Lamda'; nearest: Lambda" in capsys.readouterr().err


def test_rate_lengths_and_limits_without_a_use_case(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["new", *SMALL, "--rate", "5", "--in", "3000", "--out", "400", "--ttft", "p99=2s", "--tpot", "40ms"]
    assert ends(words) == 0
    found = parse(tomllib.loads(capsys.readouterr().out))
    assert (found.rate_per_s, found.assumptions) == (5.0, ())
    assert found.objectives.tpot is not None and found.objectives.tpot.max_s == 0.04


def base_of(key: str, folder: Path) -> dict[str, Any]:
    """A workload that a key may be added to."""
    base: dict[str, Any] = {"models": ["llama_3_1_8b"]}
    if key in {"scale", "part", "skip_bad", "peak", "trace", "columns", "tenants", "cache_tier"}:
        return base | {"trace": recorded(folder), "use_case": "chat"}
    if key == "rate_per_s":
        return base | {"use_case": "chat", "rate_per_s": 1.0}
    if key == "tokens_per_day":
        return base | {"use_case": "chat", "tokens_per_day": 1e6}
    if key == "calibration":
        (folder / "mine").mkdir()
        for name in ("serving.toml", "residual.csv"):
            (folder / "mine" / name).write_text("")
    if key.startswith("lengths"):
        return base | {"rate_per_s": 1.0, "lengths.input": {"fixed": 1}, "lengths.output": {"fixed": 1}}
    return base | {"use_case": "chat", "users": 10}


@pytest.mark.parametrize("key", list(KEYS))
def test_every_line_that_may_be_added_is_accepted(key: str, tmp_path: Path) -> None:
    text = checked_text(base_of(key, tmp_path), tmp_path / "own.toml")
    marked = f"#: {key} = "
    assert (marked in text) != (f"\n{key} = " in text), "a key is stated, or may be added"
    added = text.replace(marked, f"{key} = ")
    assert load_text(added, tmp_path).name == "own"


def load_text(text: str, folder: Path) -> Workload:
    """The workload of a text, read as a file of the folder."""
    (folder / "own.toml").write_text(text)
    return load(folder / "own.toml")


def test_every_key_of_a_workload_is_explained() -> None:
    explained = {key.partition(".")[0] for key in KEYS} | set(ELSEWHERE)
    assert set(Workload.model_fields) - {"assumptions"} == explained
    text = checked_text({"models": ["llama_3_1_8b"], "use_case": "chat", "users": 10}, None)
    assert all(" ".join(entry.says.split()) in " ".join(text.replace("\n# ", " ").split()) for entry in KEYS.values())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--users", "5", "--use-case", "chat"], "which model? --model ID"),
        ([*SMALL, "--users", "5"], "requests_per_user_per_day: is missing"),
        ([*SMALL, "--use-case", "chta", "--users", "5"], "unknown use_case 'chta'; nearest: chat"),
        ([*SMALL, "--use-case", "chat"], "users: no arrivals"),
        ([*SMALL, "--rate", "5"], "lengths: is missing"),
        ([*SMALL, "--trace", "nowhere.csv"], "nowhere.csv"),
        (["--model", "llama_9", "--use-case", "chat", "--users", "5"], "unknown model 'llama_9'"),
        ([], "which model?"),
    ],
)
def test_what_is_missing_is_named(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["new", *words]) == 2
    said = capsys.readouterr()
    assert says in said.err and not said.out


def test_a_file_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("mine")
    words = ["new", str(file), "--use-case", "chat", "--users", "5", *SMALL]
    assert ends(words) == 2 and file.read_text() == "mine" and "--force replaces it" in capsys.readouterr().err
    assert ends([*words, "--force"]) == 0 and load(file).users == 5


def test_questions_are_few_and_their_answers_are_read() -> None:
    answers = iter(["agent", "", "2,000_000", "0.2", "qwen3_32b, llama_3_1_8b", "h100_sxm l40s", ""])
    found = answers_of(lambda question, default: next(answers))
    assert found == {
        "use_case": "agent",
        "tokens_per_day": 2e6,
        "busiest_hour_share": 0.2,
        "models": ["qwen3_32b", "llama_3_1_8b"],
        "allow.accelerators": ["h100_sxm", "l40s"],
    }
    with pytest.raises(InputError, match="users: 'some' is no number"):
        answers_of(lambda question, default: "some" if "Users" in question else default)
    with pytest.raises((FactError, InputError), match="unknown use_case"):
        answers_of(lambda question, default: "chta")


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    mine, theirs = pty.openpty()
    file = tmp_path / "asked.toml"
    command = [sys.executable, "-m", "comptroller", "new"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        os.write(mine, f"chat\n5000\n\nllama_3_1_8b\nh100_sxm\nus_neocloud\n{file}\n".encode())
        said = process.communicate(timeout=600)[1].decode()
    os.close(mine)
    os.close(theirs)
    assert process.returncode == 0, said
    assert "Use case (agent, chat" in said
    assert load(file).users == 5000 and load(file).allow.sites == ("us_neocloud",)
