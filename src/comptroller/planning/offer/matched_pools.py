"""Of the groups of prefill and decode replicas that were evaluated, those worth simulating."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from comptroller.costs.capacity import LatencyTarget
from comptroller.facts.site import AcceleratorOffer
from comptroller.planning.offer.evaluation import DeploymentTable

KEPT = 3
"""Ratios of a deployment that are kept, those that carry most for a device: the pools of the best are busy alike, the
next ones fill whole units better where few are needed. Twice as many are simulated, and rarely cheaper."""


def with_matched_pools(table: DeploymentTable, targets: Sequence[LatencyTarget]) -> DeploymentTable:
    """The table with, of every deployment, the groups alone that carry most of the mixture for a device."""
    if all(candidate.pools is None for candidate in table.candidates):
        return table
    rate, column = table.best(targets)
    with np.errstate(divide="ignore"):
        usage = np.maximum(*((table.load.weight @ (1.0 / x).T) for x in (rate, table.prompts_per_s(targets, column))))
    each = np.array([candidate.devices for candidate in table.candidates]) * usage
    order = np.argsort(each, kind="stable")
    seen: Counter[tuple[int, str, AcceleratorOffer]] = Counter()
    kept = np.ones(len(order), bool)
    for row in order.tolist():
        candidate = table.candidates[row]
        if candidate.pools is not None:
            place = id(candidate.replica), candidate.site.id, candidate.offer
            seen[place] += 1
            kept[row] = seen[place] <= KEPT
    return table.only(np.flatnonzero(kept))
