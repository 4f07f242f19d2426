"""Loss of quality by number format: published tables and one measured constant, one file per model.

Losses depend on the model, so that a format's file has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.facts.reader import FactSource, entry_of, fact_of, folder, ids

_STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=_STRICT)
class PublishedLoss:
    """Published loss of one quantisation recipe.

    recipe: as its author names it; a mixture of formats (Q4_K_M) has no `format` of the catalogue.
    perplexity, perplexity_error: on the text that the file names, with standard error.  ratio: of perplexity to that of
    the reference.  kl, kl_error: mean Kullback-Leibler divergence from the reference, nats per token.
    """

    recipe: str
    source: str
    format: str | None = None
    perplexity: Positive | None = None
    perplexity_error: Positive | None = None
    ratio: Positive | None = None
    kl: Positive | None = None
    kl_error: Positive | None = None
    note: str = ""


@dataclass(frozen=True, config=_STRICT)
class LossConstant:
    """Constant of KL = kl_per_noise * 10^(-QSNR / 10).

    QSNR: in dB, of the outputs of the weight matrices (`measure.quality.noise_db`).
    error: log standard deviation for a format that it was not fitted on.  formats: how many it was fitted on.
    most_kl: the largest divergence among them, nats per token; beyond it the relation is not measured.
    """

    kl_per_noise: Positive
    error: Positive
    formats: Annotated[int, Field(ge=2)]
    most_kl: Positive
    source: str


@dataclass(frozen=True, config=_STRICT)
class QualityFacts:
    """Losses of one model by format.

    text: the text that perplexity was measured on.  reference: the format that the losses are relative to.
    """

    id: str
    name: str
    text: str
    reference: str
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    reference_perplexity: Positive | None = None
    rows: tuple[PublishedLoss, ...] = ()
    constant: LossConstant | None = None

    def ratio(self, row: PublishedLoss) -> float | None:
        """Perplexity of the row over that of the reference; None where neither is published."""
        if row.ratio or not (row.perplexity and self.reference_perplexity):
            return row.ratio
        return row.perplexity / self.reference_perplexity

    def published(self, format_id: str) -> PublishedLoss | None:
        """The row of a format id; None if the table has none."""
        return next((row for row in self.rows if row.format == format_id), None)


def quality_facts(model: str) -> QualityFacts:
    """The losses of a model, by its id or the path to a user's own TOML file.

    Raises:
        UnknownIdError: no file for that model; lists the nearest ids.

    >>> facts = quality_facts("llama_2_70b")
    >>> round(facts.ratio(facts.published("q4_0")), 4)
    1.0361
    """
    return fact_of(QualityFacts, entry_of("quality", model))


def measured_models() -> tuple[str, ...]:
    """Ids of the models that have a file of losses.

    >>> "llama_3_8b" in measured_models()
    True
    """
    return tuple(ids("quality")) if folder("quality").is_dir() else ()
