"""One pool as the plan has it: its layout, its replicas, the highest clock."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.pool_view import PoolSetting, PoolView
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.work.call import CallTable

EVERY_S = 60
CLASSES = ("all",)
CLOCKS = (PowerSetting(),)


def classes(calls: CallTable) -> npt.NDArray[np.int64]:
    """All calls are alike."""
    return np.zeros(len(calls), np.int64)


def choose(view: PoolView) -> PoolSetting:
    """As it is."""
    return view.setting
