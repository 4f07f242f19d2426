"""`comptroller replay`: strategies on recorded evidence."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from comptroller.cli._declared_price import declared_price
from comptroller.cli._evidence_options import (
    DEFAULT_DEALS,
    DEFAULT_SAMPLES,
    EvidenceMap,
    ModelledJudges,
    RoleTexts,
    evidence_map,
    modelled_judges,
    numbers,
    players_of,
    records_at_prices,
    records_of,
)
from comptroller.cli._inefficiency import inefficiency_of
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import FileContent, check, write_all
from comptroller.costs.inference_units import ModelCostShape, TokenPrice
from comptroller.facts.config import model as model_of
from comptroller.report import replay_report
from comptroller.report.router_report import router_sheet
from comptroller.report.sheet import ReportSheet
from comptroller.report.tables import RAW, writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.strategies.protocol import QuestionBudget
from comptroller.strategies.replay import ServicePace
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import AMOUNTS, ReplayConditions, StrategyStudy, study

File = Path | None
Pooling = Annotated[
    bool, typer.Option("--pool", help="Take the models (of --model, else all) for one: a reply may be any's.")
]
Prices = Annotated[
    list[str] | None,
    typer.Option(
        help="Dollars per million tokens, 'input,output'; or of a PROVIDER/MODEL, at a date with @2026-02-28; or "
        "of one recorded model, NAME=input,output, again for others.",
        show_default=False,
    ),
]
Joules = Annotated[str, typer.Option(help="Joules per token, as 'input,output'.", show_default=False)]
Shaped = Annotated[str, typer.Option(help="Count FLOPs and cache traffic as of this model.", show_default=False)]
Spreading = Annotated[
    float, typer.Option(help="Spread this mean of --over by predicted difficulty.", show_default=False)
]
Paced = Annotated[
    str, typer.Option(help="Seconds, as 'to the first token,per prompt token,per token'.", show_default=False)
]


@with_shared_options
def run(
    strategy: Annotated[
        list[str], typer.Argument(help="One or more, as best_of_n(n=8) or best_of_n:n=8.", show_default=False)
    ],
    evidence: Annotated[
        Path, typer.Option(help="Recorded replies, in any known format or with --map.", show_default=False)
    ],
    columns: Annotated[EvidenceMap, SharedOptions(evidence_map)],
    judges: Annotated[ModelledJudges, SharedOptions(modelled_judges)],
    model: Annotated[
        list[str] | None, typer.Option(help="Only models of this name; again for others.", show_default=False)
    ] = None,
    pool: Pooling = False,
    role: RoleTexts = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Only questions of this task; again for others.", show_default=False)
    ] = None,
    budget: Annotated[
        str, typer.Option(help="Per question, as '2000 tokens, 0.01 usd, 5 j, 30 s'.", show_default=False)
    ] = "",
    frontier: Annotated[bool, typer.Option("--frontier", help="Every point of the strategies' grids.")] = False,
    over: Annotated[
        str, typer.Option(help="The frontier is over " + ", ".join(AMOUNTS) + ".", show_default=False)
    ] = "",
    price: Prices = None,
    joules: Joules = "",
    shape: Shaped = "",
    spread: Spreading = nan,
    pace: Paced = "",
    samples: Annotated[
        int, typer.Option(help="Samples drawn per question where only counts are recorded.", min=1)
    ] = DEFAULT_SAMPLES,
    deal: Annotated[
        int | None,
        typer.Option(help="Deal samples in the order of this seed, not as recorded.", min=0, show_default=False),
    ] = None,
    deals: Annotated[int, typer.Option(help="Deals of the recorded samples to average over.", min=1)] = DEFAULT_DEALS,
    seed: Annotated[int, typer.Option(help="Of the resampling of questions.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    png: Annotated[File, typer.Option(help="Write the frontier as a picture, PNG or .svg.", show_default=False)] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    table: Annotated[
        File, typer.Option(help="Write the table, .csv, .md, .tex or .parquet.", show_default=False)
    ] = None,
) -> None:
    """Replay strategies on recorded evidence: what they solve and take, with intervals, beside one greedy answer."""
    strategies = [parse(text) for text in strategy]
    for path in filter(None, (png, html, table)):
        check(path)
    as_table = writer_of(table) if table else None
    records, for_all, price_notes = records_at_prices(records_of(evidence, samples, seed, columns), price or [])
    records, arms, roles = players_of(records, model or [], role or [], pool)
    conditions = replace(
        _declared_conditions(judges, for_all, price_notes, joules, pace),
        arms=arms,
        roles=roles,
        budget=QuestionBudget.parse(budget),
        tasks=tuple(task or ()),
        deal=deal,
        deals=deals,
        seed=seed,
        shape=ModelCostShape.of(model_of(shape)) if shape else None,
        spread=spread,
    )
    replayed = study(records, strategies, conditions, frontier, over)
    wasted = inefficiency_of(records, conditions.shape)
    _write(replayed, {"png": png, "html": html, "table": table}, as_table)
    if json:
        told = replay_report.record(replayed) | ({"inefficiency": wasted.records()} if wasted else {})
        typer.echo(documents.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(replayed, wasted)


def _write(replayed: StrategyStudy, files: Mapping[str, File], as_table: Callable[[ReportSheet], bytes] | None) -> None:
    make: dict[str, Callable[[], FileContent]] = {
        "png": lambda: replay_report.picture(replayed),
        "html": lambda: replay_report.page(replayed),
    }
    if as_table:
        raw_values = getattr(files["table"], "suffix", "") in RAW
        make["table"] = lambda: as_table(
            replay_report.figures(replayed) if raw_values else replay_report.settings(replayed)
        )
    write_all(files, make)


def _print(replayed: StrategyStudy, wasted: ReportSheet | None) -> None:
    to = console()
    to.print(f"[bold green]{escape(replay_report.headline(replayed))}[/]")
    to.print(f"[dim]{escape(replay_report.setting(replayed))}[/]\n", soft_wrap=True)
    print_sheet(replay_report.settings(replayed), to, titled=False)
    for sheet in replay_report.by_model(replayed):
        print_sheet(sheet, to)
    print_sheet(replay_report.spread(replayed), to)
    for routed in replayed.routed:
        print_sheet(router_sheet(routed), to)
    print_sheet(replay_report.missing(replayed), to)
    if wasted:
        print_sheet(wasted, to)
    for note in replayed.notes:
        to.print(f"[dim]note: {escape(note)}[/]", soft_wrap=True)


def _declared_conditions(
    judges: ModelledJudges, price: str, price_notes: tuple[str, ...], joules: str, pace: str
) -> ReplayConditions:
    """The conditions that are declared, not recorded."""
    usd, price_notes = declared_price(price) if price else (None, price_notes)
    return ReplayConditions(
        checker=judges.checker,
        reward=judges.reward,
        pace=ServicePace(*numbers("pace", pace, 3)) if pace else None,
        price=usd,
        joules=TokenPrice(*numbers("joules", joules, 2)) if joules else None,
        told=price_notes,
    )
