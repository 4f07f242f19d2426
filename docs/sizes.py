"""Print lines of Python per room, largest last, and the total against the budget of DESIGN.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

BUDGET_LINES = 15_000
PACKAGE = Path(__file__).parents[1] / "src" / "comptroller"


def lines_per_room() -> Counter[str]:
    """Lines of Python by room; files beside the rooms count as `.`."""
    lines: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        room, *below = path.relative_to(PACKAGE).parts
        lines[room if below else "."] += len(path.read_text(encoding="utf-8").splitlines())
    return lines


if __name__ == "__main__":
    found = lines_per_room()
    for room, count in sorted(found.items(), key=lambda item: item[1]):
        print(f"{count:7,} {room}")
    print(f"{found.total():7,} of {BUDGET_LINES:,} lines")
