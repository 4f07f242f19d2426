"""Faults of a run, as its workload states them or as they were published."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.training_faults import FAULT_DEVICE_S, RESTART_S, STORE_BYTES_PER_S
from comptroller.quantities import HOUR_S
from comptroller.training.document import TrainingRun


@dataclass(frozen=True, slots=True)
class FaultRates:
    """Faults as a workload states them, else as published. device_s: of one device between two faults."""

    device_s: float
    restart_s: float
    store_bytes_per_s: float

    @classmethod
    def of(cls, run: TrainingRun) -> FaultRates:
        """Those of a run."""
        known = run.faults
        return cls(
            known.device_hours * HOUR_S if known.device_hours else FAULT_DEVICE_S,
            RESTART_S if known.restart_s is None else known.restart_s,
            known.store_gb_per_s * 1e9 if known.store_gb_per_s else STORE_BYTES_PER_S,
        )
