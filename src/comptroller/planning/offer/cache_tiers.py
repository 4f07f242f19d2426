"""Whether a prompt's beginning is better loaded from a slower tier than computed again: host memory, network, flash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steady import prefill_time
from comptroller.costs.tiers import prompt_from_tier_s, worth_loading_bytes_per_s
from comptroller.errors import InputError
from comptroller.planning.offer.replica_fit import FitQuery

HOST, NETWORK = "host memory", "network"
"""Tiers that every accelerator's facts tell the rate of, as far as they have the link."""


@dataclass(frozen=True, slots=True)
class CacheTier:
    """A place of caches, and bytes per second in one direction from it to one device."""

    name: str
    bytes_per_s: float

    @classmethod
    def of(cls, text: str) -> CacheTier:
        """The tier that is spelled NAME=GB/s.

        Raises:
            InputError: it is spelled otherwise, or its rate is not above 0.

        >>> CacheTier.of("nvme=7")
        CacheTier(name='nvme', bytes_per_s=7000000000.0)
        """
        name, _, rate = text.partition("=")
        try:
            bytes_per_s = 1e9 * float(rate)
        except ValueError:
            bytes_per_s = 0.0
        if not name or not 0.0 < bytes_per_s < np.inf:
            raise InputError(f"tier {text!r}: allowed: NAME=GB/s with a rate above 0, as nvme=7")
        return cls(name, bytes_per_s)


@dataclass(frozen=True, slots=True)
class TierLoad:
    """What a prompt takes whose beginning lies in a tier.

    load_s: of the cache alone.  prompt_s: of the prompt, loading beside computing.  computed_s: without the cache.
    """

    tier: CacheTier
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


def tiers_of(query: FitQuery, own: Sequence[str] = ()) -> Mapping[str, CacheTier]:
    """The tiers of a replica's node by its datasheet's links, and own ones, which come instead of those.

    Raises:
        InputError: a tier is spelled wrong.
    """
    device = query.replica.device
    links = {HOST: device.host, NETWORK: device.scale_out}
    known = {name: CacheTier(name, link.one_way_bytes_per_s) for name, link in links.items() if link}
    return known | {tier.name: tier for tier in map(CacheTier.of, own)}


def check_tiers(query: FitQuery, cached: int, own: Sequence[str], calibration: TimingCalibration) -> CacheTierAnswer:
    """What loading the first `cached` tokens of a query's prompt takes from each tier, beside computing them.

    Raises:
        InputError: `cached` is no part of the prompt, a tier is spelled wrong, or no tier is known.
        InsufficientMemoryError: the replica does not fit.

    >>> from comptroller.costs.deployment import ParallelLayout
    >>> from comptroller.costs.fitted_calibration import FittedCalibration
    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.planning.offer.replica_fit import replica_to_check
    >>> query = FitQuery(replica_to_check(model("llama_3_1_8b"), accelerator("h100_sxm"), ParallelLayout()), 8000, 100)
    >>> found = check_tiers(query, 7000, ("nvme=7",), FittedCalibration.shipped())
    >>> [load.tier.name for load in found.loads], round(found.loaded_bytes / 1e6)
    (['host memory', 'network', 'nvme'], 918)
    """
    if not 1 <= cached < query.input_tokens:
        raise InputError(f"{cached:,} cached tokens; allowed: 1 to {query.input_tokens - 1:,} of the prompt")
    tiers = tiers_of(query, own)
    if not tiers:
        raise InputError(f"{query.replica.device.id}: no link to another tier is known; state one: --tier NAME=GB/s")
    ready, layers = replica_timer(query.replica, calibration), query.replica.model.layers
    loaded = memory(query.replica).sequence_bytes(np.array([float(cached)]))
    whole = prefill_time(ready, np.array([float(query.input_tokens)])).total_s
    fresh = prefill_time(ready, np.array([float(query.input_tokens - cached)]), float(cached)).total_s
    worth = worth_loading_bytes_per_s(loaded, whole, fresh, layers)

    def loads() -> Iterator[TierLoad]:
        for tier in tiers.values():
            taken = prompt_from_tier_s(fresh, loaded, tier.bytes_per_s, layers)
            yield TierLoad(tier, float(loaded[0] / tier.bytes_per_s), float(taken[0]), float(whole[0]))

    return CacheTierAnswer(cached, float(loaded[0]), float(fresh[0]), float(worth[0]), tuple(loads()))
