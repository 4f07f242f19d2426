"""The links over which caches pass between the pools of a split service."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.costs.network import link_bytes_per_s
from comptroller.facts.library import FactLibrary
from comptroller.facts.site import AcceleratorOffer
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.ground.service_document import PoolDocument, ServiceDocument

NO_NODE = 1 << 30
"""More devices than any node joins: what lies apart is reached over the network."""


def transfer_bytes_per_s(service: ServiceDocument, pool: PoolDocument, library: FactLibrary) -> float:
    """What a replica of a split service sends a cache at, over all its devices' links and as the receivers take it:
    inside a node where all pools fit into one that is rented as a whole, else over the network."""
    deployment, pools = service.deployment, service.deployment.pools
    alike = len({other.accelerator for other in pools}) == 1
    devices = sum(other.devices for other in pools) if alike else NO_NODE
    if not all(offer.joins(devices, NO_NODE) for offer in _instance_offers(service, library)):
        devices = NO_NODE
    ends = [pool, *(other for other in pools if other.phase == "decode")]
    rates = (
        link_bytes_per_s(replica_of_pool(deployment, end, library), "transfer", devices) * end.tp * end.pp * end.dp
        for end in ends
    )
    return min(rates)


def _instance_offers(service: ServiceDocument, library: FactLibrary) -> Iterator[AcceleratorOffer]:
    """The site's entries of the instance that a service rents."""
    price, names = service.price, {pool.accelerator for pool in service.deployment.pools}
    for offer in library.site(service.deployment.site).offers:
        if (offer.provider, offer.instance) == (price.provider, price.instance) and offer.accelerator in names:
            yield offer
