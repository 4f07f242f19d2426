"""First fit: every job that finds room starts, in the order of submission. Large ones may wait on for ever."""

from __future__ import annotations

from comptroller.cluster.job_view import JobGrant, JobView, starts


def grants(view: JobView) -> list[JobGrant]:
    """Those that wait, in the order of submission, past those that find no room."""
    return starts(view, view.queue, skips=True)
