"""What the serving calibration was fitted to: configurations of measured servers with their counts, no measured value.

`calibration/configurations.csv` is written by `benchmarks/fit_serving.py`, beside the constants and the anchors.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from functools import lru_cache
from math import hypot
from pathlib import Path

from comptroller.errors import RecordError
from comptroller.facts.reader import folder

Octaves = tuple[float, float, float, float]
AXES = ("clients", "input", "output", "devices")

HEADER = """\
# Configurations of measured servers that stand behind serving.toml, with how many rows and from when.
# low, high: least and most log2 of clients, input tokens, output tokens and devices of a stage among them.
"""


@dataclass(frozen=True, slots=True)
class MeasuredConfiguration:
    """Rows of one source on one engine, generation of it, model, formats and accelerator.

    architecture, formats, accelerator: as a residual's identity has them.  first, last: days, months or years as far as
    they are stated.  low, high: octaves of what was measured, by `AXES`.
    """

    source: str
    engine: str
    generation: str
    architecture: str
    formats: str
    accelerator: str
    rows: int
    first: str
    last: str
    low: Octaves
    high: Octaves

    def octaves(self, place: Octaves) -> float:
        """Distance of a load from what was measured; 0 within it.

        >>> wide = (0.0, 10.0, 7.0, 0.0), (4.0, 10.0, 9.0, 3.0)
        >>> row = MeasuredConfiguration("a", "vllm", "", "1x1x1", "bf16+bf16", "t4", 1, "2024", "2024", *wide)
        >>> row.octaves((4.0, 10.0, 9.0, 0.0)), row.octaves((8.0, 10.0, 12.0, 1.0))
        (0.0, 5.0)
        """
        ends = zip(self.low, place, self.high, strict=True)
        return hypot(*(max(low - at, at - high, 0.0) for low, at, high in ends))


NAMES = tuple(item.name for item in fields(MeasuredConfiguration))[:-2]
COLUMNS = (*NAMES, *(f"low_{axis}" for axis in AXES), *(f"high_{axis}" for axis in AXES))


def configurations_text(rows: Iterable[MeasuredConfiguration]) -> str:
    """The text of `configurations.csv`."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(COLUMNS)
    for row in rows:
        out.writerow([*astuple(row)[: len(NAMES)], *(f"{value:.4g}" for value in (*row.low, *row.high))])
    return HEADER + text.getvalue()


@lru_cache(maxsize=2)
def measured_configurations(path: Path | None = None) -> tuple[MeasuredConfiguration, ...]:
    """The configurations that stand behind the shipped calibration, or those of a file.

    Raises:
        RecordError: columns are missing, or a cell that must be a number is not.

    >>> sum(row.rows for row in measured_configurations() if row.accelerator == "mi300x") > 100
    True
    """
    path = path or folder("calibration") / "configurations.csv"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    reader = csv.reader(lines)
    if tuple(next(reader, [])) != COLUMNS:
        raise RecordError(path.name, [(1, f"columns must be {', '.join(COLUMNS)}")], 1)
    found = []
    for number, row in enumerate(reader, start=2):
        try:
            words, cells = row[:6], [float(cell) for cell in row[len(NAMES) :]]
            low, high = (cells[0], cells[1], cells[2], cells[3]), (cells[4], cells[5], cells[6], cells[7])
            source, engine, generation, architecture, formats, accelerator = words
            server = (source, engine, generation, architecture, formats, accelerator)
            found.append(MeasuredConfiguration(*server, int(row[6]), row[7], row[8], low, high))
        except (ValueError, IndexError) as error:
            raise RecordError(path.name, [(number, str(error))], 1) from error
    return tuple(found)
