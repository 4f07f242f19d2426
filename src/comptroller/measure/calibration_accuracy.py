"""How far predictions are from measured runs, before a calibration and after it, on runs that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.prediction import ClosedLoopLoad, ReplicaPredictor
from comptroller.facts.calibration_document import CalibrationDocument
from comptroller.facts.serving import ResidualAnchor, ServingFacts, anchors, serving_facts
from comptroller.measure.calibrate import fit_bank, start
from comptroller.measure.features import FeatureBank

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

FOLDS = 5
"""Parts of the runs, each predicted from the others. Twice as many leave more to learn from and take twice the time."""

REPEATS = 3
"""Draws of a subset behind a point of the learning curve. Twice as many take twice the time."""

LEAST_ROWS = 4
"""Runs below which none can be held out: with fewer a fold learns from two or less."""

STILL_FALLING = 0.1
"""Share by which the error must have fallen over the last doubling of rows for more rows to be worth their while; at
twice this a curve that falls by a sixth is called flat."""

LEAST_FALL = 0.002
"""Beside that, the error must have fallen by so much: repeats of a run differ by a hundredth, so a median of a few
errors wanders by about this. At twice this a fall from 1.4 % to 1 % would be called flat."""

QUANTITIES = ("TPOT", "TTFT", "E2E and throughput")


@dataclass(frozen=True, slots=True)
class LatencyErrors:
    """Median absolute errors of a prediction, as shares, by quantity; NaN where nothing was measured."""

    tpot: float
    ttft: float
    e2e: float

    @classmethod
    def of(cls, predicted: Array, runs: FeatureBank, index: Index) -> LatencyErrors:
        """predicted: seconds, (2, points): TPOT and TTFT of the runs at `index`."""
        features = runs.features
        seen = np.stack([features.tpot_s[index], features.ttft_s[index]])
        more = np.maximum(features.output_tokens[index] - 1, 0)
        pairs = [*zip(predicted, seen, strict=True), (predicted[1] + more * predicted[0], seen[1] + more * seen[0])]
        return cls(*(_median(np.abs(ours / theirs - 1)) for ours, theirs in pairs))

    @property
    def all(self) -> tuple[float, float, float]:
        """In the order of `QUANTITIES`; a closed loop's throughput is off by as much as its end-to-end time."""
        return self.tpot, self.ttft, self.e2e


@dataclass(frozen=True, slots=True)
class PredictedRun:
    """Seconds of TPOT and TTFT of one run: measured, predicted by the shipped calibration, and after the fit from the
    other runs (None with too few). NaN where nothing was measured."""

    measured_s: tuple[float, ...]
    before_s: tuple[float, ...]
    after_s: tuple[float, ...] | None

    @classmethod
    def all_of(cls, runs: FeatureBank, before: Array, after: Array | None) -> tuple[PredictedRun, ...]:
        """Of arrays of shape (2, runs)."""
        seen = np.stack([runs.features.tpot_s, runs.features.ttft_s]).T.tolist()
        fitted = [None] * len(seen) if after is None else [tuple(pair) for pair in after.T.tolist()]
        rows = zip(seen, before.T.tolist(), fitted, strict=True)
        return tuple(cls(tuple(found), tuple(shipped), own) for found, shipped, own in rows)


@dataclass(frozen=True, slots=True)
class CalibrationAccuracy:
    """Errors on runs held out.

    before: of the shipped calibration, over all runs.  after: each fold predicted from the others; None with too few
    rows.  curve: by number of rows learnt from.  runs: what each run was predicted and seen to take.
    """

    rows: int
    before: LatencyErrors
    after: LatencyErrors | None
    curve: tuple[tuple[int, LatencyErrors], ...]
    runs: tuple[PredictedRun, ...] = ()

    def advice(self) -> str:
        """Whether more rows of the same kind would help, from the last doubling of the learning curve."""
        if self.after is None or len(self.curve) < 2:
            runs = f"{self.rows} run{'s' * (self.rows != 1)}"
            return f"nothing can be held out of {runs}; {LEAST_ROWS} or more tell the error"
        (few, earlier), (many, latest) = self.curve[-2:]
        falls = [
            f"{name} from {_percent(old)} to {_percent(new)}"
            for name, old, new in zip(QUANTITIES, earlier.all, latest.all, strict=True)
            if new < old * (1 - STILL_FALLING) - LEAST_FALL
        ]
        if falls:
            return f"from {few} to {many} rows the error fell: {', '.join(falls)}; as many rows again would help"
        return f"from {few} to {many} rows the error no longer fell: more rows at these loads would not help"


