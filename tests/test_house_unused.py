"""What is not product stays out of the product: every module has an importer in it, and none imports the lab."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from comptroller.own_code import own_module

unused: Any = own_module(str(Path(__file__).parents[1] / "docs" / "unused.py"))
TREES: dict[Path, ast.Module] = unused.product_trees()


def test_every_module_of_the_product_has_an_importer_in_it() -> None:
    assert unused.modules_without_importer(TREES) == []


def test_no_module_of_the_product_imports_the_lab() -> None:
    found = {path.as_posix(): unused.imported_addresses(tree) for path, tree in TREES.items()}
    assert [path for path, names in found.items() if any(name.startswith("comptroller_lab.") for name in names)] == []


def test_a_module_without_an_importer_is_found() -> None:
    lonely = Path("comptroller/costs/lonely.py")
    assert unused.modules_without_importer({**TREES, lonely: ast.parse("")}) == [lonely.as_posix()]
