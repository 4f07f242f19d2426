"""Goodput of training jobs: samples a second times what a sample is worth in a batch of that size.

    T(M) = ((a_c + b_c m)^g + (a + b max(K - 2, 0))^g)^(1/g),   m = M / K
    G(K, N) = max over M of M / T(M) * (s + M_0) / (s + M)

K GPUs on N nodes, M the batch on all of them and M_0 that which the job was made for, s the gradient noise scale in
samples, a and b of the links of a node or, where N > 1, of the network, none for K = 1, g how far they overlap. Source:
Pollux (Qiao et al., OSDI 2021, section 3), and its simulator (petuum/adaptdl, goodput.py at de25dcc9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from comptroller.cluster.job_table import WHOLE, Floats, Ints, JobTable
from comptroller.errors import InputError

BATCHES = 64
"""Batches that are tried between the smallest and the largest, in equal ratios: up to 64 times they are 7 % apart, and
the best of them within 0.1 % of the best."""


@dataclass(frozen=True, slots=True)
class GoodputModel:
    """How a model trains. batch: samples that its jobs were made for, up to most_batch.  least_local, most_local: of a
    GPU.  noise: gradient noise scale, in samples.  compute_s, sample_s: a step without and for each sample of a GPU.
    node_s, node_gpu_s, network_s, network_gpu_s: of exchanging gradients between two GPUs in a node or over the
    network, and for each GPU more.  overlap: 1 for none.  most_gpus: that a job may have.  source: of all this.

    >>> linear = GoodputModel("m", 8, 512, 1, 64, 1e12, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0, 8, "by hand")
    >>> round(linear.goodput(1, 1)), round(linear.goodput(4, 1))
    (100, 400)
    """

    model: str
    batch: float
    most_batch: float
    least_local: float
    most_local: float
    noise: float
    compute_s: float
    sample_s: float
    node_s: float
    node_gpu_s: float
    network_s: float
    network_gpu_s: float
    overlap: float
    most_gpus: float
    source: str

    def __post_init__(self) -> None:
        sizes = 0 < self.batch <= self.most_batch and 0 < self.least_local <= self.most_local and self.sample_s > 0
        rest = (self.noise, self.compute_s, self.node_s, self.node_gpu_s, self.network_s, self.network_gpu_s)
        if not (sizes and all(0 <= value < np.inf for value in rest) and self.overlap >= 1 and self.most_gpus >= 1):
            raise InputError(
                f"goodput of {self.model}: batch {self.batch:g} to {self.most_batch:g}, {self.least_local:g} to "
                f"{self.most_local:g} samples of a GPU, {self.sample_s:g} s each, overlap {self.overlap:g}, at most "
                f"{self.most_gpus:g} GPUs; allowed: rising sizes above 0, seconds and noise from 0, both others from 1"
            )
        if not self.source:
            raise InputError(f"goodput of {self.model}: no source says where its figures are from")

    def goodput(self, gpus: int, nodes: int) -> float:
        """Samples a second at the best batch, each worth what one is at `batch`; 0 where no batch fits."""
        least, most = max(self.batch, self.least_local * gpus), min(self.most_batch, self.most_local * gpus)
        if least > most or gpus > self.most_gpus:
            return 0.0
        size = np.geomspace(least, most, BATCHES)
        alone = gpus == 1
        first_s, more_s = (self.network_s, self.network_gpu_s) if nodes > 1 else (self.node_s, self.node_gpu_s)
        exchange_s = 0.0 if alone else first_s + more_s * max(gpus - 2, 0)
        compute_s = self.compute_s + self.sample_s * size / gpus
        step_s = (compute_s**self.overlap + exchange_s**self.overlap) ** (1 / self.overlap)
        worth = (self.noise + self.batch) / (self.noise + size)
        return float((size / step_s * worth).max())


@dataclass(eq=False)
class JobGoodput:
    """Goodput of jobs by their model. models: of the numbers in `of_job`, shape (jobs,).  node: GPUs of the largest
    node, on as few of which as can be a job lies."""

    models: tuple[GoodputModel, ...]
    of_job: Ints
    node: int
    known: dict[tuple[int, int, int], float] = field(default_factory=dict)
    tables: dict[bytes, Floats] = field(default_factory=dict)

    def at(self, job: int, gpus: int, nodes: int) -> float:
        """Samples a second of a job on so many GPUs of so many nodes."""
        key = int(self.of_job[job]), gpus, nodes
        if key not in self.known:
            self.known[key] = self.models[key[0]].goodput(gpus, nodes)
        return self.known[key]

    def on(self, job: int, gpus: int) -> float:
        """The same on as few nodes as can be."""
        return self.at(job, gpus, -(-gpus // self.node))

    def speed(self, job: int, asked: int, gpus: int, nodes: int) -> float:
        """Progress a second over that on all GPUs that it asks for, at the best batch of each; 0 where none fits."""
        return self.at(job, gpus, nodes) / self.on(job, asked)

    def at_sizes(self, sizes: Ints) -> Floats:
        """Samples a second of each model on so many GPUs, shape (models, sizes)."""
        key = sizes.tobytes()
        if key not in self.tables:
            nodes = [-(-int(size) // self.node) for size in sizes]
            self.tables[key] = np.array(
                [[one.goodput(int(size), n) for size, n in zip(sizes, nodes, strict=True)] for one in self.models]
            )
        return self.tables[key]

    def sizes(self, most: int) -> Ints:
        """GPUs that a job may have of so many: any number of a node, or whole nodes.

        >>> JobGoodput((), np.zeros(0, np.int64), 4).sizes(13).tolist()
        [1, 2, 3, 4, 8, 12]
        """
        return np.array([n for n in range(1, most + 1) if n <= self.node or n % self.node == 0], np.int64)


def of_models(rows: Sequence[GoodputModel], jobs: JobTable, nodes: Sequence[int], name: str) -> JobGoodput:
    """Goodput of jobs by models that are known. name: of where they are from.

    Raises:
        InputError: jobs do not say their model, that of one has no row, or cannot train on what its jobs ask for.
    """
    if not len(jobs.model):
        raise InputError(f"{name}: the jobs do not say which model each trains; name the column by --column model=NAME")
    places = {row.model: place for place, row in enumerate(rows)}
    unsaid = int((jobs.model < 0).sum())
    if unsaid:
        raise InputError(
            f"{name}: {unsaid:,} of {len(jobs):,} jobs do not say what they train; allowed: one of its models"
        )
    used = np.unique(jobs.model)
    lacks = [jobs.models[number] for number in used if jobs.models[number] not in places]
    if lacks:
        raise InputError(f"{name}: no row for the model {lacks[0]!r} of the jobs; it has {', '.join(places)}")
    row_of = np.array([places[jobs.models[number]] for number in used])
    found = JobGoodput(tuple(rows), row_of[np.searchsorted(used, jobs.model)], max(nodes))
    asked = np.unique(np.column_stack([jobs.model, jobs.milli]), axis=0)
    for model, milli in asked.tolist():
        if milli % WHOLE:
            raise InputError(
                f"{name}: a job of {jobs.models[model]} asks for {milli / WHOLE:g} GPUs; allowed: whole ones"
            )
        first = int(np.flatnonzero((jobs.model == model) & (jobs.milli == milli))[0])
        if not found.on(first, milli // WHOLE):
            one = rows[places[jobs.models[model]]]
            raise InputError(
                f"{name}: {one.model} cannot train on the {milli // WHOLE} GPUs that a job asks for: batches of "
                f"{one.batch:g} to {one.most_batch:g}, {one.least_local:g} to {one.most_local:g} a GPU, at most "
                f"{one.most_gpus:g} GPUs"
            )
    return found
