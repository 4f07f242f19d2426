"""Pools by the size of requests, scaled, re-sharded and clocked on three scales of time for the least energy.

DynamoLLM (HPCA'25, arXiv 2408.00741): every class of input and output lengths has a pool; every half hour a pool is
sized for the load that is expected, every five minutes it gets the layout of least energy within its devices, every
five seconds the lowest clock that keeps the objectives. Borders and periods are as known here, not checked against its
text. It expects the loads of earlier weeks; here, where there are none, the busiest minute of the last period.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.pool_view import PoolSetting, PoolView, busiest, cheapest, least_clock
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.work.call import CallTable

EVERY_S = 5
RESHARD_S = 300
SCALE_S = 1800
MINUTE_S = 60
"""Over which a load is the mean: a replica clears a burst of seconds from its queue, and starts within minutes."""
LENGTHS = ("short", "medium", "long")
INPUT_TOKENS = (256, 1024)
OUTPUT_TOKENS = (100, 350)
"""From the first on a length is medium, from the second on long."""
CLASSES = tuple(f"{one} to {other}" for one in LENGTHS for other in LENGTHS)
CLOCKS = tuple(PowerSetting(clock=percent / 100, delay_s=0.0) for percent in range(100, 45, -10))


def classes(calls: CallTable) -> npt.NDArray[np.int64]:
    """The class of each call by its recorded lengths: outputs are foreseen without error."""
    asked, written = np.asarray(calls["input_tokens"]), np.asarray(calls["output_tokens"])
    return np.asarray(
        3 * np.searchsorted(INPUT_TOKENS, asked, "right") + np.searchsorted(OUTPUT_TOKENS, written, "right"), np.int64
    )


def choose(view: PoolView) -> PoolSetting:
    """By the scale of time that is due; between them the clock alone."""
    if view.second % SCALE_S == 0:
        load = busiest(view.arrivals, SCALE_S, MINUTE_S) if view.second else view.expected_per_s
        sized = cheapest(view, load, view.most_devices, SCALE_S)
        return sized._replace(devices=sized.replicas * view.layouts[sized.layout].devices)
    if view.second % RESHARD_S == 0:
        return cheapest(view, busiest(view.arrivals, RESHARD_S, MINUTE_S), view.setting.devices, RESHARD_S)
    if view.queued:
        return view.setting._replace(clock=0)
    return least_clock(view, view.setting, busiest(view.arrivals, MINUTE_S, EVERY_S))
