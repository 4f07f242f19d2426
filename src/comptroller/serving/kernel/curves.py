"""Curves of a rank's step table, and what its server takes around a request that the engine has ended."""

from __future__ import annotations

from comptroller.serving.jit import jit, part
from comptroller.serving.state import LEVEL_FIELDS, TICKS_PER_S, KernelWorld

TOKEN_KNOTS, PAIR_KNOTS, TOKENS, PAIRS = (LEVEL_FIELDS.index(name) for name in ("nt", "np", "tokens", "pairs"))


@jit
def curve(w: KernelWorld, base: int, count: int, part: int, x: float) -> float:
    """A part of a curve at x: 1 seconds, 3 joules."""
    low, high = 0, count - 2
    while low < high:
        middle = (low + high + 1) >> 1
        if w.floats[base + middle] <= x:
            low = middle
        else:
            high = middle - 1
    value = w.floats[base + part * count + low]
    return float(value + w.floats[base + (part + 1) * count + low] * (x - w.floats[base + low]))


@part
def server_ticks(w: KernelWorld, i: int) -> int:
    """Ticks that the server takes around a request beside the engine's queue and steps, as `StepTable.outside_s` has
    them of the rank of its prompt; below 0 where prompts are faster than their steps."""
    request = w.requests[i]
    if request.prompt == 0 or request.prompt_rank < 0:
        return 0
    rank = w.ranks[request.prompt_rank]
    seconds = rank.server_s
    if rank.server_share != 0:
        fresh, cached = float(request.prompt - request.cached), float(request.cached)
        chunks = max(-(-(request.prompt - request.cached) // rank.server_chunk), 1)
        pairs = fresh * (cached + (fresh + 1.0) / 2.0) / chunks
        row = rank.levels
        alone = curve(w, w.ints[row + TOKENS], w.ints[row + TOKEN_KNOTS], 1, fresh / chunks)
        alone += curve(w, w.ints[row + PAIRS], w.ints[row + PAIR_KNOTS], 1, pairs)
        seconds += rank.server_share * chunks * alone
    ticks = seconds * TICKS_PER_S
    return int(ticks + 0.5) if ticks >= 0 else -int(0.5 - ticks)
