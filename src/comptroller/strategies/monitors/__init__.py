"""Monitors of agents' runs, one file each: after every call a signal, larger where the run looks worse.

Every module has `signal_of(lessons)`: a function from trajectories to the signal after each of their calls, shape
(calls,). A monitor that learns from other runs has `lessons_of(training)` too: what it learned, as JSON can hold it.
One that says nothing without some columns names them in `READS`. A run is stopped after the first call whose signal is
above a threshold: of recorded runs in `monitor_study`, live at the gateway, by the same functions.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnknownIdError
from comptroller.work.trajectories import AgentTrajectories

Floats = npt.NDArray[np.float64]
RunSignal: TypeAlias = Callable[[AgentTrajectories], Floats]
MonitorLessons: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MonitorKind:
    """A monitor. signal_of: the signal from what was learned.  lessons_of: learns from runs; None where there is
    nothing to learn.  reads: columns without which it says nothing."""

    signal_of: Callable[[MonitorLessons], RunSignal]
    lessons_of: Callable[[AgentTrajectories], MonitorLessons] | None = None
    reads: tuple[str, ...] = ()

    def lessons(self, training: AgentTrajectories) -> MonitorLessons:
        """What is learned from runs; nothing where there is nothing to learn."""
        return {} if self.lessons_of is None else self.lessons_of(training)

    def fit(self, training: AgentTrajectories) -> RunSignal:
        """The signal of a monitor that has learned from runs."""
        return self.signal_of(self.lessons(training))


@lru_cache(maxsize=1)
def monitors() -> dict[str, MonitorKind]:
    """Every monitor by its name."""
    names = sorted(item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_"))
    return {name: _kind_of(importlib.import_module(f"{__name__}.{name}")) for name in names}


def _kind_of(module: Any) -> MonitorKind:
    return MonitorKind(module.signal_of, getattr(module, "lessons_of", None), getattr(module, "READS", ()))


def monitor(name: str) -> MonitorKind:
    """A monitor by its name.

    Raises:
        UnknownIdError: there is none of this name.
    """
    if name not in monitors():
        raise UnknownIdError("monitor", name, monitors())
    return monitors()[name]
