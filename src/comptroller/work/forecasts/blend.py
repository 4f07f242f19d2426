"""The mean of the quantiles of persistence, the regression, boosted trees and, with a season, the seasonal quantiles.

Averaging quantiles keeps the shape of forecasts that agree (Lichtendahl et al. 2013); equal weights, since a few days
do not tell which of them will be best.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.forecasts import boosting, conformal, persistence, seasonal_quantile
from comptroller.work.load_frame import Floats, ForecastFrame, ForecastQuantiles


def fit(past: Floats, frame: ForecastFrame) -> ForecastQuantiles:
    """All of them.

    Raises:
        UnsupportedError: scikit-learn is not installed.
    """
    parts = [persistence.fit(past, frame), conformal.fit(past, frame), boosting.fit(past, frame)]
    if frame.season:
        parts.append(seasonal_quantile.fit(past, frame))

    def quantiles(seen: Floats) -> Floats:
        return np.asarray(np.mean([part(seen) for part in parts], axis=0))

    return quantiles
