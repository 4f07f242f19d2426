"""Max-min fairness over kinds of GPUs: a linear program says which share of time each job is due on each kind.

    maximise min over m of sum_j X_mj T_mj / T_m,   sum_j X_mj <= 1,   sum_m gpus_m X_mj <= GPUs_j

X_mj share of its time that job m has on kind j, T_mj its speed there, T_m that of an equal share of all. Then, with
that minimum kept, the sum is made as large as can be. In rounds, jobs go first where they are furthest behind their
share. Source: Gavel (Narayanan et al., OSDI 2020, sections 3 and 5); the second program is ours, for what the first
leaves open.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array

from comptroller.cluster.job_table import Floats
from comptroller.cluster.job_view import JobKindGrant, JobView
from comptroller.highs import MixedIntegerProgram, solve

EVERY_S = 360
"""Gavel's round."""
EXCHANGES = True
KEEP = 1e-7
"""Share of the minimum that the second program may give up to rounding."""


def grants(view: JobView) -> list[JobKindGrant]:
    """In a round, jobs by what they are due over what they have had; between rounds, who waits where it is fastest."""
    if view.clock_s % EVERY_S:
        return _starts(view)
    due = _due(view)
    age_s = np.maximum(view.clock_s - view.submitted_s, EVERY_S)[:, None]
    had = (view.on_kind_s + 1.0) / age_s
    rank = np.where(due > 1e-9, due / had, -1.0)
    left = view.kind_milli.copy()
    chosen = np.full(len(view.asked), -1)
    for flat in np.argsort(-rank, axis=None, kind="stable"):
        job, kind = divmod(int(flat), rank.shape[1])
        if chosen[job] < 0 and view.asked[job] <= left[kind] and view.speeds[job, kind] > 0:
            chosen[job] = kind
            left[kind] -= view.asked[job]
    stops: list[JobKindGrant] = [(int(job), 0, -1) for job in np.flatnonzero((view.held > 0) & (view.kind != chosen))]
    goes = np.flatnonzero((chosen >= 0) & ((view.held == 0) | (view.kind != chosen)))
    return [*stops, *((int(job), int(view.asked[job]), int(chosen[job])) for job in goes)]


def _starts(view: JobView) -> list[JobKindGrant]:
    """Who waits, in the order of submission, on the fastest kind that has room."""
    pool, found = view.pool.copy(), list[JobKindGrant]()
    for job in view.queue:
        for kind in np.argsort(-view.speeds[job], kind="stable"):
            if view.speeds[job, kind] > 0 and pool.take(int(view.asked[job]), int(kind)) is not None:
                found.append((int(job), int(view.asked[job]), int(kind)))
                break
    return found


def _due(view: JobView) -> Floats:
    """Shares of time of each job, shape (live, kinds); jobs that are alike are one row of the program."""
    alike, place, count = np.unique(
        np.column_stack([view.asked, view.speeds]), axis=0, return_inverse=True, return_counts=True
    )
    return time_shares(alike[:, 1:], alike[:, 0] * count, view.kind_milli.astype(float))[place.ravel()]


def time_shares(speeds: Floats, asked: Floats, capacity: Floats) -> Floats:
    """Share of its time that each kind of job has on each kind of GPU, shape (jobs, kinds).

    speeds: shape (jobs, kinds), 0 where it does not run.  asked: of all jobs of a kind, shape (jobs,), in the unit of
    the capacity, of shape (kinds,).

    >>> time_shares(np.array([[1.0, 0.5], [1.0, 0.1]]), np.array([1.0, 1.0]), np.array([1.0, 1.0])).round(3).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    gains = speeds / np.maximum(speeds @ (capacity / capacity.sum()), 1e-12)[:, None]
    first = _program(gains, speeds, asked, capacity, np.append(np.zeros(gains.size), -1.0), 0.0)
    least = float(first[-1]) * (1 - KEEP)
    sums = (gains * asked[:, None] / asked.sum()).ravel()
    shares = _program(gains, speeds, asked, capacity, np.append(-sums, 0.0), least)[:-1]
    return np.maximum(shares, 0.0).reshape(gains.shape)  # the solver's tolerance lies on both sides of nothing


def _program(gains: Floats, speeds: Floats, asked: Floats, capacity: Floats, cost: Floats, least: float) -> Floats:
    """Shares and the minimum, of a cost over both; the minimum is at least so much."""
    jobs, kinds = gains.shape
    fair = np.zeros((jobs, jobs * kinds + 1))
    time, room = np.zeros((jobs, jobs * kinds + 1)), np.zeros((kinds, jobs * kinds + 1))
    for job in range(jobs):
        own = slice(job * kinds, (job + 1) * kinds)
        fair[job, own], fair[job, -1], time[job, own] = gains[job], -1.0, 1.0
        room[:, own] = np.eye(kinds) * asked[job] / capacity.max()
    program = MixedIntegerProgram(
        cost, csc_array(np.vstack([fair, time, room])),
        np.concatenate([np.zeros(jobs), np.full(jobs + kinds, -np.inf)]),
        np.concatenate([np.full(jobs, np.inf), np.ones(jobs), capacity / capacity.max()]),
        np.append((speeds > 0).astype(float).ravel(), np.inf), np.zeros(jobs * kinds + 1, bool),
        np.append(np.zeros(jobs * kinds), least),
    )  # fmt: skip
    values = solve(program).values
    assert values is not None  # nothing at all is a solution
    return np.asarray(values)
