"""The exceptions of this package, as one tree.

    ComptrollerError
    ├── InputError                   an argument or a file is wrong; the command line exits with 2
    │   ├── FactError                a fact file: which file, which field, what is allowed
    │   │   └── DocumentFaultsError  several faults of one document
    │   ├── UnknownIdError           an id that no file carries; lists the nearest
    │   ├── DuplicateCallError       a call of this id was settled, released or given up before
    │   └── RecordError              rows of a trace, table or log: which rows, what is wrong
    ├── UnsupportedError             the facts or the evidence do not support an answer
    │   ├── UnsupportedFormatError   an accelerator cannot run a number format
    │   └── InsufficientMemoryError  weights or cache exceed the memory, by how many bytes
    ├── BudgetExceededError          a call's worst case is more than a budget has left; names budget, limit and spend
    ├── LedgerError                  the books cannot be opened, read or written; says how to mend it
    ├── InfeasibleError              no choice meets the objectives; names the binding limit and a feasible one
    └── ProtocolError                a strategy or the world that runs it broke their protocol; names the rule

>>> issubclass(InsufficientMemoryError, ComptrollerError)
True
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

NEAREST_IDS = 5
"""Ids that an error suggests: one line of a terminal. Twice as many wrap onto a second line."""

SIMILARITY = 0.5
"""Least `difflib` ratio of a suggested id. `h100` and `h100_sxm` have 0.67, `b200` and `h200_sxm` 0.50, `h100` and `t4`
0. At twice this only equal ids count, so nothing would ever be suggested."""


class ComptrollerError(Exception):
    """Base class of every error this package raises on purpose."""


class InputError(ComptrollerError):
    """An argument, an option or a file of the user is wrong."""


class FactError(InputError):
    """A fact file, or another document of the user, is malformed.

    file, field: where.  problem: what is wrong.  allowed: the values or units that are accepted, if they can be listed.
    line: of the file, from 1, where it is known.

    >>> print(FactError("h100.toml", "tdp_w", "needs a unit", "W, kW", line=7))
    h100.toml:7: tdp_w: needs a unit (allowed: W, kW)
    """

    def __init__(self, file: str, field: str, problem: str, allowed: str = "", line: int | None = None) -> None:
        self.file, self.field, self.problem, self.allowed, self.line = file, field, problem, allowed, line
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {field}: {problem}" + (f" (allowed: {allowed})" if allowed else ""))

    @property
    def faults(self) -> tuple[FactError, ...]:
        """Each fault by itself."""
        return (self,)

    def at_lines(self, line_of: Callable[[str], int | None]) -> FactError:
        """The error with the line of each fault, by what tells the line of a field; known lines stay."""
        told = [
            FactError(each.file, each.field, each.problem, each.allowed, each.line or line_of(each.field))
            for each in self.faults
        ]
        told.sort(key=lambda each: each.line or 0)  # what stands on no line is missing, and comes first
        return one_error(told)


class DocumentFaultsError(FactError):
    """Several faults of one document, told together; file, field, problem and allowed are those of the first.

    >>> both = [FactError("a.toml", "rate", "is missing"), FactError("a.toml", "cv", "'x' is not allowed", "a number")]
    >>> print(DocumentFaultsError(both))
    2 faults
    a.toml: rate: is missing
    a.toml: cv: 'x' is not allowed (allowed: a number)
    """

    def __init__(self, faults: Sequence[FactError]) -> None:
        first = faults[0]
        super().__init__(first.file, first.field, first.problem, first.allowed, first.line)
        self._faults = tuple(faults)

    @property
    def faults(self) -> tuple[FactError, ...]:
        """Each fault by itself."""
        return self._faults

    def __str__(self) -> str:
        return "\n".join([f"{len(self.faults)} faults", *map(str, self.faults)])


def one_error(faults: Sequence[FactError]) -> FactError:
    """A fault, or several of one document, as the error that is raised.

    >>> fault = FactError("a.toml", "rate", "is missing")
    >>> one_error([fault]) is fault, len(one_error([fault, fault]).faults)
    (True, 2)
    """
    return faults[0] if len(faults) == 1 else DocumentFaultsError(faults)


KNOWN_IDS = 40
"""Ids that an error lists where none is similar: all accelerators and engines, about five lines of a terminal. Twice as
many would fill half of it and help nobody who has no similar name."""


class UnknownIdError(InputError):
    """An id of which no fact file exists.

    kind: of fact ("accelerator").  name: as the user wrote it.  ids: those that exist; the message lists the most
    similar ones, or some if none is similar.  accepts: what else may be written.

    >>> print(UnknownIdError("accelerator", "h100", ["h100_sxm", "h200_sxm", "t4"]))
    unknown accelerator 'h100'; nearest: h100_sxm, h200_sxm
    """

    def __init__(self, kind: str, name: str, ids: Iterable[str], accepts: str = "") -> None:
        existing = sorted(ids)
        similar = difflib.get_close_matches(name, existing, n=NEAREST_IDS, cutoff=SIMILARITY)
        near = sorted(similar, key=lambda one: not one.startswith(name.lower()))  # what only lacks its end comes first
        more = f" and {len(existing) - KNOWN_IDS} more" if len(existing) > KNOWN_IDS else ""
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(existing[:KNOWN_IDS])}{more}"
        super().__init__(f"unknown {kind} {name!r}; {hint}{accepts and f'; accepted: {accepts}'}")


class RecordError(InputError):
    """Rows of a table are invalid.

    rows: the first of them, as (row number from 1, problem).  total: how many there are.

    >>> print(RecordError("trace.csv", [(3, "arrival_s is negative (-1.0)")], total=1))
    trace.csv: 1 bad row: row 3: arrival_s is negative (-1.0)
    """

    def __init__(self, file: str, rows: list[tuple[int, str]], total: int) -> None:
        self.file, self.rows, self.total = file, rows, total
        shown = "; ".join(f"row {number}: {problem}" for number, problem in rows)
        super().__init__(f"{file}: {total} bad row{'s' * (total != 1)}: {shown}")


class DuplicateCallError(InputError):
    """A call of this id was settled, released or given up before; its upstream must not be called again."""


class UnsupportedError(ComptrollerError):
    """The facts or the evidence do not support an answer; nothing is guessed in its place."""


class UnsupportedFormatError(UnsupportedError):
    """An accelerator cannot run a number format."""


class InsufficientMemoryError(UnsupportedError):
    """Weights or cache exceed the memory of a device, by `short_bytes`."""

    def __init__(self, what: str, where: str, short_bytes: float) -> None:
        self.short_bytes = short_bytes
        super().__init__(f"{what} does not fit on {where}: short by {short_bytes / 1e9:.2f} GB")


class BudgetExceededError(ComptrollerError):
    """The greatest possible cost of a call is more than a budget has left.

    limit, spent, held, asked: picodollars; held is reserved for open calls, asked is what this call may cost at most
    (None where its price is unknown).

    >>> print(BudgetExceededError("key checkout per day", 5 * 10**12, 4_900_000_000_000, 0, 250_000_000_000))
    budget of key checkout per day: limit $5.00, spent $4.90, held by open calls $0.00; this call may cost $0.25
    """

    def __init__(self, budget: str, limit: int, spent: int, held: int, asked: int | None) -> None:
        self.budget, self.limit, self.spent, self.held, self.asked = budget, limit, spent, held, asked
        self.passing = asked is not None and held > 0 and spent + asked <= limit  # open calls hold what is missing
        may = "has no known price" if asked is None else f"may cost {_usd(asked)}"
        super().__init__(
            f"budget of {budget}: limit {_usd(limit)}, spent {_usd(spent)}, held by open calls {_usd(held)}; "
            f"this call {may}"
        )


def _usd(pusd: int) -> str:
    """Picodollars as dollars: exact, with at least two decimals."""
    whole, part = divmod(abs(pusd), 10**12)
    digits = f"{part:012d}".rstrip("0").ljust(2, "0")
    return f"{'-' * (pusd < 0)}${whole:,}.{digits}"


class LedgerError(ComptrollerError):
    """The books cannot be opened, read or written; the message says how to mend it."""


class InfeasibleError(ComptrollerError):
    """No choice meets the objectives and limits."""


class ProtocolError(ComptrollerError):
    """A strategy, or the world that runs it (replay, simulation, gateway), broke the protocol between them."""
