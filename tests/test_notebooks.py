"""The notebooks of the examples: their cells run in order; a kernel of Jupyter runs them whole (`make notebooks`)."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from comptroller.result_views import ResultViews, SvgPicture

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def run(code: str, names: dict[str, Any]) -> Any:
    """Runs a cell; what its last line comes to, as a notebook shows it."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


def test_there_are_two() -> None:
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_of_a_notebook_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)  # where Jupyter starts its kernel
    names: dict[str, Any] = {}
    shown = [run("".join(each["source"]), names) for each in cells(path) if each["cell_type"] == "code"]
    assert any(isinstance(each, ResultViews) for each in shown) and any(isinstance(each, SvgPicture) for each in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    for each in cells(path):
        assert not each.get("outputs") and not each.get("execution_count")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_kernel_runs_it_whole(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    done = nbclient.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    kinds = {kind for cell in done.cells for out in cell.get("outputs", ()) for kind in out.get("data", ())}
    assert {"text/html", "image/svg+xml"} <= kinds
