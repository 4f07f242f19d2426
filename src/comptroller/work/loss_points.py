"""Measured losses of pre-training runs: a table with parameters, tokens and loss, read for laws of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import RecordError
from comptroller.work.tabular import columns_of, dict_rows

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NEEDED = ("params", "loss")
"""Columns that a table of losses has, beside `tokens` or `flop`."""

EXTRA = (
    "unique_tokens", "members", "average_params", "forward_bits", "backward_bits", "bits", "qat_share", "experts",
)  # fmt: skip
"""Further columns that laws need; a table has them in all rows or it has them not."""

MOST = {"qat_share": 1.0}
"""Columns with an upper bound: of a run that is quantisation-aware from its first token the law has no number."""

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
    names = set(columns_of(path))
    return set(NEEDED) <= names and bool({"tokens", "flop"} & names)


def read_losses(path: Path) -> LossPoints:
    """The runs of a CSV with columns `params`, `loss` and `tokens` or `flop`, and those of `EXTRA`; `experiment` names
    families, and rows whose `outlier` says so are left out.

    Raises:
        RecordError: a value is no positive number; says which row.
    """
    rows = [(line, row) for line, row in enumerate(dict_rows(path), 2) if not _left_out(row)]
    read = [_positive(row) for _, row in rows]
    extra = [name for name in EXTRA if rows and name in rows[0][1]]
    further = [[_number(row.get(name), MOST.get(name, np.inf)) for name in extra] for _, row in rows]
    bad = [
        (line, "; ".join(faults))
        for (line, _), one, more in zip(rows, read, further, strict=True)
        if (faults := _row_faults(one, dict(zip(extra, more, strict=True))))
    ]
    if bad or not rows:
        raise RecordError(path.name, bad[:SHOWN] or [(1, "there is no run")], max(len(bad), 1))
    values, columns = np.array(read, dtype=float).T, np.array(further, dtype=float).T
    family = tuple(row.get("experiment") or path.stem for _, row in rows)
    return LossPoints(values[0], values[1], values[2], family, dict(zip(extra, columns, strict=True)))


def _left_out(row: dict[str, str]) -> bool:
    return (row.get("outlier") or "").lower() in YES


def _row_faults(run: tuple[float, float, float] | None, extra: Mapping[str, float | None]) -> list[str]:
    """What is wrong with a row."""
    found = ["params, tokens or flop, and loss are positive numbers"] if run is None else []
    below = {name: f" below {most:g}" for name, most in MOST.items()}
    return found + [f"{name} is no positive number{below.get(name, '')}" for name, one in extra.items() if one is None]


def _number(text: str | None, most: float) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < most else None


def _positive(row: dict[str, str]) -> tuple[float, float, float] | None:
    """Parameters, tokens and loss of a row; `None` where one is no positive number."""
    try:
        params, loss = float(row["params"] or ""), float(row["loss"] or "")
        tokens = float(row["tokens"]) if row.get("tokens") else float(row["flop"]) / (6.0 * params)
    except (ValueError, KeyError, ZeroDivisionError):
        return None
    found = (params, tokens, loss)
    return found if all(0 < one < np.inf for one in found) else None
