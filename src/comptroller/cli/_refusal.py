"""How a command that cannot do what was asked says so: a line on stderr and, with --json, a document on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

from comptroller.errors import FactError, RecordError

WRONG = 2
"""Exit code: the input is wrong or nothing is feasible."""


def refuse(reason: Exception | str, words: Sequence[str]) -> NoReturn:
    """Say why, and exit. words: of the command, which may ask for JSON."""
    if "--json" in words:
        sys.stdout.write(json.dumps(refusal_document(reason), indent=2, ensure_ascii=False) + "\n")
    stderr = Console(stderr=True, highlight=False, emoji=False)
    stderr.print(f"[bold red]error:[/] {escape(str(reason))}", soft_wrap=True)
    sys.exit(WRONG)


def refusal_document(reason: Exception | str) -> dict[str, Any]:
    """A refusal as JSON: kind, message and, of a file, each fault with its place.

    >>> refusal_document(FactError("a.toml", "cv", "is missing", line=3))["error"]["faults"]
    [{'file': 'a.toml', 'line': 3, 'field': 'cv', 'problem': 'is missing', 'allowed': ''}]
    """
    kind = "InputError" if isinstance(reason, str) else type(reason).__name__
    found: list[dict[str, Any]] = []
    if isinstance(reason, FactError):
        keys = ("file", "line", "field", "problem", "allowed")
        found = [{key: getattr(fault, key) for key in keys} for fault in reason.faults]
    elif isinstance(reason, RecordError):
        found = [{"file": reason.file, "row": row, "problem": problem} for row, problem in reason.rows]
    return {"error": {"kind": kind, "message": str(reason), "faults": found}}
