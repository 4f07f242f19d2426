"""What can go wrong, as one small tree.

    ComptrollerError
    ├── InputError                   what was given is wrong; the command line exits with 2
    │   ├── FactError                a fact file: which file, which field, what is allowed
    │   ├── UnknownIdError           an id that no file carries; lists the nearest
    │   ├── DuplicateCallError       a call of this id was settled, released or given up before
    │   └── RecordError              rows of a trace, table or log: which rows, what is wrong
    ├── UnsupportedError             the facts or the evidence do not support an answer
    │   ├── UnsupportedFormatError   an accelerator cannot run a number format
    │   └── InsufficientMemoryError  weights or cache exceed the memory, by how many bytes
    ├── BudgetExceededError          a call's worst case is more than a budget has left; names budget, limit and spend
    ├── LedgerError                  the books cannot be opened, read or written; names the fix
    ├── InfeasibleError              no choice meets the objectives; names what binds and what would be feasible
    └── ProtocolError                a strategy or a world broke the protocol between them; names which rule

>>> issubclass(InsufficientMemoryError, ComptrollerError)
True
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ComptrollerError(Exception):
    """Root of every error this package raises on purpose."""


class InputError(ComptrollerError):
    """What was given is wrong."""


class FactError(InputError):
    """A fact file is malformed.

    >>> print(FactError("h100.toml", "tdp_w", "needs a unit", "W, kW"))
    h100.toml: tdp_w: needs a unit (allowed: W, kW)
    """

    def __init__(self, file: str, field: str, problem: str, allowed: str = "") -> None:
        self.file, self.field, self.problem, self.allowed = file, field, problem, allowed
        super().__init__(f"{file}: {field}: {problem}" + (f" (allowed: {allowed})" if allowed else ""))


class UnknownIdError(InputError):
    """An id that no file carries.

    >>> print(UnknownIdError("accelerator", "h100", ["h100_sxm", "h200_sxm", "t4"]))
    unknown accelerator 'h100'; nearest: h100_sxm, h200_sxm
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class RecordError(InputError):
    """Rows of a table are bad; names the first of them.

    >>> print(RecordError("trace.csv", [(3, "arrival_s is negative (-1.0)")], total=1))
    trace.csv: 1 bad row: row 3: arrival_s is negative (-1.0)
    """

    def __init__(self, file: str, rows: list[tuple[int, str]], total: int) -> None:
        self.file, self.rows, self.total = file, rows, total
        shown = "; ".join(f"row {number}: {problem}" for number, problem in rows)
        super().__init__(f"{file}: {total} bad row{'s' * (total != 1)}: {shown}")


class DuplicateCallError(InputError):
    """A call of this id was settled, released or given up before: its upstream must not be called again."""


class UnsupportedError(ComptrollerError):
    """The facts or the evidence do not support an answer."""


class UnsupportedFormatError(UnsupportedError):
    """An accelerator cannot run a number format."""


class InsufficientMemoryError(UnsupportedError):
    """Weights or cache exceed the memory of a device."""

    def __init__(self, what: str, where: str, short_bytes: float) -> None:
        self.short_bytes = short_bytes
        super().__init__(f"{what} does not fit on {where}: short by {short_bytes / 1e9:.2f} GB")


class BudgetExceededError(ComptrollerError):
    """A call's worst case is more than a budget has left.

    All amounts in picodollars; `asked` is None where the price is unknown.

    >>> print(BudgetExceededError("key checkout per day", 5 * 10**12, 4_900_000_000_000, 0, 250_000_000_000))
    budget of key checkout per day: limit $5.00, spent $4.90, held by open calls $0.00; this call may cost $0.25
    """

    def __init__(self, budget: str, limit: int, spent: int, held: int, asked: int | None) -> None:
        self.budget, self.limit, self.spent, self.held, self.asked = budget, limit, spent, held, asked
        may = "has no known price" if asked is None else f"may cost {_usd(asked)}"
        super().__init__(
            f"budget of {budget}: limit {_usd(limit)}, spent {_usd(spent)}, held by open calls {_usd(held)}; "
            f"this call {may}"
        )


def _usd(pusd: int) -> str:
    """Dollars of picodollars, to the cent or exactly where there is less."""
    whole, part = divmod(abs(pusd), 10**12)
    digits = f"{part:012d}".rstrip("0").ljust(2, "0")
    return f"{'-' * (pusd < 0)}${whole:,}.{digits}"


class LedgerError(ComptrollerError):
    """The books cannot be opened, read or written; the message names the fix."""


class InfeasibleError(ComptrollerError):
    """No choice meets the objectives."""


class ProtocolError(ComptrollerError):
    """A strategy or a world broke the protocol between them."""
