"""Rules of the house: names, rooms of planning, one program, modules without an importer, lines, imports."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from comptroller.own_code import own_module

house: Any = own_module(str(Path(__file__).parents[1] / "docs" / "house.py"))
FILES = house.source_files()
NAMES = frozenset(file.name for file in FILES)
IMPORTS = {file.name: house.imports(file, NAMES) for file in FILES}

SPARSE = frozenset({"block_array", "block_diag", "coo_array", "coo_matrix", "vstack"})
"""What puts entries of rows together; `csc_array` alone only reads a finished matrix."""

NOUNS = {
    *("Accelerator", "Model", "Format", "Site", "Workload", "Evidence", "Strategy", "Deployment", "Call", "Plan"),
    *("Demand", "Option", "Market", "Goal", "Fleet", "Trial"),
}
CONTRACT = {"Ask", "Reply", "Answer", "All", "Next", "Cost"}
"""What a strategy yields and receives, and the quantity that everything is counted in."""

ROOMS_OF_PLANNING = ("ground", "offer", "solve", "prove", "reasons", "risk", "write")
FLOOR = {**{room: floor for floor, room in enumerate(ROOMS_OF_PLANNING)}, "reasons": ROOMS_OF_PLANNING.index("prove")}
"""Floor of each sub-folder of planning: `prove` and `reasons` share one, so that neither imports the other."""
TOP = len(ROOMS_OF_PLANNING)
"""Floor of `planner.py` and of every other file beside the sub-folders."""

MOST_IMPORTS = 15
MANY_IMPORTS = {
    **{"gateway.runtime": 29},
    **{"cli.books": 28, "cli.replay": 16},
    **{"planning.offer.questions": 21, "planning.planner": 17},
    **{"planning.write.plan": 17, "planning.offer.option_play": 16},
}
"""Files that import more, and how many modules at most. The list only shrinks: no entry is added, no number raised."""


def importing(module: str, names: frozenset[str] = frozenset()) -> set[str]:
    """Files of the package that import a module from outside it, or take one of these names from it."""
    taken = {
        (file.name, node.module if isinstance(node, ast.ImportFrom) else alias.name, alias.name)
        for file in FILES
        for node in file.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    inside = {(file, name) for file, source, name in taken if f"{source}.".startswith(f"{module}.")}
    return {file for file, name in inside if not names or name in names}


def test_no_public_class_name_twice() -> None:
    assert {name: places for name, places in house.public_classes(FILES).items() if len(places) > 1} == {}


def test_a_class_of_one_word_is_one_of_the_nouns() -> None:
    single = {name for name in house.public_classes(FILES) if len(house.words(name)) == 1}
    assert single - NOUNS - CONTRACT == set()


@pytest.mark.parametrize("kind", ["classes", "functions", "modules"])
def test_no_participle_is_a_name(kind: str) -> None:
    assert house.participles(FILES)[kind] == []


def test_only_one_file_imports_the_solver() -> None:
    assert len(importing("highspy")) == 1


def test_only_one_file_builds_rows() -> None:
    assert len(importing("scipy.sparse", SPARSE)) == 1


def test_the_rooms_of_planning_import_only_rooms_below() -> None:
    """Imports for type checkers and in functions count. Other folders of planning are not rooms of it."""
    upward = [
        f"{importer} -> {imported}"
        for importer, imported in sorted(house.arrows(FILES, "planning"))
        if (room := importer.split(".")[1]) in FLOOR and imported != "planning.__init__"
        if (below := imported.split(".")[1]) != room and FLOOR.get(below, TOP) >= FLOOR[room]
    ]
    assert upward == []


def test_no_folder_of_planning_is_without_a_floor() -> None:
    folders = {
        file.name.split(".")[1] for file in FILES if file.name.startswith("planning.") and file.name.count(".") > 1
    }
    assert folders - {"launch", "export"} <= set(ROOMS_OF_PLANNING)


def test_no_room_passes_its_bound() -> None:
    assert house.passed_bounds(FILES) == []
    assert set(house.ROOM_LINES) == set(house.room_lines(FILES)), "a bound without a room"


def test_a_file_imports_few_modules_of_the_package() -> None:
    counts = {name: len(modules) for name, modules in IMPORTS.items() if name != "__init__"}
    many = {name: count for name, count in counts.items() if count > MOST_IMPORTS}
    assert {name: count for name, count in many.items() if count > MANY_IMPORTS.get(name, MOST_IMPORTS)} == {}
    assert set(MANY_IMPORTS) <= set(many), "entries of MANY_IMPORTS that are no longer needed"


BY_PATH = (
    *house.PLUG_INS,
    *("launch.", "export.", "planning.launch.", "planning.export."),
    *("work.traces.", "work.laws.", "work.loss_laws.", "work.evidence_readers.", "measure.run_readers."),
    *("strategies.monitors.", "work.forecasts."),
)
"""Folders whose files are found by their path."""
STARTED = {"__main__", "gateway.check_child", "gateway.model_child", "report.views"}
"""Processes of their own, and what `result_views` finds by name."""


def test_every_module_has_an_importer_in_the_package_or_its_documents() -> None:
    reached = {module for modules in IMPORTS.values() for module in modules} | STARTED
    written = (Path(__file__).parents[1] / "docs" / "generate.py").read_text(encoding="utf-8")
    reached |= house.imports(house.SourceFile("docs", written, ast.parse(written)), NAMES)
    alone = {name for name in NAMES - reached if not name.endswith("__init__") and not name.startswith(BY_PATH)}
    assert alone == set()


def test_the_script_finds_what_it_looks_for() -> None:
    """The rules would hold of nothing: each figure is seen to move with the code that it counts."""
    text = "class Held:\n    try:\n        pass\n    except Exception:\n        pass  # why\n\ndef kept(): pass\n"
    planted = [house.SourceFile("costs.told", text, ast.parse(text))]
    assert house.participles(planted) == {
        "classes": ["costs.told: Held"],
        "functions": ["costs.told: kept"],
        "modules": ["costs.told: told"],
    }
    assert house.size_figures(planted)["broad_excepts"] == house.size_figures(planted)["comment_lines"] == 1
    assert house.public_classes(planted * 2) == {"Held": ["costs.told"] * 2}
    cycle = {("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("a", "d")}
    assert house.floors(cycle) == 3 and house.floors(set()) == 0


def test_files_are_imported_by_one_loader() -> None:
    """A module that is executed without being known by its name cannot define dataclasses: `own_module` knows it."""
    root = Path(__file__).parents[1]
    places = [
        path
        for folder in ("src", "lab", "tests", "docs", "benchmarks", "deploy")
        for path in (root / folder).rglob("*.py")
    ]
    assert [path for path in places if "spec_from_file" + "_location" in path.read_text(encoding="utf-8")] == []
