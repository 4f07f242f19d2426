"""Faults of a training run: how often, what a checkpoint costs, how far apart checkpoints should lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

FAULT_DEVICE_S = 54 * 86400.0 * 16_384 / 419
"""Seconds of one device between unexpected interruptions of a run: 419 in 54 days of 16,384 H100 (arXiv 2407.21783,
section 3.3.4), 51,000 hours. At twice this a run on 1,024 devices stops every four days in place of two."""

RESTART_S = 900.0
"""Seconds from a fault to training again: detection, isolation and restart within minutes, as C4 reports where
collectives are watched (arXiv 2406.04594); without such a watch it takes hours, which a workload states."""

CHECKPOINT_BYTES = 14.0
"""Of a weight in a checkpoint: 16-bit weight, master weight and two moments."""

STORE_BYTES_PER_S = 1e9
"""Bytes per second that a node writes to shared storage: 2 TB/s sustained for the 2,048 nodes of 16,384 devices (arXiv
2407.21783, section 3.3.1). At half this checkpoints lie 1.4 times as far apart."""


@dataclass(frozen=True, slots=True)
class CheckpointSchedule:
    """interval_s: computing between two checkpoints.  write_s: of one.  faults_s: between two faults of the run.
    goodput: share of the time in which training advances."""

    interval_s: float
    write_s: float
    faults_s: float
    goodput: float


def checkpoint_interval_s(write_s: float, faults_s: float) -> float:
    """Computing between checkpoints that loses least.

    tau = sqrt(2 C M) (1 + sqrt(C / (2 M)) / 3 + C / (18 M)) - C for C < 2 M, else M

    C seconds of a checkpoint, M between faults.  Source: Daly, Future Generation Computer Systems 22 (2006), equation
    20; its first term is Young's (CACM 17, 1974).

    >>> round(checkpoint_interval_s(60.0, 86_400.0))
    3180
    """
    if write_s >= 2 * faults_s:
        return faults_s
    ratio = write_s / (2 * faults_s)
    return math.sqrt(2 * write_s * faults_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - write_s


def checkpoint_schedule(write_s: float, faults_s: float, restart_s: float) -> CheckpointSchedule:
    """The interval that loses least, and the share of time that advances.

    goodput = tau / (M exp(R / M) (exp((tau + C) / M) - 1))  (Daly 2006, equation 13, exponential faults)

    >>> round(checkpoint_schedule(60.0, 86_400.0, 900.0).goodput, 3)
    0.953
    """
    interval = checkpoint_interval_s(write_s, faults_s)
    lost = faults_s * math.exp(restart_s / faults_s) * math.expm1((interval + write_s) / faults_s)
    return CheckpointSchedule(interval, write_s, faults_s, interval / lost)
