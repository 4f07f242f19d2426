"""What a router sees of the replicas: a matrix with a row per rank, as old as the telemetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ACTIVE, QUEUED, PENDING, RESERVED, KV, CAPACITY, WEIGHT, MATCH = range(8)
"""Columns: requests in flight; requests not yet admitted; prompt tokens not yet computed; prompt and
predicted output tokens of requests in flight; tokens of cache in use; tokens of cache; weight; cached prefix
tokens of the call at hand (always current)."""
COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of the view, for the plain meaning of a policy."""

    id: int
    active: float
    queued: float
    pending: float
    reserved: float
    kv: float
    capacity: float
    weight: float
    match: float


@dataclass(frozen=True, slots=True)
class Router:
    """The router's own state and settings.

    turn: calls routed before this one among these replicas.  seed: of its draws.  bound: how far above the
    mean load consistent hashing lets a replica go.  overlap: weight of prompt tokens to compute against
    tokens in cache.
    """

    turn: int
    seed: int
    bound: float
    overlap: float


Call = Any
"""A request as routing and scheduling see it: id, prompt, predicted, priority, session, fair_start."""
