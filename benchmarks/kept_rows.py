"""Rows of a benchmark that take long: each is kept in a folder as soon as it is done, and not made again.

A row is named by its work and by the digest of the sources, so that a row of other code is never shown as one
of this. Rows are made in processes of their own, at most so many at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import comptroller

Row = dict[str, Any]

FOLDER = Path(os.environ.get("COMPTROLLER_ROWS", Path.home() / ".cache" / "comptroller" / "rows"))
"""Where rows are kept, outside the repository."""


PARTS = ("every_fleet.py", "right_checks.py", "right_workloads.py")
"""Scripts that benchmarks share."""


@cache
def source_digest(benchmark: str) -> str:
    """SHA-256 of the package, of a benchmark's script and of what benchmarks share."""
    package, here, sha = Path(comptroller.__file__).parent, Path(__file__).parent, hashlib.sha256()
    files = [*package.rglob("*.py"), *package.rglob("*.toml"), *(here / name for name in (*PARTS, f"{benchmark}.py"))]
    for file in sorted(files):
        sha.update(file.name.encode() + file.read_bytes())
    return sha.hexdigest()[:12]


def path_of(benchmark: str, name: str, work: object) -> Path:
    """Where a row is kept."""
    named = hashlib.sha256(f"{name} {json.dumps(work, sort_keys=True, default=str)}".encode()).hexdigest()[:16]
    return FOLDER / benchmark / source_digest(benchmark) / f"{named}.json"


def rows_of(
    benchmark: str, asked: Mapping[str, object], make: Callable[[str], Row], workers: int
) -> Iterator[tuple[str, Row]]:
    """The rows of some names, those that are kept first; `make` takes a name, in a process of its own.

    asked: by name all that a row depends on beside the sources, as JSON.
    """
    paths = {name: path_of(benchmark, name, work) for name, work in asked.items()}
    for name, path in paths.items():
        if path.exists():
            yield name, json.loads(path.read_text(encoding="utf-8"))
    missing = [name for name, path in paths.items() if not path.exists()]
    if workers <= 1:
        for name in missing:
            yield name, _kept(paths[name], make(name))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(make, name): name for name in missing}
        for done in as_completed(running):
            name = running[done]
            yield name, _kept(paths[name], done.result())


def _kept(path: Path, row: Row) -> Row:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(row, default=str), encoding="utf-8")
    part.replace(path)
    return row
