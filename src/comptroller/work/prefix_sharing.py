"""Prompts that begin alike: a declared share of them, or what the blocks of a trace show."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from comptroller.work.sizes import STRICT
from comptroller.work.trace import Floats, Ints, RequestTrace, TracePrefixBlocks

BLOCK_TOKENS = 64
"""Tokens of a block of a declared prefix: a multiple of every engine's block of cache. A prompt finds up to 63 tokens
less than its share; at twice it up to 127."""


class PrefixSharing(BaseModel):
    """How prompts begin alike: the first `share` of each is that of its group, of which there are so many.

    One group is a system prompt that all requests have; many are tenants, documents or conversations. Requests come
    from groups at random, each as often.
    """

    model_config = STRICT
    share: Annotated[float, Field(strict=True, gt=0, lt=1)]
    groups: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1

    def blocks(self, input_tokens: Ints, rng: np.random.Generator) -> TracePrefixBlocks:
        """The common blocks of drawn requests."""
        counts = whole_blocks(self.share * input_tokens.astype(float), input_tokens, BLOCK_TOKENS) // BLOCK_TOKENS
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        group = rng.integers(0, self.groups, len(input_tokens))
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
        most = int(counts.max(initial=0)) + 1
        return TracePrefixBlocks(offsets, np.repeat(group * most, np.diff(offsets)) + within, BLOCK_TOKENS)


def whole_blocks(common: Floats, prompt: Floats | Ints, block: int) -> Floats:
    """Prompt tokens that a cache of whole blocks saves; an engine always computes at least the last token.

    common: shared prefix of each prompt, in tokens.  prompt: its length.  block: tokens of a cache block.

    >>> whole_blocks(np.array([400.0, 407.0, 0.0]), np.array([400.0, 500.0, 0.0]), 16).tolist()
    [384.0, 400.0, 0.0]
    """
    return np.asarray(np.maximum(np.minimum(common, prompt - 1.0), 0.0) // block * block)


def tokens_seen_before(trace: RequestTrace) -> Floats:
    """Prompt tokens of each request that earlier requests began with: what a cache without end would find.

    >>> blocks = TracePrefixBlocks(np.array([0, 2, 4]), np.array([7, 8, 7, 9]), 16)
    >>> tokens_seen_before(RequestTrace(np.arange(2.0), np.array([40, 40]), np.ones(2, int), blocks=blocks)).tolist()
    [0.0, 16.0]
    """
    blocks = trace.blocks
    if blocks is None:
        return np.zeros(len(trace))
    counts = np.diff(blocks.offsets)
    request = np.repeat(np.arange(len(trace)), counts)
    _, first, block = np.unique(blocks.ids, return_index=True, return_inverse=True)
    seen = request[first][block] < request
    common = np.bincount(request, seen, len(trace)).astype(float) * blocks.tokens
    return whole_blocks(common, trace.input_tokens, blocks.tokens)
