"""What a job with a deadline knows at a moment, and what it may run on."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

ROUNDING_S = 1e-6
"""Far above what rounds off a moment of months, and far below a second."""


class JobRental(IntEnum):
    """What a job runs on: nothing, a spot node, or a node on demand."""

    IDLE = 0
    SPOT = 1
    ON_DEMAND = 2


class SpotSpells(NamedTuple):
    """What a job has seen of spot, whatever it ran on. stood_s, away_s: with and without a node to be had.  losses: of
    nodes that it held or would have taken.  returns: ends of times without."""

    stood_s: float = 0.0
    away_s: float = 0.0
    losses: int = 0
    returns: int = 0


class DeadlineView(NamedTuple):
    """A job at a moment.

    now_s: since it was submitted.  done_s: of its work.  deadline_s: from submission on.  changeover_s: without
    progress after every start.  held: what it runs on; nothing, if that was taken back this moment.  spot: whether a
    zone has a node for it.  price_ratio: of spot over on demand.  seen: of spot so far.
    """

    now_s: float
    done_s: float
    work_s: float
    deadline_s: float
    changeover_s: float
    held: JobRental
    spot: bool
    price_ratio: float = 1.0
    seen: SpotSpells = SpotSpells()

    @property
    def slack_s(self) -> float:
        """How long it may still stand idle in all, changeovers included."""
        return self.deadline_s - self.now_s - (self.work_s - self.done_s)

    @property
    def must_hurry(self) -> bool:
        """The safety net: whether spot, were it taken back while it starts, would leave too little for another start.

        >>> view = DeadlineView(0.0, 0.0, 100.0, 120.0, 10.0, JobRental.IDLE, True)
        >>> view.must_hurry, view._replace(deadline_s=125.0).must_hurry
        (True, False)
        """
        return self.slack_s <= 2 * self.changeover_s + ROUNDING_S
