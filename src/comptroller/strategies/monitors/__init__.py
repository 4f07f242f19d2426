"""Monitors of agents' runs, one file each: after every call a signal, larger where the run looks worse.

Every module has `signal_of(training)`: what was learned from other runs, as a function from trajectories to the signal
after each of their calls, shape (calls,). A monitor that learns nothing ignores the training runs. A run is stopped
after the first call whose signal is above a threshold.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnknownIdError
from comptroller.work.trajectories import AgentTrajectories

Floats = npt.NDArray[np.float64]
RunSignal: TypeAlias = Callable[[AgentTrajectories], Floats]
MonitorFit: TypeAlias = Callable[[AgentTrajectories], RunSignal]


@lru_cache(maxsize=1)
def monitors() -> dict[str, MonitorFit]:
    """What fits each monitor, by its name."""
    names = sorted(item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}").signal_of for name in names}


def monitor(name: str) -> MonitorFit:
    """What fits a monitor.

    Raises:
        UnknownIdError: there is none of this name.
    """
    if name not in monitors():
        raise UnknownIdError("monitor", name, monitors())
    return monitors()[name]
