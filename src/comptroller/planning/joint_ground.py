"""What a joint search stands on: ways to answer, the sizes of their calls, and what own devices could be rented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, hstack

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.steady import UniformRequests
from comptroller.planning.joint_program import RentableDeployments
from comptroller.planning.options import Option, OptionCalls, OptionSet
from comptroller.planning.search import FleetSearch, Goal, columns_of, undominated_columns
from comptroller.strategies.prefixes import whole_blocks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Kinds = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class RoutedOption:
    """An option with a route for each of its arms: its tokens are bought from an API or made on own devices."""

    option: Option
    routes: Mapping[int, str]
    kinds: Kinds

    def usd(self, questions: int) -> Floats:
        """Dollars paid to APIs for each question."""
        asked = self.option.asked
        bought = np.array([self.routes[arm] == "api" for arm in asked.arm.tolist()], bool)
        return np.asarray(np.bincount(asked.question[bought], asked.usd[bought], questions), float)


@dataclass(frozen=True)
class CallBuckets:
    """The calls of an arm in buckets of like size, those that find part of their prompt cached apart from the others.

    longest_tokens: prompt and output of the longest.  block_tokens: of a block of the prefix cache, 0 for none.
    """

    load: SlicedLoad
    edges: tuple[Floats, Floats]
    longest_tokens: float
    block_tokens: int = 0

    @property
    def buckets(self) -> int:
        """How many there are, empty ones included."""
        return 2 * (len(self.edges[0]) + 1) * (len(self.edges[1]) + 1)

    def cached(self, inputs: Floats, common: Floats) -> Floats:
        """Tokens of prompts that are found, of those in common with earlier calls."""
        if not self.block_tokens:
            return np.zeros(len(inputs))
        return np.asarray(whole_blocks(common, inputs, self.block_tokens))

    def bucket(self, inputs: Floats, outputs: Floats, cached: Floats) -> Ints:
        """The bucket of each call."""
        row = np.searchsorted(self.edges[0], inputs, side="right")
        column = np.searchsorted(self.edges[1], outputs, side="right")
        place = row * (len(self.edges[1]) + 1) + column
        return np.asarray(place + (cached > 0) * (self.buckets // 2), np.int64)

    def calls(self, asked: OptionCalls, arm: int, questions: int) -> Floats:
        """How many calls of an arm each question makes: (questions, buckets)."""
        mine = asked.only(asked.arm == arm)
        cached = self.cached(mine.input_tokens, mine.common_tokens)
        cell = mine.question * self.buckets + self.bucket(mine.input_tokens, mine.output_tokens, cached)
        found = np.bincount(cell, minlength=questions * self.buckets)
        return np.asarray(found.reshape(questions, self.buckets), float)

    def keys(self, requests: UniformRequests) -> Ints:
        """The buckets of requests."""
        return self.bucket(requests.input_tokens, requests.output_tokens, requests.cached_tokens)


@dataclass(frozen=True)
class JointSearchSpace:
    """What a joint search stands on: the questions' classes with their weights, ways, own fleets to rent, and rate.

    weight: of each class in the traffic.  searches: by arm that own devices may serve.  sizes: of their calls.
    """

    choices: OptionSet
    weight: Floats
    ways: tuple[RoutedOption, ...]
    searches: Mapping[int, FleetSearch]
    sizes: Mapping[int, CallBuckets]
    rate_per_s: float

    @cached_property
    def score(self) -> Floats:
        """(questions, ways)."""
        return np.stack([way.option.score for way in self.ways], axis=1)

    @cached_property
    def usd(self) -> Floats:
        """(questions, ways), paid to APIs."""
        return np.stack([way.usd(len(self.choices.task)) for way in self.ways], axis=1)

    @cached_property
    def own(self) -> tuple[frozenset[int], ...]:
        """Of every way, the arms that own devices serve."""
        return tuple(frozenset(a for a, route in way.routes.items() if route == "own") for way in self.ways)

    @cached_property
    def calls(self) -> dict[int, csr_array]:
        """Calls that own devices get, by arm: (questions, ways x buckets)."""
        return {arm: self._calls(arm) for arm in self.searches}

    def _calls(self, arm: int) -> csr_array:
        sizes, questions = self.sizes[arm], len(self.choices.task)
        none, known = csr_array((questions, sizes.buckets)), dict[int, csr_array]()
        for way in (way for way, own in zip(self.ways, self.own, strict=True) if arm in own):
            if id(way.option) not in known:
                known[id(way.option)] = csr_array(sizes.calls(way.option.asked, arm, questions))
        parts = [known[id(way.option)] if arm in own else none for way, own in zip(self.ways, self.own, strict=True)]
        return csr_array(hstack(parts, format="csr"))

    @cached_property
    def kinds(self) -> dict[int, list[Kinds]]:
        """Of every candidate, by arm."""
        searches = self.searches.items()
        return {arm: [kinds_of(s, row) for row in range(len(s.table.candidates))] for arm, s in searches}

    @cached_property
    def rents(self) -> RentalCache:
        """What arms may rent."""
        return RentalCache(self.searches, self.sizes)


class RentalCache:
    """What arms may rent for which goals, found once however often the questions are resampled."""

    def __init__(self, searches: Mapping[int, FleetSearch], sizes: Mapping[int, CallBuckets]) -> None:
        self._searches, self._sizes = searches, sizes
        self._known: dict[tuple[int, Goal, bytes, bytes], RentableDeployments | None] = {}
        self._alike: dict[tuple[int, bytes], RentableDeployments] = {}

    def of(self, arm: int, goal: Goal, allowed: npt.NDArray[np.bool_], used: Ints) -> RentableDeployments | None:
        """Undominated candidates for the calls of some buckets; `None` where none meets the goal's targets."""
        goal = replace(goal, demand=1.0, quality=())
        key = (arm, goal, allowed.tobytes(), used.tobytes())
        if key not in self._known:
            rent = self._rent(arm, goal, allowed, used)
            self._known[key] = rent if rent is None else self._alike.setdefault((arm, rent.digest), rent)
        return self._known[key]

    def _rent(self, arm: int, goal: Goal, allowed: npt.NDArray[np.bool_], used: Ints) -> RentableDeployments | None:
        search, sizes = self._searches[arm], self._sizes[arm]
        place = {int(key): row for row, key in enumerate(sizes.keys(sizes.load.requests))}
        rows = np.array([place[bucket] for bucket in used.tolist()], np.int64)
        per_call = 1.0 / search.table.load.rate_per_s[rows][:, None]
        mix = search.mix(goal, allowed)
        mix = replace(
            mix,
            load=mix.load[rows] * per_call,
            also=tuple(load[rows] * per_call for load in mix.also),
            energy=None if mix.energy is None else mix.energy[rows] * per_call,
        )
        usable = np.flatnonzero(np.isfinite(mix.load).all(axis=0))
        if not len(usable):
            return None
        columns = usable[undominated_columns(columns_of(mix, usable))]
        return RentableDeployments(columns, used, columns_of(mix, columns))


def kinds_of(search: FleetSearch, row: int) -> Kinds:
    """A candidate's values on every axis; `model` is that of the way that it serves."""
    kinds = search.table.candidates[row].kinds
    return {axis: frozenset((value,)) for axis, value in kinds.items() if axis != "model"}


def ways_of(
    choices: OptionSet, own: Sequence[int], routes: Sequence[str], bought: Sequence[int]
) -> Iterator[RoutedOption]:
    """Every option by every route that its arms have: an API where dollars are recorded, own devices where it fits."""
    arms = choices.evidence.arms
    for option in choices.options:
        each = [
            [r for r in routes if (r == "api" and arm in bought) or (r == "own" and arm in own)] for arm in option.arms
        ]
        for picked in product(*each):
            kinds = {
                "strategy": frozenset((option.name,)),
                "model": frozenset(str(arms[arm]) for arm in option.arms),
                "route": frozenset(picked),
            }
            yield RoutedOption(option, dict(zip(option.arms, picked, strict=True)), kinds)
