"""Energy and carbon of work: joules with their source and interval, grams by place and hour.

Formulas: Green Algorithms (Lannelongue et al. 2021) for whole jobs in `green_algorithms_g`; for calls, metered or
predicted joules times PUE times the grid's intensity of the hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan

CORE_W = (3.8, 12.0, 23.8)
"""Watts of a busy core: least, any, most of Green Algorithms' table (data/latest/TDP_cpu.csv, thermal design power by
core; "Any" is 12.0). No meter is at hand in a virtual machine, so joules are a prediction with this interval."""


@dataclass(frozen=True, slots=True)
class CallEnergy:
    """Joules of a call at the meter of its site, NaN where unknown.

    low_j, high_j: the interval; equal to the value where a meter was read.  source: "nvml", "rapl", "predicted";
    empty where unknown.  flops: of the call's tokens.
    """

    prefill_j: float = nan
    decode_j: float = nan
    low_j: float = nan
    high_j: float = nan
    gco2e: float = nan
    flops: float = nan
    source: str = ""

    @property
    def j(self) -> float:
        """Prefill and decode.

        >>> CallEnergy(prefill_j=1.5, decode_j=2.0).j
        3.5
        """
        return self.prefill_j + self.decode_j

    @property
    def known(self) -> bool:
        """Whether there are joules at all."""
        return not isnan(self.j)
