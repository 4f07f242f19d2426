"""Results of replayed strategies: one row per question, and their means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.costs.inference_units import KINETICS_INTENSITY, per_solved
from comptroller.errors import InputError, UnsupportedError
from comptroller.quantities import Cost, TokenCounts, Values
from comptroller.result_views import ResultViews as ResultViews  # noqa: PLC0414 - what a result is, for the rooms to its right
from comptroller.strategies.drive import FinishedRun, StrategyDriver, play
from comptroller.strategies.prepared_contexts import (
    prepared_context,
    prepared_question,
    questions_on_contexts,
    with_share,
)
from comptroller.strategies.protocol import UNLIMITED, QuestionBudget, Reply, Strategy
from comptroller.strategies.recorded_roles import uses as uses  # noqa: PLC0414 - for rooms to its right
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, PreparedContext, ReplayWorld
from comptroller.strategies.spelling import spell
from comptroller.strategies.world_inputs import lacking_inputs as lacking_inputs  # noqa: PLC0414 - for rooms to its right
from comptroller.strategies.world_inputs import require_inputs as require_inputs  # noqa: PLC0414 - for studies too

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReplayResults:
    """Results of a strategy: arrays with one entry per question.

    question: indices into the evidence.  score: NaN where never scored.  cost: a `Cost` of arrays.  calls: replies,
    cut ones included.  elapsed_s: NaN where the replay has no latencies.  truncated: 1 if the answer is a truncated
    reply.  lost: replies that were truncated, failed or refused.  unanswered: 1 without an answer.  expired: 1 if the
    budget ended the run.  strong_calls: asks of the solver's model, NaN where no other model is bound.  deals: that the
    columns are means over, 0 for all choices of the recorded samples.  deal_deviation: standard deviation of the mean
    score from one deal to another.  deals_left_out: that asked for what is not recorded.
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
    deals: int = 1
    deal_deviation: float = nan
    deals_left_out: int = 0

    def column(self, name: str) -> Floats:
        """A column by name: a field, or a part of the cost, per question.

        `tokens` are of all kinds, `input_tokens` include cached, `output_tokens` reasoning ones. `eflops` are FLOPs
        plus cache bytes read at the intensity of Kinetics; the prompt's FLOPs, which Kinetics omits, are included.

        Raises:
            InputError: there is no such column.
        """
        if name in COLUMNS:
            return np.asarray(getattr(self, name), float)
        if name not in AMOUNTS_OF_COST:
            raise InputError(f"results have no column {name!r}; they have {', '.join((*AMOUNTS_OF_COST, *COLUMNS))}")
        return np.asarray(AMOUNTS_OF_COST[name](self.cost), float)

    def mean(self, name: str) -> float:
        """The mean of a column over questions."""
        return float(self.column(name).mean())

    def per_solved(self, name: str) -> float:
        """Sum of a column over the sum of scores: the amount per solved question, unsolved ones included."""
        return per_solved(self.column(name), self.score)


COLUMNS = ("score", "calls", "elapsed_s", "truncated", "lost", "unanswered", "expired", "strong_calls")
"""Fields of `ReplayResults` that can be read by name."""
AMOUNTS_OF_COST: Mapping[str, Callable[[Cost], Values]] = {
    "tokens": lambda cost: cost.tokens.total,
    "input_tokens": lambda cost: cost.tokens.input + cost.tokens.cached + cost.tokens.cache_write,
    "output_tokens": lambda cost: cost.tokens.output + cost.tokens.reasoning,
    "reasoning_tokens": lambda cost: cost.tokens.reasoning,
    "eflops": lambda cost: cost.flops + KINETICS_INTENSITY * cost.bytes,
    "usd": lambda cost: cost.usd,
    "j": lambda cost: cost.j,
    "flops": lambda cost: cost.flops,
    "bytes": lambda cost: cost.bytes,
    "gco2e": lambda cost: cost.gco2e,
}
"""Name of an amount -> it, of a cost."""


def gather(
    strategy: str, questions: Sequence[int], rows: Iterable[tuple[float, FinishedRun]], replay: EvidenceReplay
) -> ReplayResults:
    """Results of a strategy from the score and the run of each question.

    rows: score and run, in the order of `questions`.
    """
    scores, finished = zip(*rows, strict=True)
    costs = [run.cost for run in finished]
    cost_columns = Cost(
        **{item.name: np.array([getattr(cost, item.name) for cost in costs]) for item in _AMOUNTS},
        tokens=TokenCounts(*(np.array([getattr(cost.tokens, f.name) for cost in costs]) for f in fields(TokenCounts))),
    )
    ends = [run.answer.reply for run in finished]
    strong = replay.strong_roles
    return ReplayResults(
        strategy=strategy,
        question=np.array(questions, np.int64),
        score=np.array(scores, float),
        cost=cost_columns,
        calls=np.array([len(run.replies) for run in finished], float),
        elapsed_s=np.array([run.elapsed_s if replay.timed else nan for run in finished]),
        truncated=np.array([end is not None and end.finish == "length" for end in ends], float),
        lost=np.array(
            [sum(r.finish in ("length", "failed", "refused") for r in run.replies) for run in finished], float
        ),
        unanswered=np.array([end is None for end in ends], float),
        expired=np.array([run.expired for run in finished], float),
        strong_calls=np.array([sum(r.ask.role in strong for r in run.replies) for run in finished])
        if strong
        else np.full(len(finished), nan),
    )


