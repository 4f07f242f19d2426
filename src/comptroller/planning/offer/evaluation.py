"""All candidates against all slices of a demand: rates and latencies as stacked arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import BATCH_GRID, CapacityCurve, LatencyTarget, MixtureSteadyState, SlicedLoad, curve
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.money import host_w
from comptroller.costs.power import idle_w
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.serving_time import prompts_within_per_s
from comptroller.costs.split_pools import SplitPools, split_curve
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import UnsupportedError, UnsupportedFormatError
from comptroller.planning.ground.executor import HERE, Progress, gather, no_progress
from comptroller.planning.ground.nouns import Deployment
from comptroller.planning.offer.deployments import RejectionTally

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DeploymentTable:
    """Candidates x batch caps (x slices for rates).

    cap: the batch caps of each candidate.  rate_per_s: (candidates, slices, caps), 0 where there is no such cap.
    decode_s: a crowded decode step.  marginal_s: (candidates, slices, caps), what a prompt adds to the steps.
    prefill_per_s: (candidates, slices, caps), of each slice alone what a prefill pool takes; inf where there is none.
    latency_s: by (quantity, quantile), (candidates, caps).  usual: the state of each at its caps' mean batches.
    ready: the timed replica of each candidate, shared between candidates that differ only in price.
    saturated_w: watts of one device, saturated at each cap, by state; filled as they are asked for.
    """

    candidates: tuple[Deployment, ...]
    load: SlicedLoad
    cap: Array
    rate_per_s: Array
    decode_s: Array
    marginal_s: Array
    prefill_per_s: Array
    latency_s: dict[tuple[str, float], Array]
    usual: tuple[MixtureSteadyState, ...]
    ready: tuple[ReplicaTimer, ...]
    saturated_w: dict[int, tuple[MixtureSteadyState, Array]] = field(default_factory=dict, repr=False, compare=False)

    def only(self, rows: npt.NDArray[np.int64]) -> DeploymentTable:
        """Some of the candidates."""
        some = rows.tolist()
        return replace(
            self,
            candidates=tuple(self.candidates[row] for row in some),
            cap=self.cap[rows],
            rate_per_s=self.rate_per_s[rows],
            decode_s=self.decode_s[rows],
            marginal_s=self.marginal_s[rows],
            prefill_per_s=self.prefill_per_s[rows],
            latency_s={name: values[rows] for name, values in self.latency_s.items()},
            usual=tuple(self.usual[row] for row in some),
            ready=tuple(self.ready[row] for row in some),
        )

    def priced(self, rows: Sequence[int], candidates: Sequence[Deployment]) -> DeploymentTable:
        """The table of the replicas of some rows at other prices."""
        return replace(self.only(np.array(rows, np.int64)), candidates=tuple(candidates))

    def beside(self, other: DeploymentTable) -> DeploymentTable:
        """All candidates of two tables of one load and the same targets."""
        latency = {name: np.concatenate([values, other.latency_s[name]]) for name, values in self.latency_s.items()}
        return replace(
            self,
            candidates=self.candidates + other.candidates,
            cap=np.concatenate([self.cap, other.cap]),
            rate_per_s=np.concatenate([self.rate_per_s, other.rate_per_s]),
            decode_s=np.concatenate([self.decode_s, other.decode_s]),
            marginal_s=np.concatenate([self.marginal_s, other.marginal_s]),
            prefill_per_s=np.concatenate([self.prefill_per_s, other.prefill_per_s]),
            latency_s=latency,
            usual=self.usual + other.usual,
            ready=self.ready + other.ready,
        )

    def best(self, targets: Sequence[LatencyTarget]) -> tuple[Array, npt.NDArray[np.int64]]:
        """Rates (candidates, slices) at the cap that carries most of the mixture within the targets; its column."""
        key = tuple((target.quantity, target.quantile, target.sized_s) for target in targets)
        if key not in self._best:
            self._best[key] = self._best_within(targets)
        return self._best[key]

    @cached_property
    def _best(self) -> dict[tuple[tuple[str, float, float], ...], tuple[Array, npt.NDArray[np.int64]]]:
        """The best caps by targets; filled as they are asked for."""
        return {}

    def _best_within(self, targets: Sequence[LatencyTarget]) -> tuple[Array, npt.NDArray[np.int64]]:
        allowed = self.cap > 0
        for target in targets:
            allowed = allowed & (self.latency_s[target.quantity, target.quantile] <= target.sized_s)
        with np.errstate(divide="ignore"):
            carried = np.where(allowed, 1.0 / (self.load.weight @ (1.0 / self.rate_per_s)), 0.0)
        column = carried.argmax(axis=1)
        rows = np.arange(len(column))
        return np.where(allowed[rows, column, None], self.rate_per_s[rows, :, column], 0.0), column

    def prompts_per_s(self, targets: Sequence[LatencyTarget], column: npt.NDArray[np.int64]) -> Array:
        """Rate at which the prompts of one slice alone slow decoding to the TPOT target, or fill a pool of their own;
        inf where there is neither.

        Within the target the rates of all slices, each over its own, add up to at most 1.
        """
        most = min((t.sized_s for t in targets if t.quantity == "tpot_s"), default=np.inf)
        rows = np.arange(len(column))
        within = prompts_within_per_s(self.decode_s[rows, column, None], self.marginal_s[rows, :, column], most)
        return np.minimum(within, self.prefill_per_s[rows, :, column])

    def device_w(self, rows: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> Array:
        """Watts of one device of some candidates, each saturated at a cap."""
        watts = np.zeros(len(rows))
        for place, (row, at) in enumerate(zip(rows.tolist(), column.tolist(), strict=True)):
            ready, usual = self.ready[row], self.usual[row]
            if id(usual) not in self.saturated_w:  # the state is kept with its watts, so that its id stays its own
                self.saturated_w[id(usual)] = usual, usual.device_w(ready, usual.saturated_per_s)
            watts[place] = self.saturated_w[id(usual)][1][at]
        return watts

    def least_latency_s(
        self, target: LatencyTarget, others: Sequence[LatencyTarget], keep: npt.NDArray[np.bool_] | None = None
    ) -> float:
        """The lowest value of a target's quantity that some (kept) candidate reaches within the other targets."""
        allowed = self.cap > 0 if keep is None else (self.cap > 0) & keep[:, None]
        for other in others:
            allowed = allowed & (self.latency_s[other.quantity, other.quantile] <= other.sized_s)
        return float(np.where(allowed, self.latency_s[target.quantity, target.quantile], np.inf).min())


