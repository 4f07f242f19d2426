"""AgentStop: the chance that the run fails, learned from the calls so far of runs whose end is known.

After arXiv 2605.15206, whose classifier sees token probabilities of each step, tokens per step and the overlap of
steps. Records of calls have no probabilities and no texts: here it sees lengths, times, dollars and repetition, in a
logistic regression, which 300 runs can hold. Every run weighs the same, however many calls it has.
"""

from __future__ import annotations

import numpy as np

from comptroller.strategies.monitors import Floats, MonitorLessons, RunSignal
from comptroller.strategies.monitors._windows import calls_since, mean_of_last, total_so_far
from comptroller.strategies.monitors.repetition import WINDOW, repeated_share
from comptroller.strategies.success_prediction import SuccessPredictor
from comptroller.strategies.training import TrainingOutcomes, fit
from comptroller.work.trajectories import AgentTrajectories

EARLIEST = 10
"""Calls that a run has before it is judged: before, runs differ in how they begin and not in how they go. At 5 as many
dollars are cut within a point (measured on 312 runs)."""

LONG_TOKENS, SHORT_TOKENS, SHORT_CHARACTERS, LONG_CHARACTERS = 400, 60, 30, 8000
"""Lengths by which replies and results are called long or short: about the outer fifths of recorded ones."""

SIGNALS = (
    "log_calls", "log_usd", "log_prompt", "mean_log_reply", "recent_log_reply", "mean_log_result", "recent_log_result",
    "empty_results", "recent_empty_results", "long_results", "long_replies", "short_replies", "mean_log_s",
    "recent_log_s", "repeated", "since_long",
)  # fmt: skip
PART = ("signals", "centre", "scale", "weights", "intercept")
"""What is kept of the regression."""


def run_signals(calls: AgentTrajectories) -> Floats:
    """What is known after each call, (calls, signals); unknown dollars and seconds count as 0."""
    so_far = (calls.step + 1).astype(np.float64)
    reply, result = np.log1p(calls.output_tokens), np.log1p(np.nan_to_num(calls.observation))
    seconds = np.log1p(np.nan_to_num(calls.to_next_s))
    empty = (np.nan_to_num(calls.observation) < SHORT_CHARACTERS).astype(float)
    wide = (np.nan_to_num(calls.observation) > LONG_CHARACTERS).astype(float)
    long, short = calls.output_tokens > LONG_TOKENS, calls.output_tokens < SHORT_TOKENS

    def mean(column: Floats) -> Floats:
        return total_so_far(calls, column) / so_far

    columns = (
        np.log(so_far), np.log1p(1e3 * total_so_far(calls, calls.usd)), np.log(calls.input_tokens),
        mean(reply), mean_of_last(calls, reply, WINDOW), mean(result), mean_of_last(calls, result, WINDOW),
        mean(empty), mean_of_last(calls, empty, WINDOW), mean(wide),
        mean(long.astype(float)), mean(short.astype(float)), mean(seconds),
        mean_of_last(calls, seconds, WINDOW), repeated_share(calls), np.log1p(calls_since(calls, long)),
    )  # fmt: skip
    return np.stack(columns, axis=1)


def lessons_of(training: AgentTrajectories) -> MonitorLessons:
    """The weights of a regression on the training runs that were judged, by signal.

    Raises:
        InputError: all of them ended alike.
    """
    judged = training.take(np.isfinite(training.score))
    use = (judged.step + 1 >= EARLIEST) | judged.last
    weight = 1.0 / np.bincount(judged.run[use], minlength=len(judged.runs))[judged.run[use]]
    fails = (1.0 - judged.score)[judged.run[use]]
    part = fit(TrainingOutcomes(SIGNALS, run_signals(judged)[use], fails * weight, weight, judged.run[use]))
    return {name: getattr(part, name) for name in PART}


def signal_of(lessons: MonitorLessons) -> RunSignal:
    """The chance that a run fails; 0 before it is judged."""
    if list(lessons["signals"]) != list(SIGNALS):
        raise ValueError(f"signals are {list(lessons['signals'])}")
    centre, scale, weights = (tuple(map(float, lessons[name])) for name in PART[1:-1])
    part = SuccessPredictor(SIGNALS, centre, scale, weights, float(lessons["intercept"]))

    def signal(calls: AgentTrajectories) -> Floats:
        return np.where(calls.step + 1 >= EARLIEST, part.chances(run_signals(calls)), 0.0)

    return signal
