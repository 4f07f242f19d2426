"""Cache tiers and recipes of narrow training as facts: a line for each."""

from __future__ import annotations

from comptroller.facts.cache_tier import CACHE_TIERS, CacheTier, cache_tier
from comptroller.facts.reader import ids
from comptroller.facts.training_recipe import TRAINING_RECIPES, TrainingRecipe, training_recipe
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


RECIPES: SheetColumns[TrainingRecipe] = (
    left("id"),
    left("name"),
    left("weights"),
    left("gradients"),
    right("wide_share", "wide layers", lambda one: one.wide_share or None),
    right("read_bytes", "read, B", lambda one: one.read_bytes or None),
    right("row_bytes", "rows, B", lambda one: one.row_bytes or None),
    right("column_bytes", "columns, B", lambda one: one.column_bytes or None),
    left("families", "families", lambda one: ", ".join(one.families) or "all"),
)


def recipe_list() -> ReportSheet:
    """Every recipe that ships."""
    title = "Recipes of training: formats of products of matrices, bytes of a 16-bit element that is quantised"
    return ReportSheet.of(title, RECIPES, map(training_recipe, ids(TRAINING_RECIPES)))
