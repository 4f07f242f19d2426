"""`comptroller books`: what was spent, on what, and whether it balances."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from comptroller.books import alerts as sending
from comptroller.books import drift as drifting
from comptroller.books import insight, reconcile
from comptroller.books import rerate as rerating
from comptroller.books.budgets import SpendBudget
from comptroller.books.grouping import DOLLARS, grouped_totals, zone_of
from comptroller.books.invoices import CurrencyRates, read_invoice
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.books.meter_posting import post
from comptroller.books.query import EVERYTHING, GROUPS, LedgerScope, LedgerTotals, totals
from comptroller.cli._against import against
from comptroller.cli._books_keeping import archive_rows, digest, export, stops, verify, waits
from comptroller.cli._books_options import (
    TERMINAL,
    BooksOrRuns,
    InCurrency,
    OpenBooks,
    Printed,
    PrintedOrWritten,
    Rows,
    RowsOfDays,
    WhereArgument,
    period_of,
)
from comptroller.cli._inefficiency import gamma_like, inefficiency_sheet, sheet_of_runs
from comptroller.cli._meter_file import bill
from comptroller.cli._option_groups import shared_command
from comptroller.cli._output import check, write_all
from comptroller.costs.rating import pusd
from comptroller.errors import InputError
from comptroller.facts.prices import PriceBook
from comptroller.report import books as sheets
from comptroller.report.books_page import BooksSpending, page, picture
from comptroller.report.sheet import ReportSheet
from comptroller.report.terminal import console

app = typer.Typer(help="What was spent, on what, and does it balance.", no_args_is_help=True)
app.command()(against)
shared_command(app)(verify)
shared_command(app)(digest)
shared_command(app)(export)
shared_command(app)(stops)
shared_command(app, "archive")(archive_rows)
shared_command(app)(waits)

By = Annotated[str, typer.Option(help=f"Group by some of {', '.join(GROUPS)}; separated by commas.")]
ByTimes = Annotated[
    str, typer.Option(help=f"Group by some of {', '.join(GROUPS)}, hour, week, month, tag:NAME; separated by commas.")
]


@shared_command(app)
def report(
    where: WhereArgument,
    ledger: OpenBooks,
    by: ByTimes = "project,model",
    scope: Rows = EVERYTHING,
    zone: Annotated[str, typer.Option(help="Time zone of hours, days and months, as Europe/Berlin.")] = "UTC",
    money: InCurrency = DOLLARS,
    output: PrintedOrWritten = TERMINAL,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write spend by day and by group, a picture, PNG or .svg.", show_default=False)
    ] = None,
) -> None:
    """Dollars, tokens by kind, FLOPs, joules and grams, per request and per solved request."""
    names, where_in = _names(by), zone_of(zone)
    for path in filter(None, (output.table, html, png)):
        check(path)

    def summed(*by: str) -> list[LedgerTotals]:
        return grouped_totals(ledger, by, scope, where_in, money)

    groups, whole = summed(*names), summed()
    spend = sheets.spend(groups, names)
    printed = sheets.with_total(spend, whole, names)
    if html or png:
        if not whole:
            raise InputError(f"{where}: no rows in that period")
        limit = sheets.usd_of_a_day(ledger.balances()) if money.code == "USD" else None
        spending = BooksSpending(whole[0], summed("day", "model"), groups, money.code, zone, limit)
        title = f"Books of {Path(where).name}"

        def as_page() -> str:
            shown = [printed, sheets.success(groups, names)]
            shown = [sheets.in_currency(sheet, money.code) for sheet in shown]
            shown += [_waste(ledger, scope), sheets.overflow(summed("model"), ["model"])]
            return page(title, spending, [sheets.with_amounts(x) for x in (*shown, sheets.balances(ledger.balances()))])

        write_all({"html": html, "png": png}, {"html": as_page, "png": lambda: picture(title, spending)})
    output.show(sheets.in_currency(spend, money.code), sheets.in_currency(printed, money.code))


def _waste(ledger: CallLedger, scope: LedgerScope) -> ReportSheet:
    return sheets.waste(totals(ledger, ["finish"], scope), totals(ledger, ["role"], scope))


@shared_command(app)
def success(ledger: OpenBooks, by: By = "strategy", scope: Rows = EVERYTHING, output: Printed = TERMINAL) -> None:
    """What a solved request costs."""
    output.show(sheets.success(totals(ledger, _names(by), scope), _names(by)))


@shared_command(app)
def waste(ledger: OpenBooks, scope: Rows = EVERYTHING, output: Printed = TERMINAL) -> None:
    """What bought nothing: failed, cancelled and repeated calls, idle hardware."""
    output.show(_waste(ledger, scope))


@shared_command(app)
def overflow(ledger: OpenBooks, by: By = "model", scope: Rows = EVERYTHING, output: Printed = TERMINAL) -> None:
    """Share of calls with outputs over 1,000, 3,000 and 5,000 tokens."""
    output.show(sheets.overflow(totals(ledger, _names(by), scope), _names(by)))


@shared_command(app)
def reversal(ledger: OpenBooks, scope: Rows = EVERYTHING, output: Printed = TERMINAL) -> None:
    """Models that are cheaper on the list and dearer in the books."""
    reversals = insight.reversals(insight.list_priced_models(ledger, scope))
    if not output.json:
        console().print(f"[bold]{escape(sheets.reversal_headline(reversals))}[/]")
    output.show(sheets.reversed_pairs(reversals))


@shared_command(app)
def patterns(
    calls: BooksOrRuns,
    like: Annotated[str, typer.Option(help="Model and accelerator whose costs count.")] = "llama_3_1_8b@h100_sxm",
    scope: Rows = EVERYTHING,
    output: Printed = TERMINAL,
) -> None:
    """Inefficient trajectories, in prefill-token equivalents: of books, or of a table of agents' calls."""
    gamma = gamma_like(like)
    if isinstance(calls, CallLedger):
        output.show(inefficiency_sheet(insight.patterns(calls, gamma, scope)))
    elif scope != EVERYTHING:
        raise InputError("--since, --until and --only choose rows of books; a table of calls counts whole")
    else:
        output.show(sheet_of_runs(calls, gamma))


