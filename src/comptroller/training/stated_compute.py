"""Compute beside a run, as its workload or a register states it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from comptroller.facts.compute_rule import ComputeStage
from comptroller.work.sizes import STRICT

Flops = Annotated[float, Field(strict=True, gt=0)]


class StatedCompute(BaseModel):
    """Compute beside the run that rules count. modifies: whether the run continues a model of somebody else.

    base_flops: of that model, where it is known.  synthetic_flops: of models that made its data.  later_flops: of
    fine-tuning and reinforcement learning that follow.  biological: trained mostly on biological sequences.
    """

    model_config = STRICT
    modifies: Annotated[bool, Field(strict=True)] = False
    base_flops: Flops | None = None
    synthetic_flops: Flops | None = None
    later_flops: Flops | None = None
    biological: Annotated[bool, Field(strict=True)] = False

    @property
    def modified(self) -> bool:
        """Whether there is a model that the run continues."""
        return self.modifies or self.base_flops is not None

    @property
    def stages(self) -> dict[str, float]:
        """FLOPs of the stages that are stated, by name."""
        known = {
            ComputeStage.BASE: self.base_flops,
            ComputeStage.SYNTHETIC_DATA: self.synthetic_flops,
            ComputeStage.LATER_TRAINING: self.later_flops,
        }
        return {str(stage): flops for stage, flops in known.items() if flops is not None}
