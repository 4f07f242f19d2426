"""`comptroller books`: what was spent, on what, and whether it balances."""

from __future__ import annotations

import json as documents
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from comptroller.books import alerts as sending
from comptroller.books import export as exporting
from comptroller.books import insight, reconcile
from comptroller.books import rerate as rerating
from comptroller.books import verify as verifying
from comptroller.books.budgets import SpendBudget
from comptroller.books.invoices import read_invoice
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.books.meter_posting import post
from comptroller.books.query import GROUPS, LedgerScope, totals
from comptroller.cli._against import against
from comptroller.cli._meter_file import bill
from comptroller.cli._output import check, write
from comptroller.cli._progress import ProgressBar
from comptroller.costs.inference_units import ModelCostShape, prefill_gamma
from comptroller.costs.rating import pusd
from comptroller.errors import InputError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model as model_facts
from comptroller.facts.prices import PriceBook
from comptroller.report import books as sheets
from comptroller.report.books_page import page
from comptroller.report.sheet import ReportSheet
from comptroller.report.tables import writer_of
from comptroller.report.terminal import WIDTH, console, print_sheet

app = typer.Typer(help="What was spent, on what, and does it balance.", no_args_is_help=True)
app.command()(against)

Where = Annotated[str, typer.Argument(help="The books: a file, or a URL of PostgreSQL.", show_default=False)]
By = Annotated[str, typer.Option(help=f"Group by some of {', '.join(GROUPS)}; separated by commas.")]
Since = Annotated[str, typer.Option(help="From this day on, as 2026-01-31.", show_default=False)]
Until = Annotated[str, typer.Option(help="Before this day.", show_default=False)]
Only = Annotated[list[str] | None, typer.Option(help="Only these, as key=NAME; again for more.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Table = Annotated[Path | None, typer.Option(help="Write the table, .csv, .md, .tex or .parquet.", show_default=False)]


@app.command()
def report(
    where: Where,
    by: By = "project,model",
    since: Since = "",
    until: Until = "",
    only: Only = None,
    json: Json = False,
    table: Table = None,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
) -> None:
    """Dollars, tokens by kind, FLOPs, joules and grams, per request and per solved request."""
    scope, names = _scope(since, until, only), _names(by)
    for path in filter(None, (table, html)):
        check(path)
    with _books(where) as ledger:
        found = totals(ledger, names, scope)
        if html:
            write(html, _page(ledger, where, names, scope))
    _show(sheets.spend(found, names), json, table)


def _page(ledger: CallLedger, where: str, names: list[str], scope: LedgerScope) -> str:
    whole = totals(ledger, [], scope)
    if not whole:
        raise InputError(f"{where}: no rows in that period")
    found, models = totals(ledger, names, scope), totals(ledger, ["model"], scope)
    shown = [sheets.spend(found, names), sheets.success(found, names), _waste(ledger, scope)]
    shown += [sheets.overflow(models, ["model"]), sheets.balances(ledger.balances())]
    tables = [sheets.terse(sheet) for sheet in shown]
    return page(f"Books of {Path(where).name}", whole[0], totals(ledger, ["day"], scope), found, tables)


def _waste(ledger: CallLedger, scope: LedgerScope) -> ReportSheet:
    return sheets.waste(totals(ledger, ["finish"], scope), totals(ledger, ["role"], scope))


@app.command()
def success(
    where: Where, by: By = "strategy", since: Since = "", until: Until = "", only: Only = None, json: Json = False
) -> None:
    """What a solved request costs."""
    with _books(where) as ledger:
        _show(sheets.success(totals(ledger, _names(by), _scope(since, until, only)), _names(by)), json)


@app.command()
def waste(where: Where, since: Since = "", until: Until = "", only: Only = None, json: Json = False) -> None:
    """What bought nothing: failed, cancelled and repeated calls, idle hardware."""
    with _books(where) as ledger:
        _show(_waste(ledger, _scope(since, until, only)), json)


@app.command()
def overflow(
    where: Where, by: By = "model", since: Since = "", until: Until = "", only: Only = None, json: Json = False
) -> None:
    """Share of calls with outputs over 1,000, 3,000 and 5,000 tokens."""
    with _books(where) as ledger:
        _show(sheets.overflow(totals(ledger, _names(by), _scope(since, until, only)), _names(by)), json)


@app.command()
def reversal(where: Where, since: Since = "", until: Until = "", only: Only = None, json: Json = False) -> None:
    """Models that are cheaper on the list and dearer in the books."""
    with _books(where) as ledger:
        found = insight.reversals(insight.list_priced_models(ledger, _scope(since, until, only)))
    if not json:
        console().print(f"[bold]{escape(sheets.reversal_headline(found))}[/]")
    _show(sheets.reversed_pairs(found), json)


@app.command()
def patterns(
    where: Where,
    like: Annotated[str, typer.Option(help="Model and accelerator whose costs count.")] = "llama_3_1_8b@h100_sxm",
    since: Since = "",
    until: Until = "",
    only: Only = None,
    json: Json = False,
) -> None:
    """Inefficient trajectories, in prefill-token equivalents."""
    name, _, device = like.partition("@")
    chip = accelerator(device)
    gamma = prefill_gamma(ModelCostShape.of(model_facts(name)), chip.peak("bf16") / chip.memory_bytes_per_s)
    with _books(where) as ledger:
        _show(sheets.patterns(insight.patterns(ledger, gamma, _scope(since, until, only))), json)


@app.command(name="reconcile")
def reconcile_invoice(
    where: Where,
    invoice: Annotated[Path, typer.Option(help="What the provider billed: CSV or FOCUS.", show_default=False)],
    since: Since = "",
    until: Until = "",
    json: Json = False,
    table: Table = None,
) -> None:
    """Estimate, meter and invoice side by side per day and model, the difference explained."""
    with _books(where) as ledger:
        found = reconcile.reconcile(ledger, read_invoice(invoice), _scope(since, until, None))
    _show(sheets.reconciliation(found), json, table)


@app.command()
def change(
    where: Where,
    before: Annotated[str, typer.Option(help="A period, as 2026-01-01..2026-02-01.", show_default=False)],
    after: Annotated[str, typer.Option(help="The period to compare with it.", show_default=False)],
    by: Annotated[str, typer.Option(help="Groups between which the mix may shift.")] = "model",
    json: Json = False,
) -> None:
    """Why spend changed: volume, mix, efficiency, price; the parts add up."""
    with _books(where) as ledger:
        _show(sheets.spend_change(reconcile.change(ledger, _period(before), _period(after), by)), json)


@app.command()
def verify(
    where: Where,
    digest: Annotated[Path | None, typer.Option(help="A digest exported before.", show_default=False)] = None,
    public_key: Annotated[Path | None, typer.Option(help="Ed25519 key in PEM.", show_default=False)] = None,
) -> None:
    """Read every row, compute every hash again; exit 2 and name the first row that does not fit."""
    known = documents.loads(_read(digest)) if digest else None
    if known and public_key:
        verifying.check_signature(known, _read(public_key))
    with _books(where) as ledger, ProgressBar("reading rows", "checking balances") as bar:
        found = verifying.verify(ledger, known, bar)
    if found.faults:
        raise InputError(f"{where} does not fit: {'; '.join(found.faults)}")
    console().print(f"[bold green]{found.rows:,} rows fit[/]: chain, accounts, prices, budgets")


@app.command()
def digest(
    where: Where,
    out: Annotated[Path, typer.Option(help="Where to write it.", show_default=False)],
    sign: Annotated[Path | None, typer.Option(help="Ed25519 private key in PEM.", show_default=False)] = None,
) -> None:
    """Write where every segment stands, signed if a key is given; `verify --digest` compares later."""
    check(out)
    with _books(where) as ledger:
        found = verifying.digest(ledger)
    write(out, documents.dumps(verifying.sign(found, _read(sign)) if sign else found, indent=2) + "\n")


@app.command()
def rerate(
    where: Where,
    prices: Annotated[list[Path] | None, typer.Option(help="A file of own prices.", show_default=False)] = None,
    since: Since = "",
    until: Until = "",
    only: Only = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would change.")] = False,
) -> None:
    """Price history again at the prices in force then; corrections are new rows, the old ones stay."""
    book = PriceBook.read(prices or ())
    with _books(where) as ledger:
        found = rerating.rerate(ledger, book, _scope(since, until, only), dry)
    console().print(escape(f"{'would be: ' if dry else ''}{sheets.rerating_sentence(found)}"), soft_wrap=True)


@app.command()
def attribute(
    where: Where,
    service: Annotated[str, typer.Option(help="The deployment's name in the books.", show_default=False)],
    meter: Annotated[Path, typer.Option(help="CSV: start_s, end_s, joules.", show_default=False)],
    usd_per_h: Annotated[str, typer.Option(help="Dollars per hour of the deployment.", show_default=False)],
    idle_w: Annotated[float, typer.Option(help="Watts it draws without load.", min=0, show_default=False)],
    site: Annotated[str, typer.Option(help="Where it runs: PUE and grid.")] = "own_us",
    grid: Annotated[Path | None, typer.Option(help="CSV of gCO2e/kWh by hour.", show_default=False)] = None,
) -> None:
    """Attribute a meter's joules and a deployment's dollars to its calls; idle time gets a row of its own."""
    read = bill(meter, (usd_per_h, idle_w), site, grid)
    with _books(where) as ledger:
        shares = post(ledger, service, read)
    _show(sheets.attribution_sheet(shares), False)


@app.command()
def export(
    where: Where,
    out: Annotated[Path, typer.Option(help="Where to write it.", show_default=False)],
    as_: Annotated[str, typer.Option("--as", help="focus (CSV) or otel (OTLP JSON lines).")] = "focus",
    since: Since = "",
    until: Until = "",
    only: Only = None,
) -> None:
    """Write the books for other tools: FOCUS 1.2, or OpenTelemetry GenAI spans."""
    writers = {"focus": exporting.focus, "otel": exporting.spans}
    if as_ not in writers:
        raise InputError(f"--as {as_}: allowed are {', '.join(writers)}")
    check(out)
    with _books(where) as ledger, out.open("w", encoding="utf-8", newline="") as file:
        count = writers[as_](ledger, file, _scope(since, until, only))
    console().print(f"{count:,} {'charges' if as_ == 'focus' else 'spans'} in {escape(str(out))}")


@app.command()
def keys(
    where: Where,
    create: Annotated[str, typer.Option(help="Name of a new key.", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="The new key's project.", show_default=False)] = "",
    rotate: Annotated[str, typer.Option(help="Name of a key that gets a new secret.", show_default=False)] = "",
    grace_s: Annotated[float, typer.Option(help="How long the old secret stays valid.", min=0)] = 0.0,
    revoke: Annotated[str, typer.Option(help="Name of a key that ends.", show_default=False)] = "",
    json: Json = False,
) -> None:
    """List, create, rotate or revoke keys; a secret is shown once."""
    with _books(where) as ledger:
        known = ApiKeyStore(ledger)
        if revoke:
            known.revoke(revoke)
        secret = known.create(create, project) if create else known.rotate(rotate, grace_s) if rotate else ""
        if secret:
            typer.echo(secret)
        else:
            _show(sheets.keys(known.all()), json)


@app.command()
def budgets(
    where: Where,
    set_: Annotated[str, typer.Option("--set", help="As 'key NAME per day 5.00', or 'all in total 100'.")] = "",
    drop: Annotated[str, typer.Option(help="As 'key NAME per day'.", show_default=False)] = "",
    json: Json = False,
) -> None:
    """List, set or drop budgets."""
    with _books(where) as ledger:
        if set_:
            what, _, limit = set_.rpartition(" ")
            ledger.set_budget(_budget(what, pusd(limit)))
        if drop:
            ledger.drop_budget(_budget(drop, 0))
        _show(sheets.balances(ledger.balances()), json)


@app.command()
def alerts(where: Where, webhook: Annotated[str, typer.Option(help="Called with JSON.", show_default=False)]) -> None:
    """Call a webhook once for every budget that passes 50, 80 or 100 %."""
    with _books(where) as ledger:
        for sent in sending.send(ledger, webhook):
            console().print(f"{escape(sent.budget)}: {sent.percent} % of ${sent.limit_usd:,.2f}")


@contextmanager
def _books(where: str) -> Iterator[CallLedger]:
    """Books that exist: a report of a name that was mistyped must not make an empty file."""
    if "://" not in where and not Path(where).is_file():
        raise InputError(f"{where}: there are no books; `comptroller serve` makes them")
    with CallLedger.open(where) as ledger:
        yield ledger


def _scope(since: str, until: str, only: list[str] | None) -> LedgerScope:
    pairs = dict(text.partition("=")[::2] for text in only or ())
    wrong = sorted(name for name in pairs if name not in GROUPS or name == "day")
    if wrong:
        raise InputError(f"--only {wrong[0]}: allowed are {', '.join(name for name in GROUPS if name != 'day')}")
    return LedgerScope(_day(since), _day(until), pairs)


def _period(text: str) -> LedgerScope:
    since, dots, until = text.partition("..")
    if not (since and dots and until):
        raise InputError(f"period {text!r}: write it as 2026-01-01..2026-02-01")
    return _scope(since, until, None)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise InputError(f"{text!r} is no day; write it as {datetime.now(UTC).date()}") from error


def _names(by: str) -> list[str]:
    return [name.strip() for name in by.split(",") if name.strip()]


def _budget(text: str, limit: int) -> SpendBudget:
    """A budget from its words: scope, name unless the scope is all, and `per PERIOD` or `in total`."""
    words = text.split()
    if len(words) < 3 or words[-2] not in {"per", "in"}:
        raise InputError(f"budget {text!r}: write it as 'key NAME per day' or 'all in total'")
    scope: Any = words[0]
    period: Any = words[-1]
    return SpendBudget(scope, " ".join(words[1:-2]), period, limit)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _show(sheet: ReportSheet, json: bool, table: Path | None = None) -> None:
    if table:
        write(table, writer_of(table)(sheet))
    if json:
        typer.echo(documents.dumps(sheet.records(), indent=2, ensure_ascii=False))
        return
    to = console()
    print_sheet(sheets.terse(sheet) if to.width <= WIDTH else sheet, to)
    if not sheet.rows:
        to.print("[dim]no rows[/]")
