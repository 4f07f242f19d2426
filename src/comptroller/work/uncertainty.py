"""Declared uncertainty of a workload: rental prices and demand."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from comptroller.work.sizes import STRICT, conflict

MOST_FACTOR = 1000.0
"""Greatest factor of a bound on the plan's value. A larger one is a value written in place of a factor; at twice this
somewhat larger values would pass as factors."""

Factor = Annotated[float, Field(strict=True, gt=0, le=MOST_FACTOR, allow_inf_nan=False)]


class UncertaintyRange(BaseModel):
    """Bounds of an 80 % interval of a quantity, as factors on its value in the plan: low <= 1 <= high."""

    model_config = STRICT
    low: Factor
    high: Factor

    @model_validator(mode="after")
    def _around(self) -> UncertaintyRange:
        if self.low > 1:
            raise conflict("low", f"{self.low:g} is above the plan's own value", "a factor of at most 1")
        if self.high < 1:
            raise conflict("high", f"{self.high:g} is below the plan's own value", "a factor of at least 1")
        return self


class WorkloadUncertainty(BaseModel):
    """Declared intervals, in place of measured ones.

    prices: of every offer that is rented, independently.  demand: of the rate to size for.
    """

    model_config = STRICT
    prices: UncertaintyRange | None = None
    demand: UncertaintyRange | None = None