_AMOUNTS = [item for item in fields(Cost) if item.name != "tokens"]


def replay_strategy(
    strategy: Strategy,
    replay: EvidenceReplay,
    questions: Sequence[int] | None = None,
    budget: QuestionBudget = UNLIMITED,
) -> ReplayResults:
    """Replays a strategy on recorded questions: by default all for which every bound model has a reply.

    Raises:
        UnsupportedError: a reply that the strategy asks for, or a quantity that the budget limits, is not recorded.
        InputError: no question is left, or a budget in seconds has no clock.
    """
    require_inputs(strategy, replay, spell(strategy))
    chosen = _questions(strategy, replay, questions, budget)
    return gather(spell(strategy), chosen, runs(strategy, replay, chosen, budget), replay)


def runs(
    strategy: Strategy, replay: EvidenceReplay, questions: Sequence[int], budget: QuestionBudget = UNLIMITED
) -> list[tuple[float, FinishedRun]]:
    """Replays a strategy on questions; returns the score and the run of each."""
    asked = questions_on_contexts(replay, questions)
    found = []
    for number in questions:
        made = prepared_context(strategy, replay, number)
        world, run = _replay_question(strategy, replay, number, budget, made)
        found.append((world.score(run.answer), with_share(run, made, asked[replay.evidence.items[number].context])))
    return found


def _questions(
    strategy: Strategy, replay: EvidenceReplay, questions: Sequence[int] | None, budget: QuestionBudget
) -> list[int]:
    if np.isfinite(budget.s) and not replay.timed:
        raise InputError("a budget in seconds needs recorded latencies or a pace for every service")
    chosen = [int(number) for number in (replay.covered(uses(strategy)) if questions is None else questions)]
    if not chosen:
        raise InputError("no question has replies of every bound model, so there is nothing to replay")
    return chosen


def _replay_question(
    strategy: Strategy, replay: EvidenceReplay, number: int, budget: QuestionBudget, made: PreparedContext | None = None
) -> tuple[ReplayWorld, FinishedRun]:
    question, known = prepared_question(replay, number, made)
    world = replay.world_of(strategy, number, known)
    rng = np.random.default_rng([replay.seed or 0, number])
    begun = rng.bit_generator.state
    run = play(StrategyDriver(strategy, question, budget, rng), world)
    if rng.bit_generator.state != begun:
        replay.chances.add(spell(strategy))
    return world, run


def nested_results(
    strategy: Strategy, replay: EvidenceReplay, sizes: Sequence[int], questions: Sequence[int] | None = None
) -> list[ReplayResults]:
    """The strategy at many sizes of its nested parameter (n, cap) from one replay at the largest.

    A run with n samples equals the first n samples of a run with more, so each size is read from a prefix. Results
    equal those of a replay at each size.

    Raises:
        InputError: smaller sizes of the strategy are not prefixes of larger ones.
    """
    chosen = _questions(strategy, replay, questions, UNLIMITED)
    by_size = nested_runs(strategy, replay, sizes, chosen)
    return [gather(spell(point), chosen, rows, replay) for point, rows in by_size]


def nested_runs(
    strategy: Strategy, replay: EvidenceReplay, sizes: Sequence[int], questions: Sequence[int]
) -> list[tuple[Strategy, list[tuple[float, FinishedRun]]]]:
    """The strategy at each size, with score and run of each question; see `nested_results`.

    Raises:
        InputError: smaller sizes of the strategy are not prefixes of larger ones.
    """
    name, choose = getattr(strategy, "nested", ""), getattr(strategy, "choose", None)
    if not name or choose is None:
        raise InputError(f"{spell(strategy)}: its smaller settings are not prefixes of a larger one")
    largest = replace(strategy, **{name: max(sizes)})  # type: ignore[type-var]
    rows: list[list[tuple[float, FinishedRun]]] = [[] for _ in sizes]
    for number in questions:
        world, run = _replay_question(largest, replay, number, UNLIMITED)
        order = sorted(run.replies, key=lambda reply: reply.done_s)
        roots = [ask for ask in run.order if ask.after is None]
        for size, size_rows in zip(sizes, rows, strict=True):
            first_roots = set(roots[:size])
            replies = _moved_earlier(order, tuple(reply for reply in order if _root(reply) in first_roots))
            elapsed_s = max((reply.done_s for reply in replies), default=0.0)
            asked = sorted(replies, key=lambda reply: run.order[reply.ask])  # as `All` gives them to a strategy
            prefix = FinishedRun(run.question, choose(asked), replies, elapsed_s, False)
            size_rows.append((world.score(prefix.answer), prefix))
    return [(replace(strategy, **{name: size}), size_rows) for size, size_rows in zip(sizes, rows, strict=True)]  # type: ignore[type-var]


