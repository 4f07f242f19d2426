"""`plan_lifetime`: one budget over pre-training, quantisation, a teacher, rollouts and answers, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.facts.utilisation import measured_utilisation
from comptroller.training.document import RunBudget
from comptroller.training.lifetime_document import LifetimeWorkload
from comptroller.training.lifetime_model import SIXTEEN, LifetimeModel, TrainingWay
from comptroller.training.lifetime_plan_document import (
    ClassAnswerDocument,
    LifetimePlan,
    LifetimeRival,
    MarginalDocument,
)
from comptroller.training.lifetime_search import (
    LifetimeChoice,
    LifetimeFreedom,
    LifetimeSearch,
    answer_neighbours,
    life_of,
    optimal_tokens,
)
from comptroller.training.plan_document import six_digits
from comptroller.work.documents import digest
from comptroller.work.law_file import require_reach
from comptroller.work.scaling_stages import qat_share

STEP = 0.02
"""Relative step of what moves freely, for its marginal value; at twice this curvature shows in the third digit."""

FITTED_RATIO = 340
"""Most tokens a parameter among the points of Chinchilla's figure 4 (188 of its 245 runs were at hand)."""

MORE_MONEY = 0.02
"""Relative step of the budget whose plan gives the price of a dollar."""


def plan_lifetime(workload: LifetimeWorkload) -> LifetimePlan:
    """Plan the life of a model.

    Raises:
        InfeasibleError: no life keeps the limit; says the least cost or the greatest share.
        UnsupportedError: the law does not support so much compute, a format's loss or a price is not known.
    """
    model = LifetimeModel(workload)
    ways = tuple(model.training_ways())
    best = LifetimeSearch(model, LifetimeFreedom(ways)).best()
    require_reach(6.0 * best.params * best.tokens, model.reach, workload.lifetime.beyond, model.law.source)
    share = qat_share(best.params, best.tokens, model.bits(best.way.format)) if best.way.qat else 0.0
    life = workload.lifetime
    return LifetimePlan(
        name=workload.name,
        params=six_digits(best.params),
        tokens=six_digits(best.tokens),
        tokens_ratio=six_digits(best.tokens / float(optimal_tokens(model, np.array([best.params]))[0])),
        text_passes=six_digits(best.tokens / life.text_tokens) if life.text_tokens else 1.0,
        format=best.way.format,
        qat_share=six_digits(float(share)),
        distilled=best.way.distilled,
        rollouts=six_digits(best.rollouts),
        loss=six_digits(best.loss),
        solved=six_digits(best.solved),
        usd=six_digits(best.usd),
        usd_per_solved=six_digits(best.usd / life.questions / best.solved),
        stages={name: six_digits(usd) for name, usd in best.stages.items() if usd},
        training_flops=six_digits(6.0 * best.params * best.tokens),
        serving_flops=six_digits(2.0 * best.params * _served_tokens(model, best)),
        classes=tuple(_classes(model, best)),
        price=six_digits(_price(workload, ways, best)),
        marginals=tuple(_marginals(model, best)),
        rivals=tuple(_rivals(model, ways, best)),
        law=model.law.source,
        notes=_notes(workload, model, best),
        digests={"workload": digest(workload.model_dump(mode="json"))},
    )


def _served_tokens(model: LifetimeModel, best: LifetimeChoice) -> float:
    """Tokens of answers and verdicts over the life."""
    life = model.life
    verdict = life.verification.tokens if life.verification else 0.0
    return sum(
        life.questions * kind.share * way.samples * (kind.answer_tokens + way.verdicts * verdict)
        for kind, way in zip(life.classes, (model.ways[one] for one in best.answers), strict=True)
    )


def _classes(model: LifetimeModel, best: LifetimeChoice) -> Iterator[ClassAnswerDocument]:
    for kind, one, share in zip(model.life.classes, best.answers, best.by_class, strict=True):
        way = model.ways[one]
        yield ClassAnswerDocument(
            name=kind.name, share=kind.share, samples=way.samples, verdicts=way.verdicts, solved=six_digits(share)
        )


def _price(workload: LifetimeWorkload, ways: tuple[TrainingWay, ...], best: LifetimeChoice) -> float:
    """Shares solved for a further million dollars: the plan of a slightly larger budget less this one."""
    more = RunBudget(max=best.usd * (1 + MORE_MONEY), unit="USD")
    life = workload.lifetime.model_copy(update={"budget": more, "solved": None})
    wider = workload.model_copy(update={"lifetime": life})
    wider._library, wider._base = workload.library, workload.base
    found = LifetimeSearch(LifetimeModel(wider), LifetimeFreedom(ways)).best()
    return (found.solved - best.solved) / (best.usd * MORE_MONEY) * 1e6


def _marginals(model: LifetimeModel, best: LifetimeChoice) -> Iterator[MarginalDocument]:
    """The next dollar of every stage, the others as they are: freely moving ones, then the nearest dearer step."""
    moves = {
        "parameters": (STEP, 0.0, 0.0, f"{best.params / 1e9:,.2f} B, with dearer answers"),
        "pre-training tokens": (0.0, STEP, 0.0, f"{best.tokens / 1e9:,.0f} B"),
        "rollouts": (0.0, 0.0, STEP, f"{best.rollouts:,.3g}"),
    }
    for stage, (params, tokens, rollouts, note) in moves.items():
        if stage == "rollouts" and not best.rollouts:
            continue
        up, down = (_life_beside(model, best, (sign * params, sign * tokens, sign * rollouts)) for sign in (1.0, -1.0))
        yield _marginal(stage, up, down, False, note)
    yield from _answer_marginals(model, best)
    yield from _way_marginals(model, best)


