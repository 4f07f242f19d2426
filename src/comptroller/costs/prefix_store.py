"""Beginnings of prompts that lie in a cache tier where the device's cache is full: where they are, what that takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica, PrefixStore
from comptroller.costs.memory import memory
from comptroller.costs.tiers import prompt_from_tier_s, tier_to_device_bytes_per_s
from comptroller.errors import InputError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PrefixPlaces:
    """Shares of the beginnings of prompts, arrays of points: found in the device's cache, loaded from the tier, and the
    rest is computed anew."""

    device: Array
    store: Array

    @property
    def anew(self) -> Array:
        """What is in neither."""
        return np.asarray(1.0 - self.device - self.store)


def prefix_places(working_tokens: float, room_tokens: Array, store_tokens: float) -> PrefixPlaces:
    """Where a beginning is found of which each is asked for as often.

    device = min(1, room / W),   store = min(1 - device, S / W)

    working_tokens: W, tokens of all different beginnings.  room_tokens: of the device's caches beside what runs.
    store_tokens: S, that the tier holds. Of n equally popular things a cache of the last used holds those it has room
    for (Che et al. 2002 with one popularity); a trace asks for what it just had, so that it finds more.

    >>> found = prefix_places(1e6, np.array([2e5, 2e6]), 5e5)
    >>> found.device.tolist(), found.store.tolist(), found.anew.round(2).tolist()
    ([0.2, 1.0], [0.5, 0.0], [0.3, 0.0])
    """
    device = np.minimum(np.maximum(room_tokens, 0.0) / working_tokens, 1.0)
    return PrefixPlaces(device, np.minimum(1.0 - device, store_tokens / working_tokens))


def places_of(replica: ModelReplica, store: PrefixStore, working_tokens: float, running_tokens: Array) -> PrefixPlaces:
    """Where the beginnings lie of a replica whose running sequences hold so many tokens, arrays of points."""
    held = memory(replica)
    store_tokens = store.size_bytes / (held.token_bytes * replica.layout.tp * replica.layout.pp)
    return prefix_places(working_tokens, held.kv_capacity_tokens - running_tokens, store_tokens)


def stored_prompt_s(replica: ModelReplica, store: PrefixStore, cached_tokens: Array, fresh_s: Array) -> Array:
    """Seconds of prompts alone whose first tokens come from the tier (`tiers.prompt_from_tier_s`); arrays of prompts.

    fresh_s: of what is new against the whole context, s.
    """
    moved = memory(replica).sequence_bytes(cached_tokens)
    load_s = store.tier.access_s + moved / tier_to_device_bytes_per_s(store.tier, replica.device)
    return prompt_from_tier_s(fresh_s, np.where(cached_tokens > 0, load_s, 0.0), replica.model.layers)


def store_refusal(replica: ModelReplica) -> str:
    """Why a replica cannot load from its tier; empty if it can, or has none."""
    if replica.engine.prefix_store is None:
        return ""
    try:
        tier_to_device_bytes_per_s(replica.engine.prefix_store.tier, replica.device)
    except InputError as error:
        return str(error)
    return ""
