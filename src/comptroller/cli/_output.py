"""Where results go: files that can be written, or one clear error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from comptroller.errors import InputError


def check(path: Path) -> None:
    """Make the folder of a file that is about to be made with much work.

    Raises:
        InputError: the file cannot be written there; says why.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written: {'a folder' if path.is_dir() else 'not allowed'}")


def say(text: str) -> None:
    """A remark beside the output, on the other stream."""
    Console(stderr=True, highlight=False, emoji=False).print(f"[dim]{escape(text)}[/]", soft_wrap=True)


def write_all(files: Mapping[str, Path | None], make: Mapping[str, Callable[[], str | bytes]]) -> None:
    """Write those files that have a path, each made as its name says, and tell where."""
    for name, path in files.items():
        if path is not None:
            write(path, make[name]())
            say(f"wrote {path}")


def write(path: Path, content: str | bytes) -> None:
    """Write a file.

    Raises:
        InputError: it cannot be written; says why.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def picture_kind(path: Path | None) -> str:
    """What a picture is written as, by the suffix of its file: svg, or else png."""
    return "svg" if path is not None and path.suffix.lower() == ".svg" else "png"
