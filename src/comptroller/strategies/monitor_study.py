"""What a monitor of agents' runs would have saved: thresholds chosen on some repositories, judged on the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.monitors import monitor, monitors
from comptroller.work.trajectories import AgentTrajectories

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_FOLDS = 8
"""Parts that the groups are dealt into, each judged by what the others taught; fewer where there are fewer groups."""

FEWEST_GROUPS = 3
"""Groups without which nothing is held out by group: of two, one would be chosen on a single other."""

MOST_LOST = 0.05
"""Share of successful runs that a monitor may stop, where nothing else is asked for (AgentStop, arXiv 2605.15206)."""

EITHER = 2
"""Runs of each outcome without which a source is not judged."""


@dataclass(frozen=True, slots=True)
class StopOutcome:
    """What came of stopping runs: which were, and the dollars of each that were not spent, NaN where unknown."""

    ended: npt.NDArray[np.bool_]
    spared_usd: Floats


@dataclass(frozen=True, slots=True)
class MonitorFinding:
    """A monitor on the runs of one source, every run judged by a threshold that its group had no part in.

    lost: successful runs that were stopped.  cut: share of the dollars of failing runs that was not spent.  saved: the
    same of all runs.  usd_per_solved, usd_per_solved_after: without and with the monitor.  hindsight: the most that
    any single threshold would have cut on these runs within the limit.  threshold: chosen on all runs.
    """

    monitor: str
    source: str
    runs: int
    groups: int
    successes: int
    lost: int
    cut: float
    saved: float
    usd_per_solved: float
    usd_per_solved_after: float
    hindsight: float
    threshold: float


def peaks(calls: AgentTrajectories, signal: Floats) -> Floats:
    """The greatest signal of each run before its last call; stopping after that changes nothing."""
    within = np.where(calls.last, -np.inf, signal)
    return np.asarray(np.maximum.reduceat(within, calls.starts[:-1]))


def threshold_within(peak: Floats, success: npt.NDArray[np.bool_], most_lost: float) -> float:
    """The least threshold above which at most a share of the successful runs ever comes.

    Of n successes floor(share n) may be lost: the threshold is the peak of the next one.

    >>> threshold_within(np.array([0.1, 0.5, 0.9, 0.7]), np.array([True, True, True, False]), 0.34)
    0.5
    """
    ranked = np.sort(peak[success])[::-1]
    return float(ranked[int(np.floor(most_lost * len(ranked) + 1e-9))])


def stops(calls: AgentTrajectories, signal: Floats, threshold: Floats) -> StopOutcome:
    """Every run ended after the first call above its threshold, (runs,)."""
    above = (signal > threshold[calls.run]) & ~calls.last
    ended = np.maximum.reduceat(above, calls.starts[:-1])
    place = np.arange(len(calls.run))
    first = np.minimum.reduceat(np.where(above, place, len(place)), calls.starts[:-1])
    after = place > first[calls.run]
    spared = np.add.reduceat(np.where(after, calls.usd, 0.0), calls.starts[:-1])
    return StopOutcome(np.asarray(ended, bool), np.asarray(spared))


def folds_of(calls: AgentTrajectories, most: int = MOST_FOLDS) -> Ints:
    """The fold of each run: whole groups, the largest first, each to the fold with the fewest runs so far.

    Raises:
        UnsupportedError: there are fewer than three groups.
    """
    names, place, sizes = np.unique([run.group for run in calls.runs], return_inverse=True, return_counts=True)
    if len(names) < FEWEST_GROUPS:
        raise UnsupportedError(
            f"{calls.file}: runs of {len(names)} group{'s' * (len(names) != 1)} ({', '.join(names)}); what is held out "
            f"by group needs {FEWEST_GROUPS} (column `group`, else what the instance's name begins with)"
        )
    load, fold = np.zeros(min(most, len(names)), np.int64), np.zeros(len(names), np.int64)
    for group in np.lexsort((names, -sizes)):
        fold[group] = int(load.argmin())
        load[fold[group]] += sizes[group]
    return fold[place]


def held_out_signal(name: str, calls: AgentTrajectories, most: int = MOST_FOLDS) -> Floats:
    """The signal after each call, from a monitor fitted without the run's group."""
    fold, signal = folds_of(calls, most), np.zeros(len(calls.run))
    for number in np.unique(fold):
        inside = fold == number
        signal[inside[calls.run]] = monitor(name).fit(calls.take(~inside))(calls.take(inside))
    return signal


