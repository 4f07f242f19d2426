"""Monitors of agents' runs, live: a run whose signal is above a monitor's threshold is not gone on with.

A run is a session of a client, or a strategy's run. Its calls so far are the trajectory that monitors were judged on
(`strategies.monitor_study`), and their functions are the same. A stop is a row of the books without tokens, under the
role `monitor:NAME`: what the run would have gone on to spend, as the monitor's file predicts it, is its estimate.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.costs.rating import PUSD
from comptroller.errors import InputError, UnknownIdError
from comptroller.gateway.config import MonitorConfig
from comptroller.gateway.desk import UpstreamDispatcher
from comptroller.gateway.problems import GatewayError
from comptroller.strategies.monitor_file import RunMonitor, plain_monitor, read_monitor
from comptroller.strategies.monitors import monitor
from comptroller.strategies.spelling import names
from comptroller.work.call import Call
from comptroller.work.tool_notes import MONITOR
from comptroller.work.trajectories import COUNTED, AgentRun, AgentTrajectories

Json = dict[str, Any]

SESSIONS = "sessions"
"""What a monitor watches that watches clients' sessions."""


@dataclass(frozen=True, slots=True)
class NamedMonitor:
    """A monitor of a gateway: its name, its threshold, whom it watches."""

    name: str
    rule: RunMonitor
    config: MonitorConfig


@dataclass(frozen=True, slots=True)
class RunStop:
    """A run that a monitor stopped. monitor: its name.  signal: after the last call.  calls: made until then.

    spent_usd: by them.  spared_usd: dollars that the run would have gone on to spend, low, expected, high; NaN where
    the monitor's file does not tell.
    """

    monitor: str
    kind: str
    signal: float
    threshold: float
    calls: int
    spent_usd: float
    spared_usd: tuple[float, float, float]

    @property
    def why(self) -> str:
        """The reason in words."""
        return f"{self.kind} {self.signal:.4g} > {self.threshold:.4g} after {self.calls} calls"

    @property
    def document(self) -> Json:
        """As clients are told it."""
        low, expected, high = (None if isnan(value) else value for value in self.spared_usd)
        return {
            "monitor": self.monitor, "why": self.why, "calls": self.calls, "spent_usd": self.spent_usd,
            "spared_usd": {"value": expected, "low": low, "high": high, "source": "predicted"},
        }  # fmt: skip

    @property
    def problem(self) -> GatewayError:
        """The refusal of what the run asks for next; a client that asks again gets the same."""
        spared = self.spared_usd[1]
        saved = "" if isnan(spared) else f", and would have gone on to spend some ${spared:.6g}"
        return GatewayError(
            403, f"monitor {self.monitor} stopped this session: {self.why}, having spent ${self.spent_usd:.6g}{saved}; "
            "begin another session", "run_stopped", "comptroller.session",
        )  # fmt: skip


class RunRecord:
    """The calls of one run so far. stop: what ended it.  last: its last call."""

    def __init__(self) -> None:
        self._cells = array("d")
        self.last: Call | None = None
        self.stop: RunStop | None = None

    def __len__(self) -> int:
        return len(self._cells) // len(COUNTED)

    def add(self, call: Call) -> None:
        """A call that ended; one of unknown tokens, or without any, is none."""
        self.last = call
        if call.input_tokens < 1 or call.output_tokens < 1:
            return
        known = {name: float(getattr(call, name)) for name in COUNTED if hasattr(call, name)}
        known["llm_s"] = call.last_s - call.started_s
        self._cells.extend(known.get(name, nan) for name in COUNTED)

    def went_on(self, at_s: float, observation: float = nan, tool_s: float = nan) -> None:
        """The run asks for its next call. observation: characters that tools gave back since.  tool_s: it took them."""
        if not len(self) or self.last is None:
            return
        told = {"to_next_s": at_s - self.last.started_s, "observation": observation, "tool_s": tool_s}
        for name, value in told.items():
            self._cells[COUNTED.index(name) - len(COUNTED)] = value

    @property
    def trajectories(self) -> AgentTrajectories:
        """The calls as monitors read them: one run, of which nobody knows how it ends."""
        table = np.array(self._cells).reshape(-1, len(COUNTED))
        columns = {name: table[:, place] for place, name in enumerate(COUNTED)}
        run = AgentRun("live", "", "", "", nan)
        place = np.arange(len(table))
        return AgentTrajectories(
            (run,), np.zeros(len(table), np.int64), line=place, file="live", tools=(), notes=(), **columns
        )


class RunMonitors:
    """The monitors of a gateway."""

    def __init__(self, config: Mapping[str, MonitorConfig]) -> None:
        self._monitors = [NamedMonitor(name, _rule_of(name, one), one) for name, one in config.items()]

    def watching(self, what: str, key: str) -> list[NamedMonitor]:
        """Those that watch runs of a key: `sessions`, or a strategy by its name."""
        return [
            one
            for one in self._monitors
            if what in one.config.watches and (not one.config.keys or key in one.config.keys)
        ]

    @staticmethod
    def verdict(record: RunRecord, watching: Sequence[NamedMonitor]) -> RunStop | None:
        """The first monitor's stop whose signal after the last call is above its threshold; None where none is."""
        if not watching or not len(record):
            return None
        calls = record.trajectories
        spent = float(np.nansum(calls.usd))
        for one in watching:
            signal = float(one.rule.signal(calls)[-1])
            if signal > one.rule.threshold:
                low, middle, high = (spent * share for share in one.rule.rest)
                about = (one.name, one.rule.kind, signal, one.rule.threshold)
                record.stop = RunStop(*about, len(record), spent, (low, middle, high))
                return record.stop
        return None


def book_stop(desk: UpstreamDispatcher, stop: RunStop, last: Call, at_s: float) -> None:
    """The row of a stop, after the run's last call; its estimate is what the stop spares."""
    spared = stop.spared_usd[1]
    row = Call(
        request=last.request, parent=last.call, role=MONITOR + stop.monitor, strategy=last.strategy, key=last.key,
        project=last.project, question=last.question, session=last.session, finish="stop",
    )  # fmt: skip
    desk.waited(row, (last.last_s, at_s), stop.why, None if isnan(spared) else round(spared * PUSD))


def _rule_of(name: str, config: MonitorConfig) -> RunMonitor:
    """What a monitor of the configuration is.

    Raises:
        InputError: neither or both of `file` and `kind`, no threshold, or what it watches tells it nothing.
        UnknownIdError: it watches a strategy that is none.
        FactError: the file holds no monitor.
    """
    where = f"monitors.{name}"
    if bool(config.file) == bool(config.kind):
        raise InputError(f"{where}: give `file`, of `comptroller fit monitors --out`, or `kind` and `threshold`")
    if config.kind and config.threshold is None:
        raise InputError(
            f"{where}.threshold: missing; the run is stopped after the first call whose signal is above it"
        )
    if config.file:
        rule = read_monitor(Path(config.file).expanduser())
    else:
        rule = plain_monitor(config.kind, config.threshold or 0.0)
    for what in config.watches:
        if what != SESSIONS and what not in names():
            raise UnknownIdError("what a monitor watches", what, (SESSIONS, *names()))
        if what != SESSIONS and (lacks := monitor(rule.kind).reads):
            raise InputError(f"{where}.watches: {rule.kind} reads {', '.join(lacks)}, which no strategy's run tells")
    return rule if config.threshold is None else replace(rule, threshold=config.threshold)
