"""All measured runs that the shipped calibration is fitted to, each weighed by its source."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from comptroller.facts.measured_configurations import AXES, MeasuredConfiguration, Octaves
from comptroller.measure.features import FeatureBank, bank
from comptroller.measure.observations import ExclusionReport
from comptroller_lab.energy_runs import read_energy_runs
from comptroller_lab.inferencex import read_inferencex
from comptroller_lab.published import read_published
from comptroller_lab.silicon import read_silicon

SOURCE_MOST = 20.0
"""Cells (one engine, model, formats, accelerator, version and day) that a source of published points counts for in a
fit, however many it prints: rows of one source share its faults. At twice this one table of
2,700 rows has as much weight as a third of the dated serving measurements."""

READERS = {
    "silicon": ("serving/silicon_known.csv", read_silicon),
    "inferencex": ("serving/inferencex_dsr1_known.csv", read_inferencex),
    "published": ("serving/published_known.csv", read_published),
    "ml_energy": ("energy/ml_energy_known.csv", read_energy_runs),
}


def calibration_banks(data: Path) -> Mapping[str, tuple[FeatureBank, ExclusionReport]]:
    """Runs of every set of the folder of measurements, those with pools apart left out, and what else is left out.

    Of InferenceX's file only other vendors' accelerators are taken: the silicon file holds the rest, with its versions.
    """
    found = {}
    for name, (file, read) in READERS.items():
        observations, report = read(data / file)
        if name == "inferencex":
            observations = [o for o in observations if o.replica.device.vendor != "NVIDIA"]
        found[name] = (bank([o for o in observations if o.prefill is None], report), report)
    return found


def weighed(runs: FeatureBank) -> FeatureBank:
    """The runs, those of a source of published points with the share that `SOURCE_MOST` leaves each."""
    cells = defaultdict(set)
    for observation, cell in zip(runs.observations, runs.cells, strict=True):
        if observation.weight:
            cells[observation.source].add(cell)
    shares = {
        source: 1.0 if source.startswith("silicon") else min(1.0, SOURCE_MOST / len(names))
        for source, names in cells.items()
    }
    return replace(
        runs, observations=tuple(replace(o, weight=o.weight * shares.get(o.source, 1.0)) for o in runs.observations)
    )


def configurations(data: Path, banks: Mapping[str, tuple[FeatureBank, ExclusionReport]]) -> list[MeasuredConfiguration]:
    """The servers that runs of a fit were measured on, with how many count and from when."""
    with (data / READERS["published"][0]).open(newline="", encoding="utf-8") as stream:
        printed = {number: row["date"] for number, row in enumerate(csv.DictReader(stream), start=2)}
    cells = defaultdict[tuple[str, str, str, str, str, str], list[tuple[str, Octaves]]](list)
    for name, (runs, _) in banks.items():
        for one, who, place in zip(runs.observations, runs.identities, runs.features.place, strict=True):
            if one.weight:
                day = one.measured.isoformat() if one.measured else printed[one.number] if name == "published" else ""
                key = (one.source, who.engine, one.replica.engine.generation, who.architecture)
                clients, prompt, output, devices = (float(x) for x in place[: len(AXES)])
                cells[*key, who.formats, who.accelerator].append((day, (clients, prompt, output, devices)))
    return [_configuration(key, rows) for key, rows in sorted(cells.items())]


def _configuration(key: tuple[str, str, str, str, str, str], rows: list[tuple[str, Octaves]]) -> MeasuredConfiguration:
    days, (clients, prompt, output, devices) = (
        sorted(day for day, _ in rows if day),
        zip(*(x for _, x in rows), strict=True),
    )
    low, high = ((end(clients), end(prompt), end(output), end(devices)) for end in (min, max))
    return MeasuredConfiguration(*key, len(rows), *((days[0], days[-1]) if days else ("", "")), low, high)
