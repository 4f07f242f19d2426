"""Public evidence files that were refused once, read: those that are at hand, or can be written here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from public_files import BEGIN, END, FILES, PAGE, NotAtHand, PublicFile, read


@pytest.mark.parametrize("one", FILES, ids=lambda one: one.file)
def test_a_file_that_was_refused_is_read(one: PublicFile, tmp_path: Path) -> None:
    try:
        found = read(one, tmp_path)
    except NotAtHand as why:
        pytest.skip(str(why))
    assert found.rows > 0 and found.questions > 0 and found.models > 0
    assert found.how.startswith("`--map" if "question=" in one.columns else "reader ")


def test_the_table_of_the_page_has_every_file() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert len(FILES) == 11 and all(f"| {one.file} |" in shown for one in FILES)
