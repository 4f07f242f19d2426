"""Options of `comptroller simulate` for copies of calls, and what they print."""

from __future__ import annotations

import json as documents
from dataclasses import replace
from typing import Annotated

import typer

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.redundancy_simulation import RedundancyConditions, code_of, simulate_redundancy
from comptroller.report.redundancy_tables import redundancy_records, redundancy_sheet
from comptroller.report.terminal import console, print_sheet
from comptroller.work.trace import RequestTrace


def show_redundancy(
    plan: Plan, trace: RequestTrace, how: RedundancyConditions, scale: float, priced: TimingCalibration, json: bool
) -> None:
    """The service without copies, then under each kind of redundancy."""
    found = simulate_redundancy(plan, trace, replace(how, scale=scale), priced)
    if json:
        typer.echo(documents.dumps({"name": plan.name, "redundancy": redundancy_records(found)}, indent=2))
    else:
        print_sheet(redundancy_sheet(found), console())


def redundancy_options(
    hedge: Annotated[
        list[float] | None,
        typer.Option(
            help="Send a second copy to another replica so many seconds after a call without a first token; again for "
            "others to compare.",
            show_default=False,
        ),
    ] = None,
    hedge_share: Annotated[
        list[float] | None,
        typer.Option(
            help="The same by the gateway's rule: for this share of the calls, the slowest; again for others.",
            show_default=False,
        ),
    ] = None,
    coded: Annotated[
        list[str] | None,
        typer.Option(
            help="Send groups of calls as coded copies, of which as many as calls are enough, as 4of5; again for "
            "others. Replies of one token.",
            show_default=False,
        ),
    ] = None,
    slowed: Annotated[
        float, typer.Option(help="Copies: a neighbour makes the first replica so many times as slow.")
    ] = 1.0,
) -> RedundancyConditions:
    """What the options say."""
    codes = tuple(code_of(text) for text in dict.fromkeys(coded or []))
    return RedundancyConditions(
        tuple(dict.fromkeys(hedge or [])), tuple(dict.fromkeys(hedge_share or [])), codes, slowed
    )  # fmt: skip
