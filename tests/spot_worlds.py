"""Zones with capacity that comes and goes, for tests of spot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comptroller.work.zone_record import ZoneCapacity, ZoneRecord

HEAD = "start,kind,cloud,zone,instance,devices,wanted,tick_s,from_tick,to_tick,nodes\n"


def zones(*runs: Sequence[tuple[float, float]], wanted: int = 4, end_s: float = 1e6) -> ZoneRecord:
    """A record whose zones have so many nodes from these moments on."""
    made = [
        ZoneCapacity(f"z{n}", wanted, np.array([at for at, _ in run]), np.array([nodes for _, nodes in run]), end_s)
        for n, run in enumerate(runs)
    ]
    return ZoneRecord("drawn", tuple(made))


def drawn_zones(rng: np.random.Generator, count: int, span_s: float, wanted: int = 4) -> ZoneRecord:
    """Zones that change some ten times within a span."""
    runs = []
    for _ in range(count):
        at_s = np.concatenate([[0.0], np.sort(rng.uniform(0, span_s, 10))])
        runs.append(list(zip(at_s.tolist(), rng.integers(0, wanted + 1, at_s.size).tolist(), strict=True)))
    return zones(*runs, wanted=wanted, end_s=span_s + 1)


def record_file(rows: Sequence[str]) -> str:
    """A file of runs in zones: zone, from, to, nodes."""
    return HEAD + "".join(f"2023-02-15,availability,aws,{zone},v100,1,4,60,{rest}\n" for zone, rest in map(_cut, rows))


def _cut(row: str) -> tuple[str, str]:
    zone, _, rest = row.partition(",")
    return zone, rest
