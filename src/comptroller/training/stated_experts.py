"""How tokens fill the experts of a run, as a workload states it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from comptroller.costs.expert_rows import ExpertRows
from comptroller.work.sizes import STRICT, conflict


class StatedExperts(BaseModel):
    """Padding and balance of experts. capacity: rows of every expert over its mean tokens; more are dropped, fewer are
    padded.  tile: rows of a tile of the grouped product, to which tokens of an expert are padded.  rounded: whether the
    router gives whole tiles (SonicMoE).  imbalance: tokens of the busiest device over the mean.  minimal: whether
    inputs and first products alone are kept for the backward pass (SonicMoE)."""

    model_config = STRICT
    capacity: Annotated[float, Field(strict=True, ge=1, le=64)] | None = None
    tile: Annotated[int, Field(strict=True, ge=1, le=4096)] | None = None
    rounded: Annotated[bool, Field(strict=True)] = False
    imbalance: Annotated[float, Field(strict=True, ge=1, le=64)] = 1.0
    minimal: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _one_padding(self) -> StatedExperts:
        if self.capacity is not None and (self.tile is not None or self.imbalance > 1):
            raise conflict("capacity", "every expert has the rows of its capacity, however tokens fall", "it alone")
        if self.rounded and self.tile is None:
            raise conflict("rounded", "tokens are rounded to tiles: state the rows of one", "tile = 128")
        return self

    @property
    def rows(self) -> ExpertRows:
        """As costs take it."""
        return ExpertRows(self.capacity or 0.0, self.tile or 1, self.rounded, self.imbalance, self.minimal)

    @property
    def words(self) -> str:
        """In words, for a plan."""
        said = [f"{self.capacity:g} times their mean tokens, padded or dropped"] if self.capacity else []
        said += [f"tokens {'rounded' if self.rounded else 'padded'} to tiles of {self.tile}"] if self.tile else []
        said += [f"the busiest device {self.imbalance:g} times the mean"] if self.imbalance > 1 else []
        said += ["inputs and first products alone kept"] if self.minimal else []
        return "experts: " + ", ".join(said or ["in balance"])
