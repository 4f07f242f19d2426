"""Groups of prefill and decode replicas that a deployment may be made of."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.network import link_bytes_per_s
from comptroller.costs.split_pools import PoolRatio, SplitPools
from comptroller.launch import splits

RATIOS = tuple(map(PoolRatio.of, ("1P1D", "1P2D", "2P1D", "1P3D", "3P1D", "2P3D", "3P2D", "1P5D", "5P1D")))
"""Ratios that are tried. Neighbours differ by half or less, so that a pool idles for a fifth at most between them;
twice as many name groups of eight replicas and more, which whole units round up by as much."""

APART = 1 << 30
"""More devices than any node joins: pools stand anywhere, and caches cross the network."""

PoolGroups = list[SplitPools | None]
"""Ways in which prefill and decode may share replicas: `None` where each does both."""


def split_refusal(replica: ModelReplica) -> str:
    """Why prefill and decode cannot run on replicas of their own; empty if they can."""
    engine, device = replica.engine, replica.device
    if not splits(engine.launched_as):
        return f"{engine.id} is not known to hand caches from prefill to decode"
    if engine.adapters is not None:
        return f"{replica.model.id}: adapters in split pools are not modelled"
    if replica.model.recurrent:
        return f"{replica.model.id}: how recurrent states are handed on is not known"
    if device.scale_out is None:
        return f"{device.id}: no network is known that caches could cross"
    return ""


def split_groups(replica: ModelReplica, held: ReplicaMemory) -> Iterator[SplitPools]:
    """Groups to try. Caches are priced at the network's rate, as groups may stand on several nodes; every device sends
    its own part."""
    token_s = held.token_bytes / link_bytes_per_s(replica, "transfer", APART)
    return (SplitPools(ratio, token_s) for ratio in RATIOS)
