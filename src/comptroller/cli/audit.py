"""`comptroller audit URL`: whether an endpoint is what it is said to be, with the prompts and dollars told first."""

from __future__ import annotations

import json as documents
import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from comptroller.cli._output import check, say, write
from comptroller.cli._progress import ProgressBar
from comptroller.errors import InputError
from comptroller.measure.audit_probe import ProbePass, ask_all
from comptroller.measure.audit_record import AuditReference, read_reference, reference_text
from comptroller.measure.endpoint_audit import AuditDesign, AuditRequest, audit_design, claim_faults, claims_of, compare
from comptroller.measure.serving_target import ServingTarget
from comptroller.report.audit_tables import audit_record, audit_sheets, design_sheet
from comptroller.report.terminal import console, print_sheet

NOT_BORNE_OUT = 1
"""Exit code where a claim is not borne out."""

Name = Annotated[str, typer.Option(show_default=False)]


def run(
    url: Annotated[str, typer.Argument(help="The endpoint, http://HOST:PORT/v1.", show_default=False)],
    claims: Annotated[
        str, typer.Option(help="What it is said to be: model=NAME,format=NAME,speculation=none.", show_default=False)
    ] = "",
    reference: Annotated[
        str, typer.Option(help="What it is held against: another URL, or a file of --record.", show_default=False)
    ] = "",
    record: Annotated[
        Path | None, typer.Option(help="Ask the endpoint twice, and write this reference.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option(help="The model's name there. [default: its first]", show_default=False)] = "",
    reference_model: Annotated[
        str, typer.Option(help="The model's name at the reference. [default: --model]", show_default=False)
    ] = "",
    false_alarm: Annotated[float, typer.Option(help="Chance of a false alarm.")] = 0.05,
    power: Annotated[float, typer.Option(help="Chance of telling another format.")] = 0.95,
    odd: Annotated[
        float, typer.Option(help="Share of prompts at which it must be the odd one to be told.", show_default=False)
    ] = 0.0,
    prompts: Annotated[int, typer.Option(help="Prompts. [default: as the power needs]", show_default=False)] = 0,
    samples: Annotated[int, typer.Option(help="Samples of each prompt, for endpoints without log-probabilities.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 16,
    price: Annotated[str, typer.Option(help="Dollars per million tokens: IN,OUT.", show_default=False)] = "",
    most_usd: Annotated[
        float | None, typer.Option(help="Send nothing if it may cost more.", show_default=False)
    ] = None,
    clients: Annotated[int, typer.Option(help="Requests at once, where answers are compared beside others.")] = 4,
    key_env: Annotated[str, typer.Option(help="Variable that holds the API key.", show_default=False)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and send nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold an endpoint against a reference, with exact false alarms; prompts and dollars are told first."""
    said, prices = claims_of(claims), _prices(price)
    _require(reference, record, (prompts, samples, max_tokens, clients))
    if record:
        check(record)
    asked = audit_design(AuditRequest(false_alarm, power, odd, prompts, samples, max_tokens))
    recorded = bool(reference) and not reference.startswith(("http://", "https://"))
    known = read_reference(Path(reference), asked.plan) if recorded else None
    calls = 2 * asked.plan.calls if record else asked.calls(recorded)
    usd = asked.plan.usd(prices) * calls / asked.plan.calls
    if most_usd is not None and math.isnan(usd):
        raise InputError("audit: --most-usd needs --price IN,OUT, dollars per million tokens")
    if not json or dry_run:
        _show_design(asked, (calls, usd), json)
    if most_usd is not None and usd > most_usd:
        raise InputError(
            f"audit: may cost ${usd:.4g}, more than --most-usd {most_usd:g}; --prompts or --max-tokens less"
        )
    if dry_run:
        return
    key = os.environ.get(key_env, "") if key_env else ""
    target = ServingTarget.of(url, model, key)
    if record:
        passes = tuple(_ask(target, asked, number) for number in range(2))
        write(record, reference_text(AuditReference(said, asked.plan, passes)))
        say(f"wrote {record}")
        return
    if known is None:
        other = ServingTarget.of(reference, reference_model or model, key)
        known = AuditReference({}, asked.plan, tuple(_ask(other, asked, number) for number in range(2)))
    _tell(target, asked, known, (said, (calls, usd), clients), json)


def _tell(
    target: ServingTarget,
    asked: AuditDesign,
    known: AuditReference,
    how: tuple[dict[str, str], tuple[int, float], int],
    json: bool,
) -> None:
    """Ask the endpoint, compare, and end with what is not borne out."""
    said, sent, clients = how
    for name in set(said) & set(known.claims) - {"speculation"}:
        if said[name].lower() != known.claims[name].lower():
            raise InputError(f"--reference is {name}={known.claims[name]}, claimed is {said[name]}: record one of that")
    endpoint = _ask(target, asked, 2)
    greedy = AuditDesign(asked.tests, type(asked.plan)(asked.plan.prompts, 0, asked.plan.max_tokens), 0, 0)
    beside = _ask(target, greedy, 3, clients)
    outcome = compare(asked, known.first(asked.plan), endpoint, beside)
    faults = claim_faults(said, outcome, endpoint.greedy[0].served, dict(known.claims))
    if json:
        typer.echo(_document(audit_record(asked, sent, outcome, faults)))
    else:
        for sheet in audit_sheets(outcome):
            print_sheet(sheet, console())
        for name, reason in outcome.missing.items():
            console().print(f"[dim]{escape(name)}: {escape(reason)}[/]", soft_wrap=True)
        for fault in faults or ["nothing speaks against what is claimed"]:
            console().print(f"[bold]{escape(fault)}[/]", soft_wrap=True)
    if faults:
        raise typer.Exit(NOT_BORNE_OUT)


def _show_design(asked: AuditDesign, sent: tuple[int, float], json: bool) -> None:
    if json:
        typer.echo(_document(audit_record(asked, sent, None, ())))
    else:
        print_sheet(design_sheet(asked, *sent), console())


def _document(record: dict[str, Any]) -> str:
    return documents.dumps(record, indent=2, ensure_ascii=False).replace("NaN", "null")


def _ask(target: ServingTarget, asked: AuditDesign, number: int, clients: int = 1) -> ProbePass:
    with ProgressBar(f"asking {target.model}", "answers") as progress:
        return ask_all(target, asked.plan, number, progress, clients)


def _require(reference: str, record: Path | None, counts: tuple[int, int, int, int]) -> None:
    """Refuse what cannot be audited, all faults at once.

    Raises:
        InputError: no reference and no record, both, or a count that is too small.
    """
    faults = []
    if bool(reference) == bool(record):
        faults.append("one of --reference (a URL or a file) and --record FILE")
    for name, count, least in zip(("prompts", "samples", "max-tokens", "clients"), counts, (0, 0, 1, 1), strict=True):
        if count < least:
            faults.append(f"--{name} is {count}; at least {least}")
    if counts[1] == 1:
        faults.append("--samples 2 or more: a set of one says nothing of its own spread")
    if faults:
        raise InputError(f"audit: {'; '.join(faults)}")


def _prices(text: str) -> tuple[float, float]:
    """Dollars per million tokens of prompts and answers; NaN where none are told.

    Raises:
        InputError: the text is not two numbers from 0 up.
    """
    if not text:
        return math.nan, math.nan
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--price {text!r} is not IN,OUT in dollars per million tokens") from None
    if not (0 <= first < math.inf and 0 <= second < math.inf):
        raise InputError(f"--price {text!r}: prices are numbers from 0 up")
    return first, second
