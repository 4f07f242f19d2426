"""Options of `comptroller simulate` that state where blocks of the cache lie beside devices."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.errors import InputError
from comptroller.planning.ground.service_document import CacheTierDocument

CacheTiers = tuple[CacheTierDocument, ...] | None


def cache_tiers(
    cache_tier: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep blocks that devices evict, as TIER=GB of each replica (of all, if shared); again for the next "
            "tier. Ids: host_memory, nvme_pcie5, rdma_pool, cxl_pool, what_if_fenghuang. [default: the plan's]",
            show_default=False,
        ),
    ] = None,
) -> CacheTiers:
    """What the options say; None where they say nothing.

    Raises:
        InputError: not TIER=GB.
    """
    return tuple(map(_tier, cache_tier)) if cache_tier else None


def _tier(text: str) -> CacheTierDocument:
    name, mark, size = text.partition("=")
    try:
        gigabytes = float(size)
    except ValueError:
        gigabytes = -1.0
    if not name or not mark or not 0 <= gigabytes < float("inf"):
        raise InputError(f"--cache-tier: {text!r} is not TIER=GB, as host_memory=256")
    return CacheTierDocument(tier=name, gb=gigabytes)
