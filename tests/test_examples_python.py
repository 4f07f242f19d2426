"""The examples in Python print what they printed: tests/golden/python, rewritten by `make golden`."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples" / "python").glob("*.py"))
GOLDEN = Path(__file__).parent / "golden" / "python"
LONG = ("plan",)
"""Scripts that plan: a minute and more."""


def printed(script: Path) -> str:
    """What a script prints."""
    page, given = io.StringIO(), sys.argv
    try:
        sys.argv = [str(script)]
        with contextlib.redirect_stdout(page):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = given
    return page.getvalue()


@pytest.mark.parametrize(
    "script",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in LONG else [], id=path.stem) for path in SCRIPTS],
)
def test_an_example_prints_what_it_printed(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    golden = (GOLDEN / f"{script.stem}.txt").read_text(encoding="utf-8")
    assert printed(script) == golden, "if that is meant: make golden"


def test_the_fleet_study_reads_the_trace_of_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of it; the whole hour is not shipped."""
    monkeypatch.chdir(ROOT)
    words = [sys.executable, "examples/python/fleet_study.py", "tests/traces/azure.csv"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.startswith("azure.csv: ") and said.count(" x B200, ") == 9


def test_there_are_ten() -> None:
    assert len(SCRIPTS) == 10 and sorted(path.stem for path in GOLDEN.glob("*.txt")) == [each.stem for each in SCRIPTS]


if __name__ == "__main__":
    for path in SCRIPTS:
        if path.stem not in LONG:
            (GOLDEN / f"{path.stem}.txt").write_text(printed(path), encoding="utf-8")
