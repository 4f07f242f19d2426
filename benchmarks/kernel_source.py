"""Finds the per-operation tables of aiconfigurator-core on disk, by version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

Frame = pd.DataFrame


def root_of(given: Path) -> Path:
    """The folder `systems/data` inside an unpacked wheel, an installed package, or itself.

    Raises:
        FileNotFoundError: there is none.
    """
    for part in ("", "systems/data", "aiconfigurator_core/systems/data"):
        if (given / part / "h100_sxm" / "gemm").is_dir():
            return given / part
    raise FileNotFoundError(f"{given}: no systems/data/h100_sxm/gemm; give the unpacked aiconfigurator-core wheel")


def _version_key(path: Path) -> tuple[int, ...]:
    digits = path.parent.name.replace("rc", ".").replace("post", ".").split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in digits)


@lru_cache(maxsize=64)
def load(path: Path) -> Frame:
    """One table."""
    return pq.read_table(path).to_pandas()


@dataclass(frozen=True)
class Source:
    """The tables on disk; `age` counts how many versions back to read (0: the newest)."""

    root: Path
    age: int = 0

    def versions(self, place: str, name: str) -> list[Path]:
        """The files of an operation, newest version first."""
        return sorted((self.root / place).glob(f"*/{name}_perf.parquet"), key=_version_key, reverse=True)

    def one(self, place: str, name: str, least: int = 0) -> Iterator[tuple[str, Frame]]:
        """The file of this age with at least so many rows, if there is one."""
        paths = [path for path in self.versions(place, name) if len(load(path)) > least]
        if len(paths) > self.age:
            yield paths[self.age].parent.name, load(paths[self.age])

    def by_format(self, place: str, name: str, column: str) -> Iterator[tuple[str, str, Frame]]:
        """Per format, the version of this age among those with at least half the rows of the fullest."""
        counts: dict[str, dict[Path, int]] = {}
        paths = self.versions(place, name)
        for path in paths:
            for value, count in load(path)[column].value_counts().items():
                counts.setdefault(str(value), {})[path] = int(count)
        for value, by_path in counts.items():
            full = [path for path in paths if by_path.get(path, 0) * 2 >= max(by_path.values())]
            if len(full) > self.age:
                frame = load(full[self.age])
                yield value, full[self.age].parent.name, frame[frame[column] == value].reset_index(drop=True)
