"""Loading a prompt's beginning from slower tiers, as a table and as a document."""

from __future__ import annotations

from typing import Any

from comptroller.planning.offer.cache_tiers import CacheTierAnswer, TierLoad
from comptroller.report.figures import seconds
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right

LOADS: SheetColumns[TierLoad] = (
    left("tier", None, lambda one: one.tier.id),
    right("gb_per_s", "GB/s", lambda one: one.bytes_per_s / 1e9),
    right("load_s", "to load", lambda one: seconds(one.load_s)),
    right("prompt_s", "prompt with it", lambda one: seconds(one.prompt_s)),
    right("computed_s", "computed instead", lambda one: seconds(one.computed_s)),
    left("faster", None, lambda one: "loading" if one.saved_s > 0 else "computing"),
)


def sheet(answer: CacheTierAnswer) -> ReportSheet:
    """The tiers."""
    return ReportSheet.of(
        f"The first {answer.cached_tokens:,} tokens of a prompt from a cache tier", LOADS, answer.loads
    )


def remark(answer: CacheTierAnswer) -> str:
    """From which rate on a tier is worth it, in a sentence."""
    return (
        f"{answer.loaded_bytes / 1e6:,.0f} MB of cache on a device are worth loading from "
        f"{answer.worth_bytes_per_s / 1e9:.3g} GB/s on; in the device's memory the prompt takes "
        f"{seconds(answer.device_s)}. Rates are those of datasheets: layers are loaded one after another while others "
        "compute, and nobody measured it here"
    )


def document(answer: CacheTierAnswer) -> dict[str, Any]:
    """As JSON, in SI units."""
    return {
        "cached_tokens": answer.cached_tokens,
        "loaded_bytes": answer.loaded_bytes,
        "in_device_s": answer.device_s,
        "worth_from_bytes_per_s": answer.worth_bytes_per_s,
        "tiers": [
            {
                "tier": load.tier.id,
                "bytes_per_s": load.bytes_per_s,
                "load_s": load.load_s,
                "prompt_s": load.prompt_s,
                "computed_s": load.computed_s,
            }
            for load in answer.loads
        ],
    }
