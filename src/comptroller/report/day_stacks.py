"""What was booked on each day, the largest groups on one another, on a true axis of time, with the budget of a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from comptroller.report.chart import BarSeries, ChartAxis, LineSeries, ReportChart

MOST_COLOURS = 6
"""Groups with a colour of their own, the largest first; the others are one. `drawing.INKS` has seven."""

PLACES = 7
"""Bars that a chart has room for at least, so that few are not drawn as blocks: the days of a week."""

MOST_TICKS = 4
"""Days that are named on the axis at most; dates with their year would touch if there were five in 390 pixels."""


@dataclass(frozen=True, slots=True)
class DayStacks:
    """Amounts by day and group. label: what is counted.  words: an amount, printed.  zone: of the days.

    limit: what a day may take, drawn as a line, None where there is none.
    """

    amounts: Mapping[tuple[date, str], float]
    label: str
    words: Callable[[float], str]
    zone: str = "UTC"
    limit: float | None = None

    def chart(self) -> ReportChart:
        """Stacked bars, a place for every day between the first and the last, each read out by itself."""
        days = self._days()
        names, shown = self._groups()
        base, stacks = [0.0] * len(days), list[BarSeries]()
        for place, name in enumerate(names):
            heights = tuple(shown.get((day, name), 0.0) for day in days)
            stacks.append(BarSeries(name or "none", heights, tuple(base), ink=place))
            base = [low + height for low, height in zip(base, heights, strict=True)]
        readings = tuple((day.isoformat(), self._reading(shown, day, names)) for day in days)
        stacks[-1] = replace(stacks[-1], readings=readings)
        return ReportChart(
            f"{self.label} a day",
            ChartAxis(f"day, {self.zone}", low=-0.5, high=max(len(days), PLACES) - 0.5, ticks=_ticks(days)),
            ChartAxis(f"{self.label} a day", self.words, low=0.0),
            (*stacks, *self._limit_line(len(days))),
        )

    def _days(self) -> list[date]:
        first, last = min(day for day, _ in self.amounts), max(day for day, _ in self.amounts)
        return [first + timedelta(step) for step in range((last - first).days + 1)]

    def _groups(self) -> tuple[list[str], dict[tuple[date, str], float]]:
        """Names in the order of the stack, the largest first, and the amounts with the rest as one."""
        sums: dict[str, float] = {}
        for (_, name), amount in self.amounts.items():
            sums[name] = sums.get(name, 0.0) + amount
        top = sorted(sums, key=lambda name: -sums[name])[:MOST_COLOURS]
        shown: dict[tuple[date, str], float] = {}
        for (day, name), amount in self.amounts.items():
            key = (day, name if name in top else "others")
            shown[key] = shown.get(key, 0.0) + amount
        return [*top, *(["others"] if len(sums) > len(top) else [])], shown

    def _reading(self, shown: Mapping[tuple[date, str], float], day: date, names: Sequence[str]) -> str:
        parts = [(name or "none", shown.get((day, name), 0.0)) for name in names]
        whole = self.words(sum(amount for _, amount in parts))
        told = ", ".join(f"{name} {self.words(amount)}" for name, amount in parts if amount > 0)
        return f"{whole}: {told}" if told and len(names) > 1 else whole

    def _limit_line(self, days: int) -> tuple[LineSeries, ...]:
        if self.limit is None:
            return ()
        ends = [-0.5, max(days, PLACES) - 0.5]
        return (LineSeries(f"budget {self.words(self.limit)}", ends, [self.limit] * 2, reference=True),)


def _ticks(days: Sequence[date]) -> tuple[tuple[int, str], ...]:
    step = max(1, -(-len(days) // MOST_TICKS))
    years = days[0].year != days[-1].year
    return tuple((place, days[place].strftime("%Y-%m-%d" if years else "%b %d")) for place in range(0, len(days), step))