@dataclass(frozen=True, slots=True)
class RentalUnits:
    """The smallest thing that can be rented of each candidate; arrays over candidates.

    replicas: replicas in a unit.  usd_per_h: its price.  devices: its accelerators.
    idle_w: watts at the meter when idle.  host_w: watts of its servers.  pue: factor to the meter.
    """

    replicas: Array
    usd_per_h: Array
    devices: Array
    idle_w: Array
    host_w: Array
    pue: Array


CHUNK = 64
"""Replicas that are evaluated together: a tenth of a second."""


@dataclass(frozen=True, slots=True)
class ReplicaChunk:
    """Replicas with their memory and pools, and the load they are evaluated under."""

    load: SlicedLoad
    replicas: tuple[tuple[ModelReplica, ReplicaMemory, SplitPools | None], ...]


@dataclass(frozen=True, slots=True)
class ReplicaRejection:
    """Why a replica is no candidate."""

    reason: str
    detail: str


Evaluated = tuple[CapacityCurve, ReplicaTimer] | ReplicaRejection


@dataclass(frozen=True, slots=True)
class ReplicaEvaluator:
    """What replicas do within some targets."""

    targets: tuple[LatencyTarget, ...]
    calibration: TimingCalibration

    def __call__(self, chunk: ReplicaChunk) -> list[Evaluated]:
        """One entry for each replica."""
        return [self._one(replica, held, pools, chunk.load) for replica, held, pools in chunk.replicas]

    def _one(self, replica: ModelReplica, held: ReplicaMemory, pools: SplitPools | None, load: SlicedLoad) -> Evaluated:
        if held.longest_tokens < load.longest_tokens:
            longest = (
                f"{held.longest_tokens:,.0f} tokens of one sequence, the longest request has {load.longest_tokens:,.0f}"
            )
            return ReplicaRejection("no room for the longest request", f"{replica}: the cache holds {longest}")
        try:
            ready = replica_timer(replica, self.calibration)
        except (UnsupportedFormatError, UnsupportedError) as error:
            return ReplicaRejection("not supported by facts", str(error))
        targets = self.targets
        capacity = split_curve(ready, held, load, targets, pools) if pools else curve(ready, held, load, targets)
        if capacity is None:
            return ReplicaRejection("no room for one request", f"{replica}: the cache holds less than one request")
        return capacity, ready