@shared_command(app, name="reconcile")
def reconcile_invoice(
    ledger: OpenBooks,
    invoice: Annotated[
        Path,
        typer.Option(
            help="What the provider billed: CSV of OpenAI, Anthropic, AWS, Azure, or FOCUS.", show_default=False
        ),
    ],
    rates: Annotated[
        Path | None, typer.Option(help="CSV: day, currency, usd; for invoices in other currencies.", show_default=False)
    ] = None,
    scope: RowsOfDays = EVERYTHING,
    output: PrintedOrWritten = TERMINAL,
) -> None:
    """Estimate, meter and invoice side by side per day and model, the difference explained."""
    billed = read_invoice(invoice, CurrencyRates.read(rates) if rates else None)
    output.show(sheets.reconciliation(reconcile.reconcile(ledger, billed, scope)))


@shared_command(app)
def change(
    ledger: OpenBooks,
    before: Annotated[str, typer.Option(help="A period, as 2026-01-01..2026-02-01.", show_default=False)],
    after: Annotated[str, typer.Option(help="The period to compare with it.", show_default=False)],
    by: Annotated[str, typer.Option(help="Groups between which the mix may shift.")] = "model",
    output: Printed = TERMINAL,
) -> None:
    """Why spend changed: volume, mix, efficiency, price; the parts add up."""
    output.show(sheets.spend_change(reconcile.change(ledger, period_of(before), period_of(after), by)))


@shared_command(app)
def drift(
    ledger: OpenBooks,
    before: Annotated[str, typer.Option(help="A period, as 2026-01-01..2026-01-08.", show_default=False)],
    after: Annotated[str, typer.Option(help="The period to compare with it.", show_default=False)],
    false_alarm: Annotated[float, typer.Option(help="Chance of a false alarm, over all measures.")] = 0.05,
    output: Printed = TERMINAL,
) -> None:
    """Whether cost, length, times and quality of a service moved: tests that permute whole days."""
    output.show(sheets.drifts(drifting.drift(ledger, period_of(before), period_of(after), false_alarm)))


