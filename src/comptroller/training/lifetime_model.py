"""What a model is worth and what its life costs: training, quantisation, distillation, reinforcement, answers.

Everything is a function of arrays of the same shape: parameters N, tokens D, rollouts R. Questions of a class have odds
that are distributed as Beta(m s, (1 - m) s) about a mean m that follows the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom

from comptroller.errors import UnsupportedError
from comptroller.facts.quality import quality_facts
from comptroller.facts.utilisation import measured_utilisation
from comptroller.training.lifetime_document import LifetimeWorkload, QuestionKind
from comptroller.work.law_file import law_of
from comptroller.work.scaling_law import ScalingLaw
from comptroller.work.scaling_stages import qat_share, repeated_tokens, rl_share, selected_share

Array = npt.NDArray[np.float64]

ODDS = 65
"""Means of a class's odds at which answers of each kind are counted; between them they are interpolated, to 1e-4 of a
share. Twice as many halve that."""

NODES = 48
"""Questions, evenly spaced in rank, that stand for a class's distribution of odds; at twice this no share moves by
2e-4."""

VERDICTS = (1, 3)
"""Verdicts on a sample that are tried, the majority of which counts."""

SIXTEEN = ("bf16", "fp16")


@dataclass(frozen=True, slots=True)
class AnswerWay:
    """How a question of a class is answered: samples, and verdicts on each."""

    samples: int = 1
    verdicts: int = 0

    def __str__(self) -> str:
        if not self.verdicts:
            return "one answer"
        return f"{self.samples} samples, {self.verdicts} verdict{'s' * (self.verdicts > 1)} on each"


@dataclass(frozen=True, slots=True)
class TrainingWay:
    """What is not a number: the format of weights, and whether its loss is trained away or a teacher is asked."""

    format: str
    qat: bool = False
    distilled: bool = False


@dataclass(frozen=True, slots=True)
class StageDollars:
    """Dollars of a life by stage, arrays. answers: of all classes."""

    pretraining: Array
    qat: Array
    distillation: Array
    rl: Array
    answers: Array

    @property
    def total(self) -> Array:
        """All of them."""
        return np.asarray(self.pretraining + self.qat + self.distillation + self.rl + self.answers)


class LifetimeModel:
    """A workload of a life as functions of arrays."""

    def __init__(self, workload: LifetimeWorkload) -> None:
        self.life, self.library = workload.lifetime, workload.library
        law, self.reach = law_of(self.life.law, workload.base)
        self.law: ScalingLaw = law
        self.ways = _answer_ways(workload)

    @cached_property
    def usd_per_flop(self) -> float:
        """Dollars of a FLOP of training: rent over peak and utilisation.

        Raises:
            UnsupportedError: the site rents out no such device.
        """
        life = self.life
        device, place = self.library.accelerator(life.accelerator), self.library.site(life.site)
        offer = place.offer_for_fleet(device, life.term, (1, 1))
        share = life.mfu or measured_utilisation().of(device.family, 16).middle
        return offer.usd_per_s / device.peak("bf16") / share

    @cached_property
    def formats(self) -> dict[str, float]:
        """Nats a token that weights of each priced format add: stated, or ln of the published ratio of perplexities.

        Raises:
            UnsupportedError: neither is known of a format.
        """
        serving = self.life.serving
        known = quality_facts(serving.like)
        added = {}
        for name in serving.usd_per_m_tokens:
            row = known.published(name)
            ratio = None if row is None else known.ratio(row)
            if name in serving.loss_added:
                added[name] = serving.loss_added[name]
            elif name in SIXTEEN:
                added[name] = 0.0
            elif ratio is not None:
                added[name] = max(float(np.log(ratio)), 0.0)
            else:
                raise UnsupportedError(
                    f"lifetime.serving: no loss of {name} is published for {serving.like}: state it in loss_added"
                )
        return added

    def training_ways(self) -> list[TrainingWay]:
        """All that a workload allows."""
        taught = (False, True) if self.life.distillation else (False,)
        found = [TrainingWay(name, False, one) for name in self.formats for one in taught]
        if self.life.qat:
            found += [TrainingWay(name, True, one) for name, loss in self.formats.items() if loss > 0 for one in taught]
        return found

    def loss(self, way: TrainingWay, params: Array, tokens: Array) -> Array:
        """Loss in the format in which answers are made; a student's is no lower than its teacher's."""
        unique = self.life.text_tokens
        worth = tokens if unique is None else repeated_tokens(tokens, unique)
        teacher = self.life.distillation
        if way.distilled and teacher is not None:
            worth = worth * teacher.worth
        found = self.law.loss(params, worth)
        if way.distilled and teacher is not None:
            found = np.maximum(found, teacher.loss)
        left = 1.0 - self.life.qat.recovered if way.qat and self.life.qat is not None else 1.0
        return np.asarray(found + left * self.formats[way.format])

    def odds(self, kind: QuestionKind, loss: Array, rollouts: Array) -> Array:
        """Mean odds of one answer of a class: logit linear in the loss through its points, beyond them by the nearest
        two; reinforcement learning solves a share of what is left."""
        points = sorted(kind.solved, key=lambda point: point.loss)
        x = np.array([point.loss for point in points])
        y = np.log([point.share / (1 - point.share) for point in points])
        place = np.clip(np.searchsorted(x, loss) - 1, 0, len(x) - 2)
        slope = (y[place + 1] - y[place]) / (x[place + 1] - x[place])
        base = 1.0 / (1.0 + np.exp(-(y[place] + slope * (loss - x[place]))))
        if self.life.rl is None:
            return np.asarray(base)
        gain = self.life.rl.gain * rl_share(rollouts, self.life.rl.midpoint_rollouts, self.life.rl.exponent)
        return np.asarray(base + (1 - base) * gain)

    @cached_property
    def tables(self) -> list[Array]:
        """Share solved of each class by way, at `ODDS` means from 0 to 1; of shape (ways, means)."""
        return [_class_table(kind, self.ways, self) for kind in self.life.classes]

    def solved(self, index: int, odds: Array) -> Array:
        """Share of a class that every way solves; of shape (ways, *odds)."""
        means = np.linspace(0.0, 1.0, ODDS)
        return np.stack([np.interp(odds, means, row) for row in self.tables[index]])

    def answer_usd(self, index: int, way: TrainingWay, params: Array) -> Array:
        """Dollars of all answers of a class by every way; of shape (ways, *params)."""
        serving, kind, verifier = self.life.serving, self.life.classes[index], self.life.verification
        verdict = verifier.tokens if verifier else 0.0
        tokens = np.array([one.samples * (kind.answer_tokens + one.verdicts * verdict) for one in self.ways])
        price = serving.usd_per_m_tokens[way.format] * 1e-6 * params / serving.params
        asked = kind.share * self.life.questions
        return np.asarray(asked * tokens.reshape(-1, *([1] * params.ndim)) * price[None])

    def training_usd(self, way: TrainingWay, params: Array, tokens: Array, rollouts: Array) -> StageDollars:
        """Dollars of training by stage; answers are 0.

        6 N a token; a teacher's 2 N_t for each; of quantisation-aware training what it takes longer; a rollout is
        generated at the price of answers in 16 bits and trained on at 6 N a token.
        """
        flop, zero = self.usd_per_flop, np.zeros_like(params)
        plain = 6.0 * params * tokens * flop
        share = qat_share(params, tokens, self.bits(way.format)) if way.qat else zero
        slower = self.life.qat.slower if self.life.qat is not None else 1.0
        teacher = self.life.distillation
        taught = 2.0 * teacher.params * tokens * flop if way.distilled and teacher is not None else zero
        return StageDollars(
            plain * (1.0 - share), plain * share * slower, taught, self._rl_usd(params) * rollouts, zero
        )

    def _rl_usd(self, params: Array) -> Array:
        rl, serving = self.life.rl, self.life.serving
        if rl is None:
            return np.zeros_like(params)
        whole = next(usd for name, usd in serving.usd_per_m_tokens.items() if name in SIXTEEN)
        made = whole * 1e-6 * params / serving.params
        return np.asarray(rl.rollout_tokens * (made + 6.0 * params * self.usd_per_flop))

    def bits(self, name: str) -> float:
        """Bits of a weight in a format."""
        return self.library.format(name).bits_per_element


def _answer_ways(workload: LifetimeWorkload) -> tuple[AnswerWay, ...]:
    if workload.lifetime.verification is None:
        return (AnswerWay(),)
    most = workload.lifetime.most_samples
    samples = [2**i for i in range(1, most.bit_length()) if 2**i <= most]
    return (AnswerWay(), *(AnswerWay(k, v) for k in samples for v in VERDICTS))


def _class_table(kind: QuestionKind, ways: tuple[AnswerWay, ...], model: LifetimeModel) -> Array:
    """Share solved at each mean of the odds, over questions of a Beta distribution of the class's spread."""
    means = np.linspace(0.0, 1.0, ODDS)[1:-1, None]
    ranks = (np.arange(NODES) + 0.5) / NODES
    odds = beta.ppf(ranks[None, :], means * kind.spread, (1 - means) * kind.spread)
    odds *= means / odds.mean(axis=1, keepdims=True)
    odds = np.clip(odds, 0.0, 1.0)
    verifier = model.life.verification
    rows = []
    for way in ways:
        if not way.verdicts or verifier is None:
            inside = odds.mean(axis=1)
        else:
            most = way.verdicts // 2
            true, false = (
                float(binom.sf(most, way.verdicts, rate)) for rate in (verifier.true_positive, verifier.false_positive)
            )
            inside = selected_share(odds, way.samples, true, false).mean(axis=1)
        rows.append(np.concatenate([[0.0], inside, [1.0]]))
    return np.array(rows)