def _life_beside(model: LifetimeModel, best: LifetimeChoice, by: tuple[float, float, float]) -> LifetimeChoice:
    point = tuple(
        np.array([value * (1 + step)])
        for value, step in zip((best.params, best.tokens, best.rollouts), by, strict=True)
    )
    return life_of(model, best.way, best.answers, (point[0], point[1], point[2]))


def _marginal(stage: str, up: LifetimeChoice, down: LifetimeChoice, step: bool, note: str) -> MarginalDocument:
    usd, solved = up.usd - down.usd, up.solved - down.solved
    return MarginalDocument(
        stage=stage, usd=six_digits(usd), solved_per_musd=six_digits(solved / usd * 1e6), step=step, note=note
    )


def _answer_marginals(model: LifetimeModel, best: LifetimeChoice) -> Iterator[MarginalDocument]:
    """For each class the dearer way of answering that buys most for a dollar."""
    steps: dict[int, MarginalDocument] = {}
    for i, answers in answer_neighbours(model, best.answers):
        other = life_of(model, best.way, answers, _point(best))
        if other.usd <= best.usd:
            continue
        found = _marginal(
            f"answers of {model.life.classes[i].name}", other, best, True, f"{model.ways[answers[i]]} for "
            f"{model.ways[best.answers[i]]}",
        )  # fmt: skip
        if i not in steps or found.solved_per_musd > steps[i].solved_per_musd:
            steps[i] = found
    yield from steps.values()


def _way_marginals(model: LifetimeModel, best: LifetimeChoice) -> Iterator[MarginalDocument]:
    """Other formats, quantisation-aware training or a teacher, where they cost more than the choice."""
    for way in model.training_ways():
        other = life_of(model, way, best.answers, _point(best))
        if way != best.way and other.usd > best.usd and _one_change(way, best.way):
            yield _marginal(_way_words(way), other, best, True, f"for {_way_words(best.way)}")


def _one_change(one: TrainingWay, other: TrainingWay) -> bool:
    changes = (one.format != other.format, one.qat != other.qat, one.distilled != other.distilled)
    return sum(changes) == 1


def _way_words(way: TrainingWay) -> str:
    words = [way.format, *(["quantisation-aware"] if way.qat else []), *(["taught"] if way.distilled else [])]
    return ", ".join(words)


def _point(best: LifetimeChoice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array([best.params]), np.array([best.tokens]), np.array([best.rollouts])


def _rivals(model: LifetimeModel, ways: tuple[TrainingWay, ...], best: LifetimeChoice) -> Iterator[LifetimeRival]:
    """The best life with one decision taken back, at the same limit."""
    whole = LifetimeFreedom(ways)
    plain = tuple(way for way in ways if way.format in SIXTEEN)
    other_formats = tuple(way for way in ways if way.format != best.way.format)
    tried: dict[str, tuple[bool, LifetimeFreedom]] = {
        "tokens beyond the optimum of their compute": (True, replace(whole, optimal=True)),
        "samples and verdicts": (any(best.answers), replace(whole, one_answer=True)),
        "reinforcement learning": (best.rollouts > 0, replace(whole, reinforced=False)),
        "fewer than 16 bits": (best.way.format not in SIXTEEN, replace(whole, ways=plain)),
        best.way.format: (bool(other_formats) and other_formats != plain, replace(whole, ways=other_formats)),
        "quantisation-aware training": (best.way.qat, replace(whole, ways=tuple(w for w in ways if not w.qat))),
        "the teacher": (best.way.distilled, replace(whole, ways=tuple(w for w in ways if not w.distilled))),
    }
    for without, (chosen, freedom) in tried.items():
        if chosen:
            yield _rival(model, without, freedom, best)


def _rival(model: LifetimeModel, without: str, freedom: LifetimeFreedom, best: LifetimeChoice) -> LifetimeRival:
    try:
        found = LifetimeSearch(model, freedom).best()
    except InfeasibleError as error:
        return LifetimeRival(without=without, solved=0.0, usd=0.0, params=0.0, tokens=0.0, why=str(error))
    lost = 100 * (best.solved - found.solved)
    if model.life.budget is not None:
        why = f"{abs(lost):.2f} points {'fewer' if lost >= 0 else 'more'} solved for the same money"
    else:
        why = f"{found.usd / best.usd:.3f} times the dollars for the same share"
    return LifetimeRival(
        without=without, solved=six_digits(found.solved), usd=six_digits(found.usd), params=six_digits(found.params),
        tokens=six_digits(found.tokens), why=why,
    )  # fmt: skip


def _notes(workload: LifetimeWorkload, model: LifetimeModel, best: LifetimeChoice) -> tuple[str, ...]:
    life, found = workload.lifetime, []
    if life.mfu is None:
        device = workload.library.accelerator(life.accelerator)
        known = measured_utilisation().of(device.family, 16)
        found.append(
            f"training at {known.middle:.0%} of the peak, the median of {known.rows} measured runs on {known.family} "
            f"devices ({known.low:.0%} to {known.high:.0%})"
        )
    if not life.law:
        found.append("the law of the loss is Chinchilla's: fit one of your own data before you rely on it")
        if best.tokens > FITTED_RATIO * best.params:
            found.append(
                f"{best.tokens / best.params:,.0f} tokens a parameter are beyond the {FITTED_RATIO} of the points that "
                f"the law was fitted to"
            )
    published = [name for name, loss in model.formats.items() if loss and name not in life.serving.loss_added]
    if published:
        found.append(f"losses of {', '.join(published)} are those published for {life.serving.like} on its text")
    return tuple(found)
