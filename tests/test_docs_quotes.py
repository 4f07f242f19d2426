"""What pages quote of plans stands in what their commands printed, under the calibration that ships."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))

QUOTES = importlib.import_module("quotes")


def test_no_quoted_output_is_of_another_calibration_or_has_strayed_from_what_was_printed() -> None:
    assert not list(QUOTES.faults()), "\n".join(QUOTES.faults())


def test_blocks_are_found_and_what_they_leave_out_is_not_asked_for() -> None:
    text = "```\n$ comptroller plan a.toml --out \\\n    b\n\ncost  $1.00/h\n...\n```\n"
    assert list(QUOTES.blocks(text)) == [["$ comptroller plan a.toml --out b", "cost  $1.00/h", "..."]]


def test_a_figure_that_was_not_printed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "quotes").mkdir()
    (tmp_path / "quotes" / "plan.txt").write_text("cost    $1.00/h\n")
    block = "```\n$ comptroller plan a.toml\ncost $1.00/h\ncost $3.00/h\n```\n"
    (tmp_path / "page.md").write_text(f"It costs $2.00/h.\n\n{block}")
    monkeypatch.setattr(QUOTES, "HERE", tmp_path)
    one = QUOTES.PageQuote("plan", "comptroller plan a.toml", ("page.md",), "", ("$2.00/h",))
    assert list(one.strays()) == ["$2.00/h", "cost $3.00/h"]
