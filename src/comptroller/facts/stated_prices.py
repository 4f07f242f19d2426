"""A price that a workload states for a device, in place of what a site lists on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comptroller.facts.reader import FactEntry

STATED = "stated price"
"""Provider of an offer whose price a workload states."""

_SOURCE = "stated_price"
"""Key of its source in the document of a site."""


def with_stated_prices(site: FactEntry, usd_per_device_h: Mapping[str, float], place: str) -> FactEntry:
    """A site's entry with prices by accelerator, of one device and hour, in place of its on-demand offers of them.

    An accelerator that the site does not list is added. An offer has a date; that of the youngest fact of the site
    stands for "now", so that the same workload gives the same plan tomorrow. place: the document that states them.

    >>> from comptroller.facts.library import resolve
    >>> own = with_stated_prices(resolve("sites", "aws_us_east"), {"h100_sxm": 3.1}, "chat.toml")
    >>> [offer["usd_per_s"]["value"] for offer in own.content["offers"] if offer["provider"] == STATED]
    [3.1]
    """
    content = dict(site.content)
    listed = content.get("offers", [])
    kept = [x for x in listed if x["accelerator"] not in usd_per_device_h or x["term"] != "on_demand"]
    day = max(_days(content), default="2026-01-01")
    stated = [
        {
            "accelerator": accelerator,
            "term": "on_demand",
            "usd_per_s": {"value": price, "unit": "USD/h", "source": _SOURCE},
            "since": day,
            "provider": STATED,
        }
        for accelerator, price in sorted(usd_per_device_h.items())
    ]
    source = {"title": f"stated in {place}", "url": "", "date": day}
    content |= {"offers": [*kept, *stated], "sources": {**content.get("sources", {}), _SOURCE: source}}
    providers = {offer["provider"] for offer in content["offers"]}
    content["kinds"] = {name: kind for name, kind in content.get("kinds", {}).items() if name in providers}
    return FactEntry.of(site.kind, site.id, f"{site.origin}, prices of {place}", content)


def _days(content: Mapping[str, Any]) -> Iterable[str]:
    """Days on which anything of a site is known to have held."""
    yield from (str(offer["since"]) for offer in content.get("offers", ()))
    yield from (str(source["date"]) for source in content.get("sources", {}).values())
