"""One step of a replica, and the features of it that the work of every operation is linear in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReplicaStep:
    """One iteration of a replica, over all its data-parallel ranks; every field an array of points.

    batch: sequences that decode.  kv_tokens: cached tokens they read, summed.
    prefill_tokens: prompt tokens in the step.  prefill_pairs: query-key pairs they form.
    prefill_sequences: prompts that end in this step and so need the output head.
    """

    batch: Array
    kv_tokens: Array
    prefill_tokens: Array
    prefill_pairs: Array
    prefill_sequences: Array

    @classmethod
    def decode(cls, batch: npt.ArrayLike, kv_tokens: npt.ArrayLike) -> ReplicaStep:
        """A pure decode step."""
        batch, kv_tokens = np.broadcast_arrays(np.atleast_1d(batch), np.atleast_1d(kv_tokens))
        zero = np.zeros(batch.shape)
        return cls(batch.astype(float), kv_tokens.astype(float), zero, zero, zero)

    @classmethod
    def prefill(cls, tokens: npt.ArrayLike, past: npt.ArrayLike = 0.0, sequences: npt.ArrayLike = 1.0) -> ReplicaStep:
        """A prefill step of `sequences` equal prompts that add `tokens` each after `past` cached ones."""
        new, old, count = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, float)) for x in (tokens, past, sequences)))
        zero = np.zeros(new.shape)
        return cls(zero, zero, new * count, count * causal_pairs(new, old), count.copy())

    @classmethod
    def side_by_side(cls, *steps: ReplicaStep) -> ReplicaStep:
        """The points of several steps, one after the other: to time them in one call."""
        return cls(*(np.concatenate([getattr(step, item.name) for step in steps]) for item in fields(cls)))

    def times(self, share: float) -> ReplicaStep:
        """So much of every sequence's work."""
        return ReplicaStep(*(share * getattr(self, item.name) for item in fields(self)))


def causal_pairs(new: Array, past: Array) -> Array:
    """Query-key pairs of `new` tokens after `past` cached ones: new * past + new * (new + 1) / 2.

    >>> float(causal_pairs(np.array(4.0), np.array(10.0)))
    50.0
    """
    return np.asarray(new * past + new * (new + 1) / 2, dtype=float)


def expected_experts(experts: int, chosen: int, tokens: npt.ArrayLike) -> Array:
    """Expected number of experts that `tokens` tokens touch, each choosing `chosen` of `experts` at random.

    E [1 - (1 - k/E)^B]  (balls in bins; MoE-Lens, arXiv 2504.09345, uses the same term)

    >>> round(float(expected_experts(256, 8, 32)), 2)
    163.31
    """
    return np.asarray(experts * -np.expm1(np.asarray(tokens, float) * np.log1p(-min(chosen / experts, 1 - 1e-12))))


@lru_cache(maxsize=64)
def adapter_popularity(count: int, skew: float) -> Array:
    """Shares of the requests that name each of `count` adapters: p_i = i^-s / sum (Zipf); s = 0: all alike.

    >>> adapter_popularity(3, 1.0).round(3).tolist()
    [0.545, 0.273, 0.182]
    """
    weight = np.arange(1.0, count + 1) ** -skew
    return np.asarray(weight / weight.sum())


def expected_adapters(count: int, skew: float, sequences: npt.ArrayLike) -> Array:
    """Expected number of different adapters among sequences that name one each, independently.

    sum over adapters of 1 - (1 - p_i)^n, as for experts

    >>> round(float(expected_adapters(100, 0.0, 64)), 2), round(float(expected_adapters(100, 1.0, 64)), 2)
    (47.44, 31.42)
    """
    asked = np.asarray(sequences, float)
    every, place = np.unique(asked, return_inverse=True)
    absent = np.log1p(-np.minimum(adapter_popularity(count, skew), 1 - 1e-12))
    return np.asarray(-np.expm1(np.outer(every, absent)).sum(axis=1))[place].reshape(asked.shape)


@dataclass(frozen=True, slots=True)
class StepFeature:
    """A quantity of a step that operations are linear in. skew: of the popularity of adapters."""

    name: str
    limit: int = 0
    experts: int = 0
    skew: float = 0.0

    def value(self, shares: MicrobatchShares) -> Array:
        """Its value for a device's share of a step."""
        if self.name == "experts":
            return expected_experts(self.experts, self.limit, shares.plain["stage_tokens"])
        if self.name == "adapters":
            sequences = shares.plain["batch"] + shares.plain["prompts"]
            return np.minimum(expected_adapters(self.experts, self.skew, sequences), self.limit)
        whole = shares.plain[self.name]
        if not self.limit:
            return whole
        most = shares.plain["batch" if self.name == "kv" else "prefill_tokens"] * self.limit
        return np.asarray(np.minimum(whole, most))


@dataclass(frozen=True, slots=True)
class MicrobatchShares:
    """A step's share per data-parallel rank and pipeline microbatch, by the name of the feature."""

    plain: Mapping[str, Array]

    @classmethod
    def of(cls, step: ReplicaStep, ranks: int, stages: int) -> MicrobatchShares:
        """Decoding sequences spread over as many microbatches as there are stages; a prompt's chunk is one
        microbatch that passes all stages alone, as engines run it, so prompts gain no throughput from stages here.
        """
        batch, prompt = step.batch / (ranks * stages), step.prefill_tokens / ranks
        ends = step.prefill_sequences / ranks
        return cls(
            {
                "one": np.ones(batch.shape),
                "tokens": batch + prompt,
                "stage_tokens": (batch + prompt) * ranks,
                "rows": batch + ends,
                "batch": batch,
                "prompts": np.maximum(ends, (step.prefill_tokens > 0).astype(float)),
                "prompt_tokens": step.prefill_tokens / np.maximum(step.prefill_sequences, 1.0),
                "prefill_tokens": prompt,
                "kv": step.kv_tokens / (ranks * stages),
                "pairs": step.prefill_pairs / ranks,
            }
        )
