"""Spot whenever there is any, nothing while there is none, on demand once the slack allows no other changeover.

Source: the greedy policy that Wu et al., "Can't Be Late" (NSDI 2024), compare with.
"""

from __future__ import annotations

from comptroller.cluster.deadline_view import DeadlineView, JobRental

EVERY_S = 600.0


def rental(view: DeadlineView) -> JobRental:
    """Spot until it is taken back; the safety net; spot where there is any; else nothing."""
    if view.held == JobRental.SPOT:
        return JobRental.SPOT
    if view.must_hurry:
        return JobRental.ON_DEMAND
    return JobRental.SPOT if view.spot else JobRental.IDLE