EvaluationKey = tuple[int, SplitPools | None]
"""What tells candidates apart that differ in more than their price."""


def _key(candidate: Deployment) -> EvaluationKey:
    return id(candidate.replica), candidate.pools


def chunks(candidates: Sequence[Deployment], load: SlicedLoad) -> list[ReplicaChunk]:
    """The distinct replicas of candidates, in parts to evaluate."""
    distinct: dict[EvaluationKey, tuple[ModelReplica, ReplicaMemory, SplitPools | None]] = {}
    for candidate in candidates:
        distinct.setdefault(_key(candidate), (candidate.replica, candidate.memory, candidate.pools))
    replicas = tuple(distinct.values())
    return [ReplicaChunk(load, replicas[start : start + CHUNK]) for start in range(0, len(replicas), CHUNK)]


def build_table(
    candidates: Sequence[Deployment],
    load: SlicedLoad,
    targets: tuple[LatencyTarget, ...],
    calibration: TimingCalibration,
    rejected: RejectionTally,
    progress: Progress = no_progress,
) -> DeploymentTable:
    """Evaluate every candidate once per distinct replica; progress is told (done, total) of the parts."""
    found = gather(HERE, ReplicaEvaluator(targets, calibration), chunks(candidates, load), progress)
    return table_of(candidates, load, found, targets, rejected)


def table_of(
    candidates: Sequence[Deployment],
    load: SlicedLoad,
    evaluated: Iterable[Sequence[Evaluated]],
    targets: Sequence[LatencyTarget],
    rejected: RejectionTally,
) -> DeploymentTable:
    """Candidates with what was found of their `chunks`."""
    distinct = dict.fromkeys(map(_key, candidates))
    by_replica = dict(zip(distinct, chain.from_iterable(evaluated), strict=True))
    for fallen in (entry for entry in by_replica.values() if isinstance(entry, ReplicaRejection)):
        rejected.add(fallen.reason, fallen.detail)
    entries = ((candidate, by_replica[_key(candidate)]) for candidate in candidates)
    kept = [(candidate, *entry) for candidate, entry in entries if not isinstance(entry, ReplicaRejection)]
    width = len(BATCH_GRID) + 1
    shape = (len(kept), width)
    cap, decode = np.zeros(shape), np.zeros(shape)
    rate, marginal = (np.zeros((len(kept), len(load.rate_per_s), width)) for _ in range(2))
    prefill = np.full(rate.shape, np.inf)
    latency = {(t.quantity, t.quantile): np.full(shape, np.inf) for t in targets}
    for row, (_, curve_, _) in enumerate(kept):
        columns = len(curve_.cap)
        cap[row, :columns] = curve_.cap
        rate[row, :, :columns], marginal[row, :, :columns] = curve_.rate_per_s, curve_.marginal_s
        decode[row, :columns] = curve_.decode_s
        if curve_.prompts_per_s is not None:
            prefill[row, :, :columns] = curve_.prompts_per_s
        for name, values in curve_.latency_s.items():
            latency[name][row, :columns] = values
    names, curves, ready = zip(*kept, strict=True) if kept else ((), (), ())
    usual = tuple(each.usual for each in curves)
    return DeploymentTable(tuple(names), load, cap, rate, decode, marginal, prefill, latency, usual, tuple(ready))


def units(candidates: Sequence[Deployment]) -> RentalUnits:
    """Rentable units: the least common multiple of a replica's devices and the offer's."""
    rows = []
    for candidate in candidates:
        replica, offer = candidate.replica, candidate.offer
        devices = float(np.lcm(candidate.devices, offer.devices))
        host, pue = host_w(devices), candidate.site.pue
        idle = (idle_w(replica.device) * devices + host) * pue
        usd_per_h = offer.usd_per_s * 3600.0 * devices
        rows.append((devices / candidate.devices, usd_per_h, devices, idle, host, pue))
    return RentalUnits(*np.array(rows, float).reshape(-1, 6).T)
