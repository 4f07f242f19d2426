"""Pools by the size of requests, each at the lowest clock that keeps its tokens within the objective.

In the spirit of DynamoLLM (HPCA'25, arXiv 2408.00741), whose instances set their clock every few seconds by the class
of their requests and its objective; layouts and counts of instances, which it changes too, stay as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.power_view import PowerSetting, PowerView
from comptroller.work.call import CallTable

EVERY_S = 4
TIERS = ("short prompts", "long prompts")
LONG_TOKENS = 1024
"""Prompts from here on are long: their steps are bound by arithmetic and slow with the clock, which shorter ones hide
behind the decodes beside them. DynamoLLM's border between medium and long inputs, as this project knows it."""
SETTINGS = tuple(PowerSetting(clock=percent / 100, delay_s=0.2) for percent in range(100, 45, -10))
"""Set on the server itself; `nvidia-smi --lock-gpu-clocks` takes some 0.2 s."""
FILLED = 0.8
"""Share of the objective that a decode step may take: prompts beside it need the rest."""


def tiers(calls: CallTable) -> npt.NDArray[np.int64]:
    """1 for long prompts."""
    return np.asarray(calls["input_tokens"] >= LONG_TOKENS, np.int64)


def cap(view: PowerView) -> tuple[int, ...]:
    """Of each pool the lowest clock within the objective; the highest while its calls wait."""
    return tuple(
        0 if waiting > 0 else max([n for n, s in enumerate(steps) if s <= FILLED * view.tpot_s], default=0)
        for steps, waiting in zip(view.step_s, view.queued, strict=True)
    )
