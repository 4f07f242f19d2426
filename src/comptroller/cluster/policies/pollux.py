"""Goodput over the cluster: GPUs so that the power mean of all jobs' speed-ups over a fair share is as large as can be.

    maximise (1/J sum_j (S_j(k_j) r_j + e)^p)^(1/p),   sum_j k_j <= GPUs,   S_j(k) = G_j(k) / G_j(GPUs / J)

G the goodput of a job at its best batch (`cluster/job_goodput.py`), r_j = (T - R d) / (T + d) where its GPUs change and
1 where not, T its age, R how often it was restarted. Every minute, with p = -1, d = 30 s, e = 0.001. Source: Pollux
(Qiao et al., OSDI 2021, section 4) and its simulator (petuum/adaptdl, simulator/pollux.py at de25dcc9), which searches
by a genetic algorithm over places; here counts of GPUs are exact, by a program over jobs, and places the cluster's.
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_table import WHOLE, Floats, Ints
from comptroller.cluster.job_view import JobGrant, JobView

NEEDS = ("goodput",)
EVERY_S = 60
EXCHANGES = True
MIGRATES = True
DELAY_S = 30.0
POWER = -1.0
FLOOR = 1e-3


def grants(view: JobView) -> list[JobGrant]:
    """In a round, who gives up GPUs first, then who gets some, the largest first; nothing between rounds, nor where
    no GPU is there."""
    gpus = (view.pool.capacity_milli - view.away_milli) // WHOLE
    if view.clock_s % EVERY_S or not len(view.asked) or gpus < 1:
        return []
    sizes, speed = view.growth(gpus)
    chosen = allotments(sizes, terms(view, sizes, speed, gpus), gpus) * WHOLE
    less = [(int(job), int(chosen[job])) for job in np.flatnonzero(chosen < view.held)]
    more = np.flatnonzero(chosen > view.held)
    return less + [(int(job), int(chosen[job])) for job in more[np.argsort(-chosen[more], kind="stable")]]


def terms(view: JobView, sizes: Ints, speed: Floats, gpus: int) -> Floats:
    """What each job adds to the sum at none and at each size, shape (jobs, 1 + sizes); less is better."""
    fair = np.flatnonzero(sizes <= max(gpus // len(view.asked), 1))[-1]
    # who cannot train on a fair share is measured by the least that it can
    able = speed > 0
    at = np.where(able[:, : fair + 1].any(axis=1), fair - np.argmax(able[:, fair::-1], axis=1), np.argmax(able, axis=1))
    base = speed[np.arange(len(speed)), at]
    age_s = view.clock_s - view.submitted_s
    factor = np.maximum(age_s - view.restarts * DELAY_S, 0.0) / (age_s + DELAY_S)
    kept = sizes[None, :] * WHOLE == view.held[:, None]
    up = speed / np.maximum(base, 1e-12)[:, None] * np.where(kept, 1.0, factor[:, None])
    return np.hstack([np.full((len(speed), 1), FLOOR**POWER), (up + FLOOR) ** POWER])


def allotments(sizes: Ints, terms_: Floats, gpus: int) -> Ints:
    """GPUs of each job so that the sum of terms is least, at most so many together: jobs one after the other, what is
    best for each number of GPUs that they may have.

    >>> allotments(np.array([1, 2]), np.array([[9.0, 2.0, 1.0], [9.0, 3.0, 1.5]]), 3)
    array([1, 2])
    """
    least, taken = np.zeros(gpus + 1), list[Ints]()
    counts = np.concatenate([[0], sizes])
    for row in terms_:
        tried = np.full((len(counts), gpus + 1), np.inf)
        for place, count in enumerate(counts):
            if count <= gpus:
                tried[place, count:] = least[: gpus + 1 - count] + row[place]
        best = tried.argmin(axis=0)
        least = tried[best, np.arange(gpus + 1)]
        taken.append(counts[best])
    left, found = int(gpus), np.zeros(len(terms_), np.int64)
    for job in range(len(terms_) - 1, -1, -1):
        found[job] = taken[job][left]
        left -= int(found[job])
    return found
