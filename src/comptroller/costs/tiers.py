"""Slower tiers (the host's memory, a remote pool, flash): weights that every step reads from there, and caches of
prompts that are loaded once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.operations import OperationMatrices
from comptroller.errors import InputError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.cache_tier import CacheTier

Array = npt.NDArray[np.float64]

WEIGHTED = frozenset({"gemm", "moe"})
"""Operations that read weights."""


def step_through_tier_s(step_s: Array, moved_bytes: Array, link_bytes_per_s: float) -> Array:
    """Seconds of a step whose kernels read some of the weights through a link, as they need them.

    t = t_step + W / b

    step_s: with all weights in the device's memory, s.  moved_bytes: W, of weights read through the link in the step.
    link_bytes_per_s: b, in one direction. Source: vLLM's `--cpu-offload-gb` maps the host's memory into the device's
    address space and copies nothing ahead (pull request 6496). Measured: 64 clients on eight H20, 2,434 tokens/s, and
    120 with 35 GB of each device's weights in the host's memory (vLLM issue 57771).

    >>> round(64 / float(step_through_tier_s(np.array(64 / 2434), np.array(35e9), 64e9)), 1)
    111.7
    """
    return np.asarray(step_s + moved_bytes / link_bytes_per_s)


def step_ahead_of_tier_s(step_s: Array, moved_bytes: Array, link_bytes_per_s: float) -> Array:
    """The same where the weights of the next layers are fetched while this one computes.

    t = max(t_step, W / b)

    Source: FengHuang (arXiv 2511.10753) and MoE-Lens (arXiv 2504.09345), which hide what their links can carry in the
    time of a step.

    >>> round(float(step_ahead_of_tier_s(np.array(0.026), np.array(35e9), 64e9)), 3)
    0.547
    """
    return np.asarray(np.maximum(step_s, moved_bytes / link_bytes_per_s))


def tier_bound_per_s(tokens: float, moved_bytes: float, link_bytes_per_s: float) -> float:
    """Tokens per second that a link alone allows, however fast the device: n b / W (MoE-Lens, arXiv 2504.09345).

    tokens: n, of a step.  moved_bytes: W, of weights that the step reads through the link.  link_bytes_per_s: b.

    >>> round(tier_bound_per_s(64, 35e9, 64e9), 1)
    117.0
    """
    return tokens * link_bytes_per_s / moved_bytes


def tokens_with_full_cache(cache_tokens: float, prompt_tokens: float, output_tokens: float) -> float:
    """Tokens of a step, prompts and replies, of so many like requests at all stages as fill a cache.

    n = M (p + g) / (g (p + g / 2)),  g / M times as many as 1, the factor by which stages that overlap stretch a cache

    cache_tokens: M.  prompt_tokens, output_tokens: p, g; a request holds p + g / 2 in the mean for g steps. With it
    `tier_bound_per_s` is the bound of MoE-Lens (arXiv 2504.09345, "parallelism-memory efficiency" times M), which gives
    a factor of 1.57 for 98 and 256 tokens.

    >>> round(256 * tokens_with_full_cache(1.0, 98, 256), 2)
    1.57
    """
    return cache_tokens * (prompt_tokens + output_tokens) / (output_tokens * (prompt_tokens + output_tokens / 2))


def tier_to_device_bytes_per_s(tier: CacheTier, device: Accelerator) -> float:
    """At which one device loads from a cache tier: over its own link, its node's network or the tier's, and the host.

    Raises:
        InputError: the accelerator's facts have no such link.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.cache_tier import cache_tier
    >>> tier_to_device_bytes_per_s(cache_tier("host_memory"), accelerator("h100_sxm")) / 1e9
    64.0
    """
    return _link_bytes_per_s(tier, device, tier.bytes_per_s)


def device_to_tier_bytes_per_s(tier: CacheTier, device: Accelerator) -> float:
    """At which one device writes to a cache tier, over the same links; links carry as much either way.

    Raises:
        InputError: the accelerator's facts have no such link.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.cache_tier import cache_tier
    >>> device_to_tier_bytes_per_s(cache_tier("nvme_pcie5"), accelerator("h100_sxm")) / 1e9
    6.6
    """
    return _link_bytes_per_s(tier, device, tier.write_bytes_per_s or tier.bytes_per_s)


def _link_bytes_per_s(tier: CacheTier, device: Accelerator, own: float | None) -> float:
    rate = own
    if tier.link != "own":
        link = device.host if tier.link == "host" else device.scale_out
        rate = link.one_way_bytes_per_s if link else None
    if rate is None or (tier.passes_host and device.host is None):
        raise InputError(f"cache tier {tier.id}: the facts of {device.id} hold no link over which it would be loaded")
    return min(rate, device.host.one_way_bytes_per_s) if tier.passes_host and device.host else rate


def prompt_from_tier_s(fresh_s: Array, load_s: Array, layers: int) -> Array:
    """Seconds of a prompt whose beginning has its cache in a slower tier, loaded layer by layer while others compute.

    t = ((L - 1) max(l, c) + l + c) / L

    fresh_s: c, s, to compute what is new against the whole context.  load_s: l, s, of the cache alone.
    layers: L: a layer's cache is there before the layer starts, the next one comes meanwhile.
    Source: Mooncake (arXiv 2407.00079, layer-wise loading) and LMCache; FengHuang (arXiv 2511.10753) hides as much.

    >>> round(float(prompt_from_tier_s(np.array(0.05), np.array(0.02), 32)), 4)
    0.0506
    """
    return np.asarray(((layers - 1) * np.maximum(load_s, fresh_s) + load_s + fresh_s) / layers)


def worth_loading_bytes_per_s(loaded_bytes: Array, whole_s: Array, fresh_s: Array, layers: int) -> Array:
    """The rate of a tier from which on loading a prompt's beginning takes no longer than computing it.

    b = W / (t_whole - c / L),  where the load is the longer part: t = l + c / L if l >= c, else c + l / L

    whole_s: t_whole, s, of the prompt computed from its first token.  fresh_s, loaded_bytes, layers: as in
    `prompt_from_tier_s`. Attention makes later tokens dearer to compute and no dearer to load: long prompts are worth
    loading from slower tiers.

    >>> float(worth_loading_bytes_per_s(np.array(2.6e9), np.array(0.5), np.array(0.1), 10).round(-7))
    5310000000.0
    """
    slow = whole_s - fresh_s / layers  # what loading may take where it is the longer of the two, else behind computing
    return np.asarray(loaded_bytes / np.maximum(np.where(slow >= fresh_s, slow, (whole_s - fresh_s) * layers), 1e-12))


def weights_read(ops: OperationMatrices, values: Array) -> Array:
    """Share of a device's weights that steps read, (points,): all but the experts that no token touches.

    values: features of the steps, (features, points).
    """
    rows = np.array([row.kind in WEIGHTED for row in ops.rows])
    columns = [i for i, feature in enumerate(ops.features) if feature.name in {"one", "experts"}]
    of_step = values[columns]
    every = np.array([[float(ops.features[i].experts or 1)] for i in columns])
    coefficients = ops.count[rows, None] * ops.byte_matrix[rows][:, columns]
    return np.asarray((coefficients @ of_step).sum(axis=0) / (coefficients @ every).sum(axis=0))


def host_read_s(replica: ModelReplica, ops: OperationMatrices, values: Array) -> Array | float:
    """Seconds that steps read weights from the host's memory; 0 where all lie on the device."""
    link = replica.device.host
    if not replica.engine.offload_bytes or link is None:
        return 0.0
    moved = replica.engine.offload_bytes * weights_read(ops, values)
    return step_through_tier_s(np.zeros(moved.shape), moved, link.one_way_bytes_per_s)


def offload_refusal(replica: ModelReplica, weight_bytes: float) -> str:
    """Why weights cannot lie in the host's memory; empty if they can. weight_bytes: of the device."""
    offloaded = replica.engine.offload_bytes
    if not offloaded:
        return ""
    if replica.device.host is None:
        return f"{replica.device.id}: no link to the host's memory is known, over which weights would be read"
    if offloaded > weight_bytes:
        return (
            f"{replica}: {offloaded / 2**30:.3g} GiB of a device's weights cannot lie in the host's memory, for it has "
            f"{weight_bytes / 2**30:.3g}"
        )
    return ""
