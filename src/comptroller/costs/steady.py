"""Steady state of equal requests on a replica: the steps they need, decode and prefill, and how many fit.

The equations over these steps are those of `costs.serving_time`; a closed loop of clients and its waits are in
`costs.closed_loop`, an open loop of arrivals in `costs.capacity`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.serving_time import closed_prompts_per_step, marginal_prompt_s, token_time_s
from comptroller.costs.step import ReplicaStep, causal_pairs
from comptroller.costs.timing import ReplicaTimer, StepTime

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UniformRequests:
    """Equal requests: input and output tokens, arrays of points. cached_tokens: of the input, found in a cache."""

    input_tokens: Array
    output_tokens: Array
    cached_tokens: Array = field(default_factory=lambda: np.zeros(()))

    @property
    def fresh_tokens(self) -> Array:
        """Input tokens that have to be computed."""
        return np.asarray(self.input_tokens - self.cached_tokens)

    def kept_by(self, replica: ModelReplica) -> UniformRequests:
        """The requests as a replica finds them: nothing of them where it keeps no prefixes."""
        return self if replica.prefix_block_tokens else UniformRequests(self.input_tokens, self.output_tokens)

    def only(self, which: npt.NDArray[np.bool_]) -> UniformRequests:
        """Some of the points."""
        cached = np.broadcast_to(self.cached_tokens, self.input_tokens.shape)
        return UniformRequests(self.input_tokens[which], self.output_tokens[which], cached[which])

    @property
    def mean_context_tokens(self) -> Array:
        """Context of a decoding request averaged over its output: input + output / 2."""
        return np.asarray(self.input_tokens + self.output_tokens / 2)


@dataclass(frozen=True, slots=True)
class SteadyState:
    """A closed loop of `batch` requests on one replica; all arrays of points, seconds.

    decode: the pure decode step.  prefill: one prompt alone, all its chunks.  tpot_s: time per output token.
    marginal_s: what one more prompt adds to the steps it shares.
    """

    requests: UniformRequests
    batch: Array
    decode: StepTime
    prefill: StepTime
    tpot_s: Array
    marginal_s: Array

    @property
    def interference_s(self) -> Array:
        """Mean delay per output token from chunks of other prompts in the same steps."""
        return np.asarray(self.tpot_s - self.decode.total_s)

    @property
    def prefill_s(self) -> Array:
        """Time of one prompt's prefill, alone."""
        return self.prefill.total_s

    @property
    def request_s(self) -> Array:
        """Time one request stays: its prefill and its output tokens."""
        return np.asarray(self.prefill_s + self.tpot_s * np.maximum(self.requests.output_tokens - 1, 0))

    @property
    def requests_per_s(self) -> Array:
        """Throughput of the replica in requests per second."""
        return np.asarray(self.batch / self.request_s)


def steady(ready: ReplicaTimer, requests: UniformRequests, batch: npt.ArrayLike) -> SteadyState:
    """A closed loop with `batch` requests in flight.

    Per step phi (B - 1) / O prompts of the others start, and delay a token as `serving_time.token_time_s` says:

        interference = phi (B - 1) / O t_marginal

    Of a prompt whose beginning is cached only what is new is computed, against all of it: n new tokens after c cached
    ones are n c + n (n + 1) / 2 pairs.
    """
    size = np.broadcast_to(np.asarray(batch, float), np.broadcast(batch, requests.input_tokens).shape)
    decode = ready.step(ReplicaStep.decode(size, size * requests.mean_context_tokens))
    prefill = prefill_time(ready, requests.fresh_tokens, requests.cached_tokens)
    beside = chunk_beside(ready.replica, requests, size, size * requests.mean_context_tokens)
    chunks = prompt_chunks(ready.replica, requests.fresh_tokens)
    mixed_s, stages = ready.step(beside).total_s, float(ready.replica.layout.pp)
    marginal = marginal_prompt_s(mixed_s, decode.total_s, chunks, stages)
    others = closed_prompts_per_step(size, requests.output_tokens, ready.serving.interference)
    token_s = token_time_s(decode.total_s, others, marginal)
    return SteadyState(requests, size, decode, prefill, token_s, marginal)


def prefill_time(ready: ReplicaTimer, input_tokens: Array, past_tokens: Array | float = 0.0) -> StepTime:
    """One prompt alone after so many cached tokens, all its chunks; FLOPs and bytes are one prompt's."""
    ranks = float(ready.replica.layout.dp)
    chunks = prompt_chunks(ready.replica, input_tokens)
    one = ready.step(chunk_alone(ready.replica, input_tokens, past_tokens))
    return StepTime(one.terms * chunks, one.flops * chunks / ranks, one.bytes * chunks / ranks)


def prompt_chunks(replica: ModelReplica, fresh_tokens: Array) -> Array:
    """Steps that a prompt takes at the engine's token budget."""
    return np.asarray(np.ceil(fresh_tokens / float(replica.engine.chunk_tokens)))


def chunk_alone(replica: ModelReplica, fresh_tokens: Array, past_tokens: Array | float = 0.0) -> ReplicaStep:
    """One chunk of a prompt in a step of its own; a prompt's chunks are equal, its pairs exact.

    A prompt runs on one data-parallel rank while the others run theirs: the step holds one chunk on every rank.
    """
    ranks, chunks = float(replica.layout.dp), prompt_chunks(replica, fresh_tokens)
    zero = np.zeros(np.shape(fresh_tokens))
    pairs = causal_pairs(fresh_tokens, zero + np.asarray(past_tokens, float)) / chunks
    return ReplicaStep(zero, zero, ranks * fresh_tokens / chunks, ranks * pairs, ranks / chunks)


def chunk_beside(replica: ModelReplica, requests: UniformRequests, batch: Array, kv_tokens: Array) -> ReplicaStep:
    """One chunk of one prompt in a step with `batch` decoding sequences, which hold `kv_tokens` in all."""
    fresh = requests.fresh_tokens
    chunks = prompt_chunks(replica, fresh)
    pairs = causal_pairs(fresh, np.zeros(batch.shape) + requests.cached_tokens) / chunks
    return ReplicaStep(batch, kv_tokens, fresh / chunks, pairs, 1.0 / chunks)


def batch_that_fits(memory: ReplicaMemory, requests: UniformRequests, max_batch: int) -> Array:
    """Requests whose cache fits at once: by bytes at the mean context, at most the engine's `max_batch`."""
    held = memory.sequence_bytes(requests.mean_context_tokens)
    return np.asarray(np.minimum(np.floor(memory.cache_bytes / np.maximum(held, 1.0)), max_batch))
