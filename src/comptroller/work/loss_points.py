"""Measured losses of pre-training runs: a table with parameters, tokens and loss, read for laws of the loss."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import RecordError

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NEEDED = ("params", "loss")
"""Columns that a table of losses has, beside `tokens` or `flop`."""

YES = {"1", "true", "yes"}

SHOWN = 3
"""Bad rows that an error shows; twice as many wrap onto a third line."""


@dataclass(frozen=True, slots=True)
class LossPoints:
    """Runs: parameters, tokens, final loss (nats per token), and what is fitted together.

    params, tokens, loss: of shape (runs,).  family: a name for each run.
    """

    params: Array
    tokens: Array
    loss: Array
    family: tuple[str, ...]

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
        return LossPoints(self.params[chosen], self.tokens[chosen], self.loss[chosen], kept)

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
    """The runs of a CSV with columns `params`, `loss` and `tokens` or `flop`; `experiment` names families, and rows
    whose `outlier` says so are left out.

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
    return LossPoints(values[0], values[1], values[2], tuple(row.get("experiment") or path.stem for row in rows))


def _positive(row: dict[str, str]) -> tuple[float, float, float] | None:
    """Parameters, tokens and loss of a row; `None` where one is no positive number."""
    try:
        params, loss = float(row["params"]), float(row["loss"])
        tokens = float(row["tokens"]) if row.get("tokens") else float(row["flop"]) / (6.0 * params)
    except (ValueError, KeyError, ZeroDivisionError):
        return None
    found = (params, tokens, loss)
    return found if all(0 < one < np.inf for one in found) else None
