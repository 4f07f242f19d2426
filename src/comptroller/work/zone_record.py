"""Records of spot capacity: nodes that could be had, or were kept, in each zone over time; a CSV of runs of ticks.

Columns: start (date), zone, instance, devices, wanted (nodes), tick_s, from_tick, to_tick (exclusive), nodes; others
are passed over. Zones of one start date share the clock. Source of the form: skypilot-org/spot-traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.work.tabular import dict_rows

COLUMNS = ("start", "zone", "instance", "devices", "wanted", "tick_s", "from_tick", "to_tick", "nodes")
NUMBERS = COLUMNS[4:]
SHOWN = 5
"""Bad rows that an error names; it states the number of all."""


@dataclass(frozen=True, eq=False)
class ZoneCapacity:
    """Nodes of one zone over time. starts_s: when each run begins, from 0.  nodes: then, of `wanted`."""

    zone: str
    wanted: int
    starts_s: npt.NDArray[np.float64]
    nodes: npt.NDArray[np.float64]
    end_s: float

    def share(self, at_s: float) -> float:
        """Share of the nodes wanted that there are."""
        place = int(np.searchsorted(self.starts_s, at_s, side="right")) - 1
        return float(self.nodes[max(place, 0)]) / self.wanted

    def changes_s(self, from_s: float, to_s: float) -> list[float]:
        """Moments within a span at which its nodes change."""
        inside = (self.starts_s > from_s) & (self.starts_s < to_s)
        return [float(at_s) for at_s in self.starts_s[inside]]

    def standing(self, from_s: float = 0.0, to_s: float = np.inf) -> float:
        """Share of the time, by nodes, between two moments.

        >>> zone = ZoneCapacity("a", 2, np.array([0.0, 30.0]), np.array([2.0, 1.0]), 60.0)
        >>> zone.standing(), zone.share(45.0)
        (0.75, 0.5)
        """
        ends = np.append(self.starts_s[1:], self.end_s)
        lengths = np.clip(np.minimum(ends, to_s) - np.maximum(self.starts_s, from_s), 0.0, None)
        return float((lengths * self.nodes).sum() / lengths.sum() / self.wanted)


@dataclass(frozen=True, eq=False)
class ZoneRecord:
    """Zones that share a clock. name: the start date, and the instance where a date has several."""

    name: str
    zones: tuple[ZoneCapacity, ...]

    @property
    def span_s(self) -> float:
        """How long all of them are recorded."""
        return min(zone.end_s for zone in self.zones)


def read_zone_records(path: Path) -> dict[str, ZoneRecord]:
    """All records of a file by name: `2023-02-15`, or `2022-10-26/v100x8` where a date has several instances.

    Raises:
        InputError: there is no such file, it lacks columns, or has bad rows or zones with gaps; names the first of
            them and counts all.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of spot capacity")
    rows = dict_rows(path)
    missing = [name for name in COLUMNS if not rows or name not in rows[0]]
    if missing:
        raise InputError(f"{path.name}: lacks {', '.join(missing)}; a record of spot capacity has {', '.join(COLUMNS)}")
    faults: list[str] = []
    runs: dict[tuple[str, str, str], list[tuple[int, int, float, float, float]]] = {}
    for line, row in enumerate(rows, 2):
        if fault := _fault(row):
            faults.append(f"line {line}: {fault}")
            continue
        key = (row["start"], f"{row['instance']}x{row['devices']}", row["zone"])
        first, last, nodes, wanted, tick_s = (
            float(row[name]) for name in ("from_tick", "to_tick", "nodes", "wanted", "tick_s")
        )
        runs.setdefault(key, []).append((int(first), int(last), nodes, wanted, tick_s))
    faults += [text for key, parts in runs.items() for text in _gaps("/".join(key), sorted(parts))]
    if faults:
        raise InputError(f"{path.name}: {'; '.join(faults[:SHOWN])}{_more_of(faults)}")
    return _records(runs)


def choose_record(records: dict[str, ZoneRecord], name: str) -> ZoneRecord:
    """The record of a name; of a file with one, that one.

    Raises:
        InputError: there are several, or none of this name; lists them.
    """
    if name in records:
        return records[name]
    if not name and len(records) == 1:
        return next(iter(records.values()))
    what = f"no record {name!r}" if name else "several records"
    raise InputError(f"{what}; name one of {', '.join(sorted(records))}")


def _more_of(faults: list[str]) -> str:
    """How many faults there are beyond those shown."""
    return f"; {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""


def _fault(row: dict[str, str]) -> str:
    """What is wrong with a row, or nothing."""
    try:
        values = {name: float(row[name]) for name in NUMBERS}
    except (TypeError, ValueError):
        bad = [name for name in NUMBERS if not _is_number(row[name])]
        return f"{', '.join(bad)}: no number"
    if not all(np.isfinite(list(values.values()))):
        return "a value is not finite"
    if not (values["wanted"] >= 1 and values["tick_s"] > 0):
        return f"wanted is {values['wanted']:g}, tick_s {values['tick_s']:g}; from 1, above 0"
    if not 0 <= values["from_tick"] < values["to_tick"]:
        return f"from_tick {values['from_tick']:g} to_tick {values['to_tick']:g}; a run has at least one tick"
    if not 0 <= values["nodes"] <= values["wanted"]:
        return f"nodes is {values['nodes']:g}; allowed: 0 to the {values['wanted']:g} wanted"
    return ""


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _gaps(name: str, parts: list[tuple[int, int, float, float, float]]) -> list[str]:
    """Where runs of a zone leave ticks out, overlap, or change their tick."""
    faults = [f"{name}: begins at tick {parts[0][0]}, not 0"] if parts[0][0] else []
    for before, after in pairwise(parts):
        if after[0] != before[1]:
            faults.append(f"{name}: a run to tick {before[1]} is followed by one from {after[0]}")
    if len({part[3:] for part in parts}) > 1:
        faults.append(f"{name}: several values of wanted or tick_s")
    return faults


def _records(runs: dict[tuple[str, str, str], list[tuple[int, int, float, float, float]]]) -> dict[str, ZoneRecord]:
    kinds: dict[str, set[str]] = {}
    for start, kind, _ in runs:
        kinds.setdefault(start, set()).add(kind)
    zones: dict[str, list[ZoneCapacity]] = {}
    for (start, kind, zone), unsorted in runs.items():
        parts = sorted(unsorted)
        tick_s = parts[0][4]
        starts, nodes = np.array([part[0] * tick_s for part in parts]), np.array([part[2] for part in parts])
        name = start if len(kinds[start]) == 1 else f"{start}/{kind}"
        zones.setdefault(name, []).append(ZoneCapacity(zone, int(parts[0][3]), starts, nodes, parts[-1][1] * tick_s))
    return {name: ZoneRecord(name, tuple(found)) for name, found in zones.items()}