def nested_families(strategies: Sequence[Strategy]) -> list[list[Strategy]]:
    """Strategies that differ in their nested parameter alone stand together, from the smallest size on.

    >>> from comptroller.strategies.spelling import parse
    >>> points = [parse(text) for text in ("sample_and_vote(n=8)", "once", "sample_and_vote(n=2)")]
    >>> [[spell(point) for point in family] for family in nested_families(points)]
    [['sample_and_vote(n=2)', 'sample_and_vote(n=8)'], ['once']]
    """
    families: dict[str, list[Strategy]] = {}
    for strategy in strategies:
        name = getattr(strategy, "nested", "")
        key = spell(replace(strategy, **{name: 1}) if name else strategy)  # type: ignore[type-var]
        families.setdefault(key, []).append(strategy)
    return [sorted(family, key=lambda one: getattr(one, getattr(one, "nested", ""), 0)) for family in families.values()]


def grid_runs(
    points: Sequence[Strategy],
    replay: EvidenceReplay,
    questions: Sequence[int],
    missing: list[tuple[str, str]],
    budget: QuestionBudget = UNLIMITED,
) -> list[tuple[Strategy, list[tuple[float, FinishedRun]]]]:
    """Score and run of each question at every point of a grid; one replay covers all sizes of a nested parameter.

    missing: receives (strategy, reason) for every point that the evidence does not support.
    """
    families: dict[Any, list[int]] = {}
    point_rows: list[tuple[Strategy, list[tuple[float, FinishedRun]]]] = []
    for point in points:
        name = getattr(point, "nested", "") if len(points) > 1 and budget == UNLIMITED else ""
        if name and not _is_drawn(point, replay):
            families.setdefault(replace(point, **{name: 1}), []).append(getattr(point, name))  # type: ignore[type-var]
            continue
        try:
            point_rows.append((point, runs(point, replay, _questions(point, replay, questions, budget), budget)))
        except UnsupportedError as gap:
            missing.append((spell(point), str(gap)))
    for family, sizes in families.items():
        point_rows += _supported_sizes(family, sizes, replay, questions, missing)
    return point_rows


def _is_drawn(point: Strategy, replay: EvidenceReplay) -> bool:
    """Whether a role of a strategy is played by a modelled checker, whose verdicts are drawn in the order of asking."""
    return any(isinstance(replay.roles.get(role), ModelledChecker) for role in uses(point))


def _supported_sizes(
    family: Any, sizes: list[int], replay: EvidenceReplay, questions: Sequence[int], missing: list[tuple[str, str]]
) -> list[tuple[Strategy, list[tuple[float, FinishedRun]]]]:
    """The strategy at the sizes that the evidence has samples for; larger ones go to `missing`."""
    for count in range(len(sizes), 0, -1):
        try:
            chosen = _questions(family, replay, questions, UNLIMITED)
            return nested_runs(family, replay, sizes[:count], chosen)
        except UnsupportedError as gap:
            missing.append((spell(replace(family, **{family.nested: sizes[count - 1]})), str(gap)))
    return []


def _moved_earlier(whole: Sequence[Reply], part: tuple[Reply, ...]) -> tuple[Reply, ...]:
    """Replies to some of the first asks, at the times of a run of these alone.

    What continues replies and was asked when the last of the first asks was answered is asked that much earlier where
    the last of fewer is waited for. Everything else began when it would have begun.
    """
    if all(reply.ask.after is None for reply in part):
        return part
    last, sooner = (max(reply.done_s for reply in those if reply.ask.after is None) for those in (whole, part))
    return tuple(
        replace(reply, started_s=reply.started_s - (last - sooner), done_s=reply.done_s - (last - sooner))
        if reply.ask.after is not None and reply.started_s == last
        else reply
        for reply in part
    )


def _root(reply: Reply) -> object:
    ask = reply.ask
    while ask.after is not None:
        ask = ask.after.ask
    return ask
