"""POLCA: two thresholds of a row's power, at which low priority is slowed first, and a brake above the budget.

Rule: US-20250377708-A1. Above the first threshold the clocks of low priority are capped; above the second those of low
priority further and those of high priority too; a cap is taken back once power is a margin below its threshold.
Thresholds, clocks and margin: as this project knows them from arXiv 2308.12908 (row of 40 DGX A100, 1,410 MHz at most);
not checked against its text.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.policies.power_view import BRAKE_S, PowerSetting, PowerView
from comptroller.work.call import CallTable

EVERY_S = 2
NEEDS = ("priority",)
TIERS = ("low priority", "high priority")
FIRST, SECOND = 0.80, 0.89
"""Shares of the budget. What a row may rise by within the delay of a cap has to fit above the second."""
MARGIN = 0.05
"""How far below its threshold a cap is taken back: at once below it, caps would come and go with every burst."""
SETTINGS = (
    PowerSetting(),
    PowerSetting(clock=1275 / 1410),
    PowerSetting(clock=1110 / 1410),
    PowerSetting(clock=1305 / 1410),
    PowerSetting(clock=288 / 1410, delay_s=BRAKE_S, brake=True),
)
FREE, LOW, LOWER, HIGH, BRAKE = range(5)


def tiers(calls: CallTable) -> npt.NDArray[np.int64]:
    """1 for the calls of the upper half of the priorities that there are, 0 for the others.

    Raises:
        InputError: all calls have one priority.
    """
    priority = calls["priority"]
    if priority.min() == priority.max():
        raise InputError(
            f"power policy polca slows low priority first, and every call has priority {priority.min():g}; "
            "two priorities are needed"
        )
    return np.asarray(priority >= (priority.min() + priority.max()) / 2, np.int64)


def cap(view: PowerView) -> tuple[int, ...]:
    """Settings of low and of high priority."""
    share = float(view.row_w[-1]) / view.budget_w
    low, _ = view.decided
    if share > 1.0 or (low == BRAKE and share > SECOND - MARGIN):
        return BRAKE, BRAKE
    if share > SECOND or (low in (LOWER, BRAKE) and share > SECOND - MARGIN):
        return LOWER, HIGH
    if share > FIRST or (low != FREE and share > FIRST - MARGIN):
        return LOW, FREE
    return FREE, FREE
