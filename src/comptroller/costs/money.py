"""From device time to joules at the wall, dollars and grams."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.facts.power import power_facts

Array = npt.NDArray[np.float64]


def wall_w(device_w: Array | float, devices: float, host_w: float, pue: float) -> Array:
    """Watts at the meter of a site: devices and the host around them, times the site's PUE.

    P_wall = (n * P_device + P_host) * PUE

    >>> float(wall_w(500.0, 8, 1200.0, 1.2))
    6240.0
    """
    return np.asarray((np.asarray(device_w) * devices + host_w) * pue)


def host_w(devices: float) -> float:
    """Watts of the servers around devices, without them: 1.2 kW for eight (EcoLogits 0.11, impacts/llm.py).

    >>> host_w(4)
    600.0
    """
    return power_facts().host.node_w * devices / 8


def wall_j(device_j: Array | float, device_s: Array | float, pue: float) -> Array:
    """Joules at the meter of a site for work that held devices for some device-seconds.

    E_wall = (E_device + P_host(1) * device-seconds) * PUE

    device_j: joules of all devices, their idle share included.  device_s: seconds times devices.

    >>> round(float(wall_j(5000.0, 10.0, 1.2)), 1)
    7800.0
    """
    return np.asarray((np.asarray(device_j) + host_w(1) * np.asarray(device_s)) * pue)


def electricity_usd(energy_j: Array | float, usd_per_j: float) -> Array:
    """Dollars for wall energy: E * price.

    >>> round(float(electricity_usd(3.6e6, 0.10 / 3.6e6)), 6)
    0.1
    """
    return np.asarray(np.asarray(energy_j) * usd_per_j)


def carbon_g(energy_j: Array | float, grid_gco2e_per_j: float) -> Array:
    """Grams of CO2e of wall energy: E * intensity.

    >>> round(float(carbon_g(3.6e6, 400 / 3.6e6)), 6)
    400.0
    """
    return np.asarray(np.asarray(energy_j) * grid_gco2e_per_j)


def green_algorithms_j(hours: float, device_w: float, memory_gb: float, pue: float) -> float:
    """Energy of a job by the Green Algorithms formula (Lannelongue et al. 2021, eq. 1), in joules.

    E = t * (n P u + GB * 0.3725 W) * PUE; `device_w` is the sum of n P u over processors.

    >>> round(green_algorithms_j(1.0, 300.0, 64.0, 1.56) / 3.6e6, 6)
    0.50519
    """
    return hours * 3600.0 * (device_w + memory_gb * 0.3725) * pue
