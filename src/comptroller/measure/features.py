"""Measured runs as arrays: the ideal seconds of every group of kernels, so that a fit costs milliseconds.

With kernels at their priors a step's time is linear in the parameters that a fit scales: the time of each group of
kernels, the least times of their calls, and the overheads. These are computed once per run.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.causes import EffectName, exposures
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.fitted_calibration import GROUPS, KernelPriors, group_of
from comptroller.costs.memory import ReplicaMemory, memory
from comptroller.costs.replica_timer import kernel_of, part_arithmetic, replica_timer
from comptroller.costs.residual import ResidualIdentity, places
from comptroller.costs.steady import UniformRequests, batch_that_fits, chunk_alone, chunk_beside, prompt_chunks
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import InsufficientMemoryError, UnsupportedError
from comptroller.measure.observations import ExclusionReport, RunObservation

Array = npt.NDArray[np.float64]

HIDDEN = "experts over more than eight devices: what computing hides of their exchange is not linear in the parameters"


@dataclass(frozen=True, slots=True)
class RunFeatures:
    """Runs as arrays; the first axis is the run.

    decode, chunk, mixed: seconds by group at the kernels' priors, work first and least times after, of a decode
    step, of a chunk of a prompt alone, and of a step with both.  batch: what runs at once.
    chunks: steps a prompt takes.  stages: of the pipeline.  poll: steps between two looks at the queue.
    own: 1 where the time per token is the batch's over its output rate, so that it holds the request's own prompt.
    tpot_s, ttft_s: as measured.  place: coordinates of the residual.
    """

    decode: Array
    chunk: Array
    mixed: Array
    layers: Array
    chunks: Array
    stages: Array
    ranks: Array
    clients: Array
    batch: Array
    output_tokens: Array
    poll: Array
    own: Array
    tpot_s: Array
    ttft_s: Array
    place: Array

    def __len__(self) -> int:
        return len(self.layers)

    def take(self, index: npt.NDArray[np.int64]) -> RunFeatures:
        """Some of the runs."""
        return RunFeatures(*(getattr(self, item.name)[index] for item in fields(self)))


@dataclass(frozen=True, slots=True)
class FeatureBank:
    """Features of runs, with who they are: identity, engine, and the group that may not be split."""

    observations: tuple[RunObservation, ...]
    features: RunFeatures
    identities: tuple[ResidualIdentity, ...]

    def take(self, index: npt.NDArray[np.int64]) -> FeatureBank:
        """Some of the runs."""
        return FeatureBank(
            tuple(self.observations[i] for i in index),
            self.features.take(index),
            tuple(self.identities[i] for i in index),
        )

    @classmethod
    def joined(cls, banks: Sequence[FeatureBank]) -> FeatureBank:
        """The runs of several banks, in their order."""
        columns = [np.concatenate([getattr(b.features, item.name) for b in banks]) for item in fields(RunFeatures)]
        return cls(
            tuple(o for b in banks for o in b.observations),
            RunFeatures(*columns),
            tuple(identity for b in banks for identity in b.identities),
        )

    @property
    def effects(self) -> tuple[Mapping[EffectName, float], ...]:
        """The effects of every run's causes, and how often each applies."""
        return tuple(exposures(observation.replica) for observation in self.observations)

    @property
    def engines(self) -> tuple[str, ...]:
        """Engine of every run."""
        return tuple(identity.engine for identity in self.identities)

    @property
    def cells(self) -> tuple[str, ...]:
        """Runs of one cell share engine, model, formats, accelerator, version and date."""
        return tuple(" ".join((i.engine, i.architecture, i.formats, i.accelerator, i.run)) for i in self.identities)


def run_of(observation: RunObservation) -> str:
    """Engine version and date of a run, as the residual knows them."""
    date = observation.measured.isoformat() if observation.measured else ""
    return f"{observation.version} {date}".strip()


def bank(observations: Sequence[RunObservation], report: ExclusionReport) -> FeatureBank:
    """Features of runs; those the facts cannot price are left out and reported."""
    kept: list[RunObservation] = []
    rows: list[list[Array]] = []
    ready: dict[Hashable, PricedReplica] = {}
    for observation in observations:
        if observation.replica.layout.is_wide:
            report.add(observation.number, HIDDEN)
            continue
        try:
            rows.append(_row(observation, ready))
        except (InsufficientMemoryError, UnsupportedError) as error:
            report.add(observation.number, str(error))
            continue
        kept.append(observation)
    columns = [np.array([row[i] for row in rows]) for i in range(len(fields(RunFeatures)))] if rows else []
    features = RunFeatures(*columns) if rows else RunFeatures(*(np.zeros(0) for _ in fields(RunFeatures)))
    identities = tuple(ResidualIdentity.of(o.replica, run_of(o)) for o in kept)
    return FeatureBank(tuple(kept), features, identities)


@dataclass(frozen=True, slots=True)
class PricedReplica:
    """A replica priced once: its kernels, the group of each, and its memory."""

    priced: ReplicaTimer
    group: npt.NDArray[np.int64]
    held: ReplicaMemory

    @classmethod
    def of(cls, replica: ModelReplica) -> PricedReplica:
        """A replica with kernels at their priors."""
        priced = replica_timer(replica, KernelPriors())
        parts = part_arithmetic(replica)
        names = [group_of(kernel_of(replica, row, parts[row.part])) for row in priced.operations.rows]
        return cls(priced, np.array([GROUPS.index(name) for name in names]), memory(replica))


def _row(observation: RunObservation, ready: dict[Hashable, PricedReplica]) -> list[Array]:
    replica = observation.replica
    key = (replica.model.id, replica.device.id, replica.recipe, replica.layout, replica.engine)
    if key not in ready:
        ready[key] = PricedReplica.of(replica)
    priced, group, held = ready[key].priced, ready[key].group, ready[key].held
    requests = UniformRequests(np.array([observation.input_tokens]), np.array([observation.output_tokens]))
    clients = np.array([observation.concurrency])
    fits = batch_that_fits(held, requests, replica.engine.max_batch)
    batch = np.minimum(clients, np.maximum(fits, 1.0))
    kv_tokens = batch * requests.mean_context_tokens
    steps = (
        ReplicaStep.decode(batch, kv_tokens),
        chunk_alone(replica, requests.input_tokens),
        chunk_beside(replica, requests, batch, kv_tokens),
    )
    chunks = prompt_chunks(replica, requests.input_tokens)[0]
    place = places(replica, clients, requests.input_tokens, requests.output_tokens)[0]
    own = not np.isfinite(observation.tpot_s)
    remainder = (
        replica.model.layers,
        chunks,
        replica.layout.pp,
        replica.layout.dp,
        clients[0],
        batch[0],
        observation.output_tokens,
        replica.engine.poll_steps,
        own,
        batch[0] / observation.tokens_per_s if own else observation.tpot_s,
        observation.ttft_s,
    )
    return [*(by_group(priced, group, step) for step in steps), *(np.asarray(float(x)) for x in remainder), place]


def by_group(priced: ReplicaTimer, group: npt.NDArray[np.int64], step: ReplicaStep) -> Array:
    """Seconds of one step by group of kernels: work first, least times of the calls after; shape (2 groups,)."""
    whole = priced.seconds(step)[0][:, 0]
    without = replace(priced, rates=replace(priced.rates, floor_s=0.0 * priced.rates.floor_s))
    work = without.seconds(step)[0][:, 0]
    count = len(GROUPS)
    return np.concatenate([np.bincount(group, work, count), np.bincount(group, whole - work, count)])
