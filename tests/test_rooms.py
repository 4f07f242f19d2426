"""How the package holds together: direction of imports, sizes, the exported surface, what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import comptroller

ROOMS = (
    "facts", "costs", "numerics", "work", "strategies", "serving",
    "cluster", "launch", "planning", "training", "export", "books", "measure", "report", "gateway", "dashboard", "cli",
)  # fmt: skip
SHARED = {"errors", "quantities", "own_code", "result_views", "highs", "__init__"}
PACKAGE = Path(comptroller.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]


def imported(tree: ast.AST) -> set[str]:
    """Rooms and modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {alias.name for alias in node.names if node.module == "comptroller"}
            names = [node.module or ""]
        found |= {name.split(".")[1] for name in names if name.startswith("comptroller.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_are_small_and_import_only_rooms_to_their_left(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    left = ROOMS[: ROOMS.index(room) + 1] if room in ROOMS else () if room in SHARED else ROOMS
    if path != PACKAGE / "__init__.py":  # its imports for type checkers are never executed
        assert imported(tree) <= {*left, "errors", "quantities", "own_code", "result_views", "highs"}
    lines = text.count("\n")
    assert lines <= 400
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 80] == []


def test_the_exported_names_are_few_sorted_and_there() -> None:
    assert comptroller.__all__ == sorted(comptroller.__all__) and len(comptroller.__all__) <= 18
    assert all(getattr(comptroller, name) is not None for name in comptroller.__all__)
    assert set(comptroller.__all__) <= set(dir(comptroller))


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, comptroller; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "scipy", "pydantic", "rich", "typer", "numba"} & set(run.stdout.split())
