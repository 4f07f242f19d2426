"""Laws of the loss side by side: each fitted to the runs of less compute, judged on those of more, and their average.

Runs are in three parts by compute. Laws are fitted to the first, weighed by their errors on the second (weights as the
inverse of the mean squared error, Bates and Granger 1969), fitted again to both, and judged on the third, which no
weight has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from comptroller.errors import UnsupportedError
from comptroller.work.loss_laws import LossLaw, loss_law, loss_laws
from comptroller.work.loss_points import LossPoints
from comptroller.work.scaling_fit import HUBER

Array = npt.NDArray[np.float64]

PARTS = (0.6, 0.8)
"""Shares of the runs, by compute, at which the parts end: a fifth weighs, a fifth judges. At twice that the first part
holds too few runs for five parameters."""

WIDE = 0.05
"""Delta of the Huber loss of the first fit: from a start that is far off, errors of 0.1 % that count by their size give
no direction. At twice this the first fit follows outliers, which the second then leaves."""

FLOOR = 0.8
"""Floor of the moved starts over the least loss: between 0.75 and 0.95 in eight families; the fit moves it."""

RUNS_PER_PARAMETER = 2
"""Fewest runs of the first part for each parameter of a law, as `LEAST_POINTS` of Chinchilla's."""


@dataclass(frozen=True, slots=True)
class LawStanding:
    """A law on one family. parameters: fitted to all runs.  weight: in the average, 0 where it is not averaged.

    inside: mean error of the fit to all runs.  mean, worst: errors on the part of most compute, as shares of the loss.
    """

    law: str
    formula: str
    parameters: dict[str, float]
    weight: float
    inside: float
    mean: float
    worst: float


@dataclass(frozen=True, slots=True)
class LawComparison:
    """All laws of a family. average_mean, average_worst: of the averaged predictions.  ratio: greatest compute judged
    over the greatest fitted.  refused: laws that could not be fitted, with the reason."""

    family: str
    runs: int
    ratio: float
    standings: tuple[LawStanding, ...]
    average_mean: float
    average_worst: float
    refused: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return asdict(self)

    def predictions(self, params: float, tokens: float) -> dict[str, float]:
        """Losses of a run by each law of parameters and tokens alone, and their average."""
        columns = {"params": np.array([params]), "tokens": np.array([tokens])}
        found, total = {}, 0.0
        for one in self.standings:
            law = loss_law(one.law)
            if not law.needs:
                found[one.law] = float(law.loss(one.parameters, columns)[0])
                total += one.weight * found[one.law]
        return {**found, "average": total}


def fit_law(law: LossLaw, points: LossPoints) -> Array:
    """Transformed parameters of least summed Huber loss of the log of the loss, from all starts of the law.

    Raises:
        UnsupportedError: a column is missing, there are too few runs, or no start converges.
    """
    missing = [name for name in law.needs if name not in points.extra]
    if missing:
        raise UnsupportedError(f"{law.name} needs a column {', '.join(missing)}")
    least = RUNS_PER_PARAMETER * len(law.names)
    if len(points.loss) < least:
        raise UnsupportedError(
            f"{law.name} has {len(law.names)} parameters: {least} runs at least, there are {len(points.loss)}"
        )
    columns, wanted = points.columns, np.log(points.loss)

    def miss(x: Array) -> Array:
        return np.nan_to_num(law.log_loss(x, columns) - wanted, nan=1e3, posinf=1e3, neginf=-1e3)

    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        near = [
            least_squares(miss, np.array(start), loss="huber", f_scale=WIDE, max_nfev=500)
            for start in _starts(law, points)
        ]
        solved = [least_squares(miss, one.x, loss="huber", f_scale=HUBER, max_nfev=1000) for one in near]
    best = min(solved, key=lambda one: float(one.cost))
    if not np.isfinite(best.cost) or best.cost > 1e2 * len(wanted) * HUBER:
        raise UnsupportedError(f"{law.name}: no fit to these runs")
    return np.asarray(best.x)


