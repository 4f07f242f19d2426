"""Where the benchmarks read measurements, and the runs they hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from comptroller.measure.features import FeatureBank, bank
from comptroller.measure.observations import ExclusionReport, RunObservation
from comptroller_lab.silicon import read_silicon

ROOT = Path(__file__).resolve().parents[1]


def data_folder(arguments: Sequence[str]) -> Path:
    """The folder named on the command line, by COMPTROLLER_DATA, or beside the project."""
    named = arguments[0] if arguments else os.environ.get("COMPTROLLER_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def silicon(data: Path) -> tuple[FeatureBank, ExclusionReport]:
    """Aggregated runs, and what was left out and why."""
    observations, report = read_silicon(data / "serving" / "silicon_known.csv")
    return bank([o for o in observations if o.prefill is None], report), report


def disaggregated(data: Path) -> list[RunObservation]:
    """Runs with pools apart that state their batch sizes."""
    observations, _ = read_silicon(data / "serving" / "silicon_known.csv")
    return [o for o in observations if o.prefill is not None]
