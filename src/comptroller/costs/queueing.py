"""Queueing approximations by name; a plan that uses them is marked `unverified` until it was simulated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Array = npt.NDArray[np.float64]


def allen_cunneen_wait_s(utilisation: Array, service_s: Array, arrival_cv: float, service_cv: Array) -> Array:
    """Mean wait in a single-server queue with general arrivals and service.

    W = rho / (1 - rho) * (c_a^2 + c_s^2) / 2 * s  (Allen-Cunneen; exact for M/M/1 and M/G/1)

    utilisation: offered load rho; at rho >= 1 the wait is infinite.

    >>> float(allen_cunneen_wait_s(np.array(0.5), np.array(2.0), 1.0, np.array(1.0)))
    2.0
    """
    factor = (arrival_cv**2 + np.asarray(service_cv) ** 2) / 2
    room = np.maximum(1 - utilisation, 1e-12)
    return np.where(utilisation < 1, utilisation / room * factor * service_s, np.inf)


def busy_batch(mean_batch: Array, quantile: float) -> Array:
    """Quantile of the number of requests in service when arrivals are Poisson (normal approximation).

    B_q = B + z_q sqrt(B)

    >>> round(float(busy_batch(np.array(100.0), 0.95)), 1)
    116.4
    """
    return np.asarray(mean_batch + ndtri(quantile) * np.sqrt(mean_batch))