def _starts(law: LossLaw, points: LossPoints) -> list[tuple[float, ...]]:
    """The law's starts, and each moved to where these runs lie: a floor of `FLOOR` of the least loss, and terms of
    parameters and tokens that share what is left at the median run."""
    found = list(law.starts)
    if law.names[:3] == ("a", "b", "floor"):
        floor = FLOOR * float(points.loss.min())
        left = np.log((float(np.median(points.loss)) - floor) / 2)
        n, d = (float(np.median(np.log(one))) for one in (points.params, points.tokens))
        for start in law.starts:
            beta = start[4] if law.names[4:5] == ("beta",) else start[3]
            found.append((left + start[3] * n, left + beta * d, float(np.log(floor)), *start[3:]))
    return found


def compare_laws(points: LossPoints, only: Sequence[str] = ()) -> LawComparison:
    """Every law that the columns of a family allow, or those named.

    Raises:
        UnknownIdError: a name is of no law.
        UnsupportedError: none could be fitted.
    """
    order = np.argsort(points.flops, kind="stable")
    points = points.take(order)
    first, second = (int(share * len(order)) for share in PARTS)
    ends = _whole_budgets(points.flops, first), _whole_budgets(points.flops, second)
    chosen = [loss_law(name) for name in dict.fromkeys(only)] if only else list(loss_laws())
    refused, trials = [], []
    for law in chosen:
        try:
            trials.append(_trial(law, points, ends))
        except UnsupportedError as error:
            refused.append(f"{points.family[0]}: {error}")
    if not trials:
        raise UnsupportedError("; ".join(refused))
    return _together(points, ends, trials, refused)


def _whole_budgets(flops: Array, end: int) -> int:
    """Where a part ends, so that runs of one budget stay together: budgets differ by more than a tenth.

    Runs without budgets, of any compute, are parted a tenth before:

    >>> _whole_budgets(np.array([1.0, 1.0, 10.0, 10.0]), 3), _whole_budgets(np.geomspace(1.0, 100.0, 100), 60)
    (2, 58)
    """
    return max(int(np.searchsorted(flops, flops[end] / 1.1, side="right")), 1)


@dataclass(frozen=True, slots=True)
class LawTrial:
    """A law fitted to the first part, to the first two, and to all. weighed, judged: its predictions of the log."""

    law: LossLaw
    whole: Array
    weighed: Array
    judged: Array


def _trial(law: LossLaw, points: LossPoints, ends: tuple[int, int]) -> LawTrial:
    index = np.arange(len(points.loss))
    parts = [points.take(index < end) for end in ends]
    early, late = (fit_law(law, part) for part in parts)
    between, last = points.take((index >= ends[0]) & (index < ends[1])), points.take(index >= ends[1])
    return LawTrial(law, fit_law(law, points), law.log_loss(early, between.columns), law.log_loss(late, last.columns))


def _together(
    points: LossPoints, ends: tuple[int, int], trials: Sequence[LawTrial], refused: Sequence[str]
) -> LawComparison:
    between, last = np.log(points.loss[ends[0] : ends[1]]), points.loss[ends[1] :]
    averaged = [trial for trial in trials if not trial.law.needs] or list(trials)
    squares = np.array([float(np.mean((trial.weighed - between) ** 2)) for trial in averaged])
    weights = dict(zip((trial.law.name for trial in averaged), (1 / squares) / (1 / squares).sum(), strict=True))
    mixed = sum(weights[trial.law.name] * np.exp(trial.judged) for trial in averaged)
    off = np.abs(mixed / last - 1.0)
    standings = [_standing(trial, points, last, float(weights.get(trial.law.name, 0.0))) for trial in trials]
    ratio = float(points.flops.max() / points.flops[: ends[1]].max())
    return LawComparison(
        points.family[0], len(points.loss), ratio, tuple(sorted(standings, key=lambda one: one.mean)),
        float(off.mean()), float(off.max()), tuple(refused),
    )  # fmt: skip


def _standing(trial: LawTrial, points: LossPoints, last: Array, weight: float) -> LawStanding:
    off = np.abs(np.exp(trial.judged) / last - 1.0)
    inside = np.abs(np.exp(trial.law.log_loss(trial.whole, points.columns)) / points.loss - 1.0)
    return LawStanding(
        trial.law.name, trial.law.formula, trial.law.values(trial.whole), weight, float(inside.mean()),
        float(off.mean()), float(off.max()),
    )  # fmt: skip
