"""From the cache tiers that a deployment states to the stores that the simulator loads blocks from."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.costs.steptable import StepTable
from comptroller.costs.tiers import device_to_tier_bytes_per_s, tier_to_device_bytes_per_s
from comptroller.errors import InputError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.cache_tier import CacheTier, cache_tier
from comptroller.planning.ground.service_document import CacheTierDocument, ServiceDocument
from comptroller.serving.fleet import BlockStore

GB = 1e9


def tier_bytes_per_s(tier: CacheTier, device: Accelerator, table: StepTable) -> float:
    """At which one rank's devices load from a tier together, each over a link of its own.

    Raises:
        InputError: the accelerator's facts have no such link.
    """
    return tier_to_device_bytes_per_s(tier, device) * table.devices


def stores_of_tiers(
    tiers: Sequence[CacheTierDocument], device: Accelerator, table: StepTable, ranks: int
) -> tuple[tuple[BlockStore, ...], BlockStore | None]:
    """The stores of each rank of a replica, in the order of the tiers, and the one that is shared by all, the last.

    Raises:
        UnknownIdError: no such tier.
        InputError: a shared tier is not the last, or a link is not known.
    """
    found = [cache_tier(one.tier) for one in tiers]
    for tier in found[:-1]:
        if tier.shared:
            raise InputError(f"cache tier {tier.id} is shared by all replicas; it has to be the last of {len(found)}")
    stores = [
        BlockStore(
            int(one.gb * GB / (1 if tier.shared else ranks) / table.kv_bytes_per_token),
            tier_bytes_per_s(tier, device, table),
            tier.access_s,
            tier.id,
            device_to_tier_bytes_per_s(tier, device) * table.devices,
            tier.duplex,
        )
        for one, tier in zip(tiers, found, strict=True)
    ]
    shared = stores.pop() if found and found[-1].shared else None
    return tuple(stores), shared


def require_one_pool(services: Sequence[ServiceDocument]) -> None:
    """Blocks of different deployments are not alike, and are not kept in one pool.

    Raises:
        InputError: several services, one of them with a shared tier.
    """
    shared = [one.tier for s in services for one in s.deployment.cache_tiers if cache_tier(one.tier).shared]
    if shared and len(services) > 1:
        raise InputError(f"cache tier {shared[0]} is shared by all replicas, but the plan has {len(services)} services")
