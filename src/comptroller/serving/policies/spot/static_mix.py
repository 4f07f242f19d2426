"""A fixed share on demand, the rest spot, spread evenly over the zones, as groups of instances are configured."""

from __future__ import annotations

import math

from comptroller.serving.policies.spot_view import SpotView, SpotWish, even

EVERY_S = 20
ON_DEMAND_SHARE = 0.5
"""Of the target on demand. At twice this nothing is spot; at half of it a bad hour of the zones leaves a quarter of the
replicas."""


def place(view: SpotView) -> SpotWish:
    """The share on demand, rounded up, and as many spot replicas as are missing, with the extra ones."""
    firm = math.ceil(view.target * ON_DEMAND_SHARE)
    return SpotWish(even(view.target - firm + view.extra, len(view.ready)), firm)
