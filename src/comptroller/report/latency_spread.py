"""The spread of a latency: its mean, percentiles and most."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

PERCENTS = (50, 90, 95, 99)


def spread(values: Any) -> dict[str, float]:
    """Mean, percentiles and the most of a latency over those that have one."""
    values = values[np.isfinite(values)]
    if not values.size:
        return dict.fromkeys(("mean", *(f"p{p}" for p in PERCENTS), "most"), math.nan)
    percentiles = np.percentile(values, PERCENTS)
    percents = {f"p{p}": float(value) for p, value in zip(PERCENTS, percentiles, strict=True)}
    return {"mean": float(values.mean())} | percents | {"most": float(values.max())}
