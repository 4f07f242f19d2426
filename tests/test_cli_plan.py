"""`comptroller plan`: what goes to stdout, what to files, and how bad input ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from command_ends import ends
from comptroller import __version__
from comptroller.cli import commands
from comptroller.cli._progress import ProgressBar
from comptroller.planning.ground.plan_document import Plan, load_plan

EXAMPLES = Path(__file__).parents[1] / "examples"
COMMAND = [sys.executable, "-m", "comptroller"]


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chat example with one accelerator and less traffic, so that a plan takes a moment only."""
    text = (EXAMPLES / "chat.toml").read_text().replace("rate_per_s = 20.0", "rate_per_s = 3.0")
    path = tmp_path_factory.mktemp("cli") / "small.toml"
    path.write_text(re.sub(r"^accelerators = .*$", 'accelerators = ["h100_sxm"]', text, flags=re.M))
    return path


def test_json_is_the_whole_plan_and_nothing_else_is_on_stdout(
    workload: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ends(["plan", str(workload), "--json"]) == 0
    first = capfd.readouterr().out
    assert Plan.model_validate_json(first).services
    assert ends(["plan", str(workload), "--json"]) == 0
    assert capfd.readouterr().out == first


@pytest.mark.slow
def test_files_are_written_and_the_table_is_printed(
    workload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {kind: tmp_path / "new" / f"plan.{kind}" for kind in ("json", "html", "png")}
    options = [f"--{'out' if kind == 'json' else kind}={path}" for kind, path in paths.items()]
    assert ends(["plan", str(workload), *options]) == 0
    said = capsys.readouterr()
    plan = load_plan(paths["json"])
    assert "h100_sxm" in said.out and plan.services[0].launch in said.out
    for price in plan.shadow_prices:
        assert price.sentence.split(";")[0][:30] in said.out
    assert paths["html"].read_text().startswith("<!doctype html>")
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    assert all(str(path) in said.err for path in paths.values())


@pytest.mark.slow
def test_against_says_what_changes_and_what_it_saves(workload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    today = ["--against", str(EXAMPLES / "current.toml")]
    assert ends(["plan", str(workload), *today, "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    beside, cost = both["against"], both["plan"]["totals"]["usd_per_h"]["value"]
    assert beside["saves_usd_per_h"] == pytest.approx(beside["usd_per_h"] - cost)
    assert any(change.startswith("remove llama_3_1_70b.h100_sxm.tp4.bf16") for change in beside["changes"])
    assert ends(["plan", str(workload), *today]) == 0
    assert f"${beside['usd_per_h']:.2f}/h" in capsys.readouterr().out


ALLOWED = 'accelerators = ["h100_sxm"]'
MODEL = 'models = ["llama_3_1_70b"]'
EDITS = {
    "not TOML": ({"[objectives]": "[objectives"}, "not valid TOML"),
    "unknown field": ({"objective = ": "objectiv = "}, "did you mean 'objective'"),
    "unknown accelerator": ({ALLOWED: 'accelerators = ["h100"]'}, "nearest: h100_sxm"),
    "infeasible": ({"max = 50,": "max = 0.5,"}, "closest feasible value"),
    "no offer": ({ALLOWED: 'accelerators = ["apple_m4_max"]'}, "offers apple_m4_max"),
    "does not fit": ({MODEL: 'models = ["kimi_k2_5"]', ALLOWED: 'accelerators = ["rtx_4090"]'}, "short by"),
    "cannot run": ({ALLOWED: 'accelerators = ["a100_80_sxm"]\nformats = ["fp4_ue5m3"]'}, "cannot run fp4_ue5m3"),
}


@pytest.mark.parametrize(("edits", "says"), EDITS.values(), ids=EDITS)
def test_a_bad_workload_is_one_clear_error(
    edits: dict[str, str], says: str, workload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = workload.read_text()
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "bad.toml"
    path.write_text(text)
    fails(["plan", str(path)], says, capsys)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing.toml"], "No such file"),
        (["small", "--out", "/"], "cannot be written"),
        (["small", "--html", "/proc/no/plan.html"], "cannot be written"),
        (["small", "--against", "nothing.toml"], "No such file"),
    ],
)
def test_bad_paths_are_one_clear_error_before_any_work(
    words: list[str], says: str, workload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workload cannot be met, which work would find: the path is what is told."""
    text = re.sub(r"^ttft = .*$", 'ttft = { p = 95, max = 1e-6, unit = "ms" }', workload.read_text(), flags=re.M)
    small = tmp_path / "small.toml"
    small.write_text(text)
    fails(["plan", *(str(small) if word == "small" else word for word in words)], says, capsys)


def fails(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(words) == 2
    said = capsys.readouterr()
    told = "".join(line for line in said.err.splitlines(keepends=True) if not re.match(r"\d+ s: ", line))
    assert said.out == "" and told.startswith("error: ") and told.count("\n") <= 2
    assert says in told


def test_wrong_options_and_unknown_commands_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(["plan", "x.toml", "--nonsense"]) == 2
    assert ends(["plam"]) == 2
    assert capsys.readouterr().out == ""


def test_help_lists_every_command_of_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"plan", "show"} <= set(commands())
    assert ends(["--help"]) == 0
    help_text = capsys.readouterr().out
    assert all(f" {name} " in help_text for name in commands())
    assert ends(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_ctrl_c_ends_with_130_and_without_a_traceback(tmp_path: Path) -> None:
    pipe = tmp_path / "workload.toml"
    os.mkfifo(pipe)
    # A suite that was started in the background hands an ignored Ctrl-C down to what it starts.
    command = ["env", "--default-signal=INT", *COMMAND, "plan", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        writer = os.open(pipe, os.O_WRONLY)  # waits until the command reads
        said = _interrupt(running)
        os.close(writer)
    assert running.returncode == 130
    assert "Traceback" not in said


def _interrupt(running: subprocess.Popen[str]) -> str:
    """Ctrl-C until the command ends, as a person would: one that comes inside a callback is lost."""
    for _ in range(60):
        running.send_signal(signal.SIGINT)
        try:
            return running.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("sixty interrupts did not end the command")


def test_a_closed_pipe_is_not_an_error_message() -> None:
    command = [*COMMAND, "show", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stderr
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()


def drawn(console: Console, patience_s: float) -> None:
    """Work that ends before the bar's patience does, or after it where it has none."""
    with ProgressBar("counting", "then", console, patience_s=patience_s) as bar:
        bar(0, 2)
        if not patience_s:
            bar._late.join()
        bar(1, 2)


def test_the_bar_appears_only_when_work_takes_long() -> None:
    page = io.StringIO()
    drawn(Console(file=page, force_terminal=True), patience_s=3600.0)
    assert page.getvalue() == ""
    drawn(Console(file=page, force_terminal=True), patience_s=0.0)
    assert "counting" in page.getvalue()


def test_explanations_are_given_alone(workload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--explain", "accelerator=l4", "--png", str(tmp_path / "plan.png")]
    assert ends(["plan", str(workload), *options]) == 2
    assert "--explain answers alone" in capsys.readouterr().err
    assert not (tmp_path / "plan.png").exists()
