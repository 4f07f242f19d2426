"""The law of reinforcement learning: reward rises with compute as a sigmoid to an asymptote.

R = R_0 + (A - R_0) / (1 + (C_mid / C)^B), ScaleRL (arXiv 2510.13786), which predicted 100,000 GPU hours from the first
50,000. The hold-out is of that kind: the runs of most compute, by those of half as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from comptroller.errors import RecordError, UnsupportedError
from comptroller.work.scaling_stages import rl_share
from comptroller.work.tabular import columns_of, dict_rows

Array = npt.NDArray[np.float64]

NEEDED = {"compute", "reward"}

LEAST_POINTS = 10
"""Fewest points for four parameters of which two trade against each other; twice as many refuse short runs."""

HALF = 0.5
"""Share of the compute that the hold-out is predicted from, as in ScaleRL."""

MOST_ERROR = 0.03
"""Greatest error of a held-out reward at which an extrapolation of the same ratio is told: three points, ScaleRL's
spread between runs of one recipe. At twice this recipes whose asymptotes differ could not be told apart."""

SPREAD = 0.02
"""Delta of the robust loss: two points of reward, the noise of an evaluation on 1,000 prompts."""

DRAWS = 100
"""Fits to residuals dealt anew: an end of a 90 % interval is the fifth of 100; twice as many take twice the time."""

SHOWN = 3


@dataclass(frozen=True, slots=True)
class RewardCurve:
    """A sigmoid law. start: R_0.  asymptote: A.  midpoint: C_mid.  exponent: B."""

    start: float
    asymptote: float
    midpoint: float
    exponent: float

    def reward(self, compute: npt.ArrayLike) -> Array:
        """Reward after so much compute.

        >>> RewardCurve(0.3, 0.6, 1000.0, 2.0).reward([0.0, 1000.0]).round(6).tolist()
        [0.3, 0.45]
        """
        share = rl_share(compute, self.midpoint, self.exponent)
        return np.asarray(self.start + (self.asymptote - self.start) * share)


@dataclass(frozen=True, slots=True)
class RewardReport:
    """A curve with 90 % intervals of its asymptote and midpoint, its hold-out, and rewards at asked compute.

    held_out, worst: errors of rewards beyond half of the compute.  reach: greatest compute that this supports.
    """

    family: str
    points: int
    curve: RewardCurve
    asymptote: tuple[float, float]
    midpoint: tuple[float, float]
    exponent: tuple[float, float]
    held_out: float
    worst: float
    reach: float
    rewards: tuple[tuple[float, float, float, float], ...]
    refused: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return asdict(self)


def states_rewards(path: Path) -> bool:
    """Whether a file is a table of rewards by compute."""
    if path.suffix != ".csv" or not path.is_file():
        return False
    return set(columns_of(path)) >= NEEDED


def read_rewards(path: Path) -> dict[str, tuple[Array, Array]]:
    """Compute and reward of every `experiment` of a CSV, by rising compute.

    Raises:
        RecordError: compute is not positive, or a reward is no share; says which rows.
    """
    rows = dict_rows(path)
    found: dict[str, list[tuple[float, float]]] = {}
    bad = []
    for i, row in enumerate(rows):
        try:
            compute, reward = float(row["compute"] or ""), float(row["reward"] or "")
        except ValueError:
            compute, reward = np.nan, np.nan
        if not (0 < compute < np.inf and 0 <= reward <= 1):
            bad.append((i + 2, "compute is a positive number, reward a share between 0 and 1"))
        found.setdefault(row.get("experiment") or path.stem, []).append((compute, reward))
    if bad or not rows:
        raise RecordError(path.name, bad[:SHOWN] or [(1, "there is no row")], max(len(bad), 1))
    return {name: tuple(np.array(sorted(values)).T) for name, values in found.items()}


def fit_rewards(compute: Array, reward: Array, name: str = "rewards", near: RewardCurve | None = None) -> RewardCurve:
    """The curve of least robust error; from one that is near, where there is one.

    Raises:
        UnsupportedError: there are too few points.
    """
    if len(compute) < LEAST_POINTS:
        raise UnsupportedError(f"{name}: a curve of rewards needs {LEAST_POINTS} points, there are {len(compute)}")

    def curve(x: Array) -> RewardCurve:
        start = 1.0 / (1.0 + np.exp(-x[0]))
        return RewardCurve(
            start, start + (1.0 - start) / (1.0 + np.exp(-x[1])), float(np.exp(x[2])), float(np.exp(x[3]))
        )

    def miss(x: Array) -> Array:
        return curve(x).reward(compute) - reward

    middle, low = float(np.median(np.log(compute))), float(np.clip(reward[:2].mean(), 0.01, 0.95))
    starts = [(np.log(low / (1 - low)), 0.0, middle + shift, steep) for shift in (-1.0, 1.0) for steep in (0.0, 0.7)]
    if near is not None:
        starts = [_fit_start(near)]
    least = np.array([-12.0, -12.0, np.log(compute[0]) - 10, -2.0])
    most = np.array([12.0, 12.0, np.log(compute[-1]) + 10, 2.5])
    solved = [
        least_squares(miss, np.array(start), bounds=(least, most), loss="soft_l1", f_scale=SPREAD, max_nfev=200)
        for start in starts
    ]
    return curve(min(solved, key=lambda one: float(one.cost)).x)


def _fit_start(curve: RewardCurve) -> tuple[float, float, float, float]:
    """A curve as the fit's variables: logits of the start and of the share of the rest, logarithms."""
    start = float(np.clip(curve.start, 1e-5, 1 - 1e-5))
    rest = float(np.clip((curve.asymptote - start) / (1.0 - start), 1e-5, 1 - 1e-5))
    logits = (float(np.log(one / (1.0 - one))) for one in (start, rest))
    return (*logits, float(np.log(curve.midpoint)), float(np.log(curve.exponent)))  # type: ignore[return-value]


