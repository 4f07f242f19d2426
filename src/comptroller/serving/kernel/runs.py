"""How many equal decode steps a rank may take in one run: until somebody is done, or its memory has to be looked at."""

from __future__ import annotations

from comptroller.serving.jit import part
from comptroller.serving.kernel.cache import free, growth, room_beside_idle
from comptroller.serving.kernel.ranks import full
from comptroller.serving.state import KernelWorld


@part
def _steps_that_fit(w: KernelWorld, r: int, most: int, room: int) -> int:
    """The most decode steps, fewer than `most`, whose growth does not exceed the room."""
    fit, over = 0, most
    while over - fit > 1:
        middle = (fit + over) // 2
        if growth(w, r, middle) <= room:
            fit = middle
        else:
            over = middle
    return fit


@part
def run_length(w: KernelWorld, r: int) -> int:
    """Decode steps until a request of the rank is done or its memory is full."""
    rank = w.ranks[r]
    clock = w.clock[0]
    if rank.verify > 1 or (clock.counts and rank.waiting > 0 and not full(w, r)):
        return 1
    steps = w.ints[rank.due] - rank.g
    if clock.every > 0:
        steps = min(steps, clock.every - rank.steps % clock.every)
    room = free(w, r)
    if rank.timed_writes:
        # What a step evicts is written when the step ends, so that no run goes on beyond it.
        room = room_beside_idle(w, r)
        if growth(w, r, 1) > room:
            return 1
    if (rank.parts == 0 and rank.batch * steps <= room) or growth(w, r, steps) <= room:
        return int(steps)
    if rank.parts > 0:
        return int(_steps_that_fit(w, r, int(steps), room))
    tokens = room // rank.batch * rank.block
    left, place = room % rank.batch, rank.phase
    while w.ints[rank.hist + place] <= left:
        left -= w.ints[rank.hist + place]
        tokens += 1
        place = place - 1 if place > 0 else rank.block - 1
    return int(min(steps, tokens))
