"""How the price of a rented device changes from one dated quote to the next, as the sites' own entries show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from comptroller.facts.reader import ids
from comptroller.facts.site import AcceleratorOffer, site

Floats = npt.NDArray[np.float64]

FEWEST = 10
"""Pairs of which one may lie beyond each decile; a term with fewer borrows those of all terms."""


def strata(count: int, rng: np.random.Generator) -> Floats:
    """Levels in (0, 1), evenly spaced, in random order: draws that leave no part of a distribution out by chance.

    >>> sorted(strata(4, np.random.default_rng(0)).tolist())
    [0.125, 0.375, 0.625, 0.875]
    """
    return np.asarray((rng.permutation(count) + 0.5) / count)


@dataclass(frozen=True, slots=True)
class PriceDrift:
    """Measured changes of a quote. ratios: of each dated price to the one before it.  days: between the two.

    of: the term that they are of, or all terms.
    """

    ratios: Floats
    days: Floats
    of: str

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Factors on a price of today: one of the ratios each, all of them as often as each other."""
        return np.sort(self.ratios)[(strata(count, rng) * len(self.ratios)).astype(np.int64)]


@lru_cache(maxsize=8)
def drift(term: str) -> PriceDrift:
    """The changes of the quotes of a term; of all terms where it has fewer than `FEWEST`.

    A quote is what one provider asks at one site for one accelerator, by term, instance and devices rented together.
    Every two successive entries of a quote are a pair: with the entries up to October 2026 there are 41 on demand, 2
    reserved, 1 of a purchase and 1 of spot, most of them 39 days apart; 21 of the 41 did not change at all. Pairs of
    all providers and accelerators are pooled, and every quote is drawn alone, also where one provider raised all of
    its own. What providers ask beside each other (up to 5.5 times as much for the same device) is a choice that the
    plan has made, not a change.

    >>> len(drift("on_demand").ratios) >= 41, drift("spot").of
    (True, 'all terms')
    """
    found = list(_pairs())
    mine = [(after, before) for after, before in found if after.term == term]
    of, kept = (term, mine) if len(mine) >= FEWEST else ("all terms", found)
    ratios = np.array([after.usd_per_s / before.usd_per_s for after, before in kept])
    days = np.array([float((after.since - before.since).days) for after, before in kept])
    return PriceDrift(ratios, days, of)


def _pairs() -> Iterator[tuple[AcceleratorOffer, AcceleratorOffer]]:
    """Successive entries of every quote: the later and the earlier."""
    for name in ids("sites"):
        quotes: dict[tuple[str, str, str, str, int], list[AcceleratorOffer]] = {}
        for offer in sorted(site(name).offers, key=lambda each: each.since):
            key = (offer.provider, offer.accelerator, offer.term, offer.instance, offer.devices)
            quotes.setdefault(key, []).append(offer)
        for entries in quotes.values():
            yield from ((after, before) for before, after in pairwise(entries))
