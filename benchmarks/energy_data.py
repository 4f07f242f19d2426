"""The energy and power measurements, resolved under the calibration that plans are priced with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from comptroller.measure.observations import ExclusionReport
from comptroller_lab.energy import EnergyMeasurements, read_energy
from comptroller_lab.harness import EnergyBench, plan_calibration
from comptroller_lab.power_fit import PowerPoints, span_points
from comptroller_lab.splitwise_power import read_splitwise_power, spans

ROOT = Path(__file__).resolve().parent.parent
ENERGY, SPLITWISE = "energy/ml_energy_known.csv", "serving/splitwise_known.csv"


@dataclass(frozen=True)
class EnergyData:
    """Rows, replicas ready to be timed, the A100 readings, and what was left out of each file."""

    rows: EnergyMeasurements
    bench: EnergyBench
    a100: PowerPoints
    left_out: dict[str, ExclusionReport]


def data_folder() -> Path:
    """The measured data: where COMPTROLLER_DATA points, else beside the repository."""
    return Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))


def load(folder: Path) -> EnergyData:
    """Read both files of a data folder."""
    rows, left_out = read_energy(folder / ENERGY)
    readings, beside = read_splitwise_power(folder / SPLITWISE)
    base = plan_calibration()
    a100 = span_points(spans(readings, base))
    return EnergyData(rows, EnergyBench.of(rows, base), a100, {ENERGY: left_out, SPLITWISE: beside})
