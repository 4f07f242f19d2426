"""Levers of serving that a workload may allow beside devices and formats."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from comptroller.work.sizes import STRICT, conflict

MOST_DRAFT = 16
"""Most tokens that are drafted in a step. With nine of ten kept a seventeenth comes one time in six; of twice as many
the second half is hardly ever kept."""

MOST_ADAPTERS = 2000
"""Most adapters, as S-LoRA (arXiv 2311.03285) serves on one machine. Every step counts how many differ, in time
proportional to it: at twice as many a plan takes noticeably longer."""

MOST_SKEW = 4.0
"""Greatest exponent of popularity: of two adapters the first then has 94 %, and the others are hardly asked for. At
twice this it has 99.6 %."""

AdapterCount = Annotated[int, Field(strict=True, ge=1, le=MOST_ADAPTERS)]
AdapterRank = Literal[8, 16, 32, 64, 128, 256, 320, 512]
"""Ranks that vLLM has room for (LoRAConfig.max_lora_rank, vllm/config/lora.py); others take the next."""

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


class TierChoice(BaseModel):
    """A place outside of the devices where beginnings of prompts lie that replicas have no room for.

    tier: id of a cache tier, or a TOML file that says what it is.  gb: of each replica or, if it is shared, of all.
    """

    model_config = STRICT
    tier: Annotated[str, Field(min_length=1)]
    gb: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


class AdapterChoice(BaseModel):
    """LoRA adapters of all linear layers that requests name, one each.

    count: of different adapters.  rank: the greatest of theirs.  resident: slots for them in the memory of a replica,
    each a choice; none named: all, or as many halves of them as fit.  skew: s of their popularity i^-s.
    """

    model_config = STRICT
    count: AdapterCount
    rank: AdapterRank
    resident: tuple[AdapterCount, ...] = ()
    skew: Annotated[float, Field(strict=True, ge=0, le=MOST_SKEW)] = 0.0

    @model_validator(mode="after")
    def _slots(self) -> AdapterChoice:
        if self.resident and max(self.resident) > self.count:
            raise conflict("resident", f"{max(self.resident)} slots for {self.count} adapters", f"1 to {self.count}")
        return self
