"""Fits power shares and serving nuisances, and predicts energy rows of model families left out.

Both fits are robust least squares of log ratios with log-normal or normal priors; rows of one replica weigh
as one experiment's. What is reported held out was never seen: nuisances, shares and intervals of a fold come
from its training rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from comptroller.costs.power_demand import DeviceActivity, limit_s
from comptroller.facts.power import PowerShare, PowerShareTable
from comptroller_lab.harness import NUISANCES, BenchPrediction, EnergyBench, NuisanceValues
from comptroller_lab.splitwise_power import PowerSpan

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]

LATENCY_SPREAD = 0.15
POWER_SPREAD = 0.10
"""Log errors of this size weigh as much as a prior's standard deviation; larger ones count linearly."""

DECODE_WEIGHT = 0.5
"""Weight of the median inter-token time beside the mean time per token."""

CROWD_WEIGHT = 2.0
"""All rows of a replica together weigh as much as the square of this many independent ones."""

STEPS = 25

FAMILY_SPREAD = 0.1
"""How far the logarithm of a device family's factor may stray (one standard deviation)."""

COVERAGE = 0.8
POOLING_ROWS = 30.0
"""Rows of a device at which its own errors count as much as those of all devices for its intervals."""

TRUTHS = {"known_w": "device_w", "predicted_w": "device_w", "token_s": "token_s", "token_j": "token_j"}
"""What is predicted -> what was measured."""

UNSEEN_HALF = 1.2816 * FAMILY_SPREAD
"""Half an 80 % interval of the factor of a device family that was not measured."""

SPAN_WEIGHT = 0.5
"""Weight of a single-batch power reading beside a steady-state row."""

PRIOR = {
    "floor": (0.24, 0.05),
    "active": (0.15, 0.07),
    "communication": (0.15, 0.10),
    "sequence": (0.25, 0.15),
    "memory": (0.50, 0.20),
    "compute": (0.80, 0.30),
}
"""Centre and standard deviation of each share. Floor, active, memory and compute from measured B200 kernels (power
columns of aiconfigurator-core 0.12.0, attention and MoE under vLLM 0.22.0): least power 0.24 of the limit;
attention kernels that move nothing 0.36, MoE ones 0.51; memory-bound attention 0.57, MoE 0.98; prefill attention
at 7 % of the matrix peak 0.81, at 45 % 0.95. Collectives and sampling were not measured: wide."""


@dataclass(frozen=True, slots=True)
class LeastSquaresSolution:
    """A least-squares solution: values in the space of the fit, Jacobian and residuals of data and prior."""

    values: Array
    jacobian: Array
    residuals: Array
    row_of: npt.NDArray[np.int64]

    def without(self, left_out: Mask) -> Array:
        """One Gauss-Newton step to the solution without some rows; prior rows (-1) always stay."""
        keep = (self.row_of < 0) | ~left_out[self.row_of]
        jacobian, residuals = self.jacobian[keep], self.residuals[keep]
        step = np.linalg.solve(jacobian.T @ jacobian, jacobian.T @ residuals)
        return np.asarray(self.values - np.clip(step, -1.0, 1.0))


def huber(error: Array) -> Array:
    """Residuals whose squares grow linearly beyond one: sign(e) sqrt(2 |e| - 1).

    >>> huber(np.array([0.5, -5.0]))
    array([ 0.5, -3. ])
    """
    size = np.abs(error)
    return np.asarray(np.sign(error) * np.where(size < 1, size, np.sqrt(2 * np.maximum(size, 1) - 1)))


def serving_of(values: Array) -> NuisanceValues:
    """Nuisances from their logarithms, in the order of `NUISANCES`."""
    return NuisanceValues(dict(zip((item.name for item in NUISANCES), np.exp(values).tolist(), strict=True)))


def fit_serving(bench: EnergyBench, rows: Mask) -> LeastSquaresSolution:
    """Nuisances (their logarithms) that explain times per token and decode steps of rows."""
    centre = np.log([item.centre for item in NUISANCES])
    spread = np.array([item.spread for item in NUISANCES])
    data, weight = bench.data, CROWD_WEIGHT / np.sqrt(bench.data.crowd)
    chosen = np.flatnonzero(rows)

    def residuals(values: Array) -> Array:
        token_s, decode_s = bench.latencies(serving_of(values), rows)
        token = np.log(token_s[chosen] / data.token_s[chosen])
        decode = DECODE_WEIGHT * np.log(decode_s[chosen] / data.itl_s[chosen])
        error = np.concatenate([token, decode]) * np.tile(weight[chosen], 2) / LATENCY_SPREAD
        return np.concatenate([huber(error), (values - centre) / spread])

    found = least_squares(residuals, centre, x_scale=spread, max_nfev=STEPS, diff_step=np.full(len(NUISANCES), 1e-3))
    row_of = np.concatenate([chosen, chosen, np.full(len(NUISANCES), -1)])
    return LeastSquaresSolution(np.asarray(found.x), np.asarray(found.jac), np.asarray(found.fun), row_of)


