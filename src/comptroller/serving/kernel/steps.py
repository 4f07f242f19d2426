"""How long steps take and what they use, one at a time or in runs summed in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from comptroller.serving.jit import jit, part
from comptroller.serving.kernel.cache import move_on
from comptroller.serving.kernel.curves import curve
from comptroller.serving.state import LEVEL_FIELDS, NEVER, TICKS_PER_S, GroupActivity, KernelWorld

LEVELS = len(LEVEL_FIELDS)
READY = int(GroupActivity.READY)


@jit
def _segment(w: KernelWorld, rank: Any, kv: int) -> int:
    low, high = 0, rank.nk - 2
    while low < high:
        middle = (low + high + 1) >> 1
        if w.ints[rank.kv_x + middle] <= kv:
            low = middle
        else:
            high = middle - 1
    return int(low)


@jit
def _at_work(w: KernelWorld, r: int) -> bool:
    """Whether a rank is in a step, or has somebody to begin one with in this tick."""
    rank = w.ranks[r]
    return bool(rank.kind > READY or (rank.kind == READY and (rank.batch + rank.pre_count > 0 or rank.intake >= 0)))


@part
def take_level(w: KernelWorld, r: int) -> None:
    """The steps of a rank from here on are those of the level that was set; of a shared store with tables for that,
    those beside the other engine where it is at work."""
    rank = w.ranks[r]
    level = rank.level_due
    if rank.besides > 0 and _at_work(w, rank.peer):
        level += rank.besides
    if level == rank.level:
        return
    rank.level = level
    row = rank.levels + LEVELS * rank.level
    rank.nk, rank.nt, rank.np = w.ints[row], w.ints[row + 1], w.ints[row + 2]
    rank.kv_x, rank.kv_v, rank.kv_m = w.ints[row + 3], w.ints[row + 4], w.ints[row + 5]
    rank.kv_a, rank.kv_b = w.ints[row + 6], w.ints[row + 7]
    rank.tokens, rank.pairs = w.ints[row + 8], w.ints[row + 9]


@jit
def decode_ticks(w: KernelWorld, r: int, kv: int) -> int:
    """Ticks of one decode step of a rank's batch."""
    rank = w.ranks[r]
    left = _segment(w, rank, kv)
    row = rank.batch * rank.nk + left
    return int(w.ints[rank.kv_v + row] + w.ints[rank.kv_m + row] * (kv - w.ints[rank.kv_x + left]))


