"""Messages between nodes: which collectives leave a node, over what link, and at which share of its rate.

No table of collectives over a network ships with the timed kernels. Latencies and shares are those by which NCCL itself
chooses its algorithms, and of DeepEP for the exchange of tokens between experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comptroller.costs.deployment import ModelReplica, ParallelLayout
from comptroller.errors import UnsupportedError
from comptroller.facts.accelerator import Accelerator

TREE_LL = (6.8e-6, 0.6e-6, 5.0e-6)
"""Seconds of a tree of small messages: base, a hop inside a node, a hop between nodes. NCCL, graph/tuning.cc,
baseLat and hwLat, protocol LL."""
TREE_LL128 = (14.0e-6, 1.25e-6, 8.5e-6)
"""The same of protocol LL128, which larger messages take."""
RING_LL = (6.6e-6, 0.6e-6, 2.7e-6)
RING_LL128 = (14.0e-6, 1.9e-6, 4.0e-6)
LL_TREE_SHARE, LL_RING_SHARE, LL128_SHARE = 1 / 3.8, 0.5, 0.92
"""Of the bus rate that the protocols reach, for their flags take the rest (NCCL, graph/tuning.cc)."""

DEEPEP_SHARE = 0.88
"""Of a 400 Gbit/s network that DeepEP's exchange reaches: 43 to 47 of 50 GB/s with 16 to 64 devices, hidden 7,168, top
8, dispatch in fp8 and combine in bf16 (README of github.com/deepseek-ai/DeepEP)."""

HOST_HOP = 1.8
"""Time of a hop through the host's memory over one between devices that reach each other's. Eight bytes among RTX 4090
without peer access take 42 us over eight of them (all-reduce, nccl issue 1530) and 11.9 us over two (all-to-all with
NCCL_P2P_DISABLE, tinygrad/open-gpu-kernel-modules issue 17), where NCCL on cards of PCIe 4 with peer access takes 23.2
and 6.3 us (kernel tables, L40S): 1.81 and 1.89 times as long."""

HOST_SHARE = 0.44
"""Of a link's rate that a ring through the host's memory reaches: 28 of 64 GB/s over eight RTX 5090 (nccl issue 1639);
35 over four. The processors' memory limits it, so boards differ."""

TOGETHER = frozenset({"all_reduce", "all_gather", "reduce_scatter"})
"""Collectives in which the devices of a node send through all its network cards at once."""


def node_devices(device: Accelerator) -> int:
    """Devices that links faster than the network join."""
    return (device.scale_up.devices if device.scale_up else 0) or device.node_devices


def reach(kind: str, devices: int, layout: ParallelLayout) -> int:
    """Devices between the first and the last that a message of a kind passes: stages lie side by side.

    >>> reach("send", 2, ParallelLayout(tp=8, pp=2)), reach("all_reduce", 8, ParallelLayout(tp=8, pp=2))
    (16, 8)
    """
    return layout.devices if kind == "send" else devices


def leaves_node(replica: ModelReplica, kind: str, devices: int) -> bool:
    """Whether messages of a kind between so many devices cross the network."""
    return reach(kind, devices, replica.layout) > node_devices(replica.device)


def is_staged(replica: ModelReplica, kind: str, devices: int) -> bool:
    """Whether messages of a kind pass through the host's memory: in a node whose devices do not reach each other's.

    GeForce cards since the RTX 30 series have no peer access over PCIe, by the driver.
    """
    link = replica.device.scale_up
    return not leaves_node(replica, kind, devices) and (link is None or not link.peer_access)


