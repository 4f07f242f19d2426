"""A small plan and traces for the tests of simulated plans."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.work.trace import RequestTrace, TracePrefixBlocks

GOLDEN = Path(__file__).parent / "golden" / "two_services.json"


def chat() -> Plan:
    """The golden plan: Llama 3.1 70B at 20 requests a second."""
    return load_plan(GOLDEN)


def stream(count: int = 400, rate_per_s: float = 5.0, seed: int = 0) -> RequestTrace:
    """Poisson arrivals of chat-sized requests."""
    rng = np.random.default_rng(seed)
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, count))
    return RequestTrace(
        arrival_s - arrival_s[0], rng.integers(50, 2000, count), rng.integers(1, 300, count), source="stream"
    )


def with_blocks(trace: RequestTrace, tokens: int = 64, shared: int = 4) -> RequestTrace:
    """The same requests, every one beginning with the same few prefix blocks and going on with its own."""
    counts = -(-trace.input_tokens // tokens)
    starts = np.concatenate([[0], np.cumsum(counts)])
    ids = np.arange(starts[-1]) + shared
    for start, count in zip(starts, counts, strict=False):
        common = min(shared, int(count))
        ids[start : start + common] = np.arange(common)
    return RequestTrace(
        trace.arrival_s, trace.input_tokens, trace.output_tokens, "shared", TracePrefixBlocks(starts, ids, tokens)
    )
