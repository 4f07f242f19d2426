"""Jobs on a cluster, event by event: submissions, ends, rounds of a policy, and GPUs that serving takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from types import ModuleType

import numpy as np

from comptroller.cluster.defragmentation import defragment
from comptroller.cluster.job_faults import FaultClock, JobFaults, jobs_gpus_on
from comptroller.cluster.job_goodput import JobGoodput
from comptroller.cluster.job_outcome import JobOutcome, JobOutcomeRows
from comptroller.cluster.job_table import WHOLE, Floats, Ints, JobTable
from comptroller.cluster.job_view import JobView
from comptroller.cluster.nodes import JobPlace, NodePool
from comptroller.cluster.policies import JOB_POLICIES
from comptroller.errors import InputError

NEVER = float("inf")


@dataclass(frozen=True, eq=False)
class ServingShare:
    """GPUs that serving takes from jobs, in steps. at_s: from when on, rising.  gpus: whole ones."""

    at_s: Floats
    gpus: Ints


@dataclass(frozen=True, eq=False)
class JobSettings:
    """A cluster and what changes cost on it.

    nodes: GPUs of each.  policy: its id, the path of its file or its dotted path.  restart_s: without progress, after
    every change of a job's GPUs but its first start.  checkpoint_s: time between checkpoints, inf where there are none:
    what serving stops goes back to the last one, unless the policy's jobs are transparent to it.  slicing: share of its
    speed that a job on fewer GPUs than it asks for loses to taking turns.  quota: GPUs by tenant.  faults: of nodes.
    kinds: of GPUs, of each node a number, none where all are alike.  speeds: of each tenant's jobs on each kind, shape
    (tenants, kinds), over what their durations are of; on several kinds a job goes as on the slowest.
    goodput: of jobs on other GPUs than they ask for.
    """

    nodes: tuple[int, ...]
    policy: str = "fcfs"
    restart_s: float = 60.0
    checkpoint_s: float = 1800.0
    slicing: float = 0.03
    quota: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    serving: ServingShare | None = None
    faults: JobFaults | None = None
    kinds: tuple[int, ...] = ()
    speeds: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    goodput: JobGoodput | None = None

    def __post_init__(self) -> None:
        if not (self.restart_s >= 0 and self.checkpoint_s > 0 and 0 <= self.slicing < 1):
            raise InputError(
                f"jobs: restart {self.restart_s:g} s, checkpoints every {self.checkpoint_s:g} s, slicing "
                f"{self.slicing:g}; allowed: from 0 s, above 0 s, from 0 to below 1"
            )


class JobCluster:
    """The state of a simulation. Columns are of shape (jobs,): progress is in seconds at all GPUs of a job, up to
    `at_s`, from where on it rises by `speed` a second; safe_s of it lie in the last checkpoint. since_s: when it got
    what it holds, until_s: when the restart for it is over. kind: of GPUs that it runs on, the slowest of several;
    on_kind_s: for how long before, shape (jobs, kinds). hung: since when jobs hang, by job."""

    def __init__(self, jobs: JobTable, settings: JobSettings) -> None:
        self.jobs, self.settings = jobs, settings
        self.module: ModuleType = JOB_POLICIES.module(settings.policy)
        self.pool = NodePool(settings.nodes, settings.kinds)
        self.speeds = settings.speeds if settings.speeds.size else np.ones((len(jobs.tenants), 1))
        _refuse(jobs, settings, self.pool, self.module)
        n = len(jobs)
        self.clock_s = 0.0
        self.live: Ints = np.zeros(0, np.int64)
        self.held, self.held_milli = np.zeros(n, np.int64), 0
        self.speed, self.progress_s, self.safe_s = np.zeros(n), np.zeros(n), np.zeros(n)
        self.at_s, self.since_s, self.until_s = np.zeros(n), np.zeros(n), np.zeros(n)
        self.on_kind_s, self.kind = np.zeros((n, self.speeds.shape[1])), np.zeros(n, np.int64)
        self.end_s = np.full(n, NEVER)
        self.ends: list[tuple[float, int]] = []
        self.lacking: set[int] = set()
        self.places: dict[int, JobPlace] = {}
        self.serving_places: list[JobPlace] = []
        self.rows = JobOutcomeRows.of(n)
        self.hung: dict[int, float] = {}
        self.goodput = settings.goodput
        self.faults = FaultClock(settings.faults, self.pool) if settings.faults else None

    def run(self) -> JobOutcome:
        """Until every job has ended."""
        every_s = getattr(self.module, "EVERY_S", None)
        serving = self.settings.serving
        steps_s = np.zeros(0) if serving is None else serving.at_s
        submitted, step, tick_s = 0, 0, NEVER
        while submitted < len(self.jobs) or len(self.live):
            next_s = float(self.jobs.submitted_s[submitted]) if submitted < len(self.jobs) else NEVER
            step_s = float(steps_s[step]) if step < len(steps_s) else NEVER
            fault_s = self.faults.next_s(self.clock_s, self.held_milli > 0) if self.faults else NEVER
            self._advance(min(next_s, step_s, tick_s, fault_s, self._next_end_s()))
            self._end()
            self._fault()
            first = submitted
            while submitted < len(self.jobs) and self.jobs.submitted_s[submitted] <= self.clock_s:
                submitted += 1
            self.live = np.concatenate([self.live, np.arange(first, submitted)])
            self.lacking.update(range(first, submitted))
            if serving is not None and step_s <= self.clock_s:
                self._serve(int(serving.gpus[step]))
                step += 1
            if self._asks():
                self._decide()
            tick_s = (np.floor(self.clock_s / every_s) + 1) * every_s if every_s and self._asks() else NEVER
        return self.rows.outcome(self.jobs, self.settings.nodes, self.settings.policy)

    def _asks(self) -> bool:
        """Whether a policy has anything to decide."""
        return bool(self.lacking) or (len(self.live) > 0 and getattr(self.module, "EXCHANGES", False))

    def _next_end_s(self) -> float:
        """When the next job ends, as things are; ends that were put off are dropped."""
        while self.ends and self.end_s[self.ends[0][1]] != self.ends[0][0]:
            heappop(self.ends)
        return self.ends[0][0] if self.ends else NEVER

    def _advance(self, to_s: float) -> None:
        if to_s == NEVER:
            waits = ", ".join(str(job) for job in self.live[:5])
            raise InputError(f"policy {self.settings.policy}: nothing runs and nothing comes, jobs {waits} wait on")
        self.rows.hold(self.clock_s, self.held_milli, len(self.live), self._serving_milli())
        self.clock_s = to_s

    def _fault(self) -> None:
        """Nodes that are back, faults that are seen, and one that comes."""
        if self.faults is None:
            return
        for node in self.faults.mended(self.clock_s):
            self.pool.put_back(node)
        for one in self.faults.seen(self.clock_s):
            if self.hung.get(one.job) == one.at_s:
                self.stop(one.job, saves=False)
            if one.breaks and not self.faults.is_away(one.node):
                self._leave(one.node)
                self.faults.take_out(one.node, self.clock_s)
        found = self.faults.fault(self.clock_s, self.places, self.hung)
        if found is not None and found.job >= 0:
            self._settle(found.job)
            self.speed[found.job], self.end_s[found.job] = 0.0, NEVER
            self.hung[found.job] = self.clock_s
            self.rows.faults[found.job] += 1

    def _leave(self, node: int) -> None:
        """All jobs and all serving of a node leave it; serving takes as many GPUs elsewhere."""
        for job in [job for job, place in self.places.items() if jobs_gpus_on(place, node, self.pool)]:
            self.stop(job, saves=True)
        serves = len(self.serving_places)
        gone = [place for place in self.serving_places if jobs_gpus_on(place, node, self.pool)]
        self.serving_places = [place for place in self.serving_places if place not in gone]
        for place in gone:
            self.pool.give_back(place)
        if gone:
            self.pool.take_out(node)
            self._serve(serves)

    def _serving_milli(self) -> int:
        return len(self.serving_places) * WHOLE

    def _away_milli(self) -> int:
        return self._serving_milli() + (self.faults.away_gpus * WHOLE if self.faults else 0)

    def done_s(self, live: Ints) -> Floats:
        """Progress of jobs up to now."""
        return self.progress_s[live] + np.maximum(self.clock_s - self.at_s[live], 0.0) * self.speed[live]

    def _settle(self, job: int) -> None:
        self.progress_s[job] += max(self.clock_s - self.at_s[job], 0.0) * self.speed[job]
        self.at_s[job] = max(self.clock_s, self.at_s[job])

    def _end(self) -> None:
        over = set()
        while self._next_end_s() <= self.clock_s:
            over.add(job := heappop(self.ends)[1])
            self._release(job)
            self.lacking.discard(job)
            self.rows.ended_s[job] = self.clock_s
        if over:
            self.live = self.live[~np.isin(self.live, list(over))]

    def _release(self, job: int) -> None:
        self.pool.give_back(self.places.pop(job))
        self._spend(job)
        self.held_milli -= int(self.held[job])
        self.held[job], self.speed[job], self.end_s[job] = 0, 0.0, NEVER
        self.since_s[job] = self.clock_s
        self.lacking.add(job)

    def _spend(self, job: int) -> None:
        """What a job held since its last change, and what of it went to a restart."""
        gpus, since_s = self.held[job] / WHOLE, self.since_s[job]
        self.on_kind_s[job, self.kind[job]] += self.clock_s - since_s
        self.rows.held_gpu_s[job] += gpus * (self.clock_s - since_s)
        self.rows.restart_gpu_s[job] += gpus * max(min(self.clock_s, self.until_s[job]) - since_s, 0.0)

    def stop(self, job: int, saves: bool) -> None:
        """Take a job's GPUs. saves: it writes a checkpoint first; else what came after its last one is lost."""
        self._settle(job)
        if job in self.hung:
            self.rows.hung_gpu_s[job] += (self.clock_s - self.hung.pop(job)) * self.held[job] / WHOLE
            saves = False
        if not saves:
            step_s = self.settings.checkpoint_s
            ran_s = self.progress_s[job] - self.safe_s[job]
            kept = self.safe_s[job] + (0.0 if np.isinf(step_s) else np.floor(ran_s / step_s) * step_s)
            self.rows.lost_gpu_s[job] += (self.progress_s[job] - kept) * self.jobs.gpus[job]
            self.progress_s[job] = kept
        self.safe_s[job] = self.progress_s[job]
        self.rows.stops[job] += 1
        self._release(job)

    def start(self, job: int, milli: int, place: JobPlace) -> None:
        """Run a job on so much, at once if it never ran, else after its restart."""
        again = not np.isnan(self.rows.started_s[job])
        wait_s = self.settings.restart_s if again else 0.0
        self.rows.started_s[job] = self.rows.started_s[job] if again else self.clock_s
        self.places[job], self.held[job], self.since_s[job] = place, milli, self.clock_s
        self.held_milli += milli
        if milli >= self.jobs.milli[job]:
            self.lacking.discard(job)
        own = self.speeds[self.jobs.tenant[job]]
        self.kind[job] = min(self.pool.kinds_of(place), key=lambda kind: own[kind])
        self.speed[job] = self._pace(job, milli, place) * own[self.kind[job]]
        self.at_s[job] = self.until_s[job] = self.clock_s + wait_s
        self.end_s[job] = self.at_s[job] + (self.jobs.duration_s[job] - self.progress_s[job]) / self.speed[job]
        heappush(self.ends, (float(self.end_s[job]), job))

    def _pace(self, job: int, milli: int, place: JobPlace) -> float:
        """Progress a second: by its goodput where that is known and it can train so, else by turns on fewer GPUs."""
        asked = int(self.jobs.milli[job])
        turns = _speed(asked, milli, self.settings.slicing)
        if self.goodput is None:
            return turns
        return self.goodput.speed(job, asked // WHOLE, milli // WHOLE, len(place.nodes)) or turns

    def move(self, job: int, place: JobPlace) -> None:
        """Run a job elsewhere on as much as it has; the pool knows of it already."""
        if job in self.hung:  # it cannot say where it is: it moves once it is seen to hang
            return
        milli = int(self.held[job])
        self._settle(job)
        self._spend(job)
        self.held_milli -= milli
        self.rows.moves[job] += 1
        self.start(job, milli, place)

    def _serve(self, gpus: int) -> None:
        """Serving takes or gives back GPUs; where none is free, who started last stops, of the least tier first."""
        while len(self.serving_places) > gpus:
            self.pool.give_back(self.serving_places.pop())
        while len(self.serving_places) < gpus:
            place = self.pool.take(WHOLE)
            if place is not None:
                self.serving_places.append(place)
                continue
            runs = [int(job) for job in self.live if self.held[job]]
            if not runs:
                break
            last = min(runs, key=lambda job: (self.jobs.promise[job], -self.since_s[job], -job))
            self.stop(last, saves=getattr(self.module, "TRANSPARENT", False))

    def _decide(self) -> None:
        live = self.live
        view = JobView(self.clock_s, live, self, self.settings.quota * WHOLE, self.pool, self._away_milli())
        for place, milli, *kind in self.module.grants(view):
            self._grant(int(live[place]), milli, *kind)

    def _grant(self, job: int, milli: int, kind: int = -1) -> None:
        """Give a job what a policy grants it, if there is room."""
        if milli == self.held[job]:
            return
        if self.held[job]:
            self._resize(job, milli)
        elif (place := self._room(milli, kind)) is not None:
            self.start(job, milli, place)

    def _resize(self, job: int, milli: int) -> None:
        held = int(self.held[job])
        self.stop(job, saves=True)
        if milli:
            place = self._room(milli)
            if place is None:
                milli, place = held, self.pool.take(held)
            if place is not None:
                self.start(job, milli, place)

    def _room(self, milli: int, kind: int = -1) -> JobPlace | None:
        place = self.pool.take(milli, kind)
        if place is None and getattr(self.module, "MIGRATES", False) and milli <= self.pool.free_milli:
            for job, elsewhere in defragment(self.pool, self.places, milli):
                self.move(job, elsewhere)
            place = self.pool.take(milli)
        return place


def _speed(asked: int, held: int, slicing: float) -> float:
    """Progress a second of a job on fewer GPUs than it asks for: its ranks take turns on them.

    >>> _speed(8000, 8000, 0.03), round(_speed(8000, 3000, 0.03), 4)
    (1.0, 0.3233)
    """
    return 1.0 if held >= asked else (1 - slicing) / -(-asked // held)


def _refuse(jobs: JobTable, settings: JobSettings, pool: NodePool, module: ModuleType) -> None:
    """What cannot be simulated.

    Raises:
        InputError: a job that no empty cluster holds, or a policy without what it needs.
    """
    large = {int(milli) for milli in np.unique(jobs.milli) if not pool.could_hold(int(milli))}
    if large:
        count = int(np.isin(jobs.milli, list(large)).sum())
        raise InputError(
            f"jobs: {count} of {len(jobs)} ask for {max(large) / WHOLE:g} GPUs, which the cluster of "
            f"{pool.capacity_milli // WHOLE} GPUs does not hold; add nodes, or leave them out with --most-gpus"
        )
    if settings.faults is not None:
        settings.faults.require(float(jobs.gpus.max()), min(settings.checkpoint_s, float(jobs.duration_s.max())))
    if settings.speeds.size and (settings.speeds <= 0).any() and settings.policy != "hetero_max_min":
        raise InputError(f"policy {settings.policy} does not know kinds of GPUs: a speed of 0 takes hetero_max_min")
    needs = getattr(module, "NEEDS", ())
    if "quota" in needs and len(settings.quota) != len(jobs.tenants):
        raise InputError(f"policy {settings.policy} needs a quota for each tenant: --quota {jobs.tenants[0]}=GPUS ...")
    if "tiers" in needs and not any(tier.promise for tier in jobs.tiers):
        raise InputError(f"policy {settings.policy} needs tiers with a promise: --tier {jobs.tenants[0]}=premium ...")
    if "goodput" in needs and settings.goodput is None:
        raise InputError(
            f"policy {settings.policy} needs the throughput and the gradient noise scale of what jobs train: "
            "--goodput FILE, and a column of models in the jobs"
        )
    if settings.serving is not None and settings.serving.gpus.max(initial=0) * WHOLE >= pool.capacity_milli:
        raise InputError("serving takes the whole cluster: no GPU is left for jobs")
