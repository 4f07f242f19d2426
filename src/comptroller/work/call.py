"""The record of a call, the same for a row of a trace, of a simulation and of the ledger.

A `Call` is one row, a `CallTable` many rows as columns. A wait for a tool is a call without tokens that takes `wait_s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, RecordError
from comptroller.quantities import Cost, TokenCounts

FINISH = ("", "stop", "length", "refused", "cancelled", "failed", "budget")
"""How a call ended; "" before it has. The column `finish` of a `CallTable` has indices into this tuple."""

SOURCE = ("", "predicted", "metered", "priced")
"""Origin of a call's cost; "" where it has none."""

LABELS = ("question", "role", "strategy", "service", "key", "project", "adapter")


@dataclass(frozen=True, slots=True)
class Call:
    """One call. Times are seconds on one clock; NaN or -1 where unknown.

    parent: the call that must end before this one is released (-1: none).  session: key of session affinity (-1: none).
    first_s, last_s: time of the first and of the last token.  adapter: weights beside the model; "" takes it as it is.
    input_tokens: of the prompt, cached ones included.  output_tokens: generated or to be generated, reasoning included.
    predicted_tokens: forecast of output_tokens for the scheduler (-1: output_tokens itself).  priority: larger first.
    blocks: ids of the full prefix blocks of the prompt and, if the engine goes on with them, of the output.
    preemptions: times that the engine evicted it.
    """

    call: int = 0
    request: int = 0
    parent: int = -1
    attempt: int = 0
    question: str = ""
    role: str = ""
    strategy: str = ""
    service: str = ""
    key: str = ""
    project: str = ""
    adapter: str = ""
    session: int = -1
    arrival_s: float = 0.0
    started_s: float = np.nan
    first_s: float = np.nan
    last_s: float = np.nan
    wait_s: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    predicted_tokens: int = -1
    priority: float = 0.0
    blocks: tuple[int, ...] = ()
    finish: str = ""
    preemptions: int = 0
    device_s: float = np.nan
    j_prefill: float = np.nan
    j_decode: float = np.nan
    usd: float = np.nan
    gco2e: float = np.nan
    source: str = ""

    @property
    def cost(self) -> Cost:
        """The cost of the call; every token is counted once, flops and bytes are unknown (NaN)."""
        tokens = TokenCounts(
            input=float(self.input_tokens - self.cached_tokens - self.cache_write_tokens),
            cached=float(self.cached_tokens),
            cache_write=float(self.cache_write_tokens),
            output=float(self.output_tokens - self.reasoning_tokens),
            reasoning=float(self.reasoning_tokens),
        )
        joules = self.j_prefill + self.j_decode
        return Cost(self.device_s, tokens, np.nan, np.nan, joules, self.usd, self.gco2e)


