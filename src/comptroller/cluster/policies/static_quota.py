"""A fixed part of the cluster for each tenant, first come first served within it: what most clusters began with."""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_view import JobGrant, JobView, starts

NEEDS = ("quota",)


def grants(view: JobView) -> list[JobGrant]:
    """Of each tenant those that wait, in the order of submission, while its quota holds them."""
    used = np.bincount(view.tenant, weights=view.held, minlength=len(view.quota))
    queue, fits = view.queue, []
    for tenant in np.unique(view.tenant[queue]):
        own = queue[view.tenant[queue] == tenant]
        fits.append(own[np.cumsum(view.asked[own]) <= view.quota[tenant] - used[tenant]])
    return starts(view, np.sort(np.concatenate(fits)) if fits else queue, skips=True)