@dataclass(frozen=True, slots=True)
class CalibrationPrior:
    """What is believed before a fit: constants, and anchors of the residual."""

    facts: ServingFacts
    anchors: Sequence[ResidualAnchor]

    def near(self, runs: FeatureBank) -> CalibrationPrior:
        """With the anchors that share engine and architecture with a run; others do not touch its prediction."""
        blocks = {(identity.engine, identity.architecture) for identity in runs.identities}
        kept = [anchor for anchor in self.anchors if (anchor.engine, anchor.architecture) in blocks]
        return CalibrationPrior(self.facts, kept)


def accuracy(runs: FeatureBank, base: CalibrationDocument | None = None) -> CalibrationAccuracy:
    """Errors before and after, and the learning curve; the same runs give the same figures.

    base: the own calibration that is refitted, in place of the shipped one; "before" is the shipped one in any case.
    """
    count = len(runs.observations)
    everything = np.arange(count)
    shipped = shipped_prediction(runs)
    before = LatencyErrors.of(shipped, runs, everything)
    if count < LEAST_ROWS:
        return CalibrationAccuracy(count, before, None, (), PredictedRun.all_of(runs, shipped, None))
    folds = [everything[everything % min(FOLDS, count) == part] for part in range(min(FOLDS, count))]
    prior = CalibrationPrior(*((base.facts, base.anchors) if base else (serving_facts(), anchors()))).near(runs)
    after = _held_out(runs, folds, prior, count, 0)
    most = count - max(len(fold) for fold in folds)
    learnt = LatencyErrors.of(after, runs, everything)
    curve = [(size, _at_size(runs, folds, prior, size)) for size in _halvings(most)]
    told = PredictedRun.all_of(runs, shipped, after)
    return CalibrationAccuracy(count, before, learnt, (*curve, (most, learnt)), told)


def _halvings(most: int) -> list[int]:
    """Half of a number, half of that, and so on, from the least.

    >>> _halvings(9)
    [1, 2, 4]
    """
    sizes = []
    while (most := most // 2) >= 1:
        sizes.append(most)
    return sizes[::-1]


def shipped_prediction(runs: FeatureBank) -> Array:
    """Seconds of TPOT and TTFT that the shipped calibration gives every run, (2, runs)."""
    predictor, found = ReplicaPredictor.shipped(), []
    for run in runs.observations:
        inputs, outputs, clients = (np.array([x]) for x in (run.input_tokens, run.output_tokens, run.concurrency))
        load = ClosedLoopLoad(inputs, outputs, clients)
        predicted = predictor.predict(run.replica, load)
        found.append((float(predicted.tpot_s.value[0]), float(predicted.ttft_s.value[0])))
    return np.array(found).T


def _at_size(runs: FeatureBank, folds: Sequence[Index], prior: CalibrationPrior, size: int) -> LatencyErrors:
    draws = [_held_out(runs, folds, prior, size, seed) for seed in range(REPEATS)]
    index = np.tile(np.arange(len(runs.observations)), REPEATS)
    return LatencyErrors.of(np.concatenate(draws, axis=1), runs, index)


def _held_out(runs: FeatureBank, folds: Sequence[Index], prior: CalibrationPrior, size: int, seed: int) -> Array:
    """Every fold predicted from at most `size` runs of the others, (2, runs)."""
    believed, rng = prior.facts, np.random.default_rng(seed)
    predicted = np.empty((2, len(runs.observations)))
    for fold in folds:
        others = np.setdiff1d(np.arange(len(runs.observations)), fold)
        known = np.sort(rng.permutation(others)[:size])
        train = runs.take(known)
        found = fit_bank(train, start(train, believed), prior.anchors, believed).predict(runs.take(fold))
        predicted[:, fold] = np.exp(np.stack([found.tpot[0], found.ttft[0]]))
    return predicted


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
