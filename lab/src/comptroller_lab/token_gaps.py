"""Single gaps between the tokens of calls, which means over a call hide: an engine watched step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.serving.engine import EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import TICKS_PER_S, GroupActivity, ticks
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]

IDLE_S = 1e-3
"""How far a replica without a step is moved on at once: while caches come back over its link, nothing tells when."""


@dataclass(frozen=True, eq=False)
class TokenGaps:
    """Gaps in seconds, and how many there are of each. Of steps in one run the first has its own gap, the others the
    mean of the run."""

    gap_s: Floats
    count: npt.NDArray[np.int64]

    def percentile(self, percent: float) -> float:
        """The gap that so many per cent of all gaps do not exceed.

        >>> TokenGaps(np.array([0.5, 0.1]), np.array([1, 9])).percentile(90)
        0.1
        """
        order = np.argsort(self.gap_s)
        below = np.cumsum(self.count[order])
        return float(self.gap_s[order][np.searchsorted(below, percent / 100 * below[-1])])


def gaps_of(fleet: SimulatedFleet, calls: CallTable) -> tuple[EngineOutcome, TokenGaps]:
    """What comes of the calls on one replica of one rank, and the gaps between tokens of each.

    A gap counts from a call's last token, or its first; what it waited while its cache was elsewhere is in it.
    """
    engine = EventEngine(fleet)
    engine.submit(calls)
    # As the engine rounds them, or the moment before an arrival would never end.
    arrivals = np.append(np.sort([ticks(at) / TICKS_PER_S for at in calls["arrival_s"]]), np.inf)
    last: dict[int, float] = {}
    gaps: list[tuple[float, int]] = []
    made, batch = _decoding(engine)
    began = _settled_s(engine)
    while engine.busy:
        coming = arrivals[np.searchsorted(arrivals, engine.now_s, side="right")]
        if engine.next_s <= coming and np.isfinite(engine.next_s):
            engine.step()
        else:
            engine.advance(min(coming, engine.now_s + IDLE_S))
        (steps, joined), ended = _decoding(engine), _settled_s(engine)
        if steps > made:
            each = (ended - began) / (steps - made)
            for call in batch:
                gaps += [(began + each - last[call], 1), (each, steps - made - 1)]
                last[call] = ended
        for call, first in joined.items():
            last.setdefault(call, first)
        made, batch, began = steps, joined, ended
    seconds, counts = np.array(gaps).T
    return engine.outcome(), TokenGaps(seconds[counts > 0], counts[counts > 0].astype(np.int64))


def _decoding(engine: EventEngine) -> tuple[int, dict[int, float]]:
    """Steps of the rank so far, and the calls in its batch, each with the moment of its first token."""
    world = engine._world
    rank = world.ranks.view(np.ndarray)[0]
    rows = world.ints[rank["run"] : rank["run"] + rank["batch"]]
    batch = world.requests.view(np.ndarray)[rows]
    return int(rank["g"]), dict(zip(batch["id"].tolist(), (batch["first"] / TICKS_PER_S).tolist(), strict=True))


def _settled_s(engine: EventEngine) -> float:
    """The end of the last step that is booked: the moment, or before it while a step or a run is under way."""
    rank = engine._world.ranks.view(np.ndarray)[0]
    return float(rank["since"]) / TICKS_PER_S if rank["kind"] > GroupActivity.READY else engine.now_s