@shared_command(app)
def rerate(
    ledger: OpenBooks,
    prices: Annotated[list[Path] | None, typer.Option(help="A file of own prices.", show_default=False)] = None,
    scope: Rows = EVERYTHING,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what would change.")] = False,
) -> None:
    """Price history again at the prices in force then; corrections are new rows, the old ones stay."""
    rerated = rerating.rerate(ledger, PriceBook.read(prices or ()), scope, dry)
    console().print(escape(f"{'would be: ' if dry else ''}{sheets.rerating_sentence(rerated)}"), soft_wrap=True)


@shared_command(app)
def attribute(
    ledger: OpenBooks,
    service: Annotated[str, typer.Option(help="The deployment's name in the books.", show_default=False)],
    meter: Annotated[Path, typer.Option(help="CSV: start_s, end_s, joules.", show_default=False)],
    usd_per_h: Annotated[str, typer.Option(help="Dollars per hour of the deployment.", show_default=False)],
    idle_w: Annotated[float, typer.Option(help="Watts it draws without load.", min=0, show_default=False)],
    site: Annotated[str, typer.Option(help="Where it runs: PUE and grid.")] = "own_us",
    grid: Annotated[Path | None, typer.Option(help="CSV of gCO2e/kWh by hour.", show_default=False)] = None,
) -> None:
    """Attribute a meter's joules and a deployment's dollars to its calls; idle time gets a row of its own."""
    shares = post(ledger, service, bill(meter, (usd_per_h, idle_w), site, grid))
    TERMINAL.show(sheets.attribution_sheet(shares))


@shared_command(app)
def keys(
    ledger: OpenBooks,
    create: Annotated[str, typer.Option(help="Name of a new key.", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="The new key's project.", show_default=False)] = "",
    models: Annotated[
        list[str] | None, typer.Option(help="Services it may call, as gpt-*.", show_default=False)
    ] = None,
    role: Annotated[str, typer.Option(help="auditor: reads, and spends nothing.", show_default=False)] = "",
    rotate: Annotated[str, typer.Option(help="Name of a key that gets a new secret.", show_default=False)] = "",
    grace_s: Annotated[float, typer.Option(help="How long the old secret stays valid.", min=0)] = 0.0,
    revoke: Annotated[str, typer.Option(help="Name of a key that ends.", show_default=False)] = "",
    output: Printed = TERMINAL,
) -> None:
    """List, create, rotate or revoke keys; a secret is shown once."""
    store = ApiKeyStore(ledger)
    if revoke:
        store.revoke(revoke)
    made = store.create(create, project, models or (), role) if create else ""
    secret = made or (store.rotate(rotate, grace_s) if rotate else "")
    if secret:
        typer.echo(secret)
    else:
        output.show(sheets.keys(store.all()))


@shared_command(app)
def budgets(
    ledger: OpenBooks,
    set_: Annotated[str, typer.Option("--set", help="As 'key NAME per day 5.00', or 'all in total 100'.")] = "",
    drop: Annotated[str, typer.Option(help="As 'key NAME per day'.", show_default=False)] = "",
    output: Printed = TERMINAL,
) -> None:
    """List, set or drop budgets."""
    if set_:
        what, _, limit = set_.rpartition(" ")
        ledger.set_budget(_budget(what, pusd(limit)))
    if drop:
        ledger.drop_budget(_budget(drop, 0))
    output.show(sheets.balances(ledger.balances()))


@shared_command(app)
def alerts(
    ledger: OpenBooks, webhook: Annotated[str, typer.Option(help="Called with JSON.", show_default=False)]
) -> None:
    """Call a webhook once for every budget that passes 50, 80 or 100 %."""
    for sent in sending.send(ledger, webhook):
        console().print(f"{escape(sent.budget)}: {sent.percent} % of ${sent.limit_usd:,.2f}")


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
