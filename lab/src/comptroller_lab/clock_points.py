"""Published times and powers at locked clocks and power limits, and the fit of the voltage law to the former.

Perseus (github.com/ml-energy/zeus at 38cb3f90, sosp24_data/emulation/stage_profile, Apache-2.0): a stage of a model in
training on one device at locked clocks. Above the clocks here the device's own power limit held the cores back.
Zeus (the same repository at 43297f65, trace/summary_power_v100.csv): epochs of ResNet-50 under power limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from comptroller.costs.power_demand import core_power
from comptroller.facts.power import ClockVoltage, PowerShare

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LockedStage:
    """A stage at locked clocks: MHz, the highest clock, seconds, joules."""

    device: str
    most_mhz: float
    mhz: tuple[float, ...]
    s: tuple[float, ...]
    j: tuple[float, ...]

    @property
    def clock(self) -> Array:
        """Shares of the highest clock."""
        return np.array(self.mhz) / self.most_mhz

    @property
    def w(self) -> Array:
        """Mean power."""
        return np.asarray(np.array(self.j) / np.array(self.s))


A100_MHZ = (1305, 1260, 1200, 1155, 1110, 1080, 1050, 1005, 960, 900, 855)
A40_MHZ = (1440, 1395, 1350, 1305, 1260, 1200, 1155, 1110, 1050, 1005, 960, 900, 855)
STAGES = (
    LockedStage(
        "a100_80_sxm",
        1410,
        A100_MHZ,
        (0.05197, 0.05357, 0.05606, 0.05815, 0.06035, 0.06204, 0.06368, 0.06649, 0.06945, 0.07376, 0.07773),
        (22.1811, 20.7942, 19.2601, 18.5793, 17.8647, 17.5131, 17.5845, 17.7813, 17.8553, 18.0479, 18.2394),
    ),
    LockedStage(
        "a100_80_sxm",
        1410,
        A100_MHZ,
        (0.09600, 0.09879, 0.10297, 0.10649, 0.11014, 0.11309, 0.11591, 0.12092, 0.12597, 0.13322, 0.14057),
        (41.2038, 38.2153, 35.9589, 34.5136, 33.2624, 32.3418, 32.5827, 33.1150, 33.2697, 33.0854, 33.6419),
    ),
    LockedStage(
        "a40",
        1740,
        A40_MHZ,
        (
            *(0.25267, 0.25603, 0.26016, 0.26462, 0.26937, 0.27668, 0.28337),
            *(0.29104, 0.30262, 0.31224, 0.32282, 0.33865, 0.35201),
        ),
        (
            *(70.5994, 67.5873, 65.6359, 64.6177, 63.0248, 59.3906, 57.9817),
            *(58.1563, 58.8362, 59.3699, 59.9815, 61.2837, 61.9195),
        ),
    ),
)
"""GPT-3 175B forward and backward on A100, BLOOM 176B backward on A40."""

V100_LIMITS_W = (250, 225, 200, 175, 150, 125, 100)
V100_EPOCHS_S = (3515.0, 3584.3, 3701.0, 3852.2, 4148.7, 5065.0, 6781.2)
"""ResNet-50, batches of 256 images, on a V100 of 250 W."""

START = (0.8, 0.7)


def voltage_of(floor: float, knee: float, error: tuple[float, float] = (0.0, 0.0), rows: int = 1) -> ClockVoltage:
    """The law as facts."""
    return ClockVoltage(PowerShare(floor, error[0], rows), PowerShare(knee, error[1], rows))


def stage_power(stage: LockedStage, voltage: ClockVoltage) -> Array:
    """Power of a stage by its clocks: the law, with the two shares of this stage that fit it best (W).

    P = still + moving core_power(x): a stage's work decides how much of its power hangs on the clock at all.
    """
    columns = np.stack([np.ones(len(stage.mhz)), core_power(stage.clock, voltage)], axis=1)
    weight = 1.0 / stage.w[:, None]
    found = np.linalg.lstsq(columns * weight, np.ones(len(stage.mhz)), rcond=None)[0]
    return np.asarray(columns @ found)


def fit_voltage(stages: Sequence[LockedStage] = STAGES) -> ClockVoltage:
    """The voltage law that explains powers of stages; its errors from leaving out each device, of several."""
    found = _fit(stages)
    devices = sorted({stage.device for stage in stages})
    error = (0.0, 0.0)
    if len(devices) > 1:
        others = np.array([_fit([stage for stage in stages if stage.device != device]) for device in devices])
        spread = np.sqrt((len(devices) - 1) / len(devices) * ((others - others.mean(axis=0)) ** 2).sum(axis=0))
        error = (float(spread[0]), float(spread[1]))
    return voltage_of(found[0], found[1], error, sum(len(stage.mhz) for stage in stages))


def _fit(stages: Sequence[LockedStage]) -> tuple[float, float]:
    def residuals(values: Array) -> Array:
        voltage = voltage_of(*values.tolist())
        return np.concatenate([np.log(stage_power(stage, voltage) / stage.w) for stage in stages])

    found = least_squares(residuals, START, bounds=((0.5, 0.3), (0.99, 0.95)), diff_step=1e-3)
    return float(found.x[0]), float(found.x[1])
