"""What came of it, in the twin: results, meters and samples as the engine gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.serving.outcome import RankMeters, RankSample
from comptroller.serving.state import JOB, RESULT, TICKS_PER_S, records
from comptroller.serving.twin_call import TwinRequest
from comptroller.serving.twin_rank import TwinRank


def results_of(calls: list[TwinRequest]) -> Any:
    """The result records of calls."""
    results = records(RESULT, len(calls))
    for result, call in zip(results, calls, strict=True):
        for name in RESULT.names or ():
            if name not in ("prompt_rank", "token_rank", "slot"):
                setattr(result, name, getattr(call, name))
        result.prompt_rank = call.prompt_rank.id if call.prompt_rank else -1
        result.token_rank = call.token_rank.id if call.token_rank else -1
    return results


def jobs_of(jobs: list[Any]) -> Any:
    """The job records of jobs."""
    found = records(JOB, len(jobs))
    for place, job in enumerate(jobs):
        found[place] = job
    return found


def series(now: int, ranks: list[TwinRank]) -> RankSample:
    """One sample of every rank."""
    return RankSample(
        now / TICKS_PER_S,
        np.array([rank.busy for rank in ranks]) / TICKS_PER_S,
        np.array([rank.joules for rank in ranks]),
        np.array([rank.occupied * rank.block for rank in ranks], np.float64),
        np.array([len(rank.queue) + len(rank.intake) for rank in ranks]),
        np.array([len(rank.decoding) + len(rank.prefilling) for rank in ranks]),
    )


def meters(ranks: list[TwinRank]) -> RankMeters:
    """What each rank has done."""

    def each(read: Callable[[TwinRank], float]) -> npt.NDArray[Any]:
        return np.array([read(rank) for rank in ranks])

    return RankMeters(
        each(lambda rank: rank.busy / TICKS_PER_S),
        each(lambda rank: rank.joules),
        each(lambda rank: rank.steps),
        each(lambda rank: rank.prompt_done),
        each(lambda rank: rank.recomputed),
        each(lambda rank: rank.decode_done),
        each(lambda rank: rank.cache.evictions),
    )
