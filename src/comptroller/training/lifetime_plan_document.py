"""The plan of a model's life: what was chosen, what each stage's next dollar buys, and what each decision is worth."""

from __future__ import annotations

from typing import Literal

from comptroller.planning.ground.day_document import DocumentPart


class ClassAnswerDocument(DocumentPart):
    """How a class is answered. solved: share of it."""

    name: str
    share: float
    samples: int
    verdicts: int
    solved: float


class MarginalDocument(DocumentPart):
    """What the next dollar of a stage buys. usd: of the step that was tried.  solved_per_musd: shares of all questions
    for a million dollars.  step: whether the stage moves by a step (samples, formats) or freely.  note: in words."""

    stage: str
    usd: float
    solved_per_musd: float
    step: bool
    note: str


class LifetimeRival(DocumentPart):
    """The best life without one of the decisions. solved, usd: what it gives.  why: what it loses, in words."""

    without: str
    solved: float
    usd: float
    params: float
    tokens: float
    why: str


class LifetimePlan(DocumentPart):
    """A life. stages: dollars by stage.  price: shares solved for a further million dollars, by planning it again.

    tokens_ratio: over those of least loss for the compute of that size.  text_passes: over the unique text.
    """

    schema_version: Literal[1] = 1
    kind: Literal["lifetime"] = "lifetime"
    name: str
    params: float
    tokens: float
    tokens_ratio: float
    text_passes: float
    format: str
    qat_share: float
    distilled: bool
    rollouts: float
    loss: float
    solved: float
    usd: float
    usd_per_solved: float
    stages: dict[str, float]
    training_flops: float
    serving_flops: float
    classes: tuple[ClassAnswerDocument, ...]
    price: float
    marginals: tuple[MarginalDocument, ...]
    rivals: tuple[LifetimeRival, ...]
    law: str
    notes: tuple[str, ...]
    digests: dict[str, str]

    def to_json(self) -> str:
        """The document as text."""
        return self.model_dump_json(indent=2) + "\n"
