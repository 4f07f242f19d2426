"""Whether a prompt's beginning is better loaded from a slower tier than computed again: host memory, network, flash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steady import prefill_time
from comptroller.costs.tiers import prompt_from_tier_s, tier_to_device_bytes_per_s, worth_loading_bytes_per_s
from comptroller.errors import InputError
from comptroller.facts.cache_tier import CACHE_TIERS, CacheTier, cache_tier
from comptroller.facts.reader import ids
from comptroller.planning.offer.replica_fit import FitQuery
from comptroller.planning.offer.replica_speed import require_scope


@dataclass(frozen=True, slots=True)
class TierLoad:
    """What a prompt takes whose beginning lies in a tier.

    bytes_per_s: to one device.  load_s: of the cache alone.  prompt_s: of the prompt, loading beside computing.
    computed_s: without the cache.
    """

    tier: CacheTier
    bytes_per_s: float
    load_s: float
    prompt_s: float
    computed_s: float

    @property
    def saved_s(self) -> float:
        """Seconds that loading saves; below 0 where computing is faster."""
        return self.computed_s - self.prompt_s


@dataclass(frozen=True, slots=True)
class CacheTierAnswer:
    """Tiers of one prompt. loaded_bytes: of one device.  device_s: the prompt where its beginning is in the device.
    worth_bytes_per_s: the rate from which on a tier is faster than computing."""

    cached_tokens: int
    loaded_bytes: float
    device_s: float
    worth_bytes_per_s: float
    loads: tuple[TierLoad, ...]


def tiers_of(query: FitQuery, names: Sequence[str] = ()) -> Iterator[tuple[CacheTier, float]]:
    """Tiers of these names, ids or files, and bytes per second from each to a device; all that ship, without names.

    Raises:
        UnknownIdError: there is no such tier.
        InputError: the accelerator's facts have no link to a named tier.
    """
    for name in names or ids(CACHE_TIERS):
        tier = cache_tier(name)
        try:
            yield tier, tier_to_device_bytes_per_s(tier, query.replica.device)
        except InputError:
            if names:
                raise


def check_tiers(query: FitQuery, cached: int, names: Sequence[str], calibration: TimingCalibration) -> CacheTierAnswer:
    """What loading the first `cached` tokens of a query's prompt takes from each tier, beside computing them.

    Raises:
        InputError: `cached` is no part of the prompt, no link to a tier is known, or the calibration was measured for
            something else.
        UnknownIdError: there is no such tier.
        InsufficientMemoryError: the replica does not fit.

    >>> from comptroller.costs.deployment import ParallelLayout
    >>> from comptroller.costs.fitted_calibration import FittedCalibration
    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.planning.offer.replica_fit import replica_to_check
    >>> query = FitQuery(replica_to_check(model("llama_3_1_8b"), accelerator("h100_sxm"), ParallelLayout()), 8000, 100)
    >>> found = check_tiers(query, 7000, ("host_memory", "nvme_pcie5"), FittedCalibration.shipped())
    >>> [load.tier.id for load in found.loads], round(found.loaded_bytes / 1e6)
    (['host_memory', 'nvme_pcie5'], 918)
    """
    if not 1 <= cached < query.input_tokens:
        raise InputError(f"{cached:,} cached tokens; allowed: 1 to {query.input_tokens - 1:,} of the prompt")
    tiers = tuple(tiers_of(query, names))
    if not tiers:
        raise InputError(f"{query.replica.device.id}: no link to a cache tier is known; state one: --tier FILE.toml")
    require_scope(calibration, query.replica)
    ready, layers = replica_timer(query.replica, calibration), query.replica.model.layers
    loaded = memory(query.replica).sequence_bytes(np.array([float(cached)]))
    whole = prefill_time(ready, np.array([float(query.input_tokens)])).total_s
    fresh = prefill_time(ready, np.array([float(query.input_tokens - cached)]), float(cached)).total_s
    worth = worth_loading_bytes_per_s(loaded, whole, fresh, layers)

    def loads() -> Iterator[TierLoad]:
        for tier, rate in tiers:
            load_s = tier.access_s + loaded / rate
            taken = prompt_from_tier_s(fresh, load_s, layers)
            yield TierLoad(tier, rate, float(load_s[0]), float(taken[0]), float(whole[0]))

    return CacheTierAnswer(cached, float(loaded[0]), float(fresh[0]), float(worth[0]), tuple(loads()))
