"""Tables of the books: how long keys waited before a service, and for whom."""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan, nan

from comptroller.books.latency import percentiles_s
from comptroller.books.tenant_waits import TenantWaits
from comptroller.report.sheet import Cell, ReportSheet, left, right


def waits_sheet(found: Iterable[TenantWaits]) -> ReportSheet:
    """A line for each key of each service, with the three others (or itself) that it waited most for."""
    heads = (
        left("service", ""), left("key"), right("calls"), right("wait_p50_s", "wait p50 s"),
        right("wait_p99_s", "wait p99 s"), right("ttft_p99_s", "TTFT p99 s"), right("wait_mean_s", "mean wait s"),
        left("because_of", "of that, because of"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        for tenant, name in enumerate(one.tenants):
            waits, ttft = one.of(tenant, "wait_s"), one.of(tenant, "ttft_s")
            at, calls = percentiles_s(waits, (50, 99)), int((one.member == tenant).sum())
            mean_s = float(waits.mean()) if waits.size else nan
            times = at[50], at[99], percentiles_s(ttft, (99,))[99], mean_s
            rows.append((one.service, name, calls, *(_microseconds(value) for value in times), _reasons(one, tenant)))
    return ReportSheet("Who waited for whom", heads, tuple(rows))


SHOWN = 3
"""Keys that are named as a reason: a line of a terminal. Twice as many wrap."""


def _reasons(one: TenantWaits, tenant: int) -> str:
    because = one.because_s[tenant]
    order = [int(place) for place in (-because).argsort(kind="stable") if because[place] > 0][:SHOWN]
    return ", ".join(f"{one.tenants[place]} {because[place]:.3g} s" for place in order)


def _microseconds(value_s: float) -> float | None:
    """To microseconds, in which the books tell moments."""
    return None if isnan(value_s) else round(value_s, 6)
