"""`comptroller new`: a commented workload from a few answers, or from a trace."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import check, say, write
from comptroller.cli._workload_options import WorkloadOptions, completion, listed_names, workload_options
from comptroller.errors import FactError, InputError
from comptroller.facts.reader import ids
from comptroller.facts.use_case import use_case as use_case_of
from comptroller.work.traces import read_trace
from comptroller.work.workload import Workload, parse
from comptroller.work.workload_text import WorkloadAnswers, trace_remarks, workload_text

ALONE = True
"""Run without arguments it asks."""

Ask = Callable[[str, str], str]
"""A question and what an empty answer means -> the answer."""


@with_shared_options
def run(
    stated: Annotated[WorkloadOptions, SharedOptions(workload_options)],
    file: Annotated[Path | None, typer.Argument(help="The file to write; printed if left out.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Models, by id or file, with commas or again.", autocompletion=completion("models")),
    ] = None,
    tokens_out: Annotated[int | None, typer.Option("--out", help="Tokens of an answer.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented workload from users, tokens, a rate or a trace; asks on a terminal if nothing is given."""
    values = dict(stated.with_answers(tokens_out).values)
    if models := listed_names(model):
        values["models"] = models
    if not values and sys.stdin.isatty():
        values = answers_of(lambda question, default: typer.prompt(question, default=default, err=True))
        file = file or Path(typer.prompt("File to write", default="workload.toml", err=True))
    if file is None:
        typer.echo(checked_text(values, None), nl=False)
        return
    if file.exists() and not force:
        raise InputError(f"{file}: is there already; --force replaces it")
    check(file)
    write(file, f"#:schema {SCHEMA_FILE}\n{checked_text(values, file)}")
    _write_schema(file.parent / SCHEMA_FILE)
    say(f"wrote {file}; next: comptroller plan {file}")


SCHEMA_FILE = "workload.schema.json"
"""The schema beside a new workload, from which editors complete and check its keys."""


def _write_schema(path: Path) -> None:
    from comptroller.cli._document_schemas import document_schema

    write(path, json.dumps(document_schema("workload"), indent=2, ensure_ascii=False) + "\n")


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


def workload_of(models: list[str], values: dict[str, Any]) -> Workload:
    """The workload that options state, as if it had been written to a file here.

    Raises:
        InputError: something is missing or contradicts something else.
    """
    text = checked_text({"name": ", ".join(Path(model).stem for model in models), "models": models, **values}, None)
    return parse(tomllib.loads(text), Path("workload.toml"))


def _path_from(file: Path | None, trace: Path) -> str:
    """The path of a trace as a workload at `file` has to name it."""
    return os.path.relpath(trace, (file or Path("workload.toml")).absolute().parent)
