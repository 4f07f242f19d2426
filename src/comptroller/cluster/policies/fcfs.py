"""First come, first served: who cannot start holds up all behind it."""

from __future__ import annotations

from comptroller.cluster.job_view import JobGrant, JobView, starts


def grants(view: JobView) -> list[JobGrant]:
    """Those that wait, in the order of submission, until one finds no room."""
    return starts(view, view.queue, skips=False)
