"""Every request of a trace on the fleet of a plan."""

import numpy as np

from comptroller import load_plan, simulate
from comptroller.planning.simulation import TraceReplaySettings
from comptroller.work.trace import RequestTrace

rng = np.random.default_rng(0)
arrivals_s = np.cumsum(rng.exponential(1 / 20, 400))
trace = RequestTrace(arrivals_s, rng.integers(200, 2000, 400), rng.integers(50, 300, 400), source="drawn")
outcome = simulate(load_plan("tests/golden/chat.json"), trace, TraceReplaySettings(samples=60))
wait_s = np.asarray(outcome.calls.columns["first_s"]) - arrivals_s
print(f"{len(outcome.calls)} requests, time to the first token at 95 %: {np.quantile(wait_s, 0.95) * 1e3:.0f} ms")
