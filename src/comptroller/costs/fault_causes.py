"""What stops machines, how often of each cause, and how long it takes to be seen."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from comptroller.costs.training_faults import FAULT_DEVICE_S
from comptroller.errors import InputError
from comptroller.quantities import HOUR_S


@dataclass(frozen=True, slots=True)
class FaultCause:
    """count: unexpected interruptions that it caused.  breaks: whether the node has to be taken out and mended; else it
    is enough to start again."""

    name: str
    count: int
    breaks: bool


FAULT_CAUSES = (
    FaultCause("GPU", 148, True),
    FaultCause("GPU memory", 72, True),
    FaultCause("software", 54, False),
    FaultCause("switch or cable", 35, True),
    FaultCause("host maintenance", 32, True),
    FaultCause("GPU SRAM", 19, True),
    FaultCause("GPU processor", 17, True),
    FaultCause("network card", 7, True),
    FaultCause("hang without a cause", 7, False),
    FaultCause("silent corruption", 6, True),
    FaultCause("heat", 6, True),
    FaultCause("drive", 3, True),
    FaultCause("power supply", 3, True),
    FaultCause("dependency", 2, False),
    FaultCause("processor", 2, True),
    FaultCause("chassis", 2, True),
    FaultCause("IO board", 2, True),
    FaultCause("host memory", 2, True),
)
"""Of the 419 unexpected interruptions in 54 days of 16,384 H100 (arXiv 2407.21783, table 5), by cause. Which of them
take a node out is ours."""

WATCHDOG_S = 600.0
"""Seconds until a collective that hangs is given up, as PyTorch's NCCL backend has it where nothing is said. At twice
it a fault costs ten minutes more of every device of its job."""
PROBE_S = 30.0
"""Seconds until a server that does not answer is restarted: three probes ten seconds apart, as Kubernetes has it where
nothing is said."""
C4D_S = 30.0
"""Seconds until C4D, which compares the times of collectives by rank, names the node: tens of seconds (arXiv
2406.04594). At twice it a fault costs half a minute more."""


def breaking_share() -> float:
    """Share of faults after which a node has to be mended.

    >>> sum(cause.count for cause in FAULT_CAUSES), round(breaking_share(), 3)
    (419, 0.85)
    """
    return sum(cause.count for cause in FAULT_CAUSES if cause.breaks) / sum(cause.count for cause in FAULT_CAUSES)


def fault_device_s(text: str) -> float:
    """Seconds of one device between two faults, from hours or the word `published`.

    Raises:
        InputError: it is neither.

    >>> fault_device_s("100"), fault_device_s("1e6"), round(fault_device_s("published") / 3600)
    (360000.0, 3600000000.0, 50677)
    """
    if text == "published":
        return FAULT_DEVICE_S
    try:
        fault_s = float(text) * HOUR_S
    except ValueError:
        fault_s = 0.0
    if not (fault_s > 0 and isfinite(fault_s)):
        raise InputError(f"--faults {text}: allowed: hours of a device between two faults, above 0, or `published`")
    return fault_s
