"""The event engine: submit calls, advance the clock, read what happened."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.jit import COMPILED, cache_folder
from comptroller.serving.jobs import check, fill, parents_of
from comptroller.serving.outcome import EngineOutcome, RankSample, StoreMeters, meters_of
from comptroller.serving.own_policies import raise_failure
from comptroller.serving.plain_memory import kernel_form
from comptroller.serving.policies.view import COLUMNS, KV, QUEUED, WRONG_RANK
from comptroller.serving.state import (
    CANCELS,
    FOREVER,
    NEVER,
    REQUEST,
    TICKS_PER_S,
    GroupActivity,
    KernelWorld,
    RequestState,
    ResultRow,
    ReturnReason,
    records,
    ticks,
)
from comptroller.work.call import CallTable

Ids = npt.NDArray[np.int64]

_FIRST_SLOTS = 256
"""Requests alive at once that the first slots are made for: the batch of one replica and its queue. Slots double."""

UNCOMPILED = (
    "numba is not installed (comptroller[sim] adds it):"
    " the event engine runs as plain Python, about 2,000 requests a second"
)
"""The speed is that of `benchmarks/results/uncompiled.md`."""


class EngineJob(NamedTuple):
    """A request as strategies hand it in, the quick way: the fields of a job, in their order.

    wait_s: how long it waits; of a request with tokens, after its parent.  parent: id of the request it waits for.
    blocks, block_count: as `EventEngine.add_blocks` returned them.  service: 0 any, else one more than its place in the
    fleet.  watched: whether `advance` returns when it ends.  awaits: requests, if several, that it waits for.  joins:
    one more than the id of the one that awaits this and others.  adapter: one more than its place, 0 for none.  kept:
    tokens of the prompt whose cache comes with it.
    """

    arrival_s: float
    wait_s: float = 0.0
    priority: float = 0.0
    session: int = -1
    blocks: int = 0
    parent: int = -1
    prompt: int = 0
    output: int = 0
    predicted: int = 0
    block_count: int = 0
    tenant: int = 0
    service: int = 0
    watched: int = 1
    awaits: int = 0
    joins: int = 0
    adapter: int = 0
    kept: int = 0


class EventEngine:
    """A fleet under load, at one moment; `advance` moves the moment on.

    sample_s: how often the time series is sampled (0: never).

    Without numba the same kernel runs as plain Python, and says so once.
    """

    def __init__(self, fleet: SimulatedFleet, sample_s: float = 0.0) -> None:
        self.fleet = fleet
        self._kernel, build = _ready_kernel()
        self._world = _fresh_world(fleet, sample_s, build)
        self._taken = KernelWorld(*map(kernel_form, self._world))
        # A field of a record is looked up in Python, one of an array is not: this is read every second of a day.
        self._clock = {name: self._world.clock[name] for name in self._world.clock.dtype.names or ()}
        self._cancels: list[int] = []
        self._count = 0
        self._blocks = 0
        self._series: list[RankSample] = []

    @property
    def now_s(self) -> float:
        """The moment."""
        return float(int(self._clock["now"][0]) >> 2) / TICKS_PER_S

    def submit(self, calls: CallTable, watch: bool = False) -> Ids:
        """Ids of the calls, which arrive at their time, or at once if that has passed.

        A parent is named by its `call` number here; who waits for its reply waits for the server around the engine too.
        watch: `advance` returns when one ends.

        Raises:
            RecordError: calls that cannot be simulated.
            InputError: an unknown parent, service or tenant.
        """
        check(calls)
        first, last = self._count, self._count + len(calls)
        parents = parents_of(calls, first)
        self._stage(len(calls))
        jobs = self._world.jobs[first:last]
        fill(jobs, calls, self.fleet)
        jobs.parent, jobs.watched = parents, watch
        jobs.blocks += self.add_blocks(calls.block_ids)
        self._clock["server_waits"][0] = 1
        return np.arange(first, last)

    def ask(self, jobs: Sequence[EngineJob]) -> range:
        """Ids of jobs handed in the quick way, unchecked; parents are the engine's own ids."""
        first = self._count
        self._stage(len(jobs))
        for place, job in enumerate(jobs, first):
            self._world.jobs[place] = job
        return range(first, self._count)

    def enter(self, jobs: npt.NDArray[np.void]) -> range:
        """Ids of jobs handed in as an array of `JOB`, unchecked; parents and joins count from the first of them."""
        first = self._count
        self._stage(len(jobs))
        own = self._world.jobs[first : self._count]
        own[:] = jobs
        own.parent[own.parent >= 0] += first
        own.joins[own.joins > 0] += first
        return range(first, self._count)

    def add_blocks(self, ids: Ids) -> int:
        """Where the prefix blocks will stand that jobs name by `blocks`."""
        if ids.size == 0:
            return 0
        blocks = self._world.blocks
        if self._blocks + ids.size > blocks.size:
            blocks = np.concatenate([blocks, np.zeros(max(blocks.size, ids.size), np.int64)])
            self._renew(blocks=blocks)
        base = self._blocks
        blocks[base : base + ids.size] = ids
        self._blocks += ids.size
        return base

    def cancel(self, request: int) -> None:
        """End a request: at once where it waits, after the step under way where it runs."""
        if not 0 <= request < self._count:
            raise InputError(f"cancel: no request {request}; there are {self._count}")
        self._cancels.append(request)
        if len(self._cancels) == CANCELS:
            self._kernel_to(-1)

    def set_level(self, replica: int, level: int) -> None:
        """Let a replica step by another of its levels: from its next step on, the one under way ends as it began.

        replica: its place in the fleet.  level: 0 its own table, else the place among its `levels`, from 1.

        Raises:
            InputError: no such replica or level.
        """
        placed = [one for _, one in self.fleet.replicas()]
        if not 0 <= replica < len(placed) or not 0 <= level < len(placed[replica].tables):
            known = f"; it has levels 0 to {len(placed[replica].levels)}" if 0 <= replica < len(placed) else ""
            raise InputError(f"level {level} of replica {replica} of {len(placed)}{known}")
        first = sum(one.ranks for one in placed[:replica])
        leader, clock = self._world.ranks[first], self._world.clock[0]
        self._world.ranks.level_due[first : first + placed[replica].ranks] = level
        same = leader.level in (level, level + leader.besides)
        if leader.kind == GroupActivity.RUN and not (same or leader.poked):
            leader.poked = 1
            self._world.ints[clock.pokes + clock.poke_count] = first
            clock.poke_count += 1

    @property
    def busy(self) -> bool:
        """Whether anything is left to happen, what was submitted since included."""
        clock = self._world.clock[0]
        waits = clock.stream < clock.count or clock.count < self._count or clock.timed >= 0
        return bool(waits or self._world.ints[clock.tree + 1] < NEVER)

    @property
    def next_s(self) -> float:
        """When the next step begins or ends; infinite where nothing runs. Arrivals are not counted."""
        key = int(self._world.ints[self._world.clock[0].tree + 1])
        return math.inf if key >= NEVER else (key >> 2) / TICKS_PER_S

    def step(self) -> None:
        """Go on to the tick at which the next step begins or ends, where anything runs."""
        key = int(self._world.ints[self._world.clock[0].tree + 1])
        if key < NEVER:
            self._kernel_to(key >> 2)

    def take_jobs(self) -> None:
        """Let what was handed in for this moment arrive, a tick after what has happened in it."""
        self._kernel_to((int(self._world.clock[0].now) + 2) >> 2)

    def first_ticks(self, requests: Ids) -> Ids:
        """Tick of the first token of each request, or of its end without one; -1 where it has none yet."""
        results, live = self._world.results[requests], self._world.requests
        slots = np.clip(results["slot"], 0, live.size - 1)
        runs = (live["id"][slots] == requests) & (live["state"][slots] < RequestState.DONE)
        ended = np.where(results["first"] >= 0, results["first"], results["last"])
        known = np.where(results["state"] >= RequestState.DONE, ended, -1)
        return np.asarray(np.where(runs, live["first"][slots], known))

    @property
    def series(self) -> Sequence[RankSample]:
        """The samples so far."""
        return self._series

    def take_cancels(self) -> None:
        """End what was cancelled where it waits, and let what runs go no further than the step under way."""
        self._kernel_to(-1)

    def advance(self, until_s: float = math.inf) -> Ids:
        """Watched requests that ended first, all at one moment; empty when `until_s` is reached or nothing is
        left to happen."""
        until = FOREVER if math.isinf(until_s) else ticks(until_s)
        while self._kernel_to(until) == ReturnReason.SAMPLE:
            self._sample()
        ended, following = [], self._world.results["slot"]
        request = int(self._clock["out_first"][0])
        while request >= 0:
            ended.append(request)
            request = int(following[request])
        self._clock["out_first"][0] = -1
        return np.array(ended, np.int64)

    def _kernel_to(self, until: int) -> int:
        """Why the kernel returned, having been given the slots it needs."""
        clock = self._clock
        clock["entering"][0] = self._count
        if clock["spares"][0] < len(self._cancels) + 2:
            self._add_slots(len(self._cancels) + 2)
        cancels = len(self._cancels)
        if cancels:
            first = int(clock["cancels"][0])
            self._world.ints[first : first + cancels] = self._cancels
        while True:
            reason = self._kernel(self._taken, cancels, until)
            raise_failure()
            if clock["fault"][0]:
                raise InputError(WRONG_RANK)
            if reason != ReturnReason.CROWDED:
                break
            if clock["count"][0] == clock["entering"][0]:
                cancels = 0
            self._add_slots(2)
        self._cancels.clear()
        return int(reason)

    def row(self, request: int) -> Any:
        """What became of a request that has ended."""
        return ResultRow(*self._world.results[request].item())

    def run(self) -> EngineOutcome:
        """What came of everything submitted, once nothing is left to happen."""
        while self.advance().size:
            pass
        return self.outcome()

    def outcome(self) -> EngineOutcome:
        """What has happened so far."""
        world = self._world
        return EngineOutcome(
            self.fleet,
            world.jobs[: self._count],
            _with_living(world)[: self._count],
            meters_of(world.ranks),
            self.now_s,
            tuple(self._series),
            StoreMeters(*(world.stores[name].copy() for name in ("loads", "writes", "evictions"))),
        )

    def _stage(self, count: int) -> None:
        """Make room for so many more jobs."""
        self._count += count
        world = self._world
        if self._count > world.jobs.size:
            self._renew(jobs=_enlarge(world.jobs, self._count), results=_enlarge(world.results, self._count))

    def _add_slots(self, least: int) -> None:
        """At least so many more slots, twice as many as before."""
        requests, clock = self._world.requests, self._world.clock[0]
        larger = records(REQUEST, max(2 * requests.size, requests.size + least, _FIRST_SLOTS))
        larger[: requests.size] = requests
        fresh = np.arange(requests.size, larger.size)
        larger.id[fresh] = -1
        larger.right[fresh] = np.append(fresh[1:], clock.spare)
        clock.spare = requests.size
        clock.spares += fresh.size
        self._renew(requests=larger)

    def _renew(self, **arrays: Any) -> None:
        """Put larger arrays in the place of those of the world."""
        self._world = self._world._replace(**arrays)
        self._taken = self._taken._replace(**{name: kernel_form(array) for name, array in arrays.items()})

    def _sample(self) -> None:
        world, clock = self._world, self._world.clock[0]
        ranks = world.ranks
        view = world.floats[clock.seen : clock.seen + clock.ranks * COLUMNS].reshape(COLUMNS, -1)
        self._series.append(
            RankSample(
                float((int(clock.now) >> 2) / TICKS_PER_S),
                (ranks.busy + ranks.part_ticks) / TICKS_PER_S,
                ranks.joules + ranks.part_j,
                view[KV].copy(),
                view[QUEUED].astype(np.int64),
                ranks.batch + ranks.pre_count,
            )
        )


