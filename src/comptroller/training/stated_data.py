"""What a workload of training states about its data: how it is packed, what is made for it, what is mixed in."""

from __future__ import annotations

from pydantic import BaseModel

from comptroller.training.stated_documents import DocumentPacking
from comptroller.training.stated_generation import GenerationBudget
from comptroller.training.stated_replay import ReplayShare


class StatedData(BaseModel):
    """documents: of which sequences are packed, where a sequence is not one.  generation: examples that are made for
    the run.  replay: old data that is mixed in."""

    documents: DocumentPacking | None = None
    generation: GenerationBudget | None = None
    replay: ReplayShare | None = None
