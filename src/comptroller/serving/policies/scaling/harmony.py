"""HARMONY's second stage: a predictive distribution of the load, then the replicas of least expected cost under an SLA.

Source: Luo et al. 2024, arXiv 2408.01000. Its forecaster is a transformer with a flow and its decision stage is not in
the released code (Floating-LY/HARMONY1), so both are stated here: the distribution is what followed moments like now
(`scaling_outlook`), the cost is that of replicas plus that of the calls in moments that are short of them. With a share
of 95 % to hold a miss may not be cheaper than twenty calls served: 1 / (1 - share).
"""

from __future__ import annotations

import numpy as np

from comptroller.serving.policies.scaling_outlook import clearing_replicas, needed_replicas
from comptroller.serving.policies.scaling_view import ScalingView, whole

EVERY_S = 10


def wish(view: ScalingView) -> int:
    """The number of least expected cost; as many as there are until a start-up and a decision were seen."""
    outlook = needed_replicas(view, int(view.start_up_s) + EVERY_S)
    if outlook is None:
        return max(view.current, whole(float(view.queued[-1]) / view.target_calls))
    most, weights = outlook
    needed = most + clearing_replicas(view)
    choices = np.arange(view.least, view.most + 1)
    # all calls of a moment that is short of replicas miss: their queue is served in order
    short = needed[None, :] > choices[:, None] + 1e-9
    cost = choices + (short * needed) @ weights / weights.sum() / (1 - view.share)
    return int(choices[int(np.argmin(cost))])
