"""A quantile of what the load will be until a replica that is asked for now could be used, and what already waits.

A replica asked for now takes calls after its start-up, so what counts is the largest load of the next start-up and
decision. It is read off the service's own past: what followed the moments that were most like now. A replica that could
be needed again before another would be ready is not given up either, since a start is paid for as well.
"""

from __future__ import annotations

from comptroller.serving.policies.scaling_outlook import clearing_replicas, needed_replicas, weighted_quantile
from comptroller.serving.policies.scaling_view import ScalingView, whole

EVERY_S = 10

KEEP_STARTS = 5
"""Start-ups ahead within which a replica that is there must not be needed again, at even odds, to be given up: what it
costs to keep it then is more than a start and the calls that would miss it."""


def wish(view: ScalingView) -> int:
    """The quantile of what will be needed, by the share of calls to hold, and the replicas that clear what waits within
    a start-up; those that are there as long as they are likely to be needed again; all until a start-up and a decision
    were seen."""
    ahead_s = int(view.start_up_s) + EVERY_S
    soon = needed_replicas(view, ahead_s)
    if soon is None:
        return max(view.current, whole(float(view.queued[-1]) / view.target_calls))
    wanted = whole(weighted_quantile(*soon, view.share) + clearing_replicas(view))
    if wanted >= view.current:
        return wanted
    later = needed_replicas(view, KEEP_STARTS * ahead_s)
    kept = view.current if later is None else whole(weighted_quantile(*later, 0.5))
    return max(wanted, min(view.current, kept))
