"""Ctrl-C ends a command with code 130 and no traceback, wherever it hits; progress is told in pipes as well."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from rich.console import Console

from comptroller.cli._interrupt import INTERRUPTED
from comptroller.cli._progress import ProgressBar
from comptroller.serving.jit import cache_folder

CHAT = Path(__file__).parents[1] / "examples" / "chat.toml"

IN_FOREIGN_CODE = """
import hashlib
from comptroller.cli._interrupt import InterruptWatch
with InterruptWatch(grace_s=0.1):
    try:
        print("begun", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)
    except KeyboardInterrupt:  # it came before the code in C had begun
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000_000)
"""


def begun(words: list[str], until: str, stream: str) -> subprocess.Popen[str]:
    """A process, once a line with some words has come; at once where there are none."""
    running = subprocess.Popen(
        ["env", "--default-signal=INT", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines = getattr(running, stream)
    while until and until not in (line := lines.readline()):
        assert line, f"ended before it said {until!r}"
    return running


def test_foreign_code_that_hears_no_signal_is_ended() -> None:
    """Hundreds of seconds in C, in which Python runs no handler."""
    with begun([sys.executable, "-c", IN_FOREIGN_CODE], "begun", "stdout") as running:
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=600)
    assert running.returncode == INTERRUPTED and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["simulating fleets"])
def test_a_plan_that_is_interrupted_ends_without_a_traceback(phase: str) -> None:
    with begun([sys.executable, "-m", "comptroller", "plan", str(CHAT)], phase, "stderr") as running:
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=600)
    assert running.returncode == INTERRUPTED and "Traceback" not in said


def test_the_imports_of_the_command_line_can_be_interrupted() -> None:
    """The handler that stands in before the command line is there ends the process at once."""
    code = (
        "import os, signal, comptroller.__main__ as entry\n"
        "signal.signal(signal.SIGINT, entry._leave)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "raise AssertionError"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == INTERRUPTED and run.stderr == ""


class LineCount(io.StringIO):
    """Text that tells when so many lines were written."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines, self.full = lines, Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") >= self._lines:
            self.full.set()
        return written


def test_progress_in_a_pipe_is_plain_lines_of_what_is_being_done() -> None:
    page = LineCount(2)
    with ProgressBar("counting", "then", Console(file=page), patience_s=0.0, every_s=0.01) as bar:
        bar(3, 12)
        assert page.full.wait(600)
        bar.phase("weighing: 2 of many")
        while "weighing: 2 of many" not in page.getvalue():
            page.full.wait(0.05)
    lines = page.getvalue().splitlines()
    assert all(" s: " in line and "\x1b" not in line for line in lines)
    assert any(line.endswith("counting: 3 of 12") for line in lines)


def test_work_that_ends_within_the_patience_says_nothing_in_a_pipe() -> None:
    page = io.StringIO()
    with ProgressBar("counting", "then", Console(file=page), patience_s=3600.0) as bar:
        bar(0, 2)
    assert page.getvalue() == ""


def test_code_compiled_by_another_version_lies_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "kernel.py"
    source.write_text("x = 1\n")
    mine = cache_folder([source])
    assert mine == cache_folder([source]) and mine != cache_folder([source], "0.99.0 cpython-311")
