"""One power limit on every device: the highest at which the row cannot pass its budget, whatever its load.

It stays for good where replicas do; where they come and go it follows how many of the row are on.
"""

from __future__ import annotations

from comptroller.serving.policies.power_view import PowerSetting, PowerView, strongest_within

EVERY_S = 2
SETTINGS = tuple(PowerSetting(limit=percent / 100, delay_s=0.0) for percent in range(100, 35, -5))
"""Limits in steps of 5 % down to the lowest that is priced; set before the first call."""


def cap(view: PowerView) -> tuple[int, ...]:
    """The same for every tier."""
    return (strongest_within(view),) * len(view.decided)
