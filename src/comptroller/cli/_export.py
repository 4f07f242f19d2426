"""`--export TARGET=FOLDER`: a plan for the tools that people run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from comptroller.cli._output import check, write
from comptroller.errors import InputError
from comptroller.export import export, targets
from comptroller.planning.ground.plan_document import Plan


def wishes(given: Sequence[str] | None) -> list[tuple[str, Path]]:
    """Targets with their folders, before any work is done.

    Raises:
        InputError: not TARGET=FOLDER, there is no such target, or the folder cannot be made.
    """
    exports = []
    for text in given or ():
        target, _, folder = text.partition("=")
        if target not in targets() or not folder:
            raise InputError(f"--export {text}: give TARGET=FOLDER, with a target of {', '.join(targets())}")
        check(Path(folder) / "file")
        exports.append((target, Path(folder)))
    return exports


def write_exports(plan: Plan, exports: Sequence[tuple[str, Path]]) -> None:
    """Write every file and say so on stderr.

    Raises:
        UnsupportedError: a tool cannot run what the plan asks for.
        InputError: a file cannot be written.
    """
    stderr = Console(stderr=True, highlight=False, emoji=False)
    for target, folder in exports:
        for name, text in export(target, plan).items():
            write(folder / name, text)
            stderr.print(f"[dim]wrote {escape(str(folder / name))}[/]", soft_wrap=True)
