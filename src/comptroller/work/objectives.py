"""What a workload minimises and what bounds it: latency percentiles, spending, power, emissions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from comptroller.work.sizes import STRICT, checked_unit, conflict, in_si, unit_schema

PERCENTILE = 95.0
"""Per cent of the requests that a latency bound holds for, unless it states another. Twice this does not exist; 99
would make the slowest hundredth decide the fleet instead of the slowest twentieth."""

LEAST_PERCENTILE = 1.0
"""Least per cent that a bound may be for. A value below one is a share that was meant as per cent (0.95). At twice this
the 1st percentile is refused too, which nobody bounds."""

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class CostObjective(StrEnum):
    """The quantity that the plan minimises: dollars, joules or grams of CO2e."""

    USD = "usd"
    J = "j"
    GCO2E = "gco2e"


class QuantityBound(BaseModel):
    """An upper bound of a quantity, in any of its units."""

    model_config = STRICT
    max: Positive
    unit: str

    def in_si(self, suffix: str) -> float:
        """The bound in SI units of the quantity with a field suffix (`w`).

        Raises:
            PydanticCustomError: the unit is not one of that quantity.
        """
        return in_si(self.max, self.unit, suffix)


class LatencyPercentileBound(QuantityBound):
    """An upper bound of the latency of `p` per cent of the requests."""

    unit: Annotated[str, unit_schema("s")]
    p: Annotated[float, Field(strict=True, gt=0, lt=100)] = PERCENTILE

    @model_validator(mode="after")
    def _time(self) -> LatencyPercentileBound:
        checked_unit(self.unit, "s")
        if self.p < LEAST_PERCENTILE:
            meant = f"; did you mean {self.p * 100:g}?"
            raise conflict(
                "p", f"{self.p:g} is the fastest {self.p:g} per cent of the requests{meant}", "1 to below 100"
            )
        return self

    @property
    def max_s(self) -> float:
        """The bound in seconds."""
        return self.in_si("s")


class SpendRateBound(QuantityBound):
    """An upper bound of spending over time, such as USD/h."""

    unit: Annotated[str, unit_schema("usd_per_s")]

    @model_validator(mode="after")
    def _money(self) -> SpendRateBound:
        checked_unit(self.unit, "usd_per_s")
        return self

    @property
    def max_usd_per_s(self) -> float:
        """The bound in dollars per second."""
        return self.in_si("usd_per_s")


class PowerBound(QuantityBound):
    """An upper bound of power at the meter, with cooling and losses (PUE)."""

    unit: Annotated[str, unit_schema("w")]

    @model_validator(mode="after")
    def _watts(self) -> PowerBound:
        checked_unit(self.unit, "w")
        return self


class CarbonBound(QuantityBound):
    """An upper bound of emissions over time, such as kgCO2e/h."""

    unit: Annotated[str, unit_schema("gco2e_per_s")]

    @model_validator(mode="after")
    def _grams(self) -> CarbonBound:
        checked_unit(self.unit, "gco2e_per_s")
        return self


class LatencyObjectives(BaseModel):
    """Bounds of time to first token (ttft), time per output token after it (tpot) and end-to-end latency (e2e)."""

    model_config = STRICT
    ttft: LatencyPercentileBound | None = None
    tpot: LatencyPercentileBound | None = None
    e2e: LatencyPercentileBound | None = None
