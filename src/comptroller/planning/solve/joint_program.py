"""The joint choice as one mixed-integer program: rows and columns, and how the values are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array, vstack

from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.mix import MixedIntegerProgram, MixProblem

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SLACK = 1e-9


@dataclass(frozen=True)
class RentableDeployments:
    """What one arm may rent.

    candidates: rows in its search.  buckets: of calls that it gets.  mix: units per call per second, with the goal's
    limits in order.
    """

    candidates: Ints
    buckets: Ints
    mix: MixProblem

    @property
    def shape(self) -> tuple[int, int]:
        """Buckets and candidates."""
        return self.mix.load.shape[0], self.mix.load.shape[1]

    @cached_property
    def digest(self) -> bytes:
        """Equal where all of it is, but for what the goal says: spares, and how much of each limit there is."""
        mix, sha = self.mix, sha256()
        energy = () if mix.energy is None else (mix.energy,)
        limits = (limit.weights for limit in mix.limits)
        for part in (self.candidates, self.buckets, mix.load, mix.price, *mix.also, *energy, *limits):
            sha.update(f"{part.shape}{part.dtype}".encode() + np.ascontiguousarray(part).tobytes())
        return sha.digest()


@dataclass(frozen=True)
class JointProgramData:
    """What a program is about, over the ways that are left.

    rate_per_s: of questions.  weight: of classes.  score, usd: (classes, ways), share solved and API dollars per
    question.  rents: by arm.  calls: by arm, (classes, ways, buckets), per question.  quality: (row of the class or
    None for all, least share).  shut: (classes, ways) where no question may go; nowhere, if not given.
    """

    rate_per_s: float
    weight: Floats
    score: Floats
    usd: Floats
    rents: Mapping[int, RentableDeployments]
    calls: Mapping[int, Floats]
    quality: tuple[tuple[int | None, float], ...]
    shut: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ModelFleet:
    """What one arm rents: units of its candidates, and calls per second of its buckets on each."""

    units: Ints
    calls_per_s: Floats


@dataclass(frozen=True)
class QuestionFleet:
    """share: (classes, ways).  rented: by arm.  objective: per hour."""

    share: Floats
    rented: Mapping[int, ModelFleet]
    objective: float


def scale_of(cost: Floats) -> float:
    """What costs are multiplied by for a solver whose tolerances are absolute: the dearest column then costs 100."""
    dearest = float(np.abs(cost).max(initial=0.0))
    return 100.0 / dearest if dearest > 0 else 1.0


class JointProgram:
    """Columns: shares of classes over ways; for every arm calls on candidates, units, and with spares who is used."""

    def __init__(self, matter: JointProgramData, goal: Goal) -> None:
        self.matter, self.goal = matter, goal
        self.start: dict[tuple[str, int], int] = {}
        self.count = matter.score.size
        for arm, rent in matter.rents.items():
            slices, columns = rent.shape
            sizes = {"calls": slices * columns, "units": columns, "used": columns if goal.spare else 0}
            for kind, size in sizes.items():
                self.start[kind, arm] = self.count
                self.count += size
        self._columns: list[Ints] = []
        self._values: list[Floats] = []
        self._bounds: list[tuple[float, float]] = []

    def program(self, below: float = np.inf) -> MixedIntegerProgram:
        """All rows; one more for an objective that must not be exceeded."""
        self._shares()
        for arm, rent in self.matter.rents.items():
            self._serve(arm, rent)
            self._stand(arm, rent)
            if self.goal.spare:
                self._use(arm, rent)
        self._limits()
        cost = self._cost()
        if np.isfinite(below):
            scale = scale_of(cost)
            self._add(np.arange(self.count), cost * scale, -np.inf, below * scale)
        rows = np.repeat(np.arange(len(self._columns)), [len(columns) for columns in self._columns])
        entries = (np.concatenate(self._values), (rows, np.concatenate(self._columns)))
        lower, upper = np.array(self._bounds).T
        matrix = csc_array(coo_array(entries, shape=(len(self._columns), self.count)))
        most, whole = np.full(self.count, np.inf), np.zeros(self.count, bool)
        if self.matter.shut is not None:
            most[: self.matter.score.size][self.matter.shut.ravel()] = 0.0
        for arm, rent in self.matter.rents.items():
            whole[self.start["units", arm] :][: rent.shape[1] * (2 if self.goal.spare else 1)] = True
            if self.goal.spare:
                most[self.start["used", arm] :][: rent.shape[1]] = 1.0
        return MixedIntegerProgram(cost, matrix, lower, upper, most, whole)

    def held(self, units: Mapping[int, Ints]) -> MixedIntegerProgram:
        """The program whose units are given, by arm; those of other arms are none."""
        program = self.program()
        fixed = np.where(program.whole, 0.0, np.inf)
        for arm, count in units.items():
            fixed[self.start["units", arm] :][: len(count)] = count
            if self.goal.spare:
                fixed[self.start["used", arm] :][: len(count)] = count > 0
        least = np.where(program.whole, fixed, 0.0)
        return replace(program, most=np.minimum(program.most, fixed), least=least, whole=np.zeros_like(program.whole))

    def most_solved(self, program: MixedIntegerProgram, best: float) -> MixedIntegerProgram:
        """The program that solves most of the questions at no more than the best cost."""
        solved = np.zeros(self.count)
        solved[: self.matter.score.size] = -(self.matter.weight[:, None] * self.matter.score).ravel()
        scale = scale_of(program.cost)
        return replace(
            program,
            cost=solved,
            matrix=csc_array(vstack([program.matrix, scale * program.cost[None, :]])),
            lower=np.append(program.lower, -np.inf),
            upper=np.append(program.upper, scale * best * (1 + SLACK)),
        )

    def units(self, values: Floats) -> dict[int, Ints]:
        """The units that the columns' values are, by arm."""
        start = {arm: self.start["units", arm] for arm in self.matter.rents}
        return {
            arm: np.rint(values[start[arm] :][: rent.shape[1]]).astype(np.int64)
            for arm, rent in self.matter.rents.items()
        }

    def _add(self, columns: npt.ArrayLike, values: npt.ArrayLike, lower: float, upper: float) -> None:
        self._columns.append(np.asarray(columns, np.int64).ravel())
        self._values.append(np.asarray(values, np.float64).ravel())
        self._bounds.append((lower, upper))

    def _shares(self) -> None:
        classes, ways = self.matter.score.shape
        of = np.arange(classes * ways).reshape(classes, ways)
        for columns in of:
            self._add(columns, np.ones(ways), 1.0, 1.0)
        for row, least in self.matter.quality:
            if row is None:
                self._add(of, self.matter.weight[:, None] * self.matter.score, least, np.inf)
            else:
                self._add(of[row], self.matter.score[row], least, np.inf)

    def _on(self, arm: int, rent: RentableDeployments) -> Ints:
        """Columns of the calls: (buckets, candidates)."""
        slices, columns = rent.shape
        return np.arange(slices * columns).reshape(slices, columns) + self.start["calls", arm]

    def _serve(self, arm: int, rent: RentableDeployments) -> None:
        on, units = self._on(arm, rent), self.start["units", arm]
        asked = self.matter.calls[arm] * self.matter.weight[:, None, None] * self.matter.rate_per_s
        for row, bucket in enumerate(rent.buckets):
            want = asked[:, :, bucket].ravel()
            some = np.flatnonzero(want)
            values = np.concatenate([np.ones(on.shape[1]), -want[some]])
            self._add(np.concatenate([on[row], some]), values, 0.0, 0.0)
        spare = [float(self.goal.spare)] if self.goal.spare else []
        for load in (rent.mix.load, *rent.mix.also):
            for column in range(on.shape[1]):
                used = [self.start["used", arm] + column] if spare else []
                self._add([*on[:, column], units + column, *used], [*load[:, column], -1.0, *spare], -np.inf, 0.0)

    def _stand(self, arm: int, rent: RentableDeployments) -> None:
        """No question of a class goes to an arm without a unit: implied by whole units, and not by parts of them."""
        units = self.start["units", arm] + np.arange(rent.shape[1])
        ways = self.matter.score.shape[1]
        for number, calls in enumerate(self.matter.calls[arm].sum(axis=2) > 0):
            mine = np.flatnonzero(calls)
            if len(mine):
                columns = [number * ways + mine, units]
                values = [np.ones(len(mine)), -np.ones(len(units))]
                self._add(np.concatenate(columns), np.concatenate(values), -np.inf, 0.0)

    def _use(self, arm: int, rent: RentableDeployments) -> None:
        """A candidate that gets calls is in use."""
        top = float(self.matter.calls[arm].sum(axis=2).max(initial=0.0)) * self.matter.rate_per_s + 1.0
        for column, on in enumerate(self._on(arm, rent).T):
            self._add([*on, self.start["used", arm] + column], [*np.ones(len(on)), -top], -np.inf, 0.0)

    def _limits(self) -> None:
        for number, (name, most) in enumerate(self.goal.limits):
            taken = np.zeros(self.count)
            for arm, rent in self.matter.rents.items():
                taken[self.start["units", arm] :][: rent.shape[1]] = rent.mix.limits[number].weights
            if name == "budget":
                taken[: self.matter.score.size] = self._paid().ravel()
            self._add(np.arange(self.count), taken, -np.inf, most)

    def _paid(self) -> Floats:
        """Dollars per hour paid to APIs, for the whole of each class on each way."""
        matter = self.matter
        return np.asarray(matter.weight[:, None] * matter.usd * matter.rate_per_s * 3600.0)

    def bought(self) -> Floats:
        """(classes, ways): what is bought adds to the objective per hour, for the whole of each class on each way."""
        return self._paid() if self.goal.objective == "usd" else np.zeros(self.matter.score.shape)

    def _cost(self) -> Floats:
        """What every column adds to the objective per hour."""
        cost = np.zeros(self.count)
        cost[: self.matter.score.size] = self.bought().ravel()
        for arm, rent in self.matter.rents.items():
            cost[self.start["units", arm] :][: rent.shape[1]] = rent.mix.price
            if rent.mix.energy is not None:
                cost[self._on(arm, rent)] = rent.mix.energy
        return cost

    def read(self, values: Floats, objective: float) -> QuestionFleet:
        """The optimum that the columns' values are."""
        shape = self.matter.score.shape
        share = np.clip(values[: self.matter.score.size].reshape(shape), 0.0, 1.0)
        rented, units = {}, self.units(values)
        for arm, rent in self.matter.rents.items():
            if units[arm].any():
                rented[arm] = ModelFleet(units[arm], np.maximum(values[self._on(arm, rent)], 0.0))
        return QuestionFleet(np.where(share < SLACK, 0.0, share), rented, objective)