@dataclass(frozen=True, slots=True)
class PowerShareFit:
    """Shares in the order of `PRIOR`, and factors by device family."""

    values: Array
    families: tuple[str, ...]

    def shares(self) -> PowerShareTable:
        """Shares as facts, without their errors."""
        return as_shares(self.values[: len(PRIOR)])

    def factor(self, device_family: Names) -> Array:
        """Factor of each point's device family."""
        known = dict(zip(self.families, np.exp(self.values[len(PRIOR) :]), strict=True))
        return np.array([known.get(name, 1.0) for name in device_family.tolist()])


@dataclass(frozen=True, slots=True)
class PowerPoints:
    """Measured shares of the power limit over spans of several phases, and each point's weight."""

    phases: tuple[DeviceActivity, ...]
    share: Array
    weight: Array
    device_family: npt.NDArray[np.str_]

    def predicted(self, fitted: PowerShareFit) -> Array:
        """Predicted shares of the limit."""
        shares, factor = fitted.shares(), fitted.factor(self.device_family)
        total = sum(phase.total_s for phase in self.phases)
        return np.asarray(sum(limit_s(phase, shares, factor) for phase in self.phases) / total)


def bench_points(bench: EnergyBench, predicted: BenchPrediction) -> PowerPoints:
    """The energy rows as points; all rows of a replica weigh as one experiment's do."""
    data = bench.data
    weight = 1 / np.sqrt(data.crowd)
    family = np.empty(data.rows, dtype="U32")
    for replica, member in zip(data.replicas, data.members, strict=True):
        family[member] = replica.device.family
    share = data.device_w / data.limit_w
    return PowerPoints((predicted.decoding, predicted.prefilling), share, weight / weight.mean(), family)


def span_points(found: Sequence[PowerSpan]) -> PowerPoints:
    """Single batches as points."""
    phases = tuple(DeviceActivity.stack(each) for each in zip(*(span.phases for span in found), strict=True))
    share = np.array([span.share for span in found])
    family = np.array([span.device_family for span in found])
    return PowerPoints(phases, share, np.full(share.size, SPAN_WEIGHT), family)


def fit_shares(parts: tuple[tuple[PowerPoints, Mask], ...]) -> PowerShareFit:
    """Shares, none below zero, and factors of the device families that explain the chosen points."""
    families = tuple(sorted({name for part, rows in parts for name in part.device_family[rows].tolist()}))
    centre, spread = np.array([*PRIOR.values(), *[(0.0, FAMILY_SPREAD)] * len(families)]).T

    def residuals(values: Array) -> Array:
        fitted = PowerShareFit(values, families)
        errors = [
            (np.log(part.predicted(fitted) / part.share) * part.weight / POWER_SPREAD)[rows] for part, rows in parts
        ]
        return np.concatenate([huber(np.concatenate(errors)), (values - centre) / spread])

    low = np.array([0.05, *[0.0] * (len(PRIOR) - 1), *[-1.0] * len(families)])
    high = np.array([*[3.0] * len(PRIOR), *[1.0] * len(families)])
    found = least_squares(residuals, centre, bounds=(low, high), x_scale=spread)
    return PowerShareFit(np.asarray(found.x), families)


def as_shares(values: Array, errors: Array | None = None, rows: int = 1) -> PowerShareTable:
    """Shares as facts."""
    spread = np.zeros(len(PRIOR)) if errors is None else errors
    return PowerShareTable(
        **{
            name: PowerShare(float(value), float(error), rows)
            for name, value, error in zip(PRIOR, values, spread, strict=True)
        }
    )


@dataclass(frozen=True, slots=True)
class HoldoutPredictions:
    """Predictions of the energy rows, half-widths of 80 % intervals as log ratios, and the fits by label.

    known_w, predicted_w: watts per device with measured and with predicted times.  token_s: seconds per
    token.  token_j: joules per output token, all predicted.  constant_w: the training rows' median share.
    """

    known_w: Array
    predicted_w: Array
    token_s: Array
    token_j: Array
    constant_w: Array
    halves: dict[str, Array]
    fits: dict[str, PowerShareFit]


