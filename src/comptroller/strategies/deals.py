"""Strategies replayed on several deals of the recorded samples: what a strategy solves is the mean over them.

One deal is one draw of the samples that a strategy asks for; with 128 recorded and four asked, another deal gives other
points. Means over deals are means of every question, so that intervals over questions hold what is left of the deals'
chance: it is independent from question to question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from comptroller.strategies.expected_runs import formed_results
from comptroller.strategies.protocol import UNLIMITED, QuestionBudget, Strategy
from comptroller.strategies.replay import EvidenceReplay
from comptroller.strategies.results import COLUMNS, ReplayResults, replay_strategy
from comptroller.strategies.sample_pools import SampleTable as SampleTable  # noqa: PLC0414 - for studies too
from comptroller.strategies.sample_pools import combined_cost
from comptroller.strategies.spelling import spell

DEALS = 16
"""Deals behind a replay from the command line: the deals' part of the standard error is a quarter of one deal's. Twice
as many take twice the time and make it a sixth."""


def results_over_deals(
    replay: EvidenceReplay, deals: int, results_of: Callable[[EvidenceReplay], Sequence[ReplayResults]]
) -> list[ReplayResults]:
    """The results of every strategy as means over the deals that are recorded, the first as the replay deals.

    Where nothing that was asked could have been dealt otherwise, every deal is that one: no further ones are replayed.
    A deal in which a strategy asks for what is not recorded is left out of its means, and counted.
    """
    by_deal: list[dict[str, ReplayResults]] = []
    for again in deals_of(replay, deals):
        by_deal.append({one.strategy: one for one in results_of(again)})
        if not again.chances:
            break
    names = dict.fromkeys(name for found in by_deal for name in found)
    means = {name: _mean([found[name] for found in by_deal if name in found]) for name in names}
    return [replace(one, deals_left_out=len(by_deal) - one.deals) for one in means.values()]


def expected_results(
    table: SampleTable,
    points: Sequence[Strategy],
    budget: QuestionBudget,
    results_of: Callable[[EvidenceReplay, Sequence[Strategy]], Sequence[ReplayResults]],
) -> list[ReplayResults]:
    """The results of strategies on the questions of a table: over all choices of the samples, where they have a closed
    form and no budget cuts them; as `results_over_deals` of the others. A single deal is dealt.
    """
    free = table.deals > 1 and budget == UNLIMITED
    formed = formed_results(table, points) if free else {}
    others = [point for point in points if spell(point) not in formed]
    dealt = results_over_deals(table.replay, table.deals, lambda again: results_of(again, others)) if others else []
    found = formed | {one.strategy: one for one in dealt}
    return [found[name] for name in map(spell, points) if name in found]


def expected_replay(
    strategy: Strategy, replay: EvidenceReplay, questions: Sequence[int], deals: int = DEALS
) -> ReplayResults:
    """A strategy without a budget on questions, indices into the evidence, as the mean over all that may be dealt it.

    Raises:
        UnsupportedError: an ask that the evidence does not hold.
    """

    def dealt(again: EvidenceReplay, some: Sequence[Strategy]) -> list[ReplayResults]:
        return [replay_strategy(one, again, questions) for one in some]

    return expected_results(SampleTable(replay, questions, deals), [strategy], UNLIMITED, dealt)[0]


def deals_of(replay: EvidenceReplay, deals: int) -> Iterator[EvidenceReplay]:
    """The replay as it deals, then with further orders of the recorded samples."""
    yield replay.dealt_by(replay.seed)
    for number in range(1, deals):
        yield replay.dealt_by((replay.seed or 0) + number)


def _mean(deals: Sequence[ReplayResults]) -> ReplayResults:
    if len(deals) == 1:
        return deals[0]
    columns = {name: np.mean([getattr(one, name) for one in deals], axis=0) for name in COLUMNS}
    cost = combined_cost([one.cost for one in deals], lambda parts: np.mean(parts, axis=0))
    means = np.array([one.mean("score") for one in deals])
    return replace(deals[0], **columns, cost=cost, deals=len(deals), deal_deviation=float(means.std(ddof=1)))


def deal_notes(results: Iterable[ReplayResults]) -> Iterator[str]:
    """What figures are means over, and what one deal alone would differ by."""
    given = list(results)
    for deals in sorted({one.deals for one in given} - {1}):
        widest = max(
            (one for one in given if one.deals == deals), key=lambda one: np.nan_to_num(one.deal_deviation, nan=-1.0)
        )
        points = f"{widest.deal_deviation * 100:.1f} points (standard deviation, {widest.strategy})"
        scored = "" if np.isnan(widest.deal_deviation) else f"; one deal alone differs by {points}"
        yield f"means over {f'{deals} deals' if deals else 'all choices'} of the recorded samples{scored}"
    short = max(given, key=lambda one: one.deals_left_out, default=None)
    if short is not None and short.deals_left_out:
        count = f"up to {short.deals_left_out} of {short.deals + short.deals_left_out} deals"
        yield f"{count} left out, where a strategy asks for more than is recorded ({short.strategy})"
