"""The quality part of a workload: what share of the questions must be solved, and what is known of solving them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator

from comptroller.errors import InputError
from comptroller.quantities import to_si
from comptroller.work.evidence import Evidence, EvidenceCounts
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.lengths import RequestSizeTable
from comptroller.work.sizes import STRICT, Sizes, conflict

Rate = Annotated[float, Field(strict=True, ge=0, le=1)]
Route = Literal["api", "own"]


class RequiredSolveShare(BaseModel):
    """At least `min` of the questions, as a number or in per cent."""

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
    """A modelled checker: the chance that it accepts a right answer, and a wrong one."""

    model_config = STRICT
    tpr: Rate = 1.0
    fpr: Rate = 0.0


class WorkloadQuality(BaseModel):
    """What must be solved, and the evidence that says how.

    solve: over all questions.  each: by task, besides.  mix: weight of each task in the traffic; as recorded where
    none is given.  evidence: a file, or the name of one that ships.  tasks: only these.  strategies: as spelled; all
    that ship, at their grids, where none is given.  checker: there is one, with these error rates.  models: the
    model of facts that a recorded name stands for.  lengths: of replies whose tokens are not recorded, a declared
    model.  samples: drawn of each question where only counts are recorded.  routes: `api` buys tokens at the recorded
    price, `own` rents devices.  confidence: chance, over resampled questions, that every target holds; without one
    the targets hold on the questions as recorded.
    """

    model_config = STRICT
    solve: RequiredSolveShare
    each: Mapping[str, RequiredSolveShare] = Field(default_factory=dict)
    mix: Mapping[str, Annotated[float, Field(strict=True, gt=0)]] = Field(default_factory=dict)
    evidence: Annotated[str, Field(min_length=1)]
    tasks: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    checker: CheckerErrorRates | None = None
    models: Mapping[str, str] = Field(default_factory=dict)
    lengths: Sizes | None = None
    samples: Annotated[int, Field(strict=True, ge=1)] = 32
    confidence: Annotated[float, Field(strict=True, ge=0.5, lt=1)] | None = None
    routes: tuple[Route, ...] = Field(default=("api", "own"), min_length=1)


def records(quality: WorkloadQuality, seed: int) -> Evidence:
    """The evidence of a quality target, with the declared lengths where it has no tokens.

    Raises:
        FactError, RecordError, UnsupportedError: as `read_evidence`.
        InputError: a task is not in the evidence.
    """
    found = read_evidence(quality.evidence)
    rng = np.random.default_rng(seed)
    evidence = found.evidence(quality.samples, rng) if isinstance(found, EvidenceCounts) else found
    known = {item.task for item in evidence.items}
    named = (*quality.tasks, *quality.each, *quality.mix)
    if unknown := next((task for task in named if task not in known), None):
        raise InputError(f"{evidence.source}: no task {unknown!r}; it has {', '.join(sorted(filter(None, known)))}")
    return evidence if quality.lengths is None else with_declared_lengths(evidence, quality.lengths.points(), rng)


def with_declared_lengths(evidence: Evidence, lengths: RequestSizeTable, rng: np.random.Generator) -> Evidence:
    """The evidence with lengths drawn for every reply whose tokens are not recorded; a question keeps its prompt."""
    rows = evidence.rows
    prompts = rng.choice(lengths.input_tokens, len(evidence.items), p=lengths.weight)
    outputs = rng.choice(lengths.output_tokens, len(rows), p=lengths.weight)
    told = rows.take(np.arange(len(rows)))
    told.input_tokens[:] = np.where(np.isnan(rows.input_tokens), prompts[rows.question], rows.input_tokens)
    told.output_tokens[:] = np.where(np.isnan(rows.output_tokens), outputs, rows.output_tokens)
    return Evidence(evidence.items, evidence.arms, told, evidence.logprobs, evidence.source)
