"""Folds of the accuracy benchmark, the errors it reports, and the predictors it compares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.fitted_calibration import KernelPriors
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.measure.calibrate import OVERLOAD_S, CalibrationFit, fit_bank, start
from comptroller.measure.features import FeatureBank
from comptroller_lab.baseline import BaselineCalibration, RooflineCalibration
from comptroller_lab.intervals import with_intervals

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

SPLIT_DATE = date(2026, 3, 1)


@dataclass(frozen=True)
class Fold:
    """Rows to train on and rows to test on; no group of the test stands in the training rows."""

    name: str
    train: Index
    test: Index


def labels(runs: FeatureBank, of: Callable[[int], str]) -> npt.NDArray[np.str_]:
    return np.array([of(i) for i in range(len(runs.observations))])


def by_label(runs: FeatureBank, label: npt.NDArray[np.str_], groups: Sequence[str]) -> Iterator[Fold]:
    """One fold for every value of a label."""
    group = np.array(groups)
    for value in np.unique(label):
        test = np.flatnonzero(label == value)
        train = np.flatnonzero((label != value) & ~np.isin(group, group[test]))
        yield Fold(str(value), train, test)


def by_group(runs: FeatureBank, groups: Sequence[str], folds: int = 5) -> Iterator[Fold]:
    """Folds of whole groups, in the order of a seeded shuffle."""
    names = np.array(sorted(set(groups)))
    np.random.default_rng(0).shuffle(names)
    place = {name: str(i % folds) for i, name in enumerate(names)}
    yield from by_label(runs, np.array([place[g] for g in groups]), groups)


def by_date(runs: FeatureBank, dated: bool) -> Iterator[Fold]:
    """Train on dated rows before March 2026; test on those of March, or on undated ones."""
    when = [o.measured for o in runs.observations]
    group = np.array([o.group for o in runs.observations])
    early = np.array([d is not None and d < SPLIT_DATE for d in when])
    late = np.array([d is not None and d >= SPLIT_DATE for d in when])
    test = np.flatnonzero(late if dated else np.array([d is None for d in when]))
    yield Fold("date", np.flatnonzero(early & ~np.isin(group, group[test])), test)


def architecture(runs: FeatureBank) -> npt.NDArray[np.str_]:
    """Models with the same weights' shape (DeepSeek-V3 and R1, and every format of one) are one model."""
    return labels(runs, lambda i: runs.identities[i].architecture)


def family(runs: FeatureBank) -> npt.NDArray[np.str_]:
    return labels(runs, lambda i: runs.observations[i].replica.model.family)


def system(runs: FeatureBank) -> npt.NDArray[np.str_]:
    return labels(runs, lambda i: runs.identities[i].accelerator)


@dataclass(frozen=True)
class Errors:
    """Errors of predictions in per cent, and of their intervals."""

    rows: int
    median: float
    mean: float
    bias: float
    within_10: float
    within_20: float
    coverage: float = float("nan")
    width: float = float("nan")

    @classmethod
    def of(cls, log_predicted: Array, measured: Array) -> Errors:
        """From logs, (rows,) or (3, rows) with the interval's edges; rows without a figure are left out."""
        band = log_predicted if log_predicted.ndim == 2 else np.stack([log_predicted] * 3)
        known = np.isfinite(measured) & np.isfinite(band[0])
        value, low, high = band[:, known]
        truth = np.log(measured[known])
        error = np.abs(np.expm1(value - truth))
        inside = (truth >= low) & (truth <= high)
        wide = log_predicted.ndim == 2
        return cls(
            int(known.sum()),
            100 * float(np.median(error)),
            100 * float(error.mean()),
            100 * float(np.median(value - truth)),
            100 * float((error <= 0.1).mean()),
            100 * float((error <= 0.2).mean()),
            100 * float(inside.mean()) if wide else float("nan"),
            float(np.median(np.exp(high - low))) if wide else float("nan"),
        )


@dataclass(frozen=True)
class Measured:
    """What predictions are held against: TTFT only up to 20 s, as the targets are stated."""

    tpot_s: Array
    ttft_s: Array

    @classmethod
    def of(cls, runs: FeatureBank) -> Measured:
        first = runs.features.ttft_s
        return cls(runs.features.tpot_s, np.where(first <= OVERLOAD_S, first, np.nan))


