"""EASY backfilling: who is behind may start if the first that waits is not held up by it.

Source: Lifka (1995), "The ANL/IBM SP scheduling system". The moment at which the first can start is reckoned by GPUs,
not by nodes; durations are those that the jobs will have.
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_view import JobGrant, JobView, starts

NEEDS = ("durations",)


def grants(view: JobView) -> list[JobGrant]:
    """First come, first served, then those behind that end in time, or fit beside the first that waits."""
    queue = view.queue
    first = starts(view, queue, skips=False)
    if len(first) == len(queue):
        return first
    pool = view.pool.copy()
    ends = [(view.clock_s + view.remaining_s[place], asked) for place, asked in first]
    for _, asked in first:
        pool.take(asked)
    runs = np.flatnonzero(view.held)
    times = np.concatenate([view.clock_s + view.remaining_s[runs], [end for end, _ in ends]])
    sizes = np.concatenate([view.held[runs], [asked for _, asked in ends]])
    order = np.argsort(times, kind="stable")
    head = queue[len(first)]
    free = pool.free_milli + np.cumsum(sizes[order])
    enough = int(np.searchsorted(free, view.asked[head]))
    if enough >= len(free):  # GPUs that serving takes: the head cannot be told a time
        return first
    start_s, spare = times[order][enough], int(free[enough] - view.asked[head])
    return first + _behind(view, queue[len(first) + 1 :], pool.free_milli, start_s, spare, first)


def _behind(
    view: JobView, behind: np.ndarray, free: int, start_s: float, spare: int, first: list[JobGrant]
) -> list[JobGrant]:
    """Those behind that find room now and end by a moment, or take no more than what is to spare then."""
    in_time = view.clock_s + view.remaining_s[behind] <= start_s
    asked = view.asked[behind]
    tries = behind[(asked <= free) & (in_time | (asked <= spare))]
    pool = view.pool.copy()
    for _, size in first:
        pool.take(size)
    found: list[JobGrant] = []
    for place in tries:
        size = int(view.asked[place])
        late = view.clock_s + view.remaining_s[place] > start_s
        if (late and size > spare) or pool.take(size) is None:
            continue
        spare -= size if late else 0
        found.append((int(place), size))
    return found
