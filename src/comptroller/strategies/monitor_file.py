"""A monitor with its threshold: fitted to recorded runs and written to a file, or one that learns nothing.

The same file is judged on recorded runs (`comptroller fit monitors CALLS --kind FILE`) and stops runs at the gateway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError, InputError
from comptroller.strategies.monitor_study import (
    MonitorFinding,
    chosen_threshold,
    finding_of,
    learned_signal,
    require_outcomes,
    stops,
)
from comptroller.strategies.monitors import Floats, RunSignal, monitor
from comptroller.work.trajectories import COUNTED, AgentTrajectories

OPTIONAL = tuple(name for name in COUNTED if name not in ("input_tokens", "output_tokens"))
"""Columns that records may lack."""
SPREAD = (0.05, 0.95)
"""Quantiles of the interval of what a stop spares."""


@dataclass(frozen=True, slots=True)
class RunMonitor:
    """A monitor and the threshold above which it stops a run.

    kind: name of the monitor.  lessons: what it learned, as of its file.  columns: those that the runs it learned from
    recorded; others are unknown to it.  rest: dollars that the runs it stops would have gone on to spend, for each
    dollar until the stop: 5 % quantile over runs, ratio of sums, 95 % quantile; NaN where no run was stopped.  about:
    data, command, threshold's limit.
    """

    kind: str
    threshold: float
    lessons: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = OPTIONAL
    rest: tuple[float, float, float] = (nan, nan, nan)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def signal(self) -> RunSignal:
        """The signal after each call, from the columns that the monitor knows."""
        signal = monitor(self.kind).signal_of(self.lessons)
        return lambda calls: signal(_without(calls, self.columns))

    def save(self, path: Path) -> None:
        """Writes the monitor as JSON; unknown numbers are null."""
        document = asdict(self) | {"rest": [None if isnan(value) else value for value in self.rest]}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def plain_monitor(kind: str, threshold: float) -> RunMonitor:
    """A monitor that learns nothing from runs, such as a budget of steps.

    Raises:
        UnknownIdError: there is no such monitor.
        InputError: it learns from runs, so that it needs a file.

    >>> plain_monitor("step_budget", 20).threshold
    20
    """
    if monitor(kind).lessons_of is not None:
        raise InputError(
            f"{kind} learns from runs: comptroller fit monitors CALLS --kind {kind} --out FILE, and its file"
        )
    return RunMonitor(kind, threshold)


def read_monitor(path: Path) -> RunMonitor:
    """The monitor of a file.

    Raises:
        FactError: there is no such file, or it holds no monitor.
        UnknownIdError: its kind is unknown.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        low, middle, high = (nan if value is None else float(value) for value in document["rest"])
        threshold, lessons, about = float(document["threshold"]), dict(document["lessons"]), dict(document["about"])
        made = RunMonitor(
            str(document["kind"]), threshold, lessons, tuple(map(str, document["columns"])), (low, middle, high), about
        )
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except (UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise FactError(path.name, "file", f"not a monitor: {error!r}", "what `fit monitors --out` wrote") from error
    try:
        monitor(made.kind).signal_of(made.lessons)
    except (KeyError, TypeError, ValueError) as error:
        raise FactError(path.name, "lessons", f"not those of {made.kind}: {error!r}") from error
    return made


def train_monitor(name: str, calls: AgentTrajectories, most_lost: float, about: Mapping[str, Any]) -> RunMonitor:
    """A monitor that has learned from all runs, with the threshold that signals held out by group teach.

    Raises:
        UnsupportedError: no two runs of either outcome, or fewer groups than can be held out.
    """
    require_outcomes(calls.file, calls)
    signal = learned_signal(name, calls)
    threshold = chosen_threshold(signal, calls, most_lost)
    columns = tuple(column for column in OPTIONAL if np.isfinite(getattr(calls, column)).any())
    rest = _rest(calls, signal, threshold)
    return RunMonitor(name, threshold, monitor(name).lessons(calls), columns, rest, {**about, "most_lost": most_lost})


def judge_file(made: RunMonitor, source: str, calls: AgentTrajectories) -> MonitorFinding:
    """A monitor as its file has it on runs, none of which it learns from here."""
    require_outcomes(source, calls)
    return finding_of(made.kind, source, calls, made.signal(calls), np.full(len(calls.runs), made.threshold))


def _rest(calls: AgentTrajectories, signal: Floats, threshold: float) -> tuple[float, float, float]:
    """Dollars after a stop over those before it, of the runs that are stopped: quantile, ratio of sums, quantile."""
    outcome, whole = stops(calls, signal, np.full(len(calls.runs), threshold)), calls.total(calls.usd)
    use = outcome.ended & np.isfinite(whole) & (whole > outcome.spared_usd)
    if not use.any():
        return nan, nan, nan
    spared, spent = outcome.spared_usd[use], (whole - outcome.spared_usd)[use]
    low, high = np.quantile(spared / spent, SPREAD)
    return float(low), float(spared.sum() / spent.sum()), float(high)


def _without(calls: AgentTrajectories, known: Sequence[str]) -> AgentTrajectories:
    """The calls with unknown cells in the columns that are not known."""
    blank: dict[str, Any] = {name: np.full(len(calls.run), nan) for name in OPTIONAL if name not in known}
    return replace(calls, **blank) if blank else calls
