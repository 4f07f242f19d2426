"""Uniform progress: behind the straight line from nothing to all work at the deadline, a job is on demand.

Its rules, as published: spot whenever there is any, until it is taken back, even behind the line; on demand where there
is none and it is behind; once on demand, there until it is as far as the line will be two changeovers from now; the
safety net. Source: Wu et al., "Can't Be Late: Optimizing Spot Instance Savings under Deadlines" (NSDI 2024).
"""

from __future__ import annotations

from comptroller.cluster.deadline_view import DeadlineView, JobRental

EVERY_S = 60.0
"""At most so late is it seen that a job is behind: a minute of hours. At twice it costs differ by less than a
changeover of some minutes."""


def rental(view: DeadlineView) -> JobRental:
    """What a job is to run on."""
    if view.held == JobRental.SPOT:
        return JobRental.SPOT
    if view.must_hurry:
        return JobRental.ON_DEMAND
    pace = view.work_s / view.deadline_s
    if view.held == JobRental.ON_DEMAND and view.done_s < (view.now_s + 2 * view.changeover_s) * pace:
        return JobRental.ON_DEMAND
    if view.spot:
        return JobRental.SPOT
    behind = view.done_s < view.now_s * pace
    return JobRental.ON_DEMAND if behind else JobRental.IDLE
