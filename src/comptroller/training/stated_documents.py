"""Documents that sequences are packed of (`[training.documents]`), and what their unevenness costs with and without
attention servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from comptroller.costs.document_packing import DocumentLengths
from comptroller.costs.training_work import TrainingJob
from comptroller.errors import FactError, UnsupportedError
from comptroller.facts.model import LatentAttention, Model, SoftmaxAttention
from comptroller.planning.ground.day_document import DocumentPart
from comptroller.work.sizes import STRICT
from comptroller.work.tabular import chunks, columns_of

COLUMN = "tokens"
"""Of the file: tokens of a document, one a row."""


class DocumentPacking(BaseModel):
    """Packed documents. file: CSV with a column `tokens`, a document a row, relative to the workload.  servers: whether
    the core of attention is shared out over all devices by its pairs (attention servers)."""

    model_config = STRICT
    file: Annotated[str, Field(min_length=1)]
    servers: Annotated[bool, Field(strict=True)] = False

    def lengths(self, base: Path) -> DocumentLengths:
        """The lengths of the file.

        Raises:
            FactError: there is no such file, no such column or a length that is none.
        """
        path = base / self.file
        if not path.is_file():
            raise FactError(self.file, "training.documents.file", "no such file", f"a CSV with a column {COLUMN}")
        if COLUMN not in columns_of(path):
            raise FactError(self.file, COLUMN, "no such column", "tokens of a document in each row")
        texts = [cell for (cells,) in chunks(path, [COLUMN]) for cell in cells]
        wrong = next((i for i, text in enumerate(texts) if not (text or "").strip().isdigit() or int(text) < 1), None)
        if wrong is not None or not texts:
            place = f"{COLUMN}, row {(wrong or 0) + 2}"
            raise FactError(self.file, place, "is no number of tokens", "a whole number of at least 1")
        return DocumentLengths(tuple(float(text) for text in texts))


class PackingReport(DocumentPart):
    """What packed documents do to a step. documents: lengths of the file.  mean_tokens: of them.  servers: whether
    the plan has attention servers.  attended_share: query-key pairs over those of sequences of one document.
    busiest: pairs of the rank that a step waits for, over the mean.  step_s: as planned.  other_step_s: the fastest
    layout on the same devices with servers in place of none, or without them; 0 where the program has none."""

    documents: int
    mean_tokens: float
    attended_share: float
    busiest: float
    servers: bool
    step_s: float
    other_step_s: float

    @property
    def sentence(self) -> str:
        """The report in words."""
        known = (
            f"{self.documents:,} documents of {self.mean_tokens:,.0f} tokens in the mean: attention forms "
            f"{self.attended_share:.0%} of the pairs of whole sequences, the busiest rank {self.busiest:.2f} times the "
            f"mean"
        )
        if not self.other_step_s:
            return known
        ratio = self.other_step_s / self.step_s if self.servers else self.step_s / self.other_step_s
        verb = "save" if self.servers else "would save"
        return f"{known}; attention servers {verb} a factor of {ratio:.2f} on these devices"


def require_documents(model: Model) -> None:
    """Refuse models of which packed documents are not priced.

    Raises:
        UnsupportedError: layers without attention over whole documents.
    """
    for block in model.blocks:
        mixer = block.mixer
        whole = isinstance(mixer, SoftmaxAttention) and not mixer.window_tokens
        if mixer is not None and not whole and not isinstance(mixer, LatentAttention):
            raise UnsupportedError(
                f"training.documents: {model.id} has layers that do not attend over whole documents; leave them out"
            )


def with_documents(job: TrainingJob, packing: DocumentPacking | None, base: Path) -> TrainingJob:
    """The job on packed documents; raises as `DocumentPacking.lengths` and `require_documents`."""
    if packing is None:
        return job
    require_documents(job.model)
    return replace(job, documents=packing.lengths(base), servers=packing.servers)