def hold_out(
    bench: EnergyBench, labels: Names, extra: Sequence[PowerPoints], say: Callable[[str], None]
) -> HoldoutPredictions:
    """Predict the rows of every label (model family, device) from those of the others."""
    rows = bench.data.rows
    arrays = {name: np.full(rows, np.nan) for name in (*TRUTHS, "constant_w")}
    halves = {name: np.full(rows, np.nan) for name in TRUTHS}
    fits: dict[str, PowerShareFit] = {}
    for left in sorted(set(labels.tolist())):
        test = labels == left
        fold = leave_out(bench, test, extra)
        for name, values in arrays.items():
            values[test] = getattr(fold, name)[test]
        for name, half in halves.items():
            half[test] = fold.halves[name][test]
        fits[left] = fold.fits[""]
        say(f"{left}: {int(test.sum())} rows")
    return HoldoutPredictions(**arrays, halves=halves, fits=fits)


def leave_out(bench: EnergyBench, test: Mask, extra: Sequence[PowerPoints]) -> HoldoutPredictions:
    """Predictions of all rows, and their intervals, from the rows that are not in `test`."""
    data, train = bench.data, ~test
    solution = fit_serving(bench, train)
    guess = _guess(bench, solution.values, train, extra)
    widths = _widths(bench, solution, train, extra)
    return HoldoutPredictions(
        known_w=guess.known_w,
        predicted_w=guess.predicted_w,
        token_s=guess.token_s,
        token_j=guess.token_j,
        constant_w=np.median(data.device_w[train] / data.limit_w[train]) * data.limit_w,
        halves={name: _by_device(errors, data.device, train) for name, errors in widths.items()},
        fits={"": guess.fitted},
    )


def fit_all(bench: EnergyBench, extra: Sequence[PowerPoints]) -> tuple[LeastSquaresSolution, PowerShareFit]:
    """Nuisances and shares from all rows: what the package ships."""
    everything = np.ones(bench.data.rows, bool)
    solution = fit_serving(bench, everything)
    return solution, _guess(bench, solution.values, everything, extra).fitted


@dataclass(frozen=True, slots=True)
class _PowerPredictions:
    known_w: Array
    predicted_w: Array
    token_s: Array
    token_j: Array
    fitted: PowerShareFit


def _guess(bench: EnergyBench, values: Array, train: Mask, extra: Sequence[PowerPoints]) -> _PowerPredictions:
    """Everything about all rows, from nuisances and from shares fitted on training rows."""
    data = bench.data
    predicted = bench.predict(serving_of(values))
    known = bench_points(bench, predicted.measured_in(data.token_s))
    parts = ((known, train), *((part, np.ones(part.share.size, bool)) for part in extra))
    fitted = fit_shares(parts)
    blind_w = bench_points(bench, predicted).predicted(fitted) * data.limit_w
    devices = np.empty(data.rows)
    for replica, member in zip(data.replicas, data.members, strict=True):
        devices[member] = replica.layout.devices
    token_j = blind_w * devices * predicted.token_s / data.batch
    return _PowerPredictions(known.predicted(fitted) * data.limit_w, blind_w, predicted.token_s, token_j, fitted)


def _widths(
    bench: EnergyBench, solution: LeastSquaresSolution, train: Mask, extra: Sequence[PowerPoints]
) -> dict[str, Array]:
    """Log errors on training rows, each family predicted without itself (one Gauss-Newton step away)."""
    data = bench.data
    errors = {name: np.full(data.rows, np.nan) for name in TRUTHS}
    for inner in sorted(set(data.family[train].tolist())):
        out = train & (data.family == inner)
        guess = _guess(bench, solution.without(out), train & ~out, extra)
        for name, truth in TRUTHS.items():
            errors[name][out] = np.log(getattr(guess, name)[out] / getattr(data, truth)[out])
    return errors


def _by_device(errors: Array, device: Names, train: Mask) -> Array:
    """The 80 % quantile of absolute errors on the same device, shrunk towards that of all devices.

    A device without training rows has its factor unknown besides.
    """
    pooled = np.quantile(np.abs(errors[train]), COVERAGE)
    half = np.full(errors.size, np.hypot(pooled, UNSEEN_HALF))
    for name in sorted(set(device[train].tolist())):
        own = train & (device == name)
        trust = own.sum() / (own.sum() + POOLING_ROWS)
        half[device == name] = trust * np.quantile(np.abs(errors[own]), COVERAGE) + (1 - trust) * pooled
    return half