def reward_report(
    name: str, points: tuple[Array, Array], asked: Sequence[float] = (), beyond: bool = False, seed: int = 0
) -> RewardReport:
    """A curve, its hold-out, and rewards at asked compute; raises as `fit_rewards`."""
    compute, reward = points
    curve = fit_rewards(compute, reward, name)
    early = compute <= HALF * compute[-1]
    half = fit_rewards(compute[early], reward[early], f"{name}, of half of the compute")
    off = np.abs(half.reward(compute[~early]) - reward[~early])
    reach = float(compute[-1] * (compute[-1] / compute[early][-1] if off.max() <= MOST_ERROR else 1.0))
    rng = np.random.default_rng(seed)
    draws = [_fit_of_draw(curve, compute, reward, rng) for _ in range(DRAWS)]
    told = [one for one in asked if one <= reach or beyond]
    rewards = tuple(
        (one, float(curve.reward(one)), *_band([float(draw.reward(one)) for draw in draws])) for one in told
    )
    refused = tuple(
        f"{name}: {one:.3g} is beyond {reach:.3g}: the hold-out supports no more (--beyond asks for it anyway)"
        for one in asked
        if one not in told
    )
    return RewardReport(
        name, len(compute), curve, _band([one.asymptote for one in draws]), _band([one.midpoint for one in draws]),
        _band([one.exponent for one in draws]), float(off.mean()), float(off.max()), reach, rewards, refused,
    )  # fmt: skip


def _fit_of_draw(curve: RewardCurve, compute: Array, reward: Array, rng: np.random.Generator) -> RewardCurve:
    """A fit to the curve with its residuals dealt anew."""
    residuals = reward - curve.reward(compute)
    return fit_rewards(
        compute, np.clip(curve.reward(compute) + rng.choice(residuals, len(residuals)), 0.0, 1.0), "", curve
    )


def _band(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.05, 0.95))
    return float(low), float(high)
