"""How far a plan's choice depends on predicted step times, and the load that it is for."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.report.figures import dollars, number
from comptroller.report.sheet import UNKNOWN, ReportSheet, left, right

COLUMNS = (left("what", "odds of the choice"), right("figure"), left("sentence"))


def odds_sheet(plan: Plan) -> ReportSheet:
    """The share of draws in which the choice stands, break-evens, what to measure first, and the bolder choice."""
    return ReportSheet("Odds of the choice", COLUMNS, tuple(_rows(plan)))


def _rows(plan: Plan) -> Iterator[tuple[str, str, str]]:
    if odds := plan.odds:
        yield "stands", f"{odds.stands:.0%}", f"{odds.sentence} ({odds.rests_on})"
        for one in odds.break_evens:
            yield f"{one.axis} {one.value}", f"{one.factor:.2f}x" if one.factor else UNKNOWN, one.sentence
        for item in odds.next:
            yield "measure", f"{dollars(item.saves_usd_per_h)}/h", f"expected to be saved by knowing the {item.what}"
    if caution := plan.untimed:
        taken = ", ".join(f"{name} {factor:.2f}x" for name, factor in caution.factor.items())
        less = f"{amount(caution.saves_per_h, plan.objective)}/h" if caution.saves_per_h else UNKNOWN
        yield "bolder choice", less, f"{caution.sentence} (steps that nobody timed are taken slower: {taken})"


def load_sentence(plan: Plan) -> str:
    """The rate and the lengths that were planned for; empty for questions."""
    if (load := plan.load) is None:
        return ""
    return (
        f"planned for {number(load.requests_per_s)} req/s, {load.mean_input_tokens:,.0f} tokens in, "
        f"{load.mean_output_tokens:,.0f} out, longest {load.longest_tokens:,}"
    )
