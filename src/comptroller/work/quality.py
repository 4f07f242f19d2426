"""The quality target of a workload: the share of questions to solve, and the evidence that the plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from comptroller.errors import InputError
from comptroller.quantities import to_si
from comptroller.work.declared_prices import DeclaredTokenPrice, with_declared_prices
from comptroller.work.evidence import Evidence, EvidenceCounts
from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.lengths import RequestSizeTable
from comptroller.work.sizes import STRICT, Sizes, conflict

Rate = Annotated[float, Field(strict=True, ge=0, le=1)]
Route = Literal["api", "own"]


SAMPLES = 32
"""Replies drawn per question and arm where only counts are recorded. The solved share of one question then has a
standard error of at most 0.09. At twice this it is 0.06, at twice the replies to replay, and evidence of fewer than 64
samples per question is refused."""

LEAST_CONFIDENCE = 0.5
"""Least confidence that can be asked for; a plan at less misses its targets more often than not. Twice this is
certainty, which no sample gives."""


class RequiredSolveShare(BaseModel):
    """At least `min` of the questions, in `unit`: per cent, or "1" for a share."""

    model_config = STRICT
    min: Annotated[float, Field(strict=True, gt=0)]
    unit: Literal["%", "1"] = "%"

    @model_validator(mode="after")
    def _possible(self) -> RequiredSolveShare:
        if self.least > 1:
            raise conflict("min", f"{self.min:g} {self.unit} is more than all", "at most 100 %")
        return self

    @property
    def least(self) -> float:
        """The share, in [0, 1]."""
        return to_si(self.min, self.unit)[0]


class CheckerErrorRates(BaseModel):
    """A simulated checker: probability that it accepts a correct answer (tpr), and a wrong one (fpr)."""

    model_config = STRICT
    tpr: Rate = 1.0
    fpr: Rate = 0.0


class RewardErrors(CheckerErrorRates):
    """How a reward model errs on steps and answers: by rates, as a checker does, or as a recorded one did.

    model: a reward model whose scores of steps are recorded beside their truth.  scores: the evidence where they are.
    """

    scores: str = ""
    model: str = ""

    @model_validator(mode="after")
    def _one_of_either(self) -> RewardErrors:
        if bool(self.scores) != bool(self.model):
            lacks = "model" if self.scores else "scores"
            raise conflict(lacks, "is not given", "scores = FILE and model = NAME together, or tpr and fpr")
        if self.scores and self.model_fields_set & {"tpr", "fpr"}:
            raise conflict("tpr", "stands beside recorded scores, which say how the model errs", "one of either")
        return self


class WorkloadQuality(BaseModel):
    """The share of questions to solve, and the evidence of how strategies solve them.

    solve: over all questions.  each: by task, in addition.  mix: weight of each task in the traffic; by default as
    recorded.  evidence: a file, or the name of one that ships.  map: its column by what it
    holds, for a table in no known format.  tasks: by default all.  strategies: as spelled
    (`best_of_n(n=8)`); by default all that ship, at their grids.  checker: error rates of a checker, if there is one.
    reward: of what scores the steps of searches; the checker's, where it is not given.
    models: id of the facts, by recorded name.  lengths: declared distribution for replies whose tokens are not
    recorded.  prices: of a recorded model's tokens, by its name, in place of the dollars recorded.
    samples: replies drawn per question where only counts are recorded.  routes: `api` pays the recorded price per
    token, `own` rents devices.  confidence: that every target holds in a further set of as many questions; without it
    the targets hold on other questions in the mean.
    """

    model_config = STRICT
    solve: RequiredSolveShare
    each: Mapping[str, RequiredSolveShare] = Field(default_factory=dict)
    mix: Mapping[str, Annotated[float, Field(strict=True, gt=0)]] = Field(default_factory=dict)
    evidence: Annotated[str, Field(min_length=1)]
    map: Mapping[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    checker: CheckerErrorRates | None = None
    reward: RewardErrors | None = None
    models: Mapping[str, str] = Field(default_factory=dict)
    lengths: Sizes | None = None
    prices: Mapping[str, DeclaredTokenPrice] = Field(default_factory=dict)
    samples: Annotated[int, Field(strict=True, ge=1)] = SAMPLES
    confidence: Annotated[float, Field(strict=True, ge=LEAST_CONFIDENCE, lt=1)] | None = None
    routes: tuple[Route, ...] = Field(default=("api", "own"), min_length=1)


def records(quality: WorkloadQuality, seed: int) -> Evidence:
    """The evidence of a quality target, with lengths drawn from the declared distribution where it has no tokens.

    Raises:
        FactError, RecordError, UnsupportedError: as `read_evidence`.
        InputError: a task, or a model with a price, is not in the evidence.
    """
    recorded = read_evidence(quality.evidence, EvidenceColumnNames(quality.map) if quality.map else None)
    rng = np.random.default_rng(seed)
    evidence = recorded.evidence(quality.samples, rng) if isinstance(recorded, EvidenceCounts) else recorded
    tasks = {item.task for item in evidence.items}
    named = (*quality.tasks, *quality.each, *quality.mix)
    if unknown := next((task for task in named if task not in tasks), None):
        raise InputError(f"{evidence.source}: no task {unknown!r}; it has {', '.join(sorted(filter(None, tasks)))}")
    if quality.lengths is not None:
        evidence = with_declared_lengths(evidence, quality.lengths.points(), rng)
    return with_declared_prices(evidence, quality.prices) if quality.prices else evidence


def with_declared_lengths(evidence: Evidence, lengths: RequestSizeTable, rng: np.random.Generator) -> Evidence:
    """The evidence with random lengths for replies whose tokens are not recorded; a question has one prompt length."""
    rows = evidence.rows
    prompts = rng.choice(lengths.input_tokens, len(evidence.items), p=lengths.weight)
    outputs = rng.choice(lengths.output_tokens, len(rows), p=lengths.weight)
    filled = rows.take(np.arange(len(rows)))
    filled.input_tokens[:] = np.where(np.isnan(rows.input_tokens), prompts[rows.question], rows.input_tokens)
    filled.output_tokens[:] = np.where(np.isnan(rows.output_tokens), outputs, rows.output_tokens)
    return replace(evidence, rows=filled)
