"""Steady state of a replica: decode and prefill of equal requests, interference, and how many fit.

TTFT under load has three separate parts: solo prefill, interference of other prompts' chunks with decoding, and
queueing. The first two are here; queueing is an approximation of its own (`costs.queueing`) until a simulation
replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
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

    decode: the pure decode step.  prefill: one prompt alone, all its chunks.
    interference_s: mean delay per output token from chunks of other prompts in the same steps.
    marginal_s: what one more prompt adds to the steps it shares.
    """

    requests: UniformRequests
    batch: Array
    decode: StepTime
    prefill: StepTime
    interference_s: Array
    marginal_s: Array

    @property
    def tpot_s(self) -> Array:
        """Time per output token: decode step plus interference."""
        return np.asarray(self.decode.total_s + self.interference_s)

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

    Each request prefills once in the time it decodes `output` tokens, so of the other batch - 1 requests
    (batch - 1) / output start per step, each adding the marginal time of its chunks:

        interference = phi (B - 1) / O * (t_mixed(chunks of prompt, B) - t_decode(B) * chunks)

    phi is the engine's (`Serving.interference`), 1 where prompts only share the step. Of a prompt whose beginning is
    cached only what is new is computed, against all of it: n new tokens after c cached ones are n c + n (n + 1) / 2
    pairs.
    """
    size = np.broadcast_to(np.asarray(batch, float), np.broadcast(batch, requests.input_tokens).shape)
    decode = ready.step(ReplicaStep.decode(size, size * requests.mean_context_tokens))
    prefill = prefill_time(ready, requests.fresh_tokens, requests.cached_tokens)
    others = ready.serving.interference * np.maximum(size - 1, 0) / np.maximum(requests.output_tokens, 1)
    marginal = marginal_prefill_s(ready, requests, size, decode)
    return SteadyState(requests, size, decode, prefill, others * marginal, marginal)


def prefill_time(ready: ReplicaTimer, input_tokens: Array, past_tokens: Array | float = 0.0) -> StepTime:
    """One prompt alone after so many cached tokens, cut in chunks of the engine's token budget; equal chunks, pairs
    exact.

    A prompt runs on one data-parallel rank while the others run theirs: the time is that of one prompt on every
    rank, FLOPs and bytes are one prompt's.
    """
    ranks = float(ready.replica.layout.dp)
    chunks = np.ceil(input_tokens / float(ready.replica.engine.chunk_tokens))
    zero = np.zeros(np.shape(input_tokens))
    pairs = causal_pairs(input_tokens, zero + np.asarray(past_tokens, float)) / chunks
    one = ready.step(ReplicaStep(zero, zero, ranks * input_tokens / chunks, ranks * pairs, ranks / chunks))
    return StepTime(one.terms * chunks, one.flops * chunks / ranks, one.bytes * chunks / ranks)


def marginal_prefill_s(ready: ReplicaTimer, requests: UniformRequests, batch: Array, decode: StepTime) -> Array:
    """Seconds that one prompt adds to the steps it shares with `batch` decoding sequences."""
    fresh = requests.fresh_tokens
    chunks = np.ceil(fresh / float(ready.replica.engine.chunk_tokens))
    pairs = causal_pairs(fresh, np.zeros(batch.shape) + requests.cached_tokens) / chunks
    kv = batch * requests.mean_context_tokens
    mixed = ready.step(ReplicaStep(batch, kv, fresh / chunks, pairs, 1.0 / chunks))
    return np.asarray(np.maximum(mixed.total_s - decode.total_s, 0.0) * chunks)


def batch_that_fits(memory: ReplicaMemory, requests: UniformRequests, max_batch: int) -> Array:
    """Requests whose cache fits at once: by blocks at the mean context, at most the engine's `max_batch`."""
    per_request = requests.mean_context_tokens * memory.kv_bytes_per_token + memory.state_bytes_per_sequence
    room = memory.kv_capacity_tokens * memory.kv_bytes_per_token
    if memory.kv_bytes_per_token == 0:
        return np.full(np.shape(requests.mean_context_tokens), float(max_batch))
    return np.asarray(np.minimum(np.floor(room / per_request), max_batch))
