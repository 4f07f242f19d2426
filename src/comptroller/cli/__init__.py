"""The command line, `comptroller COMMAND ...`. A command is one file of this folder: its stem is the name,
its `run` the function, or its `app` a group of functions. Only the command that is asked for is imported.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module, resources
from typing import Annotated, Any

import typer

from comptroller import __version__
from comptroller.cli._interrupt import INTERRUPTED, InterruptWatch
from comptroller.cli._refusal import refuse
from comptroller.errors import ComptrollerError
from comptroller.own_code import own_fault

PATIENT = ("serve", "measure", "books", "dashboard")
"""Commands that put away what they have begun before Ctrl-C ends them: requests, runs of real hardware, a ledger."""


def commands() -> list[str]:
    """Names of all commands, sorted."""
    here = resources.files(__name__)
    return sorted(x.name[:-3] for x in here.iterdir() if x.name.endswith(".py") and x.name[0] != "_")


USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
"""What Typer raises of an option that cannot be; its own name for it differs between versions."""


def main(words: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 if it worked, 2 for bad input, 130 when interrupted; never a traceback."""
    given = list(sys.argv[1:] if words is None else words)
    watch = nullcontext() if set(given[:1]) & set(PATIENT) else InterruptWatch()
    as_json = "--json" in given
    try:
        with watch:
            ended = application(given)(given, prog_name="comptroller", standalone_mode=not as_json)
        sys.exit(ended or 0)
    except ComptrollerError as error:
        refuse(error, given)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        # Under --json Typer leaves it to its caller to tell what is wrong with an option.
        if isinstance(error, USAGE_ERROR):
            refuse(error.format_message(), given)
        # A user's own code may raise anything, which is told in a line; what arose in the package goes on as it is.
        if fault := own_fault(error):
            refuse(fault, given)
        raise


COMPLETED_WORDS = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")
"""Variables in which shells hand over the words that are to be completed."""


def _asked_words(given: Sequence[str]) -> list[str]:
    """The words of the command line, which a shell that asks for completions has put into the environment."""
    typed = next((os.environ[name] for name in COMPLETED_WORDS if os.environ.get(name)), "")
    return typed.split()[1:] if typed and "_COMPTROLLER_COMPLETE" in os.environ else list(given)


def application(words: Sequence[str]) -> typer.Typer:
    """The program with the command that the words name, or with the summaries of all where they name none."""
    app = typer.Typer(
        help="Plans, runs and accounts for LLM compute.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(_program)
    asked = [name for name in commands() if name in _asked_words(words)[:1]]
    for name in () if asked else commands():
        app.command(name, help=_summary(name))(_program)  # is never run: only help and unknown names come here
    for name in asked:
        module = import_module(f"{__name__}.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name, no_args_is_help=not getattr(module, "ALONE", False))(module.run)
    return app


def _summary(command: str) -> str:
    """What a command does, read from its source: importing all commands takes seconds."""
    source = resources.files(__name__).joinpath(f"{command}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "run":
            return ast.get_docstring(node) or ""
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "app" and isinstance(node.value, ast.Call):
            return str(next(ast.literal_eval(word.value) for word in node.value.keywords if word.arg == "help"))
    raise AssertionError(f"{command}: neither run nor app")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass
