"""Options that several commands share, written once.

A command names what it needs as `Annotated[TYPE, SharedOptions(function)]`. The parameters of the function become
options of the command, and the command gets what the function returns; a context manager is open while it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import typer

from comptroller.errors import InputError


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """Marks a parameter of a command that `make` makes from options of its own."""

    make: Callable[..., Any]


def shared_command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that makes a function a command of a group, with what it shares written out as options."""
    return lambda command: app.command(name)(with_shared_options(command))


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer has to see it: a parameter with SharedOptions is replaced by its options, in place."""
    own = _parameters(command)
    marks = {
        name: mark
        for name, parameter in own.items()
        for mark in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(mark, SharedOptions)
    }
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in own.items():
        options |= _parameters(marks[name].make) if name in marks else {name: parameter}

    def run(**given: Any) -> None:
        with ExitStack() as stack:
            made = {name: _options_of(mark.make, given, stack) for name, mark in marks.items()}
            command(**{name: given[name] for name in own if name not in marks}, **made)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {name: option.annotation for name, option in options.items()}
    keyword_only = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options.values()]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return run


def _options_of(make: Callable[..., Any], given: Mapping[str, Any], stack: ExitStack) -> Any:
    result = make(**{name: given[name] for name in _parameters(make)})
    return stack.enter_context(result) if isinstance(result, AbstractContextManager) else result


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function, eval_str=True).parameters


def option_name(name: str) -> str:
    """How a parameter that has no other spelling is given."""
    return f"--{name.replace('_', '-')}"


def require_one(**asked: object) -> None:
    """Refuse two of the ways in which a fleet changes while it serves: each is a simulation of its own.

    Raises:
        InputError: several are asked for.
    """
    names = [option_name(name) for name, said in asked.items() if said]
    if len(names) > 1:
        raise InputError(f"{' and '.join(names)}: each is a simulation of its own; give one of them")
