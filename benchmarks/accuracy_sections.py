"""Sections of docs/accuracy.md that follow from results on file or from the shipped calibration, without a fit.

    python benchmarks/accuracy_sections.py [DATA]      (default: COMPTROLLER_DATA or ../shared/data)

`accuracy_plan.py` writes the whole page, folds included; this renews what was written since: the common
sample of `accuracy_peer.py`, energy of `accuracy_energy.py`, recorded runs, wide experts, the notes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from accuracy_data import ROOT, data_folder
from accuracy_runs import recorded_runs, wide_experts

RESULTS = Path(__file__).with_name("results")
PAGE = ROOT / "docs" / "accuracy.md"


def result_section(name: str, title: str) -> Iterator[str]:
    """What another benchmark found, where it was run."""
    path = RESULTS / f"{name}.md"
    if path.exists():
        yield f"\n## {title}\n"
        yield from path.read_text(encoding="utf-8").strip().splitlines()


def notes() -> list[str]:
    """Why the worst are off, what was tried, what would help."""
    return (RESULTS / "accuracy_plan_notes.md").read_text(encoding="utf-8").splitlines()


def sections(data: Path) -> Iterator[list[str]]:
    """All that need no fit, in the page's order."""
    yield list(result_section("accuracy_peer", "Beside aiconfigurator, on a common sample"))
    yield list(result_section("accuracy_energy", "Energy and power"))
    yield list(recorded_runs(data))
    yield list(wide_experts())


def with_section(page: str, lines: Iterable[str]) -> str:
    """The page with one section in place of that of the same heading.

    >>> with_section("# A\\n\\n## B\\n\\nold\\n\\n## C\\n\\nkept\\n", ["", "## B", "", "new"])
    '# A\\n\\n## B\\n\\nnew\\n\\n## C\\n\\nkept\\n'
    """
    text = "\n".join(lines).strip("\n")
    heading = text.partition("\n")[0]
    before, found, rest = page.partition(f"\n{heading}\n")
    after = rest.partition("\n## ")
    assert found, f"the page has no {heading}"
    return f"{before}\n{text}\n{after[1]}{after[2]}" if after[1] else f"{before}\n{text}\n"


def main() -> None:
    """Renew the page."""
    page = PAGE.read_text(encoding="utf-8")
    for lines in (*sections(data_folder(sys.argv[1:])), notes()):
        page = with_section(page, lines)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