def link_bytes_per_s(replica: ModelReplica, kind: str, devices: int) -> float:
    """Bytes per second in one direction, per device, of the link that joins `devices` devices.

    Over nodes a ring runs through all network cards of a node at once, and through its fabric between them. In a node
    without a fabric messages pass the link to the host.

    Raises:
        UnsupportedError: the accelerator's facts hold no such link.
    """
    device = replica.device
    nearest = device.scale_up or device.host
    if nearest and not leaves_node(replica, kind, devices):
        return nearest.one_way_bytes_per_s
    within = device.scale_up.one_way_bytes_per_s if device.scale_up else 0.0
    if device.scale_out is None:
        raise UnsupportedError(f"{device.id}: no known link joins {reach(kind, devices, replica.layout)} devices")
    card = device.scale_out.one_way_bytes_per_s
    if kind not in TOGETHER:
        return card
    cards = min(devices, node_devices(device)) * card
    return min(cards, within) if within else cards


@dataclass(frozen=True, slots=True)
class NetworkShares:
    """Of a collective between nodes: its least time and that of larger messages, s, and the shares of the link's rate
    that those reach (`wide`) and small ones (`quick`), in the terms of `timing.KernelEfficiency`."""

    floor_s: float
    setup_s: float
    wide: float
    quick: float


def network_shares(device: Accelerator, kind: str, devices: int) -> NetworkShares:
    """Shares and latencies of a collective of NCCL between the nodes of `devices` devices.

    Tree:  t = t_base + 2 ((n - 1) t_hop + log2(M) t_net);  ring:  t = t_base + (N - M) t_hop + (M - 1) t_net

    n devices of each of M nodes, N = n M.  Source: NCCL, graph/tuning.cc, ncclTopoTuneModel. Small messages take
    protocol LL, larger ones LL128.

    >>> from comptroller.facts.accelerator import accelerator
    >>> found = network_shares(accelerator("h100_sxm"), "all_reduce", 16)
    >>> round(found.floor_s * 1e6, 1), round((found.floor_s + found.setup_s) * 1e6, 1)
    (25.2, 48.5)
    """
    nodes = max(2, -(-devices // node_devices(device)))
    local = max(1, devices // nodes)
    if kind == "all_reduce":
        times = [
            base + 2 * ((local - 1) * hop + float(np.log2(nodes)) * net) for base, hop, net in (TREE_LL, TREE_LL128)
        ]
        return NetworkShares(times[0], times[1] - times[0], LL128_SHARE, LL_TREE_SHARE * devices / 2)
    times = [base + (devices - nodes) * hop + (nodes - 1) * net for base, hop, net in (RING_LL, RING_LL128)]
    return NetworkShares(times[0], times[1] - times[0], LL128_SHARE, LL_RING_SHARE)


def nodes_reached(nodes: float, chosen: int) -> float:
    """Other nodes that hold a token's experts, on average: to each of them it is sent once.

    (M - 1) (1 - (1 - 1/M)^k), with M nodes and k experts a token

    Source: DeepEP's normal kernels (one message to a node, forwarded inside it); balls in bins.

    >>> round(nodes_reached(4, 8), 2)
    2.7
    """
    return float((nodes - 1) * (1 - (1 - 1 / nodes) ** chosen))


def group_bytes_per_s(device: Accelerator, ranks: int, stride: int) -> float:
    """Bytes per second in one direction, per device, of a collective among `ranks` devices that lie `stride` apart.

    min(own cards x card, fabric), own cards: devices of the group in a node, one at least

    A group inside one domain has its fabric. One over several domains rings through the cards of its members in each.

    Raises:
        UnsupportedError: the accelerator's facts hold no such link.

    >>> from comptroller.facts.accelerator import accelerator
    >>> h100 = accelerator("h100_sxm")
    >>> [group_bytes_per_s(h100, ranks, stride) / 1e9 for ranks, stride in ((8, 1), (16, 8), (16, 1))]
    [450.0, 50.0, 400.0]
    """
    within = device.scale_up.one_way_bytes_per_s if device.scale_up else 0.0
    if within and ranks * stride <= node_devices(device):
        return within
    if device.scale_out is None:
        raise UnsupportedError(f"{device.id}: no known link joins {ranks * stride} devices")
    cards = min(ranks, max(1, node_devices(device) // stride)) * device.scale_out.one_way_bytes_per_s
    return min(cards, within) if within else cards
