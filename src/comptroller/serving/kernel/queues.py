"""Queues inside the records: who waits behind whom, who finishes first, which group acts next."""

from __future__ import annotations

from typing import Any

from comptroller.serving.jit import jit, part
from comptroller.serving.state import KernelWorld


@jit
def _before(requests: Any, a: int, b: int) -> bool:
    first, second = requests[a], requests[b]
    if first.key != second.key:
        return bool(first.key < second.key)
    if first.order != second.order:
        return bool(first.order < second.order)
    return bool(first.id < second.id)


@jit
def merge(requests: Any, a: int, b: int) -> int:
    """The root of two skew heaps made one; -1 is the empty heap."""
    if a < 0 or b < 0:
        return max(a, b)
    if _before(requests, b, a):
        a, b = b, a
    root = a
    while True:
        right = requests[a].right
        requests[a].right = requests[a].left
        if right < 0:
            requests[a].left = b
            return root
        if _before(requests, b, right):
            right, b = b, right
        requests[a].left = right
        a = right


@jit
def push(requests: Any, root: int, i: int, key: float, order: int) -> int:
    """The root after a request has joined under (key, order, id)."""
    requests[i].key = key
    requests[i].order = order
    requests[i].left = -1
    requests[i].right = -1
    requests[i].heaped = 1
    return int(merge(requests, root, i))


@jit
def pop(requests: Any, root: int) -> int:
    """The root after the first request has left."""
    requests[root].heaped = 0
    return int(merge(requests, requests[root].left, requests[root].right))


@jit
def set_key(w: KernelWorld, group: int, key: int) -> None:
    """Enter when a group acts next into the tree of minima."""
    top, node = w.clock[0].tree, w.clock[0].leaves + group
    w.ints[top + node] = key
    while node > 1:
        node >>= 1
        least = min(w.ints[top + 2 * node], w.ints[top + 2 * node + 1])
        if w.ints[top + node] == least:
            return
        w.ints[top + node] = least


@part
def first_group(w: KernelWorld) -> int:
    """The lowest-numbered group among those that act first."""
    top, leaves = w.clock[0].tree, w.clock[0].leaves
    node = 1
    while node < leaves:
        node *= 2
        if w.ints[top + node] != w.ints[top + 1]:
            node += 1
    return int(node - leaves)


@jit
def _sooner(w: KernelWorld, rank: Any, due: int, i: int, place: int) -> bool:
    """Whether request i, done at `due`, leaves before the one at a place."""
    other = w.ints[rank.due + place]
    if due != other:
        return bool(due < other)
    return bool(w.requests[i].id < w.requests[w.ints[rank.run + place]].id)


@jit
def run_sift(w: KernelWorld, r: int, place: int) -> None:
    """Restore the heap of a rank's decoding requests around one place."""
    rank = w.ranks[r]
    run, due_at, size = rank.run, rank.due, rank.batch
    i, due = w.ints[run + place], w.ints[due_at + place]
    while place > 0 and _sooner(w, rank, due, i, (place - 1) // 2):
        above = (place - 1) // 2
        w.ints[run + place], w.ints[due_at + place] = w.ints[run + above], w.ints[due_at + above]
        place = above
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _sooner(w, rank, w.ints[due_at + child + 1], w.ints[run + child + 1], child):
            child += 1
        if _sooner(w, rank, due, i, child):
            break
        w.ints[run + place], w.ints[due_at + place] = w.ints[run + child], w.ints[due_at + child]
        place = child
    w.ints[run + place], w.ints[due_at + place] = i, due
