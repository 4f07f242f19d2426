"""Where results go: files that can be written, or one clear error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from rich.markup import escape

from comptroller.errors import InputError

if TYPE_CHECKING:
    from comptroller.report.drawing import ChartPicture

FileContent: TypeAlias = "str | bytes | ChartPicture"
"""What a file is written with."""


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


def write_all(files: Mapping[str, Path | None], make: Mapping[str, Callable[[], FileContent]]) -> None:
    """Write those files that have a path, each made as its name says, and tell where."""
    for name, path in files.items():
        if path is not None:
            write(path, make[name]())
            say(f"wrote {path}")


def write(path: Path, content: FileContent) -> None:
    """Write a file; a picture as SVG where its name ends in .svg, else as PNG.

    Raises:
        InputError: it cannot be written, or a picture cannot be drawn; says why.
    """
    if not isinstance(content, str | bytes):
        content = content.svg() if path.suffix.lower() == ".svg" else content.png()
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
