"""Daily sums of the rows in force by account and finish, updated in the transaction of the rows, for fast reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comptroller.books.schema import FIRSTS, REAL_SUMS, SUMS, daily
from comptroller.books.statements import PreparedSql

LONG = (1000, 3000, 5000)
"""Output lengths in tokens beyond which a call is counted as long, for the report `overflow`.

They are part of the schema (`over_1k`, `over_3k`, `over_5k`): other values need new columns and a migration.
"""
DAY_US = 86_400 * 10**6
"""Microseconds of a day."""
PREDICTED = "predicted"
"""Source of energy that comes from a model; every other source counts as metered."""
NAMES = SUMS + REAL_SUMS
"""Columns of the daily sums, in the order of `amounts`."""
Place = tuple[int, int, str]
"""Day (since 1970), account, finish: the key of a daily sum."""
_ADD = "ON CONFLICT (day, account, finish) DO UPDATE SET "
_ADD += ", ".join(f"{name} = daily.{name} + excluded.{name}" for name in NAMES)


class DailySumChanges:
    """Unwritten changes to the daily sums."""

    def __init__(self) -> None:
        self._changes: dict[Place, list[float]] = {}

    def add(self, row: Mapping[str, Any], sign: int) -> None:
        """Adds a row (sign 1) or removes one (sign -1)."""
        change = self._changes.setdefault((row["day"], row["account"], row["finish"]), [0] * len(NAMES))
        for position, value in enumerate(amounts(row)):
            change[position] += sign * value

    def write(self, to: PreparedSql) -> None:
        """Adds the changes to the stored sums."""
        if not self._changes:
            return
        rows = [
            {"day": day, "account": account, "finish": finish, **dict(zip(NAMES, change, strict=True))}
            for (day, account, finish), change in sorted(self._changes.items())
        ]
        to.insert(daily, rows, _ADD)


def amounts(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Contribution of a row to each of `NAMES`; unknown values add 0 and are counted."""
    pusd, output = row["pusd"], row["output_tokens"] or 0
    joules = (row["j_prefill"] or 0.0) + (row["j_decode"] or 0.0)
    retry = row["attempt"] > 0
    return (
        *(row["firsts"] >> bit & 1 for bit in range(len(FIRSTS))),
        1,
        pusd is None,
        row["output_tokens"] is None,
        pusd or 0,
        row["charged_pusd"],
        row["estimate_pusd"] or 0,
        retry,
        (pusd or 0) if retry else 0,
        row["input_tokens"] or 0,
        row["cached_tokens"] or 0,
        row["cache_write_tokens"] or 0,
        output,
        row["reasoning_tokens"] or 0,
        row["preemptions"],
        *(output > length for length in LONG),
        bool(row["energy"]) and row["energy"] != PREDICTED,
        row["energy"] == PREDICTED,
        row["device_s"] or 0.0,
        row["flops"] or 0.0,
        joules,
        row["low_j"] or 0.0,
        row["high_j"] or 0.0,
        row["gco2e"] or 0.0,
    )
