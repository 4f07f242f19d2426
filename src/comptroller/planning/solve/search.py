"""The cheapest way to solve a share of the questions: strategies over classes, and the fleets and offers they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import InfeasibleError
from comptroller.planning.offer.call_buckets import JointSearchSpace, Kinds
from comptroller.planning.solve.cheapest import at, bound_of, optimum, within
from comptroller.planning.solve.fleet_search import LIMITS, Goal
from comptroller.planning.solve.joint_program import (
    SLACK,
    JointProgramData,
    ModelFleet,
    QuestionFleet,
    RentableDeployments,
)
from comptroller.planning.solve.prune import undominated_ways

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Keep = Callable[[Kinds], bool]
"""Whether a choice, told by its values on every axis, may be made."""


def keep_everything(kinds: Kinds) -> bool:
    """Keep every choice."""
    return True


@dataclass(frozen=True)
class JointSolution:
    """The optimum. share: (classes, ways).  fleets: by arm.  objective: per hour."""

    share: Floats
    fleets: Mapping[int, ModelFleet]
    objective: float
    solved: float

    @property
    def key(self) -> tuple[bytes, ...]:
        """The same for solutions that do the same: shares to a millionth, and units."""
        units = [b"%d:" % arm + fleet.units.tobytes() for arm, fleet in sorted(self.fleets.items())]
        return (np.round(self.share, 6).tobytes(), *units)


@dataclass(frozen=True)
class _ProgramScope:
    """What a program is about: the ways (numbers of the ground's) that are left in it."""

    matter: JointProgramData
    ways: Ints


class JointSearch:
    """A ground made ready to be solved again and again for changing goals.

    counts: how often each question counts, in a half or a resample of them; once each, if not given.  mean: weights of
    the questions in the mean of each class, (classes, questions).
    """

    def __init__(self, ground: JointSearchSpace, counts: Floats | None = None) -> None:
        self.ground = ground
        tasks, task = ground.choices.tasks, ground.choices.task
        of_class = np.stack([task == number for number in range(len(tasks))]).astype(float)
        if counts is not None:
            of_class = of_class * counts
        self.mean = of_class / of_class.sum(axis=1, keepdims=True)
        self._rents = ground.rents
        self.score, self.usd = self.mean @ ground.score, self.mean @ ground.usd
        shape = self.score.shape
        self.calls = {arm: (self.mean @ calls).reshape(*shape, -1) for arm, calls in ground.calls.items()}
        self._optima: dict[tuple[Any, ...], JointSolution | None] = {}
        self._worth: dict[bytes, Ints] = {}

    def solve(self, goal: Goal, keep: Keep = keep_everything) -> JointSolution:
        """The cheapest shares and fleets.

        minimise  sum_r p_r u_r + sum_abr e_abr y_abr + L sum_co w_c a_co x_co  subject to  sum_o x_co = 1,
        sum_co w_c q_co x_co >= Q,  sum_o q_co x_co >= Q_c,  sum_r y_abr = L sum_co w_c n_coab x_co,
        sum_b l_br y_abr <= u_r - s z_r for every load l,  sum_r w_kr u_r <= m_k,  u whole.

        x: share of class c (weight w, pass rate q) that goes way o; n its calls of arm a in bucket b, a its API
        dollars; y calls per second on candidate r, l its units per call per second; u units; L questions per second.

        Raises:
            InfeasibleError: names the target that is out of reach and the best that is supported, or what binds.
        """
        found = self._optimum(goal, keep)
        if found is None:
            raise InfeasibleError(self._conflict(goal, keep))
        return found

    def _optimum(self, goal: Goal, keep: Keep) -> JointSolution | None:
        """The optimum, `None` where the limits leave no room; what is asked again is not solved again."""
        asked = self._matter(goal, keep)
        key = (
            replace(goal, targets=()),
            asked.ways.tobytes(),
            *((arm, rent.digest) for arm, rent in asked.matter.rents.items()),
        )
        if key not in self._optima:
            best = optimum(asked.matter, goal)
            self._optima[key] = None if best is None else self._solution(best, asked)
        return self._optima[key]

    def within(self, goal: Goal, most: float) -> bool:
        """Whether any plan holds a goal for no more than so much per hour."""
        try:
            return within(self._matter(goal, keep_everything).matter, goal, most)
        except InfeasibleError:
            return False

    def beyond(self, goal: Goal, most: float) -> tuple[Ints, dict[int, Ints]]:
        """Ways, and by arm candidates, of which a bound shows that no plan with them costs as little as `most`."""
        asked = self._matter(goal, keep_everything)
        kept = bound_of(asked.matter, goal).kept(most)
        rents = asked.matter.rents
        rows = {arm: rents[arm].candidates[kept.candidates.get(arm, np.zeros(0, np.int64))] for arm in rents}
        gone = {arm: np.setdiff1d(rents[arm].candidates, rows[arm]) for arm in rents}
        return np.setdiff1d(asked.ways, asked.ways[kept.ways]), gone

    def held(self, found: JointSolution, goal: Goal) -> JointSolution | None:
        """The same units at another goal, the questions shared anew; `None` where they do not hold it."""
        try:
            asked = self._matter(goal, keep_everything)
        except InfeasibleError:
            return None
        units = {
            arm: found.fleets[arm].units[rent.candidates] if arm in found.fleets else np.zeros(rent.shape[1], int)
            for arm, rent in asked.matter.rents.items()
        }
        rented = sum(int(fleet.units.sum()) for fleet in found.fleets.values())
        if sum(int(count.sum()) for count in units.values()) < rented:
            return None
        same = at(asked.matter, goal, units)
        return None if same is None else self._solution(same, asked)

    def _matter(self, goal: Goal, keep: Keep) -> _ProgramScope:
        ways = np.array([keep(way.kinds) for way in self.ground.ways])
        self._require_quality(goal, ways)
        found = {arm: self.rent(arm, goal, keep) for arm in self.ground.searches}
        ways &= self._served({arm for arm, rent in found.items() if rent is not None})
        self._require_quality(goal, ways)
        left = self._worth_trying(ways)
        asked = frozenset[int]().union(*(self.ground.own[way] for way in left.tolist()))
        rents = {arm: rent for arm, rent in found.items() if rent and arm in asked}
        tasks = self.ground.choices.tasks
        quality = tuple((tasks.index(task) if task else None, least) for task, least in goal.quality)
        matter = JointProgramData(
            rate_per_s=self.ground.rate_per_s * goal.demand,
            weight=self.ground.weight,
            score=self.score[:, left],
            usd=self.usd[:, left],
            rents=rents,
            calls={arm: self.calls[arm][:, left] for arm in rents},
            quality=quality,
        )
        return _ProgramScope(matter, left)

    def tried(self, goal: Goal) -> tuple[Ints, Ints]:
        """The ways whose own arms can be rented, and those of them that no other replaces."""
        ways = self._served({arm for arm in self.ground.searches if self.rent(arm, goal) is not None})
        return np.flatnonzero(ways), self._worth_trying(ways)

    def _served(self, arms: set[int]) -> npt.NDArray[np.bool_]:
        """The ways whose own devices are those of some arms alone."""
        return np.array([own <= arms for own in self.ground.own], bool)

    def replaces(self, way: int, other: int, row: int) -> bool:
        """Whether a way solves as much of a class as another, for no more dollars and calls of no arm."""
        if not self.ground.own[way] <= self.ground.own[other]:
            return False
        calls = all((self.calls[arm][row, way] <= self.calls[arm][row, other]).all() for arm in self.ground.own[other])
        solves = self.score[row, way] >= self.score[row, other]
        return bool(calls and solves and self.usd[row, way] <= self.usd[row, other])

    def _worth_trying(self, ways: npt.NDArray[np.bool_]) -> Ints:
        """The ways of a mask that no other of them replaces."""
        key = ways.tobytes()
        if key not in self._worth:
            left = np.flatnonzero(ways)
            self._worth[key] = undominated_ways(self.ground.own, self.score, self.usd, self.calls, left)
        return self._worth[key]

    def _solution(self, best: QuestionFleet, asked: _ProgramScope) -> JointSolution:
        """An optimum over what was left, told over everything there is."""
        share = np.zeros(self.score.shape)
        share[:, asked.ways] = best.share
        fleets = {}
        for arm, rented in best.rented.items():
            rent = asked.matter.rents[arm]
            units = np.zeros(len(self.ground.searches[arm].table.candidates), np.int64)
            units[rent.candidates] = rented.units
            calls = np.zeros((self.ground.sizes[arm].buckets, len(units)))
            calls[np.ix_(rent.buckets, rent.candidates)] = rented.calls_per_s
            fleets[arm] = ModelFleet(units, calls)
        solved = float(self.ground.weight @ (self.score * share).sum(axis=1))
        return JointSolution(share, fleets, best.objective, solved)

    def _conflict(self, goal: Goal, keep: Keep) -> str:
        """Which limits cannot be held, each alone or all together, with what would do."""
        needs = []
        for name, most in goal.limits:
            if self._optimum(replace(goal, limits=((name, most),)), keep) is None:
                objective = "usd" if name == "budget" else goal.objective
                free = self.solve(replace(goal, limits=(), objective=objective), keep)
                used = free.objective if name == "budget" else self._takes(free, name, goal)
                needs.append(f"{name} (at most {most:g} {LIMITS.get(name, 'devices')}, needs {used:.6g})")
        together = ", ".join(name for name, _ in goal.limits)
        return "the limits leave no room: " + ("; or ".join(needs) or f"{together} conflict with each other")

    def _takes(self, found: JointSolution, name: str, goal: Goal) -> float:
        """What a solution takes of a limit."""
        column = {arm: self.ground.searches[arm].table.best(goal.targets)[1] for arm in found.fleets}
        return sum(
            float(self.ground.searches[arm].weights(name, column[arm]) @ fleet.units)
            for arm, fleet in found.fleets.items()
        )

    def rent(self, arm: int, goal: Goal, keep: Keep = keep_everything) -> RentableDeployments | None:
        """What an arm may rent, per call per second; `None` where nothing meets the targets."""
        allowed = np.ones(len(self.ground.searches[arm].table.candidates), bool)
        if keep is not keep_everything:
            allowed = np.array([keep(kinds) for kinds in self.ground.kinds[arm]], bool)
        used = np.flatnonzero(self.calls[arm].any(axis=(0, 1)))
        return self._rents.of(arm, goal, allowed, used)

    def _require_quality(self, goal: Goal, ways: npt.NDArray[np.bool_]) -> None:
        if not ways.any():
            raise InfeasibleError("no way to answer is left")
        best = np.where(ways[None, :], self.score, -np.inf).max(axis=1)
        for name, least in goal.quality:
            tasks = self.ground.choices.tasks
            reached = float(self.ground.weight @ best) if not name else float(best[tasks.index(name)])
            if reached < least - SLACK:
                of = f" of {name}" if name else ""
                raise InfeasibleError(
                    f"solving {least:.1%}{of} is not supported by the evidence; the best supported is "
                    f"{reached:.1%}, {self._best_ways(name, ways)}; measure other models or more samples"
                )

    def _best_ways(self, name: str, ways: npt.NDArray[np.bool_]) -> str:
        found = []
        for number, task in enumerate(self.ground.choices.tasks):
            if name in ("", task):
                best = int(np.where(ways, self.score[number], -np.inf).argmax())
                found.append(f"{task + ': ' if task else ''}{describe_way(self, best)}")
        return "; ".join(found[:4])


def describe_way(joint: JointSearch, number: int) -> str:
    """A way in one line: strategy, who plays, by which route."""
    way, arms = joint.ground.ways[number], joint.ground.choices.evidence.arms
    who = " > ".join(f"{arms[arm]} ({way.routes[arm]})" for arm in way.option.arms)
    return f"{way.option.strategy} by {who}"
