"""What a workload declares to be uncertain: the prices of what is rented, and the demand."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from comptroller.work.sizes import STRICT, conflict

Factor = Annotated[float, Field(strict=True, gt=0, le=1000, allow_inf_nan=False)]


class UncertaintyRange(BaseModel):
    """80 % bounds of a quantity, as factors on its value in the plan, which lies between them."""

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
    """Ranges in place of measured ones.

    prices: of every offer that is rented, each on its own.  demand: of the rate to hold.
    """

    model_config = STRICT
    prices: UncertaintyRange | None = None
    demand: UncertaintyRange | None = None
