"""How fast the dashboard is there in Chromium: first paint, every panel standing, over few rows and over a million.

`python benchmarks/dashboard.py [--rows 1000000]` writes results/dashboard.{json,md}. It needs Chromium, node, and
`npm install --prefix out/browser playwright-core@1.65.1 axe-core@4.14.1`. Books of a million rows take a minute to
fill and are kept in out/. A server is started for each books and loaded at widths of 360 to 1,920 pixels; the first
load is that of a server that has drawn nothing yet. Wall time: run it on an idle machine; its load is written down.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from books_fill import fill
from comptroller.dashboard.pages import KEPT_S
from record import table, write

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out"
MODULES = Path(os.environ.get("COMPTROLLER_BROWSER", OUT / "browser")) / "node_modules"
PLAN = ROOT / "tests" / "golden" / "chat.json"
WIDTHS = (360, 390, 768, 1280, 1920)
FEW, MILLION = 1_000, 1_000_000
HEADINGS = ("books", "first paint, ms", "all panels, ms", "last panel", "its ms", "CPU of the server, ms")
PAINT_MS, STANDING_MS = 1_000.0, 1_500.0
"""Targets: the first paint, and every panel over a million rows."""


def books_of(rows: int) -> Path:
    """Books with so many rows, filled once."""
    path = OUT / f"dashboard-{rows}.sqlite"
    if not path.exists():
        OUT.mkdir(exist_ok=True)
        began = path.with_suffix(".part.sqlite")
        began.unlink(missing_ok=True)
        fill(str(began), rows)
        began.rename(path)
    return path


@contextmanager
def dashboard(books: Path) -> Iterator[tuple[str, int]]:
    """The address of a dashboard that shows the golden plan and these books, and the id of its process."""
    words = [sys.executable, "-m", "comptroller", "dashboard", str(PLAN), str(books), "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = next((told for line in server.stderr if (told := re.search(r"http://\S+", line))), None)
        if found is None:
            raise SystemExit("the dashboard ended before it said where it listens")
        try:
            yield found[0], server.pid
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)


def loads(books: Path) -> list[dict[str, Any]]:
    """What the browser saw at every width, the first load first."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None or shutil.which("node") is None or not (MODULES / "playwright-core").is_dir():
        raise SystemExit("no Chromium, node or playwright-core: see the first lines of this file")
    script = ["node", str(Path(__file__).with_name("dashboard_paint.cjs"))]
    found = []
    with dashboard(books) as (url, process):
        for width in WIDTHS:
            before_s = cpu_s(process)
            words = [*script, url, chromium, str(MODULES), str(width)]
            said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            found.append({**json.loads(said), "server_cpu_ms": 1e3 * (cpu_s(process) - before_s)})
            time.sleep(KEPT_S)  # so that nothing that was drawn for the load before is shown again
    return found


def cpu_s(process: int) -> float:
    """Seconds of CPU that a process has taken so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows_of(rows: int, seen: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the table: the first load, and the median of the others."""
    kinds = (("first load", seen[:1]), ("later loads", seen[1:]))
    return [
        (
            f"{rows:,} rows, {kind}",
            f"{median(one['paint_ms'] for one in part):.0f}",
            f"{median(one['standing_ms'] for one in part):.0f}",
            max((panel for one in part for panel in one["panels"].items()), key=lambda panel: panel[1])[0],
            f"{max(max(one['panels'].values()) for one in part):.0f}",
            f"{median(one['server_cpu_ms'] for one in part):.0f}",
        )
        for kind, part in kinds
    ]


def main() -> None:
    """Load both, and write down what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=MILLION, help="rows of the large books")
    sizes = (FEW, parser.parse_args().rows)
    files = {rows: books_of(rows) for rows in sizes}
    before = os.getloadavg()[0]
    seen = {rows: loads(path) for rows, path in files.items()}
    every = [one for found in seen.values() for one in found]
    paint_ms = max(one["paint_ms"] for one in every)
    standing_ms = max(one["standing_ms"] for one in seen[sizes[1]])
    judged = [
        ("first paint, worst load", f"{paint_ms:.0f} ms", f"{PAINT_MS:.0f} ms", _met(paint_ms <= PAINT_MS)),
        (
            f"all panels over {sizes[1]:,} rows, worst load",
            f"{standing_ms:.0f} ms",
            f"{STANDING_MS:.0f} ms",
            _met(standing_ms <= STANDING_MS),
        ),
        *_counted(every),
    ]
    loaded = [row for rows, found in seen.items() for row in rows_of(rows, found)]
    text = (
        "# The dashboard in Chromium\n\nThe golden plan and books; the what-if panel, which plans in a process of "
        f"its own, is left out. Load of the machine before: {before:.1f} over {os.cpu_count()} cores; times are of "
        "the wall."
        f"\n\n{table(['what', 'seen', 'target', ''], judged)}\n\n"
        f"{table(HEADINGS, loaded)}\n"
    )
    figures = {"load": before, "loads": {str(rows): found for rows, found in seen.items()}}
    print(f"wrote {write('dashboard', figures, text, ('starlette', 'matplotlib', 'sqlalchemy'))}")


def _counted(every: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What is to be nothing."""
    counts = {
        "errors on the console": sum(len(one["errors"]) for one in every),
        "serious findings of axe-core": sum(len(one["serious"]) for one in every),
        f"pixels wider than the window, {WIDTHS[0]} to {WIDTHS[-1]}": max(max(one["overflow_px"], 0) for one in every),
    }
    return [(what, str(count), "0", _met(not count)) for what, count in counts.items()]


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"


if __name__ == "__main__":
    main()
