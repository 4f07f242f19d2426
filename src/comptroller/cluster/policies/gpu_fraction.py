"""Singularity's tiers: every job can be stopped and shrunk; who is furthest behind its promise comes first.

Jobs of a tier that promises a share of their GPU-hours run before those of tiers that promise less, once they are
behind it; who is ahead of its promise, most of all jobs without one, is shrunk to fewer GPUs, on which its ranks take
turns, and then stopped. No GPU idles while a job can use it. Source: Shukla et al., arXiv 2202.07848 (the order of
aims; the rule by deficit is ours, for the paper gives none).
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_view import JobGrant, JobView

NEEDS = ("tiers",)
TRANSPARENT = True
MIGRATES = True
EVERY_S = 600
"""A job that runs is stopped or shrunk at such moments, or for one that its promise lets not wait. At half of it jobs
change hands twice as often, each time for a restart."""
SLACK = 0.02
"""Share of its GPU-hours by which a job is kept ahead of its promise: restarts of a minute in each hour. At none, a
restart puts a job behind that was just at its promise."""


def grants(view: JobView) -> list[JobGrant]:
    """GPUs for all jobs by how urgent they are: what none but they can use, then what others have."""
    urgency = _urgency(view)
    wish = _wishes(view, np.lexsort((view.submitted_s, -urgency)))
    if view.clock_s % EVERY_S:
        wish = _urgent_only(view, wish, urgency)
    less = [(int(place), int(wish[place])) for place in np.flatnonzero(wish < view.held)]
    more = np.flatnonzero(wish > view.held)
    return less + [(int(place), int(wish[place])) for place in more[np.argsort(-urgency[more], kind="stable")]]


def _urgency(view: JobView) -> np.ndarray:
    """How far jobs are behind their promise with its slack; what is ahead ranks below, by tier, and who runs before who
    waits."""
    behind = view.promise + SLACK * (view.promise > 0) - np.where(view.received_gpu_s > 0, view.fraction, 0.0)
    ahead = -1.0 + 0.5 * view.promise + 0.01 * (view.held > 0)
    return np.where((behind > 0) & (view.promise > 0), 1.0 + view.promise + behind, ahead)


def _wishes(view: JobView, order: np.ndarray) -> np.ndarray:
    """Thousandths for each job: all it asks for in the order of urgency; the last that finds less gets a divisor."""
    left, wish = view.pool.capacity_milli - view.away_milli, np.zeros(len(view.asked), np.int64)
    for place in order:
        asked = int(view.asked[place])
        size = asked if asked <= left else _shrunk(asked, left)
        wish[place] = size
        left -= size
        if left <= 0:
            break
    return wish


def _shrunk(asked: int, left: int) -> int:
    """The most GPUs that a job's ranks share evenly and that are left; 0 where none is.

    >>> _shrunk(8000, 5500), _shrunk(8000, 900), _shrunk(500, 400)
    (4000, 0, 0)
    """
    gpus = asked // 1000
    return max((n * 1000 for n in range(1, gpus) if gpus % n == 0 and n * 1000 <= left), default=0)


def _urgent_only(view: JobView, wish: np.ndarray, urgency: np.ndarray) -> np.ndarray:
    """Between rounds: who waits gets what is free; others give up GPUs only to those behind their promise."""
    urgent = (urgency > 0) & (wish > view.held)
    free = view.pool.free_milli
    need = int((wish - view.held)[urgent].sum()) - free
    kept = view.held.copy()
    if need > 0:
        for place in np.argsort(urgency, kind="stable"):
            if need <= 0 or urgency[place] > 0:
                break
            gives = int(view.held[place] - wish[place])
            if gives > 0:
                kept[place] = wish[place]
                need -= gives
    waits = np.flatnonzero((view.held == 0) & (wish > 0) & ~urgent)
    waits = waits[np.argsort(-urgency[waits], kind="stable")]
    fits = waits[np.cumsum(wish[waits]) <= max(-need, 0)]
    kept[fits] = wish[fits]
    return np.where(urgent, wish, kept)
