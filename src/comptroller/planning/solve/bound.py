"""Exact bounds on the joint program, before it is solved: what stands in no plan as cheap as one that is known.

The linear relaxation without limits has a dual solution in closed form: a call of bucket b of arm a is worth
pi_ab = min_j (p_j l_bj + e_bj) over the candidates j, the dearer of a candidate's loads taken for l. What is left of
the relaxation is a small program over the ways. Any plan then costs at least

    z + sum_j u_j (p_j - mu_j) + sum_co x_co r_co,    mu_j = max_b (pi_ab - e_bj) / l_bj <= p_j,

z the optimum of the small program and r its reduced costs. For the arms of a set S the worths may all be lowered by
one factor t, as long as no r falls below zero, which leaves z as it is and gives S's units the bound p_j - t mu_j
(weak duality; reduced-cost fixing as in Nemhauser and Wolsey, Integer and Combinatorial Optimization, 1988, II.5).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from comptroller.planning.solve.fleet_search import columns_of
from comptroller.planning.solve.joint_program import JointProgramData, RentableDeployments, scale_of
from comptroller.planning.solve.mix import MixedIntegerProgram, run

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MARGIN = 1e-6
"""Relative room that a bound leaves above a known plan, far above the tolerances of the solver."""

SEED_WAYS, SEED_UNITS = 40, 60
"""Ways of each class, and units of all arms, of the first, small program, whose optimum bounds the full one."""


@dataclass(frozen=True)
class JointProgramSubset:
    """Some ways and candidates (by arm) of a matter, as a matter of its own. ways, candidates: places in the whole."""

    matter: JointProgramData
    ways: Ints
    candidates: Mapping[int, Ints]

    @classmethod
    def of(
        cls,
        matter: JointProgramData,
        ways: Ints,
        candidates: Mapping[int, Ints],
        closed: npt.NDArray[np.bool_] | None = None,
    ) -> JointProgramSubset:
        """The part; a class goes no way that would call an arm which is left no candidate."""
        rents = {arm: _some(matter.rents[arm], rows) for arm, rows in candidates.items() if len(rows)}
        calls = {arm: matter.calls[arm][:, ways] for arm in rents}
        score, usd = matter.score[:, ways], matter.usd[:, ways]
        shut = np.zeros(score.shape, bool) if closed is None else closed[:, ways]
        for arm in matter.rents.keys() - rents.keys():
            shut = shut | matter.calls[arm][:, ways].any(axis=2)
        some = replace(matter, score=score, usd=usd, rents=rents, calls=calls, shut=shut)
        return cls(some, ways, {arm: candidates[arm] for arm in rents})


def _some(rent: RentableDeployments, candidates: Ints) -> RentableDeployments:
    return replace(rent, candidates=rent.candidates[candidates], mix=columns_of(rent.mix, candidates))


@dataclass(frozen=True)
class CallDuals:
    """Of an arm's calls. each: (buckets,), objective per call.  held: (candidates,), mu, what a unit can carry of it.

    share: (classes, ways), what the calls of a way on this arm are worth per hour, for the whole of a class.
    """

    each: Floats
    held: Floats
    share: Floats

    @classmethod
    def of(cls, rent: RentableDeployments, asked: Floats) -> CallDuals:
        """asked: (classes, ways, buckets), calls per second for the whole of a class."""
        mix = rent.mix
        loads = np.stack([mix.load, *mix.also])
        dearer = np.einsum("b,lbj->lj", asked.sum(axis=(0, 1)), loads).argmax(axis=0)
        load = np.take_along_axis(loads, dearer[None, None, :], axis=0)[0]
        energy = np.zeros(load.shape) if mix.energy is None else mix.energy
        each = (mix.price * load + energy).min(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            held = np.where(load > 0, (each[:, None] - energy) / load, 0.0).max(axis=0)
        return cls(each, np.minimum(np.maximum(held, 0.0), mix.price), asked @ each)


class DualBound:
    """The dual solution of a matter. least: z, no plan costs less per hour.  reduced: r, (classes, ways)."""

    def __init__(self, matter: JointProgramData, bought: Floats) -> None:
        """bought: (classes, ways), objective per hour of what is bought for the whole of a class."""
        self.matter = matter
        per_s = matter.weight[:, None, None] * matter.rate_per_s
        self.worth = {
            arm: CallDuals.of(rent, matter.calls[arm][:, :, rent.buckets] * per_s) for arm, rent in matter.rents.items()
        }
        cost = sum((worth.share for worth in self.worth.values()), start=bought)
        scale = scale_of(cost)
        highs = run(_ways_alone(matter, cost * scale))
        self.least = float(highs.getInfo().objective_function_value) / scale
        self.reduced = np.maximum(np.array(highs.getSolution().col_dual).reshape(cost.shape), 0.0) / scale
        users = [matter.calls[arm].any(axis=2).ravel() for arm in matter.rents]
        self._uses = np.array(users, bool).reshape(len(users), cost.size)

    def seeds(self) -> JointProgramSubset:
        """Ways of the least reduced cost, and the units that cost least more than what they carry is worth."""
        ways = np.unique(np.argsort(self.reduced, axis=1, kind="stable")[:, :SEED_WAYS])
        gaps = {arm: rent.mix.price - self.worth[arm].held for arm, rent in self.matter.rents.items()}
        every = np.sort(np.concatenate([*gaps.values(), np.zeros(1)]))
        most = every[min(SEED_UNITS, len(every)) - 1]
        rows = {arm: np.flatnonzero(gap <= max(most, gap.min())) for arm, gap in gaps.items()}
        return JointProgramSubset.of(self.matter, ways, rows)

    def kept(self, most: float) -> JointProgramSubset:
        """What may stand in a plan that costs no more than `most`."""
        top = most * (1 + MARGIN) - self.least
        rows = {arm: np.flatnonzero(self._gaps(arm, (arm,)) <= top) for arm in self.matter.rents}
        arms = np.array(list(self.matter.rents))
        found, of = np.unique(self._uses, axis=1, return_inverse=True)
        few = np.array([self._together(arms[used].tolist(), rows) <= top for used in found.T], bool)
        open_ = few[of.ravel()]
        closed, used = ~open_.reshape(self.reduced.shape), self._uses[:, open_].any(axis=1)
        candidates = {arm: rows[arm] for arm in arms[used].tolist()}
        return JointProgramSubset.of(self.matter, np.flatnonzero(~closed.all(axis=0)), candidates, closed)

    def _together(self, arms: Sequence[int], rows: Mapping[int, Ints]) -> float:
        """The least that a unit of each of the arms adds."""
        if any(not len(rows[arm]) for arm in arms):
            return np.inf
        return sum(float(self._gaps(arm, arms)[rows[arm]].min()) for arm in arms)

    def _gaps(self, arm: int, arms: Collection[int]) -> Floats:
        """p_j - t mu_j of an arm's candidates, with the worths of some arms lowered as far as they may be."""
        share = sum(self.worth[other].share for other in arms)
        with np.errstate(divide="ignore", invalid="ignore"):
            lowered = np.where(share > 0, self.reduced / share, np.inf).min()
        return self.matter.rents[arm].mix.price - (1.0 - min(float(lowered), 1.0)) * self.worth[arm].held


def _ways_alone(matter: JointProgramData, cost: Floats) -> MixedIntegerProgram:
    """The relaxation with the worth of calls in place of units: shares of classes over ways."""
    classes, ways = cost.shape
    of = np.arange(classes * ways).reshape(classes, ways)
    rows = np.zeros((classes + len(matter.quality), cost.size))
    for number, columns in enumerate(of):
        rows[number, columns] = 1.0
    for number, (row, _) in enumerate(matter.quality, start=classes):
        rows[number] = ((matter.weight[:, None] * matter.score) if row is None else _only(matter, row)).ravel()
    least = [share for _, share in matter.quality]
    return MixedIntegerProgram(
        cost.ravel(),
        csc_array(rows),
        np.array([*np.ones(classes), *least]),
        np.array([*np.ones(classes), *np.full(len(least), np.inf)]),
        np.full(cost.size, np.inf),
        np.zeros(cost.size, bool),
    )


def _only(matter: JointProgramData, row: int) -> Floats:
    score = np.zeros(matter.score.shape)
    score[row] = matter.score[row]
    return score
