"""Measured losses of pre-training runs: a table with parameters, tokens and loss, read for laws of the loss."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import RecordError

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NEEDED = ("params", "loss")
"""Columns that a table of losses has, beside `tokens` or `flop`."""

EXTRA = (
    "unique_tokens", "members", "average_params", "forward_bits", "backward_bits", "bits", "qat_share", "experts",
)  # fmt: skip
"""Further columns that laws need; a table has them in all rows or it has them not."""

YES = {"1", "true", "yes"}

SHOWN = 3
"""Bad rows that an error shows; twice as many wrap onto a third line."""


@dataclass(frozen=True, slots=True)
class LossPoints:
    """Runs: parameters, tokens, final loss (nats per token), and what is fitted together.

    params, tokens, loss: of shape (runs,).  family: a name for each run.  extra: further columns, by name.
    """

    params: Array
    tokens: Array
    loss: Array
    family: tuple[str, ...]
    extra: Mapping[str, Array] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Array]:
        """Everything that laws are functions of, by name."""
        return {"params": self.params, "tokens": self.tokens, **self.extra}

    @property
    def flops(self) -> Array:
        """Compute of each run: C = 6 N D."""
        return np.asarray(6.0 * self.params * self.tokens)

    @property
    def families(self) -> list[str]:
        """Names of the families, sorted."""
        return sorted(set(self.family))

    def take(self, chosen: Mask | npt.NDArray[np.int64]) -> LossPoints:
        """Some of the runs."""
        kept = tuple(np.array(self.family, dtype=object)[chosen])
        extra = {name: values[chosen] for name, values in self.extra.items()}
        return LossPoints(self.params[chosen], self.tokens[chosen], self.loss[chosen], kept, extra)

    def of(self, family: str) -> LossPoints:
        """The runs of one family."""
        return self.take(np.array([one == family for one in self.family]))


def states_losses(path: Path) -> bool:
    """Whether a file is a table of losses: CSV with the columns of one."""
    if path.suffix != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = set(next(csv.reader(file), []))
    return set(NEEDED) <= names and bool({"tokens", "flop"} & names)


def read_losses(path: Path) -> LossPoints:
    """The runs of a CSV with columns `params`, `loss` and `tokens` or `flop`, and those of `EXTRA`; `experiment` names
    families, and rows whose `outlier` says so are left out.

    Raises:
        RecordError: a value is no positive number; says which row.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("outlier", "").lower() not in YES]
    read = [_positive(row) for row in rows]
    bad = [
        (i + 2, "params, tokens or flop, and loss are positive numbers") for i, one in enumerate(read) if one is None
    ]
    if bad or not rows:
        raise RecordError(path.name, bad[:SHOWN] or [(1, "there is no run")], max(len(bad), 1))
    values = np.array(read, dtype=float).T
    family = tuple(row.get("experiment") or path.stem for row in rows)
    return LossPoints(values[0], values[1], values[2], family, _extra(path, rows))


def _extra(path: Path, rows: Sequence[dict[str, str]]) -> dict[str, Array]:
    """Further columns of the table.

    Raises:
        RecordError: one is no positive number somewhere; says in which rows.
    """
    found, bad = {}, []
    for name in (name for name in EXTRA if name in rows[0]):
        values = [_number(row.get(name)) for row in rows]
        bad += [(i + 2, f"{name} is no positive number") for i, one in enumerate(values) if one is None]
        found[name] = np.array([one or np.nan for one in values])
    if bad:
        raise RecordError(path.name, bad[:SHOWN], len(bad))
    return found


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < np.inf else None


def _positive(row: dict[str, str]) -> tuple[float, float, float] | None:
    """Parameters, tokens and loss of a row; `None` where one is no positive number."""
    try:
        params, loss = float(row["params"]), float(row["loss"])
        tokens = float(row["tokens"]) if row.get("tokens") else float(row["flop"]) / (6.0 * params)
    except (ValueError, KeyError, ZeroDivisionError):
        return None
    found = (params, tokens, loss)
    return found if all(0 < one < np.inf for one in found) else None
