"""What becomes of calls on a replica that goes: begun anew, gone on with, or moved with what they have in cache."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from comptroller.errors import InputError


class WorkAfterLoss(IntEnum):
    """Calls on a replica that goes are begun anew; gone on with, what was cached computed again; or moved.

    What is moved takes its cache along as far as the notice lasts; what does not get away is resumed.
    """

    RESTART = 0
    RESUME = 1
    MOVE = 2


@dataclass(frozen=True, slots=True)
class CachePath:
    """The way of a cache from a replica that goes to one that stays, one call after another.

    out_bytes_per_s: of the link out of the replica, which a notice has to be long enough for.  in_bytes_per_s: of
    reading it again where it was put down on the way (swapped to a store); infinite where it goes straight to a peer.
    """

    out_bytes_per_s: float
    in_bytes_per_s: float = float("inf")

    def __post_init__(self) -> None:
        if not (self.out_bytes_per_s > 0 and self.in_bytes_per_s > 0):
            raise InputError(
                f"cache path: {self.out_bytes_per_s:g} bytes/s out, {self.in_bytes_per_s:g} in; both have to be above 0"
            )

    def arrivals_s(self, sizes_bytes: list[float], notice_s: float) -> list[float | None]:
        """When each cache has arrived, from the notice on; none of one that does not get away within it.

        Caches leave one after the other in the order given; one that is too large is left, smaller ones still go.

        >>> CachePath(10e9, 20e9).arrivals_s([20e9, 90e9, 10e9], 4.0)
        [3.0, None, 3.5]
        """
        out_s, arrivals = 0.0, list[float | None]()
        for size in sizes_bytes:
            if out_s + size / self.out_bytes_per_s > notice_s:
                arrivals.append(None)
                continue
            out_s += size / self.out_bytes_per_s
            arrivals.append(out_s + size / self.in_bytes_per_s)
        return arrivals

    def out_s(self, size_bytes: float, arrival_s: float) -> float:
        """When a cache that arrives then had left."""
        return arrival_s - size_bytes / self.in_bytes_per_s