Column = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class CallTable:
    """Calls as columns of one length; the fields are those of `Call`.

    A label column (question, role, ...) has indices into `names[column]`. The blocks of call i are
    `block_ids[block_starts[i] : block_starts[i + 1]]`. A column that is not given is a constant that takes
    no memory. Make one with `CallTable.of` (columns) or `CallTable.from_rows`.
    """

    columns: Mapping[str, Column]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    block_ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    block_starts: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        names: Mapping[str, tuple[str, ...]] | None = None,
        blocks: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        **columns: npt.ArrayLike,
    ) -> CallTable:
        """Calls from arrays of shape (calls,) by name; others take the default of `Call`, and `call` counts from 0.

        names: texts of the label columns given.  blocks: (ids, starts of shape (calls + 1,)).

        Raises:
            InputError: a column is unknown or its length differs.

        >>> calls = CallTable.of(arrival_s=[0.0, 1.5], input_tokens=[100, 20], output_tokens=[10, 1])
        >>> len(calls), calls["parent"].tolist(), calls.row(1).arrival_s
        (2, [-1, -1], 1.5)
        """
        unknown = sorted(set(columns) - set(_DEFAULTS))
        if unknown or not columns:
            raise InputError(f"calls: no column {', '.join(unknown)}; known: {', '.join(_DEFAULTS)}")
        given = {name: np.asarray(value, _DEFAULTS[name].dtype) for name, value in columns.items()}
        count = len(next(iter(given.values())))
        wrong = [f"{name} {array.shape}" for name, array in given.items() if array.shape != (count,)]
        if wrong:
            raise InputError(f"calls: columns must have one length, {count}: {', '.join(wrong)}")
        defaults = {name: np.broadcast_to(value, count) for name, value in _DEFAULTS.items()}
        defaults["call"] = np.arange(count, dtype=np.int64)
        texts = dict.fromkeys(LABELS, ("",)) | dict(names or {})
        if blocks is None:
            return cls(defaults | given, texts)
        ids, starts = (np.asarray(item, np.int64) for item in blocks)
        if starts.shape != (count + 1,):
            raise InputError(f"calls: block starts must be {count + 1} numbers, not {starts.size}")
        return cls(defaults | given, texts, ids, starts)

    @classmethod
    def from_rows(cls, rows: Iterable[Call]) -> CallTable:
        """The same calls as columns."""
        rows = list(rows)
        columns: dict[str, npt.ArrayLike] = {}
        names: dict[str, tuple[str, ...]] = {}
        for name, default in _DEFAULTS.items():
            values = [getattr(row, name) for row in rows]
            if name in LABELS:
                names[name] = tuple(dict.fromkeys(values)) or ("",)
                code = {text: number for number, text in enumerate(names[name])}
                values = [code[text] for text in values]
            elif name in _CODED:
                values = [_code(name, value, row) for row, value in enumerate(values)]
            columns[name] = np.array(values, default.dtype)
        starts = np.cumsum([0] + [len(row.blocks) for row in rows])
        ids = np.array([block for row in rows for block in row.blocks], np.int64)
        return cls.of(names, (ids, starts), **columns)

    def __len__(self) -> int:
        return int(self.columns["call"].size)

    def __repr__(self) -> str:
        return f"<{len(self)} calls>"

    def __getitem__(self, name: str) -> Column:
        """A column by its field's name."""
        return self.columns[name]

    def blocks(self, index: int) -> npt.NDArray[np.int64]:
        """Ids of the prefix blocks of one call."""
        if self.block_starts is None:
            return self.block_ids[:0]
        return self.block_ids[self.block_starts[index] : self.block_starts[index + 1]]

    def row(self, index: int) -> Call:
        """One call as a row."""
        values = {name: self.columns[name][index].item() for name in _DEFAULTS}
        for name in LABELS:
            values[name] = self.names[name][values[name]]
        for name, texts in _CODED.items():
            values[name] = texts[values[name]]
        return Call(**values, blocks=tuple(self.blocks(index).tolist()))

    def rows(self) -> list[Call]:
        """All calls as rows."""
        return [self.row(index) for index in range(len(self))]

    def text(self, name: str) -> npt.NDArray[np.str_]:
        """A label column as text."""
        return np.asarray(self.names[name], np.str_)[self.columns[name]]

    def take(self, index: npt.ArrayLike) -> CallTable:
        """The calls where a mask is true, or those at indices, in that order."""
        chosen = np.arange(len(self))[np.asarray(index)]
        columns = {name: column[chosen] for name, column in self.columns.items()}
        if self.block_starts is None:
            return CallTable(columns, self.names)
        counts = np.diff(self.block_starts)[chosen]
        parts = [self.blocks(int(item)) for item in chosen]
        ids = np.concatenate(parts) if parts else self.block_ids[:0]
        return CallTable(columns, self.names, ids, np.concatenate([[0], np.cumsum(counts)]))

    def with_columns(self, **columns: npt.ArrayLike) -> CallTable:
        """The same calls with some columns replaced.

        Raises:
            InputError: a column is unknown or has another length.
        """
        given = CallTable.of(self.names, None, **columns)
        if len(given) != len(self):
            raise InputError(f"calls: a column of {len(given)} rows does not fit a table of {len(self)}")
        replaced = {name: given.columns[name] for name in columns}
        return CallTable(dict(self.columns) | replaced, self.names, self.block_ids, self.block_starts)


def _code(name: str, value: str, row: int) -> int:
    if value not in _CODED[name]:
        raise RecordError("calls", [(row, f"{name} is {value!r}; allowed: {', '.join(_CODED[name])}")], 1)
    return _CODED[name].index(value)


def _default_column(name: str, value: object) -> Column:
    if name in LABELS:
        return np.zeros((), np.int32)
    if name in _CODED:
        return np.zeros((), np.int8)
    return np.array(value, np.float64 if isinstance(value, float) else np.int64)


_CODED = {"finish": FINISH, "source": SOURCE}
_DEFAULTS = {item.name: _default_column(item.name, item.default) for item in fields(Call) if item.name != "blocks"}
