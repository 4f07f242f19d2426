"""Whether package, citation and changelog name one version: `python deploy/versions.py [VERSION]`, for a release."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "src/comptroller/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
}
"""File -> where it names the version."""


def versions(root: Path = ROOT) -> dict[str, str]:
    """The version that each file names."""
    texts = {name: (root / name).read_text(encoding="utf-8") for name in PLACES}
    return {name: re.findall(PLACES[name], text, re.MULTILINE)[0] for name, text in texts.items()}


def fault(found: dict[str, str], released: str, changelog: str) -> str:
    """What is wrong with the versions; empty if nothing is. released: the version of a tag, or empty.

    >>> fault({"a": "1.0"}, "1.1", "## 1.1")
    'a: 1.0, not 1.1'
    """
    wanted = released or next(iter(found.values()))
    wrong = [f"{name}: {version}, not {wanted}" for name, version in found.items() if version != wanted]
    if released and not re.search(rf"^## {re.escape(released)}\b", changelog, re.MULTILINE):
        wrong.append(f"CHANGELOG.md: no heading ## {released}")
    return "; ".join(wrong)


if __name__ == "__main__":
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if said := fault(versions(), "".join(sys.argv[1:2]), changes):
        raise SystemExit(said)
