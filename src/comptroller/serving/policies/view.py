"""What a router sees of the replicas: a matrix with a row per rank, as old as the telemetry."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

ACTIVE, QUEUED, PENDING, RESERVED, KV, CAPACITY, WEIGHT, MATCH = range(8)
"""Columns: requests in flight; requests not yet admitted; prompt tokens not yet computed; prompt and
predicted output tokens of requests in flight; tokens of cache in use; tokens of cache; weight; cached prefix
tokens of the call at hand (always current)."""
COLUMNS = 8

BOUND = 1.25
"""How far above the mean load consistent hashing lets a replica go: the fullest has a quarter more than the mean. Moves
of sessions grow as 1 / (BOUND - 1)^2 (Mirrokni et al., arXiv 1608.01350); at twice it the fullest may have 2.5 times
the mean."""
OVERLAP = 1.0
"""Weight of a prompt token to compute against a token in cache, in `prefix_load`: NVIDIA Dynamo's default. At twice it
a cached prefix outweighs twice the load."""

View = npt.NDArray[np.float64]
"""What a router sees, by rank and column."""
Ranks = npt.NDArray[np.int64]
"""The ranks that may take a call."""


class RouterState(NamedTuple):
    """The router's own state and settings.

    turn: calls routed before this one among these replicas.  seed: of its draws.  bound: how far above the
    mean load consistent hashing lets a replica go.  overlap: weight of prompt tokens to compute against
    tokens in cache.
    """

    turn: int
    seed: int
    bound: float
    overlap: float


WRONG_RANK = "the routing policy chose a rank that is not among those it was given"

Call = Any
"""A request as routing and scheduling see it: id, prompt, predicted, priority, session, tenant, adapter, fair_start;
for those that need it, `counter`, the service that its tenant has had."""
