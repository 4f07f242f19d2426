"""`comptroller new`: a commented workload from a few answers, or from a trace."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from comptroller.cli._output import check, say, write
from comptroller.errors import FactError, InputError
from comptroller.facts.reader import ids
from comptroller.facts.site import PROVIDER_KINDS
from comptroller.facts.use_case import use_case as use_case_of
from comptroller.work.traces import read_trace
from comptroller.work.workload import parse
from comptroller.work.workload_text import WorkloadAnswers, trace_remarks, workload_text

ALONE = True
"""Run without arguments it asks."""

TTFT_P, TPOT_P = 95, 95
"""Per cent of the requests that a limit given by option holds for, as where a workload states none."""

Ask = Callable[[str, str], str]
"""A question and what an empty answer means -> the answer."""


def run(
    file: Annotated[Path | None, typer.Argument(help="The file to write; printed if left out.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model, by id or file. Again for others.")] = None,
    use_case: Annotated[str, typer.Option(help=f"{', '.join(ids('use_cases'))}, or a file.", show_default=False)] = "",
    users: Annotated[int | None, typer.Option(help="Users of the service.")] = None,
    tokens_per_day: Annotated[float | None, typer.Option(help="Tokens of a day, in place of users.")] = None,
    busiest_hour_share: Annotated[
        float | None, typer.Option(help="Share of a day's requests in its busiest hour.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second, in place of users.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Recorded requests, in place of users.")] = None,
    tokens_in: Annotated[int | None, typer.Option("--in", help="Tokens of a prompt.")] = None,
    tokens_out: Annotated[int | None, typer.Option("--out", help="Tokens of an answer.")] = None,
    ttft_ms: Annotated[float | None, typer.Option(help="Longest time to the first token, ms, p95.")] = None,
    tpot_ms: Annotated[float | None, typer.Option(help="Longest time per token after it, ms, p95.")] = None,
    on: Annotated[list[str] | None, typer.Option(help="An accelerator that may be used. Again for others.")] = None,
    at: Annotated[list[str] | None, typer.Option(help="A site that may be used. Again for others.")] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Whom to rent from. Again for others.")] = None,
    provider_kind: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(PROVIDER_KINDS)}: whom to rent from. Again for others.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented workload from users, tokens, a rate or a trace; asks on a terminal if nothing is given."""
    given: dict[str, Any] = {
        "models": model,
        "use_case": use_case or None,
        "users": users,
        "tokens_per_day": tokens_per_day,
        "busiest_hour_share": busiest_hour_share,
        "rate_per_s": rate,
        "trace": trace,
        "lengths.input": None if tokens_in is None else {"fixed": tokens_in},
        "lengths.output": None if tokens_out is None else {"fixed": tokens_out},
        "objectives.ttft": _limit(ttft_ms, TTFT_P),
        "objectives.tpot": _limit(tpot_ms, TPOT_P),
        "allow.accelerators": on,
        "allow.sites": at,
        "allow.providers": provider,
        "allow.kinds": provider_kind,
    }
    values = {key: value for key, value in given.items() if value is not None}
    if not values and sys.stdin.isatty():
        values = answers_of(lambda question, default: typer.prompt(question, default=default, err=True))
        file = file or Path(typer.prompt("File to write", default="workload.toml", err=True))
    if file is None:
        typer.echo(checked_text(values, None), nl=False)
        return
    if file.exists() and not force:
        raise InputError(f"{file}: is there already; --force replaces it")
    check(file)
    write(file, checked_text(values, file))
    say(f"wrote {file}; next: comptroller plan {file}")


def _limit(milliseconds: float | None, p: int) -> dict[str, Any] | None:
    return None if milliseconds is None else {"p": p, "max": milliseconds, "unit": "ms"}


def answers_of(ask: Ask) -> dict[str, Any]:
    """The keys that a few questions give; the use case fills in the rest.

    Raises:
        InputError: an answer is no number, or an unknown use case.
    """
    kind = ask(f"Use case ({', '.join(ids('use_cases'))})", "chat")
    known = use_case_of(kind)
    values: dict[str, Any] = {"use_case": kind}
    if users := ask("Users (empty: by tokens of a day)", ""):
        values["users"] = int(_number("users", users))
    else:
        values["tokens_per_day"] = _number("tokens of a day", ask("Tokens of a day, prompts and answers", "1e9"))
    share = known.busiest_hour_share.value
    values["busiest_hour_share"] = _number("share", ask("Share of a day in its busiest hour", f"{share:g}"))
    values["models"] = _names(ask("Models, by id (comptroller show models)", "llama_3_1_8b"))
    for key, question in (("allow.accelerators", "Accelerators"), ("allow.sites", "Sites")):
        if names := _names(ask(f"{question} that may be used (empty: all)", "")):
            values[key] = names
    return values


def _number(what: str, text: str) -> float:
    try:
        return float(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise InputError(f"{what}: {text!r} is no number") from None


def _names(text: str) -> list[str]:
    return text.replace(",", " ").split()


def checked_text(given: dict[str, Any], file: Path | None) -> str:
    """The text of the file, which was read again and is a workload.

    Raises:
        InputError: something is missing or contradicts something else; names the option.
    """
    if not given.get("models"):
        raise InputError("which model? --model ID, such as --model llama_3_1_8b (comptroller show models)")
    values = {"name": file.stem if file else given.get("use_case", "workload"), **given, "objective": "usd"}
    remarks: dict[str, tuple[str, ...]] = {}
    if trace := values.get("trace"):
        remarks["trace"] = trace_remarks(read_trace(trace))
        values |= {"trace": _path_from(file, trace), "peak": {"quantile": 0.95, "window_s": 60.0}}
    place = file or Path("workload.toml")
    text = workload_text(WorkloadAnswers(values, remarks))
    try:
        found = parse(tomllib.loads(text), place)
    except FactError as error:
        raise InputError(f"{error}; see comptroller new --help") from error
    remarks |= {"use_case": found.assumptions} if found.assumptions else {}
    return workload_text(WorkloadAnswers(values, remarks))


def _path_from(file: Path | None, trace: Path) -> str:
    """The path of a trace as a workload at `file` has to name it."""
    return os.path.relpath(trace, (file or Path("workload.toml")).absolute().parent)
