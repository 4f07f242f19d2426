"""Cache tiers as facts: a line for each."""

from __future__ import annotations

from comptroller.facts.cache_tier import CACHE_TIERS, CacheTier, cache_tier
from comptroller.facts.reader import ids
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right

TIERS: SheetColumns[CacheTier] = (
    left("id"),
    left("name"),
    left("link"),
    right("gb_per_s", "GB/s", lambda one: one.bytes_per_s / 1e9 if one.bytes_per_s else None),
    right("access_us", "access, us", lambda one: one.access_s * 1e6 or None),
    left("shared", None, lambda one: "by all replicas" if one.shared else "no"),
)


def tier_list() -> ReportSheet:
    """Every tier that ships."""
    title = "Cache tiers: bandwidth of an own link for each device; of others that of the accelerator's facts"
    return ReportSheet.of(title, TIERS, map(cache_tier, ids(CACHE_TIERS)))
