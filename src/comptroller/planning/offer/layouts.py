"""Layouts worth trying: inside a node, pipelines over slow links and nodes, experts over several nodes."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.costs.deployment import GATHERING, ParallelLayout
from comptroller.costs.network import node_devices
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.model import LatentAttention, MixtureOfExperts, Model, SoftmaxAttention

SLOW_BYTES_PER_S = 100e9
"""Links below this (PCIe) make pipeline stages inside a node worth trying; NVLink's first generation has 150e9."""


def layouts(model: Model, device: Accelerator) -> tuple[ParallelLayout, ...]:
    """Layouts worth trying, smallest first.

    Tensor parallel degrees are powers of two that divide the heads, inside a node; pipeline stages in powers of
    two inside a node where links are slow, or over nodes; experts kept whole or cut over all devices; latent
    attention also as data-parallel ranks with the experts spread over all of them.
    """
    candidates: list[ParallelLayout] = []
    heads = _heads(model)
    slow = device.scale_up is None or device.scale_up.one_way_bytes_per_s < SLOW_BYTES_PER_S
    for tp in _powers(device.node_devices):
        if heads % tp:
            continue
        candidates.append(ParallelLayout(tp=tp))
        if model.is_moe and tp > 1:
            candidates.append(ParallelLayout(tp=tp, ep=tp))
            if any(isinstance(block.mixer, LatentAttention) for block in model.blocks):
                candidates.append(ParallelLayout(tp=1, dp=tp, ep=tp))
        stages = _powers(device.node_devices // tp)[1:] if slow else []
        candidates.extend(ParallelLayout(tp=tp, pp=pp) for pp in stages if model.layers >= pp)
    if device.scale_out and heads % device.node_devices == 0:
        candidates.extend(ParallelLayout(tp=device.node_devices, pp=pp) for pp in (2, 4) if model.layers >= pp)
    return tuple(dict.fromkeys(sorted(candidates, key=lambda x: (x.devices, x.pp, x.dp, x.ep))))


def _heads(model: Model) -> int:
    heads = [b.mixer.heads for b in model.blocks if isinstance(b.mixer, SoftmaxAttention | LatentAttention)]
    return min(heads, default=1)


def _powers(most: int) -> list[int]:
    return [2**i for i in range(max(most, 1).bit_length()) if 2**i <= most]


def wide_layouts(model: Model, device: Accelerator, counts: Sequence[int]) -> tuple[ParallelLayout, ...]:
    """One layout for each number of devices over which a model's experts can be spread, smallest first.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> [str(x) for x in wide_layouts(model("deepseek_r1"), accelerator("h100_sxm"), (32, 12, 16))]
    ['dp16-ep16', 'dp32-ep32']
    """
    able = sorted({count for count in counts if not spread_refusal(model, device, count)})
    return tuple(ParallelLayout(dp=count, ep=count) for count in able)


def spread_refusal(model: Model, device: Accelerator, count: int) -> str:
    """Why a model's experts cannot be spread over so many devices; empty if they can."""
    experts = max((block.ffn.experts for block in model.blocks if isinstance(block.ffn, MixtureOfExperts)), default=0)
    node = node_devices(device)
    if not experts:
        return f"{model.id} has no experts to spread over {count} devices"
    if experts < count:
        return f"{model.id} has {experts} experts, fewer than {count} devices"
    if count <= GATHERING:
        return f"{count} devices exchange whole tokens; more than {GATHERING} only what experts need"
    if count > node and count % node:
        return f"{count} devices are no whole nodes of {node} {device.id}"
    if count > node and device.scale_out is None:
        return f"{device.id}: its facts state no network between nodes"
    return ""
