"""All measured runs that the shipped calibration is fitted to, each weighed by its source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

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
