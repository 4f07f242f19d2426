"""Levers of serving that a workload may allow beside devices and formats."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from comptroller.work.sizes import STRICT

MOST_DRAFT = 16
"""Most tokens that are drafted in a step. With nine of ten kept a seventeenth comes one time in six; of twice as many
the second half is hardly ever kept."""

DraftCount = Annotated[int, Field(strict=True, ge=1, le=MOST_DRAFT)]


class PoolChoice(StrEnum):
    """How prefill and decode may share replicas: both on each, or in pools of their own."""

    MIXED = "mixed"
    SPLIT = "split"


class SpeculationChoice(BaseModel):
    """Speculative decoding that the planner may use, or not.

    draft: the model that drafts, by any name that `facts.library.resolve` takes; without one, n-grams of the sequence.
    tokens: drafted in a step, each a choice.  acceptance: chance that a drafted token is kept, as the user knows it of
    this traffic.
    """

    model_config = STRICT
    tokens: Annotated[tuple[DraftCount, ...], Field(min_length=1)]
    acceptance: Annotated[float, Field(strict=True, gt=0, lt=1)]
    draft: Annotated[str, Field(min_length=1)] | None = None
