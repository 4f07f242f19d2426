"""Arrival times as traces write them: ISO time stamps with or without an offset from UTC, epochs, or plain numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError
from comptroller.quantities import to_si
from comptroller.work.tabular import numbers
from comptroller.work.trace import Floats

Stamps = npt.NDArray[np.datetime64]

STAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,9})?)?)"
    r"\s?(Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
FIRST_YEAR, LAST_YEAR = "1970", "2261"
"""Years that nanoseconds since 1970 can count in 64 bits."""

EPOCH_S = (1e9, 1e10)
"""Seconds since 1970 from September 2001 to November 2286. A number in this range, times a thousand, a million or a
milliard, is an epoch in s, ms, us or ns; the four ranges lie a hundred apart. Twice the lower end would begin in 2033
and refuse all recorded traces, twice the upper end accepts dates that no trace has."""

UNIT_WORDS = {
    "s": "s sec secs second seconds",
    "ms": "ms msec millis millisecond milliseconds",
    "us": "us usec micros microsecond microseconds",
    "ns": "ns nsec nanos nanosecond nanoseconds",
}
"""Unit -> last words of the names of columns that state it (`arrival_time_ns`)."""

UNITS = tuple(UNIT_WORDS)


class ArrivalCells:
    """Reads cells as times, chunk by chunk: as stamps if the first cell that is a time is one, else as numbers.

    zoned, plain: whether a stamp with an offset, and one without, was seen.
    """

    def __init__(self) -> None:
        self.is_stamps: bool | None = None
        self.zoned = self.plain = False

    def __call__(self, cells: Sequence[Any]) -> npt.NDArray[Any]:
        """The times, NaN or not-a-time where a cell is none."""
        if self.is_stamps is None:
            self.is_stamps = next(filter(lambda found: found is not None, map(_is_stamp, cells)), None)
        if not self.is_stamps:
            return numbers(cells)
        for cell in cells:
            found = STAMP.fullmatch(str(cell).strip())
            self.zoned |= found is not None and found[3] is not None
            self.plain |= found is not None and found[3] is None
        return stamps(cells)


def _is_stamp(cell: Any) -> bool | None:
    text = str(cell).strip()
    if STAMP.fullmatch(text):
        return True
    return None if np.isnan(numbers([text])[0]) else False


def stamps(cells: Sequence[Any]) -> Stamps:
    """Time stamps in UTC; those without an offset are read as UTC. Not-a-time where a cell is none, or is outside of
    1970 to 2261.

    >>> stamps(["1970-01-01 02:00:01.5+02:00", "1970-01-01T00:00:02Z", "soon"]).astype(int)[:2].tolist()
    [1500000000, 2000000000]
    """
    found = [STAMP.fullmatch(str(cell).strip()) for cell in cells]
    texts = [
        f"{match[1]}T{match[2]}" if match and FIRST_YEAR <= match[1][:4] <= LAST_YEAR else "NaT" for match in found
    ]
    shift = np.array([_offset_ns(match[3] or "Z") if match else 0 for match in found], "timedelta64[ns]")
    try:
        local = np.array(texts, dtype="datetime64[ns]")
    except ValueError:
        local = np.array([_stamp_or_nat(text) for text in texts], dtype="datetime64[ns]")
    utc: Stamps = local - shift
    return utc


@lru_cache(maxsize=128)
def _offset_ns(offset: str) -> int:
    """Nanoseconds that a clock is ahead of UTC.

    >>> _offset_ns("-05:30") / 3.6e12
    -5.5
    """
    if offset in ("Z", "UTC"):
        return 0
    hours, minutes = int(offset[1:3]), int(offset[-2:]) if len(offset) > 3 else 0
    return (1 if offset[0] == "+" else -1) * (hours * 60 + minutes) * 60 * 10**9


def _stamp_or_nat(text: str) -> np.datetime64:
    try:
        return np.datetime64(text, "ns")
    except ValueError:
        return np.datetime64("NaT", "ns")


def seconds(times: Stamps) -> Floats:
    """Seconds after the earliest time stamp, NaN for not-a-time."""
    valid = ~np.isnat(times)
    nanoseconds = times.astype(np.int64)
    start = nanoseconds[valid].min() if valid.any() else 0
    return np.where(valid, (nanoseconds - start) / 1e9, np.nan)


def arrival_seconds(
    file: str, column: str, cells: ArrivalCells, times: npt.NDArray[Any], unit: str | None
) -> tuple[Floats, str]:
    """Arrivals in s, and what was taken for granted of them (empty: nothing).

    Time stamps and epochs count from the earliest. Numbers are in `unit`, in the unit that the column's name ends with,
    or an epoch by their magnitude.

    Raises:
        FactError: stamps with and without an offset are mixed, or the unit of numbers is not known or cannot be.
    """
    if not cells.is_stamps:
        return _seconds_of_numbers(file, column, times, unit)
    if cells.zoned and cells.plain:
        raise FactError(file, column, "some time stamps have an offset from UTC and some have none", "one of the two")
    valid = times[~np.isnat(times)]
    read = "" if cells.zoned else " (time stamps without an offset are read as UTC)"
    return seconds(times), f"second 0 is {_utc(valid.min())}{read}" if len(valid) else ""


def _seconds_of_numbers(file: str, column: str, values: Floats, unit: str | None) -> tuple[Floats, str]:
    finite = values[np.isfinite(values)]
    middle = float(np.median(finite)) if len(finite) else 0.0
    epoch = next((name for name in UNITS if EPOCH_S[0] <= to_si(middle, name)[0] < EPOCH_S[1]), None)
    known = unit or unit_of_name(column)
    if known is None and epoch is None and middle != 0.0:
        raise FactError(
            file,
            column,
            f"numbers about {middle:.6g} are no seconds, ms, us or ns since 1970, and nothing says their unit",
            "columns.unit: " + ", ".join(UNITS) + "; --column unit=s on the command line",
        )
    if known is not None and to_si(middle, known)[0] >= EPOCH_S[1]:
        likely = f"; {epoch} since 1970?" if epoch else ""
        raise FactError(file, column, f"{middle:.6g} {known} is after the year 2286{likely}", "columns.unit")
    chosen = known or epoch or "s"
    if to_si(middle, chosen)[0] < EPOCH_S[0]:
        return values * to_si(1.0, chosen)[0], ""
    first = float(finite.min())
    begin = _utc(np.datetime64(int(to_si(first, chosen)[0] * 1e3), "ms"))
    return (values - first) * to_si(1.0, chosen)[0], f"second 0 is {begin}, read as {chosen} since 1970"


def unit_of_name(column: str) -> str | None:
    """The unit that the last word of a column's name states.

    >>> unit_of_name("arrival_time_ns"), unit_of_name("Timestamp")
    ('ns', None)
    """
    word = re.split(r"[^a-z]+", column.lower().rstrip(")] "))[-1]
    return next((unit for unit, words in UNIT_WORDS.items() if word in words.split()), None)


def _utc(time: np.datetime64) -> str:
    """A time to the millisecond.

    >>> _utc(np.datetime64("2024-05-10T00:00:00.5"))
    '2024-05-10 00:00:00.500 UTC'
    """
    moment = datetime.fromtimestamp(int(time.astype("datetime64[ms]").astype(np.int64)) / 1e3, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d} UTC"
