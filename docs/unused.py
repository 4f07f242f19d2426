"""Print modules of the product that nothing in it imports, and public names that nothing in it uses.

Roots: `__init__` and `__main__`, the commands of `cli`, and files found by their stem. A file whose name or address
stands in a string (a child process, a lazy export) counts as imported.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
FOUND_BY_STEM = (
    "cli", "cluster/balancing", "cluster/deadline_rules", "cluster/policies", "export", "gateway/backends", "launch",
    "measure/run_readers",
    "planning/export", "planning/launch",
    "serving/policies/batching", "serving/policies/routing", "serving/policies/scaling", "serving/policies/scheduling",
    "serving/policies/power", "serving/policies/spot", "serving/policies/pools",
    "strategies/monitors", "strategies/rules",
    "work/evidence_readers", "work/forecasts", "work/laws", "work/loss_laws", "work/traces",
)  # fmt: skip
"""Folders that are registries: the stem of a file is what a user writes."""


def product_trees(source: Path = SOURCE) -> dict[Path, ast.Module]:
    """The syntax of every file of the package, by its path below the source folder."""
    return {
        path.relative_to(source): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((source / "comptroller").rglob("*.py"))
    }


def imported_addresses(tree: ast.Module) -> set[str]:
    """Every dotted address and file name that a file imports or names in a string, TYPE_CHECKING included."""
    addresses: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            addresses |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            addresses |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count("\n") == 0:
            addresses.add(node.value)
    return addresses


def modules_without_importer(trees: dict[Path, ast.Module]) -> list[str]:
    """Modules that the roots do not reach: nobody imports them, or only modules that nobody imports."""
    used = {path: imported_addresses(tree) for path, tree in trees.items()}
    names = {path: {".".join(path.with_suffix("").parts), path.name} for path in trees}
    reached: set[Path] = set()
    ahead = [path for path in trees if is_root(path)]
    while ahead:
        reached |= set(ahead)
        addresses = set().union(*(used[path] for path in ahead))
        ahead = [path for path in trees if path not in reached and names[path] & addresses]
    return [path.as_posix() for path in trees if path not in reached]


def is_root(path: Path) -> bool:
    """Whether a file needs no importer."""
    registry = path.parent.relative_to("comptroller").as_posix() in FOUND_BY_STEM and not path.stem.startswith("_")
    return registry or path.stem in {"__init__", "__main__"}


def names_without_user(trees: dict[Path, ast.Module]) -> list[str]:
    """Public functions and classes whose name stands nowhere else in the package, as `path name`."""
    words = {path: re.findall(r"\w+", ast.unparse(tree)) for path, tree in trees.items()}
    count: dict[str, int] = {}
    for word in (word for page in words.values() for word in page):
        count[word] = count.get(word, 0) + 1
    return [
        f"{path.as_posix()} {node.name}"
        for path, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not is_root(path)
        and count[node.name] - _own_doctests(node) <= 1
    ]


def _own_doctests(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """How often a definition's docstring names it."""
    return len(re.findall(rf"\b{node.name}\b", ast.get_docstring(node) or ""))


if __name__ == "__main__":
    product = product_trees()
    print("modules that nothing in the product imports:", *modules_without_importer(product), sep="\n  ")
    print("public names that nothing in the product uses:", *names_without_user(product), sep="\n  ")
