"""What a strategy came to on many questions: one row per question, sums, and intervals by paired resampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.costs.inference_units import KINETICS_INTENSITY, per_solved
from comptroller.errors import InputError, UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.drive import FinishedRun, StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, QuestionBudget, Reply, Strategy
from comptroller.strategies.replay import EvidenceReplay, ReplayWorld
from comptroller.strategies.spelling import spell

Floats = npt.NDArray[np.float64]

DRAWS = 2000
"""Resamples of the questions behind an interval."""


@dataclass(frozen=True)
class ReplayResults:
    """One entry per question, in the order of `question`, the indices into the evidence.

    score: NaN where it was never scored.  cost: arrays.  calls: asks made.  elapsed_s: NaN where the clock means
    nothing.  truncated: the answer is a truncated reply.  lost: replies that were truncated, failed or refused.
    unanswered: there is no answer.  expired: the budget ended it.  strong_calls: asks of the model that plays the
    solver, NaN where no other plays.
    """

    strategy: str
    question: npt.NDArray[np.int64]
    score: Floats
    cost: Cost
    calls: Floats
    elapsed_s: Floats
    truncated: Floats
    lost: Floats
    unanswered: Floats
    expired: Floats
    strong_calls: Floats

    def column(self, name: str) -> Floats:
        """A column of itself or of the cost, by name; `tokens` are all, `output` with reasoning;
        `eflops` count the cache bytes read at the intensity of Kinetics, and the prompt's FLOPs, which it leaves out.

        Raises:
            InputError: there is no such column.
        """
        tokens = self.cost.tokens
        named: dict[str, object] = {
            "tokens": tokens.total,
            "input_tokens": tokens.input + tokens.cached + tokens.cache_write,
            "output_tokens": tokens.output + tokens.reasoning,
            "reasoning_tokens": tokens.reasoning,
            "eflops": self.cost.flops + KINETICS_INTENSITY * self.cost.bytes,
        }
        named |= {item: getattr(self.cost, item) for item in ("usd", "j", "flops", "bytes", "gco2e")}
        named |= {item: getattr(self, item) for item in COLUMNS}
        if name not in named:
            raise InputError(f"results have no column {name!r}; they have {', '.join(named)}")
        return np.asarray(named[name], float)

    def mean(self, name: str) -> float:
        """The mean of a column over questions."""
        return float(self.column(name).mean())

    def per_solved(self, name: str) -> float:
        """What a solved question takes of a column, the unsolved paid for."""
        return per_solved(self.column(name), self.score)


COLUMNS = ("score", "calls", "elapsed_s", "truncated", "lost", "unanswered", "expired", "strong_calls")


def gather(
    strategy: str, questions: Sequence[int], rows: Iterable[tuple[float, FinishedRun]], replay: EvidenceReplay
) -> ReplayResults:
    """Results from the score and the run of each question."""
    scores, played = zip(*rows, strict=True)
    costs = [run.cost for run in played]
    gathered = Cost(
        **{item.name: np.array([getattr(cost, item.name) for cost in costs]) for item in _AMOUNTS},
        tokens=TokenCounts(*(np.array([getattr(cost.tokens, f.name) for cost in costs]) for f in fields(TokenCounts))),
    )
    ends = [run.answer.reply for run in played]
    strong = replay.strong_roles
    return ReplayResults(
        strategy=strategy,
        question=np.array(questions, np.int64),
        score=np.array(scores, float),
        cost=gathered,
        calls=np.array([len(run.replies) for run in played], float),
        elapsed_s=np.array([run.elapsed_s if replay.timed else nan for run in played]),
        truncated=np.array([end is not None and end.finish == "length" for end in ends], float),
        lost=np.array([sum(r.finish in ("length", "failed", "refused") for r in run.replies) for run in played], float),
        unanswered=np.array([end is None for end in ends], float),
        expired=np.array([run.expired for run in played], float),
        strong_calls=np.array([sum(r.ask.role in strong for r in run.replies) for run in played])
        if strong
        else np.full(len(played), nan),
    )


_AMOUNTS = [item for item in fields(Cost) if item.name != "tokens"]


def replay_strategy(
    strategy: Strategy,
    replay: EvidenceReplay,
    questions: Sequence[int] | None = None,
    budget: QuestionBudget = UNLIMITED,
) -> ReplayResults:
    """A strategy on recorded questions: by default all for which every bound arm has a reply.

    Raises:
        UnsupportedError: the strategy asks for what is not recorded, or the budget limits what the record lacks.
    """
    chosen = _questions(strategy, replay, questions, budget)
    return gather(spell(strategy), chosen, runs(strategy, replay, chosen, budget), replay)


def runs(
    strategy: Strategy, replay: EvidenceReplay, questions: Sequence[int], budget: QuestionBudget = UNLIMITED
) -> list[tuple[float, FinishedRun]]:
    """Score and run of each question."""
    rows = [_one(strategy, replay, number, budget) for number in questions]
    return [(world.score(run.answer), run) for world, run in rows]


def _questions(
    strategy: Strategy, replay: EvidenceReplay, questions: Sequence[int] | None, budget: QuestionBudget
) -> list[int]:
    if np.isfinite(budget.s) and not replay.timed:
        raise InputError("a budget in seconds needs recorded latencies or a pace for every service")
    chosen = [int(number) for number in (replay.covered(uses(strategy)) if questions is None else questions)]
    if not chosen:
        raise InputError("no question has replies of every bound model, so there is nothing to replay")
    if "answer" in getattr(strategy, "reads", ()):
        replay.require_answers()
    return chosen


def uses(strategy: object) -> tuple[str, ...]:
    """Roles beside the solver whose records a strategy needs."""
    found: tuple[str, ...] = getattr(strategy, "uses", ())
    return found


def _one(
    strategy: Strategy, replay: EvidenceReplay, number: int, budget: QuestionBudget
) -> tuple[ReplayWorld, FinishedRun]:
    world = replay.world(number)
    rng = np.random.default_rng([replay.seed or 0, number])
    return world, play(StrategyDriver(strategy, replay.questions[number], budget, rng), world)


def nested_results(
    strategy: Strategy, replay: EvidenceReplay, sizes: Sequence[int], questions: Sequence[int] | None = None
) -> list[ReplayResults]:
    """The strategy at many sizes of its nested parameter (n, cap) from one replay at the largest.

    With n samples a strategy sees what it sees of the first n with more; so each size is read off a prefix. Equal
    to a replay at each size.

    Raises:
        InputError: smaller sizes of the strategy are not prefixes of larger ones.
    """
    chosen = _questions(strategy, replay, questions, UNLIMITED)
    return [gather(spell(one), chosen, found, replay) for one, found in nested_runs(strategy, replay, sizes, chosen)]


def nested_runs(
    strategy: Strategy, replay: EvidenceReplay, sizes: Sequence[int], questions: Sequence[int]
) -> list[tuple[Strategy, list[tuple[float, FinishedRun]]]]:
    """The strategy at each size with score and run of each question; `nested_results` says how."""
    name, choose = getattr(strategy, "nested", ""), getattr(strategy, "choose", None)
    if not name or choose is None:
        raise InputError(f"{spell(strategy)}: its smaller settings are not prefixes of a larger one")
    largest = replace(strategy, **{name: max(sizes)})  # type: ignore[type-var]
    rows: list[list[tuple[float, FinishedRun]]] = [[] for _ in sizes]
    for number in questions:
        world, run = _one(largest, replay, number, UNLIMITED)
        order = sorted(run.replies, key=lambda reply: reply.done_s)
        roots = [reply.ask for reply in _in_asking_order(run) if reply.ask.after is None]
        for at, size in enumerate(sizes):
            kept = set(roots[:size])
            seen = tuple(reply for reply in order if _root(reply) in kept)
            part = FinishedRun(run.question, choose(seen), seen, max((r.done_s for r in seen), default=0.0), False)
            rows[at].append((world.score(part.answer), part))
    return [(replace(strategy, **{name: size}), found) for size, found in zip(sizes, rows, strict=True)]  # type: ignore[type-var]


def grid_runs(
    points: Sequence[Strategy],
    replay: EvidenceReplay,
    questions: Sequence[int],
    missing: list[tuple[str, str]],
    budget: QuestionBudget = UNLIMITED,
) -> list[tuple[Strategy, list[tuple[float, FinishedRun]]]]:
    """Score and run of each question at every point; one replay for all sizes of a nested parameter.

    missing: gets what the evidence does not support, with its reason.
    """
    families: dict[Any, list[int]] = {}
    found: list[tuple[Strategy, list[tuple[float, FinishedRun]]]] = []
    for point in points:
        name = getattr(point, "nested", "") if len(points) > 1 and budget == UNLIMITED else ""
        if name:
            families.setdefault(replace(point, **{name: 1}), []).append(getattr(point, name))  # type: ignore[type-var]
            continue
        try:
            found.append((point, runs(point, replay, _questions(point, replay, questions, budget), budget)))
        except UnsupportedError as gap:
            missing.append((spell(point), str(gap)))
    for family, sizes in families.items():
        found += _sizes(family, sizes, replay, questions, missing)
    return found


def _sizes(
    family: Any, sizes: list[int], replay: EvidenceReplay, questions: Sequence[int], missing: list[tuple[str, str]]
) -> list[tuple[Strategy, list[tuple[float, FinishedRun]]]]:
    """A family at the sizes that the evidence has samples for."""
    for most in range(len(sizes), 0, -1):
        try:
            chosen = _questions(family, replay, questions, UNLIMITED)
            return nested_runs(family, replay, sizes[:most], chosen)
        except UnsupportedError as gap:
            missing.append((spell(replace(family, **{family.nested: sizes[most - 1]})), str(gap)))
    return []


def _in_asking_order(run: FinishedRun) -> list[Reply]:
    """Replies in the order of asking: the drive numbers asks as they come."""
    return sorted(run.replies, key=lambda reply: run.order[reply.ask])


def _root(reply: Reply) -> object:
    ask = reply.ask
    while ask.after is not None:
        ask = ask.after.ask
    return ask


@dataclass(frozen=True, slots=True)
class ReplayEstimate:
    """A value over questions and its 95 % interval."""

    value: float
    low: float
    high: float


Statistic = Callable[[Mapping[str, Floats]], Floats]
"""From resampled sums of columns to what is wanted of them."""


def interval(
    columns: Mapping[str, Floats], statistic: Statistic, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of column means, questions resampled together (paired).

    columns: one entry per question each.  statistic: of the means, arrays over resamples.

    >>> a = np.array([0.0, 1.0] * 50)
    >>> low, high = interval({"a": a}, lambda mean: mean["a"], np.random.default_rng(0))
    >>> round(low, 2), round(high, 2)
    (0.41, 0.6)
    """
    table = np.stack(list(columns.values()))
    count = table.shape[1]
    means = np.empty((DRAWS, len(table)))
    for start in range(0, DRAWS, 200):
        weights = rng.multinomial(count, np.full(count, 1 / count), size=200)
        means[start : start + 200] = weights @ table.T / count
    values = np.sort(statistic(dict(zip(columns, means.T, strict=True))))
    low, high = (values[round(share * (DRAWS - 1))] for share in ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def estimate(values: Floats, rng: np.random.Generator) -> ReplayEstimate:
    """The mean over questions with its interval."""
    return ReplayEstimate(float(values.mean()), *interval({"of": values}, lambda mean: mean["of"], rng))


def mean_interval(results: ReplayResults, name: str, rng: np.random.Generator) -> tuple[float, float]:
    """Interval of the mean of a column over questions."""
    return interval({name: results.column(name)}, lambda mean: mean[name], rng)


def per_solved_interval(results: ReplayResults, name: str, rng: np.random.Generator) -> tuple[float, float]:
    """Interval of what a solved question takes; infinite at the top where a resample solves nothing."""

    def ratio(mean: Mapping[str, Floats]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(mean["score"] > 0, mean[name] / mean["score"], np.inf)

    return interval({name: results.column(name), "score": results.score}, ratio, rng)


def paired_difference(
    one: ReplayResults, other: ReplayResults, name: str, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Mean difference of a column between two strategies on the same questions, and its interval.

    Raises:
        InputError: they were not replayed on the same questions.
    """
    if not np.array_equal(one.question, other.question):
        raise InputError(f"{one.strategy} and {other.strategy} were not replayed on the same questions")
    gap = one.column(name) - other.column(name)
    return float(gap.mean()), *interval({"gap": gap}, lambda mean: mean["gap"], rng)
