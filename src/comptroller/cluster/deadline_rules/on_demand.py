"""All on demand, from the first moment: what the others are held against."""

from __future__ import annotations

from comptroller.cluster.deadline_view import DeadlineView, JobRental

EVERY_S = 3600.0


def rental(view: DeadlineView) -> JobRental:
    """On demand."""
    return JobRental.ON_DEMAND
