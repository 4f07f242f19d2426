"""Write the pages of docs/ that follow from the package: a table per folder of facts, the strategies, and the formulas.

`python docs/generate.py` writes them; a test holds them to the folders.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from comptroller.report.facts import LISTS
from comptroller.strategies import protocol
from comptroller_lab.strategy_tables import rules, spelling_with_defaults, strategies, trained_parts, trained_routers

HERE = Path(__file__).parent
COSTS = HERE.parent / "src" / "comptroller" / "costs"
WRITTEN = "<!-- written by docs/generate.py -->\n"


def pages() -> dict[str, str]:
    """The text of every generated page by file name."""
    found = {f"{kind}.md": facts_page(kind) for kind in LISTS}
    return {**found, "methodology.md": methodology(), "strategies.md": strategies_page()}


def facts_page(kind: str) -> str:
    """The table of a folder, and how to see the source of every value."""
    sheet = LISTS[kind]()
    heading = sheet.title.partition(":")[0]
    legend = sheet.title.partition(":")[2].strip()
    one = sheet.rows[0][0]
    see = f"`comptroller show {kind} {one}` prints every value of one file with its unit, source and date."
    text = f"{legend[:1].upper()}{legend[1:]}.\n\n" if legend else ""
    return f"{WRITTEN}# {heading}\n\n{text}{see}\n\n{sheet.markdown()}\n"


def strategies_page() -> str:
    """What a strategy is, the table of the folder, every published rule, and the trained parts."""
    told = "\n".join(f"\n### {spelling_with_defaults(name)}\n\n```text\n{text}\n```" for name, text in rules().items())
    return (
        f"{WRITTEN}# Strategies\n\n"
        "How much compute one question gets. A strategy is a plain generator: it yields what it asks, `All(...)` to "
        "wait for everything or `Next(...)` for the next reply, and returns an `Answer`. The same object is replayed "
        "on evidence, simulated on a fleet and served live.\n\n"
        f"```text\n{protocol.__doc__}```\n\n"
        "A new one is one file in `strategies/rules`, or a user's own class: `comptroller replay mine.py:Mine`.\n\n"
        "    comptroller replay sample_and_vote best_of_n:by=likelihood --evidence own --frontier --over tokens\n"
        "    comptroller replay cascade --evidence FILE --role weak=MODEL --role strong=MODEL --html page.html\n\n"
        "Beside the share solved and its interval stand one greedy answer, tokens, dollars per question and per solved "
        "question, joules (`--joules IN,OUT`), seconds (recorded, or `--pace`), truncated replies, and with "
        "`--shape MODEL` FLOPs, eFLOPs with cache traffic and prefill-token equivalents. Dollars are as recorded, or "
        "`--price IN,OUT` per million tokens, or a service's at a date: `--price openai/gpt-4o-mini@2026-01-01`. "
        "`--spread 1200` spreads that mean of `--over` on the settings by predicted difficulty, names the shadow price "
        "and the ceiling, and judges the choice on questions that had no say in it. `--table` writes CSV and Parquet "
        "with raw values, Markdown or LaTeX; `--html` a page, `--png` the frontier, `--json` everything.\n\n"
        f"{strategies().markdown()}\n\n## Rules\n{told}\n\n## Trained parts\n\n"
        "Quality is cross-fitted: measured on folds that did not train. `python benchmarks/train_strategies.py` makes "
        f"them.\n\n{trained_parts().markdown()}\n\n## Routers\n\n"
        "Held out: five folds of questions by text. APGR (RouteLLM): share of the quality gap recovered, over all "
        "spending; random 0.5. AIQ (RouterBench): mean height of the convex hull of score over spending. CPT(x): least "
        "spending that recovers x. `route` takes one with a cost to meet, `spend`, from 0 (always the cheapest) to 1 "
        "(always the dearest). Yours are trained from your evidence, and printed beside random and oracle:\n\n"
        "    comptroller fit routers FILE --model CHEAP --model DEAR --out mine.npz\n"
        "    comptroller replay route:by=mine.npz --evidence FILE --role weak=CHEAP --role strong=DEAR --frontier\n\n"
        f"{trained_routers().markdown()}\n"
    )


def methodology() -> str:
    """Every public function of `costs` that states an equation, by module, as its docstring has it."""
    parts = [
        f"{WRITTEN}# Methodology\n",
        "The formulas of `comptroller.costs`, taken from the code: symbols and units, the equation, its source,",
        "and a number that the tests check. Symbols are in the glossary of `comptroller.quantities`.",
    ]
    for path in sorted(COSTS.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        formulas = list(_formulas(tree))
        if formulas:
            parts += [f"\n## {path.stem}\n", f"```text\n{ast.get_docstring(tree)}\n```", *formulas]
    return "\n".join(parts) + "\n"


def _formulas(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
        if isinstance(node, ast.FunctionDef) and text and not node.name.startswith("_"):
            stated = [line for line in text.splitlines() if not line.startswith((">>>", "..."))]
            if any(" = " in line for line in stated):
                yield f"\n### {node.name}\n\n```text\n{text}\n```"


if __name__ == "__main__":
    for name, content in pages().items():
        (HERE / name).write_text(content, encoding="utf-8")
        print(f"wrote docs/{name}")
