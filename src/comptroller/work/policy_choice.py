"""The policies that a workload names: who decides in its fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from comptroller.work.sizes import STRICT


class PolicyChoice(BaseModel):
    """Who decides in the fleet: policies by id, by the path to a user's own file, or by dotted path.

    routing: which replica takes a request.  batching: what a step computes.  scheduling: who waits behind whom;
    `fair_share` reads the trace's column `tenant`, `priority` the column `priority`.
    """

    model_config = STRICT
    routing: Annotated[str, Field(min_length=1)] | None = None
    batching: Annotated[str, Field(min_length=1)] | None = None
    scheduling: Annotated[str, Field(min_length=1)] | None = None

    @property
    def by_decision(self) -> dict[str, str]:
        """The policies that are named."""
        return {str(name): str(value) for name, value in self.model_dump(exclude_none=True).items()}

    def beside(self, file: Path) -> PolicyChoice:
        """The same policies, with the paths of those whose files lie beside a workload's."""
        own = {decision: file.parent / name for decision, name in self.by_decision.items()}
        return self.model_copy(update={decision: str(path) for decision, path in own.items() if path.is_file()})
