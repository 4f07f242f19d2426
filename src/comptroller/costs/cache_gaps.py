"""How long a cache outlives a wait for a tool, and from which length of the wait on it is better let go."""

from __future__ import annotations


def survival_s(capacity_tokens: float, resident_tokens: float, fresh_tokens_per_s: float) -> float:
    """The longest wait after which a device still has what it had cached, evicting the least recently used first.

    T = (K - A) / l

    K: tokens of cache that a device takes.  A: resident, of requests that run.  l: fresh tokens that are written to it
    per second, of prompts computed and of replies. What was last used T ago is the next to go: the characteristic time
    of a cache (Che et al., IEEE JSAC 20(7), 2002), for blocks that are each used once and never again.

    >>> survival_s(450_000, 50_000, 2_000.0)
    200.0
    """
    room = max(capacity_tokens - resident_tokens, 0.0)
    return room / fresh_tokens_per_s if fresh_tokens_per_s > 0 else float("inf")


def longest_hold_s(capacity_tokens: float, prefill_tokens_per_s: float) -> float:
    """The longest wait for which holding a cache, where memory is what the device lacks, costs less than computing it.

    g = K / r

    Of n tokens the hold takes the share n / K of the device for the wait, computing them again n / r of its seconds:
    the two are equal at g, whatever n, the time in which the device could fill its whole cache.

    K: tokens of cache that the device takes.  r: prompt tokens that it computes per second.

    >>> longest_hold_s(450_000, 15_000.0)
    30.0
    """
    return capacity_tokens / prefill_tokens_per_s


def least_load_bytes_per_s(kv_bytes_per_token: float, prefill_tokens_per_s: float) -> float:
    """The bandwidth from which on loading a cache takes less time than computing it again, attention left out.

    b = w r

    w: bytes of cache of a token.  r: as in `longest_hold_s`. What attention adds makes loading worth while sooner.

    >>> least_load_bytes_per_s(131_072, 15_000.0) / 1e9
    1.96608
    """
    return kv_bytes_per_token * prefill_tokens_per_s
