"""What a calibration predicts of a closed loop beside what was measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from comptroller.costs.closed_loop import replica_loop
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.measure.observations import RunObservation


@dataclass(frozen=True, slots=True)
class LoadComparison:
    """One load: measured, and predicted before and after calibration; (tpot_s, ttft_s) each."""

    clients: float
    input_tokens: float
    output_tokens: float
    measured: tuple[float, float]
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def errors(self) -> tuple[float, float, float, float]:
        """Predicted over measured less 1: time per token before and after, first token before and after."""
        pairs = ((self.before[0], self.measured[0]), (self.after[0], self.measured[0]))
        firsts = ((self.before[1], self.measured[1]), (self.after[1], self.measured[1]))
        tpot_before, tpot_after, ttft_before, ttft_after = (ours / theirs - 1 for ours, theirs in (*pairs, *firsts))
        return tpot_before, tpot_after, ttft_before, ttft_after


def compare(
    runs: Sequence[RunObservation], before: TimingCalibration, after: TimingCalibration
) -> tuple[LoadComparison, ...]:
    """Predictions of two calibrations beside runs, as plans make them."""
    return tuple(
        LoadComparison(
            run.concurrency,
            run.input_tokens,
            run.output_tokens,
            (run.tpot_s, run.ttft_s),
            _prediction(run, before),
            _prediction(run, after),
        )
        for run in runs
    )


def _prediction(run: RunObservation, calibration: TimingCalibration) -> tuple[float, float]:
    loop = replica_loop(run.replica, calibration, (run.input_tokens, run.output_tokens), [run.concurrency])
    return float(loop.tpot_s[0]), float(loop.ttft_s[0])


def median_errors(loads: Sequence[LoadComparison]) -> tuple[float, float, float, float]:
    """Median absolute errors over loads, in the order of `LoadComparison.errors`."""
    first, second, third, fourth = (median(map(abs, column)) for column in zip(*(x.errors for x in loads), strict=True))
    return first, second, third, fourth
