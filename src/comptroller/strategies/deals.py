"""Strategies replayed on several deals of the recorded samples: what a strategy solves is the mean over them.

One deal is one draw of the samples that a strategy asks for; with 128 recorded and four asked, another deal gives other
points. Means over deals are means of every question, so that intervals over questions hold what is left of the deals'
chance: it is independent from question to question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace

import numpy as np

from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.protocol import Strategy
from comptroller.strategies.replay import EvidenceReplay
from comptroller.strategies.results import COLUMNS, ReplayResults
from comptroller.strategies.spelling import spell
from comptroller.strategies.vote_odds import exact_votes

DEALS = 16
"""Deals behind a replay from the command line: the deals' part of the standard error is a quarter of one deal's. Twice
as many take twice the time and make it a sixth."""


def results_over_deals(
    replay: EvidenceReplay, deals: int, results_of: Callable[[EvidenceReplay], Sequence[ReplayResults]]
) -> list[ReplayResults]:
    """The results of every strategy as means over the deals that are recorded, the first as the replay deals.

    Where a second deal gives the same, every deal does: nothing is sampled, or all that is recorded is asked for in any
    order. No further ones are replayed.
    """
    by_deal: list[dict[str, ReplayResults]] = []
    for again in deals_of(replay, deals):
        by_deal.append({one.strategy: one for one in results_of(again)})
        if len(by_deal) == 2 and all(
            name in by_deal[1] and _alike(one, by_deal[1][name]) for name, one in by_deal[0].items()
        ):
            del by_deal[1]
            break
    names = dict.fromkeys(name for found in by_deal for name in found)
    return [_mean([found[name] for found in by_deal if name in found]) for name in names]


def expected_results(
    replay: EvidenceReplay,
    strategies: Sequence[Strategy],
    deals: int,
    results_of: Callable[[EvidenceReplay], Sequence[ReplayResults]],
) -> list[ReplayResults]:
    """As `results_over_deals`, with the scores of plain votes exact."""
    return with_exact_votes(replay, strategies, results_over_deals(replay, deals, results_of))


def with_exact_votes(
    replay: EvidenceReplay, strategies: Sequence[Strategy], results: Sequence[ReplayResults]
) -> list[ReplayResults]:
    """The results with the scores of plain votes over all choices of samples where deals stood in for them."""
    by_name = {spell(strategy): strategy for strategy in strategies}
    exact = []
    for one in results:
        votes = exact_votes(replay, by_name[one.strategy], one.question.tolist()) if one.deals > 1 else None
        exact.append(one if votes is None else replace(one, score=votes))
    return exact


def deals_of(replay: EvidenceReplay, deals: int) -> Iterator[EvidenceReplay]:
    """The replay as it deals, then with further orders of the recorded samples."""
    yield replay
    for number in range(1, deals):
        yield replay.dealt_by((replay.seed or 0) + number)


def _alike(one: ReplayResults, other: ReplayResults) -> bool:
    same = (np.array_equal(one.column(name), other.column(name), equal_nan=True) for name in ("score", "tokens", "usd"))
    return all(same)


def _mean(deals: Sequence[ReplayResults]) -> ReplayResults:
    if len(deals) == 1:
        return deals[0]
    columns = {name: np.mean([getattr(one, name) for one in deals], axis=0) for name in COLUMNS}
    cost = _mean_cost([one.cost for one in deals])
    means = np.array([one.mean("score") for one in deals])
    return replace(deals[0], **columns, cost=cost, deals=len(deals), deal_deviation=float(means.std(ddof=1)))


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    tokens = (np.mean([getattr(cost.tokens, kind.name) for cost in costs], axis=0) for kind in fields(TokenCounts))
    names = [item.name for item in fields(Cost) if item.name != "tokens"]
    amounts = {name: np.mean([getattr(cost, name) for cost in costs], axis=0) for name in names}
    return Cost(**amounts, tokens=TokenCounts(*tokens))


def deal_notes(results: Iterable[ReplayResults]) -> Iterator[str]:
    """How many deals figures are means over, and what one alone would differ by."""
    several = [one for one in results if one.deals > 1]
    if several:
        widest = max(several, key=lambda one: one.deal_deviation)
        yield (
            f"means over {widest.deals} deals of the recorded samples; one deal alone differs by "
            f"{widest.deal_deviation * 100:.1f} points (standard deviation, {widest.strategy})"
        )
