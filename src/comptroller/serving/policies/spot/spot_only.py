"""Naive spot: the target spread evenly over the zones, for good; what is lost is asked for again in the same zone."""

from __future__ import annotations

from comptroller.serving.policies.spot_view import SpotView, SpotWish, even

EVERY_S = 20


def place(view: SpotView) -> SpotWish:
    """The target over all zones, and nothing on demand."""
    return SpotWish(even(view.target, len(view.ready)), 0)
