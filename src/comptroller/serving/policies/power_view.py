"""What a power policy sees of a row of replicas, and what it may set on their devices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

Watts = npt.NDArray[np.float64]
"""Mean watts of a row between one sample and the next, the last one the latest."""

OUT_OF_BAND_S = 40.0
"""From a decision until a clock or a limit is in force, set through the servers' management controllers: as known here
from POLCA (arXiv 2308.12908); not checked against its text. At half of it a row overshoots half as far."""
BRAKE_S = 5.0
"""The same of the hardware brake."""


class PowerSetting(NamedTuple):
    """What is set on all devices of a replica.

    clock: share of the highest clock.  limit: share of the device's power limit.  delay_s: from the decision until it
    is in force.  brake: the hardware's last resort, which is counted.
    """

    clock: float = 1.0
    limit: float = 1.0
    delay_s: float = OUT_OF_BAND_S
    brake: bool = False


class PowerView(NamedTuple):
    """A row at a sample.

    row_w: watts, one value for every sample so far.  budget_w: of the row.  decided: the setting of each tier that was
    decided last, in force or on its way.  most_w: what the row may draw at most at each setting until the
    next sample: replicas that are on at any load, those that may be started meanwhile idle.
    step_s: seconds of a decode step of each tier's mean batch at each setting, shape (tiers, settings); 0 without one.
    queued: calls of each tier that wait.  tpot_s: what a token may take; infinite without an objective.
    """

    row_w: Watts
    budget_w: float
    decided: tuple[int, ...]
    most_w: tuple[float, ...]
    step_s: npt.NDArray[np.float64]
    queued: tuple[float, ...]
    tpot_s: float


def strongest_within(view: PowerView) -> int:
    """The first setting, as a policy lists them from the strongest down, at which no load passes the budget.

    Raises:
        InputError: there is none; says what the weakest may draw.

    >>> view = PowerView(np.array([9.0]), 10.0, (0,), (12.0, 10.0, 8.0), np.zeros((1, 3)), (0.0,), np.inf)
    >>> strongest_within(view)
    1
    """
    within = [setting for setting, most_w in enumerate(view.most_w) if most_w <= view.budget_w]
    if not within:
        raise InputError(
            f"row budget of {view.budget_w:,.0f} W: at the lowest setting the row may still draw "
            f"{view.most_w[-1]:,.0f} W; as much is needed, or fewer replicas"
        )
    return within[0]
