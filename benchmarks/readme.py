"""Put the figures of the README where its markers are: the example's output and the tables of results.

`python benchmarks/readme.py` rewrites them from tests/golden and benchmarks/results; a test holds them to it.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from comptroller.planning.ground.plan_document import load_plan
from comptroller.report.terminal import WIDTH, print_plan

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
GOLDEN = ROOT / "tests" / "golden" / "chat.json"
MARKED = re.compile(r"(<!-- (?P<name>[\w-]+):begin -->\n).*?(<!-- (?P=name):end -->)", re.DOTALL)


def example() -> str:
    """What `comptroller plan examples/chat.toml` prints."""
    page = io.StringIO()
    print_plan(load_plan(GOLDEN), Console(file=page, width=WIDTH, highlight=False))
    lines = (line.rstrip() for line in page.getvalue().splitlines())
    return "```text\n" + "\n".join(lines).strip() + "\n```"


def results(name: str) -> str:
    """The tables of a result without its title; a plain sentence where it has not been measured yet."""
    path = RESULTS / f"{name}.md"
    if not path.exists():
        return f"Not measured yet: `benchmarks/results/{name}.md` is not there."
    return re.sub(r"\A# .*\n+", "", path.read_text(encoding="utf-8")).strip()


def filled(text: str) -> str:
    """The README with every marked block renewed.

    Raises:
        KeyError: a marker that nothing fills.
    """

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        content = example() if name == "example" else results(name)
        return f"{found[1]}{content}\n{found[3]}"

    return MARKED.sub(block, text)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {README}")
