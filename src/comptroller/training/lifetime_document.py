"""The life of a model: a document with a table `[lifetime]`, in which one budget pays for training and for answers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from comptroller.facts.library import FactLibrary
from comptroller.facts.quality import measured_models
from comptroller.facts.reader import fault_lines, parse_toml
from comptroller.facts.site import Term
from comptroller.training.document import LocatedDocument, RunBudget
from comptroller.work.objectives import Positive
from comptroller.work.sizes import STRICT, conflict
from comptroller.work.workload_names import WorkloadNames, document_model

TABLE = "lifetime"

Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
Loss = Annotated[float, Field(strict=True, ge=0, le=20)]


class SolvedPoint(BaseModel):
    """Share of a class that one answer of a model of this loss solves."""

    model_config = STRICT
    loss: Annotated[float, Field(strict=True, gt=0, le=20)]
    share: Share


class QuestionKind(BaseModel):
    """A class of questions. share: of all.  answer_tokens: of one answer.  solved: two or more measured points.

    spread: alpha + beta of the Beta distribution of one answer's odds over questions: small where questions are either
    easy or hopeless, large where all are alike.
    """

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    share: Annotated[float, Field(strict=True, gt=0, le=1)]
    answer_tokens: Positive
    solved: Annotated[tuple[SolvedPoint, ...], Field(min_length=2)]
    spread: Positive = 1.0

    @model_validator(mode="after")
    def _falling(self) -> QuestionKind:
        ordered = sorted(self.solved, key=lambda point: point.loss)
        if any(a.loss == b.loss or a.share <= b.share for a, b in pairwise(ordered)):
            raise conflict("solved", "a lower loss has to solve more", "points of different losses")
        return self


class ServingPrices(BaseModel):
    """What answers cost. params: active parameters of the model that was priced; others cost in proportion.

    usd_per_m_tokens: of output, by number format of its weights, prompts included: those of a plan of serving.
    like: the model whose published losses by format are taken, an id of `facts/quality`.  loss_added: nats a token by
    format, where they are known better.
    """

    model_config = STRICT
    params: Positive
    usd_per_m_tokens: Annotated[Mapping[str, Positive], Field(min_length=1)]
    like: str = "llama_3_8b"
    loss_added: Mapping[str, Loss] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _measured(self) -> ServingPrices:
        if self.like not in measured_models() and not self.like.endswith(".toml"):
            raise conflict("like", f"no losses of {self.like!r} are known", ", ".join(measured_models()))
        return self


class QuantisedTraining(BaseModel):
    """Quantisation-aware training. recovered: share of a format's added loss that it takes away.  slower: cost of a
    token in it over one in 16 bits."""

    model_config = STRICT
    recovered: Share
    slower: Annotated[float, Field(strict=True, ge=1, le=10)] = 1.0


class ReinforcementStage(BaseModel):
    """Reinforcement learning by a sigmoid law. gain: share of what is unsolved that it solves with no end of compute.

    midpoint_rollouts, exponent: rollouts at half of the gain, and steepness.  rollout_tokens: of one.
    """

    model_config = STRICT
    gain: Share
    midpoint_rollouts: Positive
    exponent: Positive = 1.0
    rollout_tokens: Positive


class VerificationStage(BaseModel):
    """A verifier of answers: its rates, and tokens of a verdict, which cost as answers do."""

    model_config = STRICT
    true_positive: Annotated[float, Field(strict=True, gt=0, le=1)]
    false_positive: Annotated[float, Field(strict=True, ge=0, lt=1)]
    tokens: Positive


class DistillationStage(BaseModel):
    """A teacher at hand. params: active ones.  worth: tokens of text that one of its tokens stands for.  loss: its own,
    below which a student does not come."""

    model_config = STRICT
    params: Positive
    worth: Annotated[float, Field(strict=True, ge=1, le=100)]
    loss: Loss


class ModelLifetime(BaseModel):
    """Everything. questions: asked over the life.  budget: of training and answers, or solved: a share to reach.

    accelerator, site, term, mfu: what a FLOP of training costs.  text_tokens: unique ones at hand, repeated beyond.
    law: a file of `fit laws --out`, else Chinchilla's.  most_samples: of an answer.
    """

    model_config = STRICT
    questions: Positive
    budget: RunBudget | None = None
    solved: Share | None = None
    accelerator: str
    site: str
    term: Term = "on_demand"
    mfu: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    law: str = ""
    beyond: Annotated[bool, Field(strict=True)] = False
    text_tokens: Positive | None = None
    params: tuple[Positive, Positive] = (1e8, 1e12)
    most_samples: Count = 16
    serving: ServingPrices
    classes: Annotated[tuple[QuestionKind, ...], Field(min_length=1)]
    qat: QuantisedTraining | None = None
    rl: ReinforcementStage | None = None
    verification: VerificationStage | None = None
    distillation: DistillationStage | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelLifetime:
        if (self.budget is None) == (self.solved is None):
            raise conflict("budget", "budget or solved: state one of them", "budget, or solved")
        total = sum(one.share for one in self.classes)
        if abs(total - 1.0) > 1e-6:
            raise conflict("classes", f"shares of the classes add up to {total:g}", "shares that add up to 1")
        if self.params[0] >= self.params[1]:
            raise conflict("params", "the least is not below the most", "[least, most]")
        if "bf16" not in self.serving.usd_per_m_tokens and "fp16" not in self.serving.usd_per_m_tokens:
            raise conflict("serving", "no price of 16-bit weights, which losses are counted against", "bf16, or fp16")
        return self


class LifetimeWorkload(LocatedDocument):
    """A workload of a model's life."""

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    lifetime: ModelLifetime


def load_lifetime(path: Path) -> LifetimeWorkload:
    """The workload of a TOML file; raises as `parse_lifetime`, with lines."""
    with fault_lines(path):
        return parse_lifetime(parse_toml(path), path)


def parse_lifetime(document: Mapping[str, Any], file: Path = Path("workload")) -> LifetimeWorkload:
    """The workload of a document.

    Raises:
        FactError: names the file and every field that is wrong, with what is allowed there.
    """
    found = document_model(LifetimeWorkload, document, file)
    life, names = found.lifetime, WorkloadNames(FactLibrary(), file)
    (device,) = names.ids("lifetime.accelerator", "accelerators", (life.accelerator,))
    (place,) = names.ids("lifetime.site", "sites", (life.site,))
    formats = names.ids("lifetime.serving.usd_per_m_tokens", "formats", life.serving.usd_per_m_tokens)
    prices = dict(zip(formats, life.serving.usd_per_m_tokens.values(), strict=True))
    update = {
        "accelerator": device,
        "site": place,
        "serving": life.serving.model_copy(update={"usd_per_m_tokens": prices}),
    }
    resolved = found.model_copy(update={"lifetime": life.model_copy(update=update)})
    resolved._library, resolved._base = names.library(), file.parent
    return resolved