_BUILT: WeakKeyDictionary[SimulatedFleet, tuple[float, KernelWorld]] = WeakKeyDictionary()
"""Worlds without requests, for as long as their fleets live: a fleet is simulated on several draws."""


def _fresh_world(fleet: SimulatedFleet, sample_s: float, build: Any) -> KernelWorld:
    """The world of a fleet at second 0."""
    sampled_s, built = _BUILT.get(fleet, (math.nan, None))
    if built is None or sampled_s != sample_s:
        built = build(fleet, sample_s)
        _BUILT[fleet] = sample_s, built
    fresh: list[Any] = [array.copy() for array in built]
    return KernelWorld(*fresh)


def _with_living(world: Any) -> Any:
    """Results, with what has become so far of the requests that still live."""
    results, requests = world.results, world.requests
    living = requests.id >= 0
    living[living] = results.slot[requests.id[living]] == np.flatnonzero(living)
    living &= requests.state < RequestState.DONE
    if not living.any():
        return results
    results = results.copy()
    for name in set(results.dtype.names) & set(requests.dtype.names):
        results[name][requests.id[living]] = requests[name][living]
    return results


def _enlarge(array: Any, count: int) -> Any:
    # The first batch gets what it needs and no more: it is often the whole trace.
    larger = records(array.dtype, count if array.size <= 1 else max(count, 2 * array.size))
    larger[: array.size] = array
    return larger


