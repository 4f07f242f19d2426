"""The requests that the benchmarks of the simulator serve; imports only what a checkout of any age has."""

from __future__ import annotations

import numpy as np

from comptroller.work.call import CallTable


def poisson_calls(count: int, rate_per_s: float) -> CallTable:
    """Poisson arrivals and lognormal lengths: prompts of median 665 tokens, outputs of median 148."""
    rng = np.random.default_rng(0)
    lengths = [np.clip(np.exp(rng.normal(np.log(m), 0.9, count)), 1, top) for m, top in ((665, 8000), (148, 2000))]
    return CallTable.of(
        arrival_s=np.cumsum(rng.exponential(1 / rate_per_s, count)),
        input_tokens=lengths[0].astype(int),
        output_tokens=lengths[1].astype(int),
    )