@part
def _alike(w: KernelWorld, rank: Any, kv: int, left: int, most: int) -> int:
    """Steps from here on that stay on one segment, so that their sum is a quadratic."""
    if left >= rank.nk - 2:
        return most
    ahead = w.ints[rank.kv_x + left + 1] - kv
    return int(min(most, (ahead + rank.batch - 1) // rank.batch))


@jit
def _fitting(first: int, rise: int, room: int, most: int) -> int:
    """The most steps, up to `most`, that fit: n * first + rise * n (n - 1) / 2 <= room."""
    half = first - 0.5 * rise
    count = min(most, int(2.0 * room / (half + np.sqrt(max(half * half + 2.0 * rise * room, 0.0)))))
    while count > 0 and count * first + rise * (count * (count - 1) // 2) > room:
        count -= 1
    while count < most and (count + 1) * first + rise * ((count + 1) * count // 2) <= room:
        count += 1
    return int(count)


@jit
def walk(w: KernelWorld, r: int, most: int, limit: int) -> tuple[int, int]:
    """How many of a rank's next `most` decode steps end within `limit` ticks, and their ticks."""
    rank = w.ranks[r]
    done, ticks = 0, 0
    while done < most:
        kv = rank.sum + rank.batch * (rank.g + done)
        left = _segment(w, rank, kv)
        row = rank.batch * rank.nk + left
        slope = w.ints[rank.kv_m + row]
        first = w.ints[rank.kv_v + row] + slope * (kv - w.ints[rank.kv_x + left])
        count = _alike(w, rank, kv, left, most - done)
        rise = slope * rank.batch
        span = count * first + rise * (count * (count - 1) // 2)
        if ticks + span > limit:
            count = _fitting(first, rise, limit - ticks, count)
            return done + count, ticks + count * first + rise * (count * (count - 1) // 2)
        done += count
        ticks += span
    return done, ticks


@jit
def walk_group(w: KernelWorld, group: int, most: int, limit: int) -> tuple[int, int]:
    """The same for ranks in lockstep: every step takes as long as the slowest rank's."""
    ranks = w.ranks[group].ranks
    if ranks == 1:
        return walk(w, group, most, limit)  # type: ignore[no-any-return]
    done, ticks = 0, 0
    while done < most:
        slowest = 0
        for r in range(group, group + ranks):
            rank = w.ranks[r]
            if rank.batch > 0:
                kv = rank.sum + rank.batch * (rank.g + done)
                slowest = max(slowest, decode_ticks(w, r, kv))
        if ticks + slowest > limit:
            break
        done += 1
        ticks += slowest
    return done, ticks


@part
def _spend(w: KernelWorld, r: int, steps: int, ticks: int) -> None:
    """Book the energy of decode steps: per cached token to who holds it, the rest in equal parts."""
    rank = w.ranks[r]
    done = 0
    while done < steps:
        g = rank.g + done
        kv = rank.sum + rank.batch * g
        left = _segment(w, rank, kv)
        row = rank.batch * rank.nk + left
        count = _alike(w, rank, kv, left, steps - done)
        fixed, slope = w.floats[rank.kv_a + row], w.floats[rank.kv_b + row]
        climb = 0.5 * count * (count - 1)
        rank.a0 += slope * count
        rank.a1 += slope * (count * float(g) + climb)
        rank.even += fixed * count / rank.batch
        rank.joules += fixed * count + slope * (count * float(kv) + rank.batch * climb)
        done += count
    rank.share += float(ticks) / rank.batch


@jit
def pass_run(w: KernelWorld, r: int, steps: int, ticks: int) -> None:
    """Let a rank's next decode steps have happened; `ticks` is what the group took."""
    rank = w.ranks[r]
    if rank.batch == 0:
        return
    own = ticks if w.ranks[rank.leader].ranks == 1 else walk(w, r, steps, NEVER)[1]
    _spend(w, r, steps, ticks)
    rank.steps += steps
    rank.busy += own
    move_on(w, r, steps)


@part
def prompt_ticks(w: KernelWorld, r: int) -> int:
    """Ticks of a step with prompt tokens, decode attention included."""
    rank = w.ranks[r]
    beside = rank.batch * rank.verify if rank.step_decode else 0
    seconds = curve(w, rank.tokens, rank.nt, 1, float(rank.step_prompt + beside))
    seconds += curve(w, rank.pairs, rank.np, 1, rank.step_pairs)
    ticks = int(seconds * TICKS_PER_S + 0.5)
    if beside > 0:
        kv = rank.sum + rank.batch * rank.g
        ticks += decode_ticks(w, r, kv) - decode_ticks(w, r, 0)
    return max(ticks, 1)


@part
def _mixed_j(w: KernelWorld, r: int) -> tuple[float, float, float, float]:
    """Joules of a step with prompt tokens: by its tokens, by its query-key pairs, of its decodes beside their cached
    tokens, and of each of those."""
    rank = w.ranks[r]
    beside = rank.batch * rank.verify if rank.step_decode else 0
    joules = curve(w, rank.tokens, rank.nt, 3, float(rank.step_prompt + beside))
    pairs_j = curve(w, rank.pairs, rank.np, 3, rank.step_pairs)
    if beside == 0:
        return joules, pairs_j, 0.0, 0.0
    row = rank.batch * rank.nk
    left = row + _segment(w, rank, rank.sum + rank.batch * rank.g)
    return joules, pairs_j, w.floats[rank.kv_a + left] - w.floats[rank.kv_a + row], w.floats[rank.kv_b + left]


@part
def spend_step(w: KernelWorld, r: int, ticks: int) -> tuple[float, float]:
    """Book the decoding part of a mixed step; joules per prompt token and per query-key pair."""
    rank = w.ranks[r]
    beside = rank.batch * rank.verify if rank.step_decode else 0
    tokens = rank.step_prompt + beside
    joules, pairs_j, fixed, slope = _mixed_j(w, r)
    rank.joules += joules + pairs_j
    if beside > 0:
        kv = rank.sum + rank.batch * rank.g
        rank.a0 += slope
        rank.a1 += slope * float(rank.g)
        rank.even += fixed / rank.batch + joules / tokens * rank.verify
        rank.joules += fixed + slope * kv
        rank.share += float(ticks) * rank.verify / tokens
    return joules / tokens, pairs_j / max(rank.step_pairs, 1.0)


@jit
def meter_part(w: KernelWorld, r: int, tick: int, single: bool) -> None:
    """What of the step under way has passed by a tick, in ticks and joules, the run of the rank being settled.

    single: whether it is a step by itself, which is booked at its end, and not one of a run.
    """
    rank = w.ranks[r]
    passed = tick - w.ranks[rank.leader].since
    own, joules = 0, 0.0
    if single:
        own = rank.own_ticks
        if rank.step_prompt > 0:
            tokens_j, pairs_j, fixed, slope = _mixed_j(w, r)
            joules = tokens_j + pairs_j + fixed + slope * (rank.sum + rank.batch * rank.g)
    elif rank.batch > 0:
        own = decode_ticks(w, r, rank.sum + rank.batch * rank.g)
    if rank.batch > 0 and (not single or (rank.step_prompt == 0 and rank.step_decode)):
        kv = rank.sum + rank.batch * rank.g
        at = rank.batch * rank.nk + _segment(w, rank, kv)
        joules = w.floats[rank.kv_a + at] + w.floats[rank.kv_b + at] * kv
    share = min(float(passed) / max(own, 1), 1.0)
    # The wait for a swap is booked when it begins; what has not passed of it is taken back.
    waits_j = rank.idle_w * (rank.stall / TICKS_PER_S) if single else 0.0
    rank.part_ticks = min(passed, own)
    rank.part_j = share * joules - (1.0 - share) * waits_j
