"""Writes the results of a benchmark: `results/NAME.json` with date, machine and versions, and `results/NAME.md`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from comptroller import __version__

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "highspy")


def machine() -> str:
    """Processor, cores and memory of this machine, as the kernel tells."""
    processor = _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    memory = _line("/proc/meminfo", "MemTotal").removesuffix(" kB")
    size = f", {int(memory) / 1e6:.0f} GB" if memory.isdigit() else ""
    return f"{processor}, {os.cpu_count()} cores{size}"


def _line(path: str, key: str) -> str:
    file = Path(path)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python, Comptroller and some packages."""
    own = {"python": platform.python_version(), "comptroller": __version__}
    return own | {name: version(name) for name in packages}


def write(name: str, figures: Mapping[str, Any], markdown: str, packages: Sequence[str] = PACKAGES) -> Path:
    """Write the figures as JSON and the text, with where and when they were measured; the path of the text."""
    RESULTS.mkdir(exist_ok=True)
    about = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "versions": versions(packages)}
    document = json.dumps({**about, "figures": figures}, indent=2, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(document + "\n", encoding="utf-8")
    used = ", ".join(f"{package} {number}" for package, number in about["versions"].items())
    text = f"{markdown.strip()}\n\nMeasured {about['date']} on {about['machine']}; {used}.\n"
    path = RESULTS / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    return path


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others numbers.

    >>> print(table(["what", "s"], [["search", "0.9"]]))
    | what | s |
    |---|---:|
    | search | 0.9 |
    """
    rule = "|".join(["---", *["---:"] * (len(headings) - 1)])
    lines = [" | ".join(cells) for cells in [headings, *rows]]
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])
