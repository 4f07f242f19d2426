"""Prompts cut to a length, as by agents that let the oldest turns go: fewer tokens, and nothing found in a cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comptroller.work.trace import Floats, Ints, RequestTrace, TracePrefixBlocks


def shorter_prompts(trace: RequestTrace, most_tokens: int) -> RequestTrace:
    """The trace with prompts of at most so many tokens, of which the oldest go; a note says how many were longer.

    A prompt that lost its first tokens begins as none before it did: its blocks are its own, and so are those of the
    next. What a task with such a prompt solves is unknown, for it would have gone on otherwise.

    >>> trace = RequestTrace(np.array([0.0, 1.0]), np.array([40, 90]), np.array([1, 1]))
    >>> shorter_prompts(trace, 50).input_tokens.tolist()
    [40, 50]
    """
    longer = trace.input_tokens > most_tokens
    if not longer.any():
        return trace
    tasks, told = trace.tasks, ""
    if tasks:
        _, place = np.unique(tasks.task, return_inverse=True)
        of_task = np.bincount(place, longer) > 0
        told = f", in {of_task.sum():,} of {len(of_task):,} tasks; what these solve is unknown"
        score: Floats = np.where(of_task[place], np.nan, tasks.score)
        tasks = replace(tasks, score=score, cached=np.where(longer, np.nan, tasks.cached))
    note = f"{longer.sum():,} of {len(trace):,} prompts were cut to {most_tokens:,} tokens{told}"
    return replace(
        trace,
        input_tokens=np.minimum(trace.input_tokens, most_tokens),
        blocks=_own_blocks(trace.blocks, longer.nonzero()[0], most_tokens) if trace.blocks else None,
        tasks=tasks,
        notes=(*trace.notes, note),
    )


def _own_blocks(blocks: TracePrefixBlocks, rows: Ints, most_tokens: int) -> TracePrefixBlocks:
    """The blocks with new ones for the requests at some indices, as many as a prompt of the length has in full."""
    counts, fits = np.diff(blocks.offsets), most_tokens // blocks.tokens
    shorter = counts.copy()
    shorter[rows] = np.minimum(counts[rows], fits)
    offsets = np.concatenate(([0], np.cumsum(shorter)))
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], shorter)
    ids = blocks.ids[np.repeat(blocks.offsets[:-1], shorter) + within]
    fresh = np.repeat(np.isin(np.arange(len(counts)), rows), shorter)
    first = int(blocks.ids.max(initial=-1)) + 1
    return TracePrefixBlocks(offsets, np.where(fresh, first + np.cumsum(fresh) - 1, ids), blocks.tokens)