def unfitted(runs: FeatureBank, calibration: TimingCalibration) -> tuple[Array, Array]:
    """Logs of TPOT and TTFT under a calibration without a fit."""
    found = []
    for o in runs.observations:
        requests = UniformRequests(np.array([o.input_tokens]), np.array([o.output_tokens]))
        loop = closed_loop(replica_timer(o.replica, calibration), memory(o.replica), requests, o.concurrency)
        found.append((np.log(loop.tpot_s[0]), np.log(loop.ttft_s[0])))
    tpot, ttft = np.array(found).T
    return tpot, ttft


UNFITTED: dict[str, Callable[[], TimingCalibration]] = {
    "pure roofline": RooflineCalibration,
    "four constants": BaselineCalibration.shipped,
    "kernel priors": KernelPriors,
}


def nearest(runs: FeatureBank, fold: Fold, roofline: Array, measured: Array, neighbours: int = 3) -> Array:
    """The ratio to the roofline of the nearest measured configurations (median of three).

    Distance: octaves of clients, lengths, devices and active parameters, one step for another layout kind, two for
    another engine, accelerator or number format.
    """
    known = fold.train[np.isfinite(measured[fold.train])]
    active = np.log2([o.replica.model.active_params for o in runs.observations])[:, None]
    place = np.hstack([runs.features.place, active])
    kinds = np.array([[i.engine, i.accelerator, i.formats] for i in runs.identities])
    ratio = np.log(measured[known]) - roofline[known]
    found = np.empty(len(fold.test))
    for n, i in enumerate(fold.test):
        distance = ((place[known] - place[i]) ** 2).sum(axis=1) + 4.0 * (kinds[known] != kinds[i]).sum(axis=1)
        found[n] = roofline[i] + np.median(ratio[np.argsort(distance, kind="stable")[:neighbours]])
    return found


def fitted_on(runs: FeatureBank, train: Index) -> CalibrationFit:
    """A calibration fitted to some rows, from the first priors: nothing of the shipped fit enters."""
    part = runs.take(train)
    return fit_bank(part, start(part, None))


@dataclass
class Held:
    """Held-out predictions of a split: logs by predictor, for TPOT and TTFT."""

    tpot: dict[str, Array]
    ttft: dict[str, Array]
    novelty: npt.NDArray[np.str_]
    tested: Index


OURS, PHYSICS, NEIGHBOUR = "ours", "ours, physics alone", "nearest neighbour"


def held_out(runs: FeatureBank, folds: Iterator[Fold], ideal: dict[str, tuple[Array, Array]]) -> Held:
    """Predict every test row of a split from its training rows."""
    count, truth = len(runs.observations), Measured.of(runs)
    names = (*ideal, NEIGHBOUR, PHYSICS)
    tpot = {name: np.full(count, np.nan) for name in names} | {OURS: np.full((3, count), np.nan)}
    ttft = {name: np.full(count, np.nan) for name in names} | {OURS: np.full((3, count), np.nan)}
    novelty, tested = np.full(count, "", dtype="<U7"), []
    roof = ideal["pure roofline"]
    for fold in folds:
        tested.append(fold.test)
        for name, (each, first) in ideal.items():
            tpot[name][fold.test], ttft[name][fold.test] = each[fold.test], first[fold.test]
        tpot[NEIGHBOUR][fold.test] = nearest(runs, fold, roof[0], truth.tpot_s)
        ttft[NEIGHBOUR][fold.test] = nearest(runs, fold, roof[1], truth.ttft_s)
        fitted = with_intervals(runs.take(fold.train), fitted_on(runs, fold.train))
        part = runs.take(fold.test)
        tpot[PHYSICS][fold.test], ttft[PHYSICS][fold.test] = fitted.physics(part)
        predicted = fitted.predict(part)
        tpot[OURS][:, fold.test], ttft[OURS][:, fold.test] = predicted.tpot, predicted.ttft
        novelty[fold.test] = predicted.novelty
    return Held(tpot, ttft, novelty, np.concatenate(tested))
