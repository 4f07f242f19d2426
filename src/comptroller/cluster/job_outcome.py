"""What came of jobs on a cluster: use of its GPUs, waits, shares of what tiers promise, work that was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from comptroller.cluster.job_table import WHOLE, Floats, Ints, JobTable

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class JobOutcome:
    """Columns of shape (jobs,): when each started and ended; GPU-seconds that it held, spent on restarts, and lost; how
    often it was stopped, and moved; GPU-seconds between its faults and their detection, and how many there were.
    samples: (time, GPUs that jobs hold, jobs that have not ended, GPUs of serving), a row for each change.
    """

    jobs: JobTable
    nodes: tuple[int, ...]
    policy: str
    started_s: Floats
    ended_s: Floats
    held_gpu_s: Floats
    restart_gpu_s: Floats
    lost_gpu_s: Floats
    stops: Ints
    moves: Ints
    samples: Floats
    hung_gpu_s: Floats
    faults: Ints

    @property
    def gpus(self) -> int:
        """GPUs of the cluster."""
        return sum(self.nodes)

    @property
    def horizon_s(self) -> float:
        """Until when shares of time are counted: the last submission, or the last end where all came at one moment."""
        return self.jobs.span_s or float(self.ended_s.max())

    @property
    def turnaround_s(self) -> Floats:
        """From submission to the end of each job, shape (jobs,)."""
        return self.ended_s - self.jobs.submitted_s

    @property
    def wait_s(self) -> Floats:
        """From submission to the first start of each job, shape (jobs,)."""
        return self.started_s - self.jobs.submitted_s

    @property
    def fraction(self) -> Floats:
        """Share of the GPU-hours that each job asked for and received while it had not ended, shape (jobs,)."""
        return self.jobs.duration_s / self.turnaround_s

    def fraction_of(self, rows: Bools) -> float:
        """The same of several jobs together: GPU-hours received over those asked for."""
        gpus = self.jobs.gpus[rows]
        return float((gpus * self.jobs.duration_s[rows]).sum() / (gpus * self.turnaround_s[rows]).sum())

    def use_until(self, end_s: float) -> float:
        """Share of GPU time, until a moment, that jobs held and serving took."""
        at_s = np.minimum(np.append(self.samples[:, 0], self.ended_s.max()), end_s)
        return float((np.diff(at_s) * (self.samples[:, 1] + self.samples[:, 3])).sum() / (self.gpus * end_s))

    @property
    def useful_share(self) -> float:
        """GPU-seconds of work over those that jobs held: the rest went to restarts, turns, and what was lost."""
        return float(self.jobs.work_gpu_s.sum() / self.held_gpu_s.sum())

    def useful_until(self, end_s: float) -> float:
        """Share of the cluster's GPU time, until a moment, that was work of jobs or serving."""
        served = self._served_gpu_s(end_s) / (self.gpus * end_s)
        return float((self.use_until(end_s) - served) * self.useful_share + served)

    def _served_gpu_s(self, end_s: float) -> float:
        at_s = np.minimum(np.append(self.samples[:, 0], self.ended_s.max()), end_s)
        return float((np.diff(at_s) * self.samples[:, 3]).sum())

    @property
    def fairness(self) -> float:
        """Jain's index of what share of their GPU-hours tenants received; 1 where all received the same.

        Source: Jain, Chiu, Hawe (1984), DEC-TR-301.
        """
        shares = np.array([self.fraction_of(self.jobs.tenant == tenant) for tenant in np.unique(self.jobs.tenant)])
        return float(shares.sum() ** 2 / (len(shares) * (shares**2).sum()))


@dataclass(eq=False)
class JobOutcomeRows:
    """The columns of an outcome while it comes about."""

    started_s: Floats
    ended_s: Floats
    held_gpu_s: Floats
    restart_gpu_s: Floats
    lost_gpu_s: Floats
    stops: Ints
    moves: Ints
    hung_gpu_s: Floats
    faults: Ints
    samples: list[tuple[float, float, int, float]] = field(default_factory=list)

    @classmethod
    def of(cls, jobs: int) -> JobOutcomeRows:
        """Of so many jobs, none of which has started."""
        unknown, zeros, counts = np.full(jobs, np.nan), np.zeros(jobs), np.zeros(jobs, np.int64)
        return cls(
            unknown, unknown.copy(), zeros, zeros.copy(), zeros.copy(), counts, counts.copy(), zeros.copy(),
            counts.copy(),
        )  # fmt: skip

    def hold(self, at_s: float, milli: int, live: int, serving_milli: int) -> None:
        """How much is held from a moment on."""
        self.samples.append((at_s, milli / WHOLE, live, serving_milli / WHOLE))

    def outcome(self, jobs: JobTable, nodes: tuple[int, ...], policy: str) -> JobOutcome:
        """Of jobs that have all ended."""
        return JobOutcome(
            jobs, nodes, policy, self.started_s, self.ended_s, self.held_gpu_s, self.restart_gpu_s, self.lost_gpu_s,
            self.stops, self.moves, np.array(self.samples), self.hung_gpu_s, self.faults,
        )  # fmt: skip