def learned_signal(name: str, calls: AgentTrajectories) -> Floats:
    """Signals of a monitor on the runs that teach it: held out among themselves, where there are groups enough."""
    groups = {run.group for run in calls.runs}
    return held_out_signal(name, calls) if len(groups) >= FEWEST_GROUPS else monitor(name).fit(calls)(calls)


def chosen_threshold(signal: Floats, calls: AgentTrajectories, most_lost: float) -> float:
    """The threshold that runs teach by their signals."""
    return threshold_within(peaks(calls, signal), calls.score > 0, most_lost)


def _threshold(name: str, calls: AgentTrajectories, most_lost: float) -> float:
    return chosen_threshold(learned_signal(name, calls), calls, most_lost)


def require_outcomes(source: str, calls: AgentTrajectories) -> None:
    """Raises UnsupportedError where there are no two runs of either outcome."""
    success = calls.score > 0
    if min(success.sum(), (~success).sum()) < EITHER:
        raise UnsupportedError(
            f"{source}: {success.sum()} solved of {len(success)} runs; needs {EITHER} of either kind"
        )


def judge(name: str, source: str, calls: AgentTrajectories, most_lost: float = MOST_LOST) -> MonitorFinding:
    """A monitor on the runs of a source, all of which were judged.

    Raises:
        UnsupportedError: too few groups, or no two runs of either outcome.
    """
    require_outcomes(source, calls)
    fold, signal, threshold = folds_of(calls), np.zeros(len(calls.run)), np.zeros(len(calls.runs))
    for number in np.unique(fold):
        inside = fold == number
        training = calls.take(~inside)
        if not 0 < (training.score > 0).sum() < len(training.runs):
            raise UnsupportedError(f"{source}: without one part of its groups all runs end alike")
        signal[inside[calls.run]] = monitor(name).fit(training)(calls.take(inside))
        threshold[inside] = _threshold(name, training, most_lost)
    found = finding_of(name, source, calls, signal, threshold)
    return replace(found, hindsight=_hindsight(calls, signal, most_lost), threshold=_threshold(name, calls, most_lost))


def finding_of(name: str, source: str, calls: AgentTrajectories, signal: Floats, threshold: Floats) -> MonitorFinding:
    """What stopping runs by their signals would have saved. threshold: of each run; the first is told. What the best
    threshold would have cut in hindsight is unknown (NaN)."""
    outcome, success = stops(calls, signal, threshold), calls.score > 0
    whole = calls.total(calls.usd)
    priced = np.isfinite(whole)
    fails, kept = ~success & priced, success & ~outcome.ended
    spared = np.where(priced, outcome.spared_usd, 0.0)
    spent = float(whole[priced].sum())
    share = float(priced.mean())
    return MonitorFinding(
        name, source, len(calls.runs), len({run.group for run in calls.runs}), int(success.sum()),
        int((success & outcome.ended).sum()),
        float(spared[fails].sum() / whole[fails].sum()),
        float(spared.sum() / spent),
        spent / share / max(int(success.sum()), 1),
        (spent - float(spared.sum())) / share / max(int(kept.sum()), 1),
        nan,
        float(threshold[0]),
    )  # fmt: skip


def _hindsight(calls: AgentTrajectories, signal: Floats, most_lost: float) -> float:
    success, whole = calls.score > 0, calls.total(calls.usd)
    best = threshold_within(peaks(calls, signal), success, most_lost)
    spared = stops(calls, signal, np.full(len(calls.runs), best)).spared_usd
    fails = ~success & np.isfinite(whole)
    return float(spared[fails].sum() / whole[fails].sum())


def sources_of(calls: AgentTrajectories) -> Mapping[str, AgentTrajectories]:
    """The runs of each source that were judged."""
    found: dict[str, AgentTrajectories] = {}
    known = np.isfinite(calls.score)
    names = [run.source or calls.file for run in calls.runs]
    for source in dict.fromkeys(names):
        inside = np.array([name == source for name in names]) & known
        if inside.any():
            found[source] = calls.take(inside)
    if not found:
        raise InputError(
            f"{calls.file}: no run was judged (column `resolved`), so nothing says which should be stopped"
        )
    return found


def findings(
    calls: AgentTrajectories, only: tuple[str, ...] = (), most_lost: float = MOST_LOST
) -> Iterator[MonitorFinding | str]:
    """Every monitor, or those named, on every source; of a source that cannot be judged, why."""
    for source, runs in sources_of(calls).items():
        for name in only or monitors():
            try:
                yield judge(name, source, runs, most_lost)
            except UnsupportedError as error:
                yield str(error)
                break