@lru_cache(maxsize=1)
def _ready_kernel() -> tuple[Any, Any]:
    """The kernel and what builds its world; says so when it has to be compiled, or cannot be."""
    from comptroller.serving.kernel import loop  # noqa: PLC0415
    from comptroller.serving.kernel.build import build  # noqa: PLC0415

    if not COMPILED:
        print(UNCOMPILED, file=sys.stderr, flush=True)
        return loop.advance, build
    if any(cache_folder(loop.SOURCES).rglob("*.nbi")):
        return loop.advance, build
    print("Compiling the event engine, once; this takes about half a minute.", file=sys.stderr, flush=True)
    before = time.perf_counter()
    loop.advance(build(_smallest(), 0.0), 0, 0)
    print(f"Compiled in {time.perf_counter() - before:.0f} s.", file=sys.stderr, flush=True)
    return loop.advance, build


def _smallest() -> SimulatedFleet:
    from comptroller.serving.ticks import linear  # noqa: PLC0415

    return SimulatedFleet.uniform(linear(max_batch=1), 1)


def simulate(fleet: SimulatedFleet, calls: CallTable, sample_s: float = 0.0) -> EngineOutcome:
    """What comes of the calls on the fleet.

    Raises:
        RecordError, InputError: calls that cannot be simulated.

    >>> from comptroller.serving.ticks import linear
    >>> calls = CallTable.of(arrival_s=[0.0, 0.5], input_tokens=[100, 200], output_tokens=[10, 1])
    >>> simulate(SimulatedFleet.uniform(linear(), 1), calls).ttft_s.round(4).tolist()
    [0.0082, 0.0104]
    """
    engine = EventEngine(fleet, sample_s)
    engine.submit(calls)
    return engine.run()
