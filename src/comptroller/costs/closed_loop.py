"""A closed loop of clients on one replica: what they wait for, by the equations of `costs.serving_time`.

In flight are the B = min(C, what fits) requests that hold a place in the cache; per step the other B - 1 bring
phi (B - 1) / O prompts; a prompt waits for those that came together with it, and the other C - B for a place. Those
that wait for a place take no time from those that are served, so the throughput of a full server does not depend on how
many wait.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory, memory
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.serving_time import FirstTokenLatency, crowd_wait_s, first_token, place_wait_s
from comptroller.costs.steady import SteadyState, UniformRequests, batch_that_fits, steady
from comptroller.costs.timing import ReplicaTimer, ServingOverheads

Array = npt.NDArray[np.float64]

LARGER = 2.0 ** np.arange(0.0, 6.25, 0.25)
"""Larger batches that one is held against, by its own size: six octaves, beyond which no step is still half empty;
between two of these a throughput differs by a thousandth at most."""


@dataclass(frozen=True, slots=True)
class ClosedLoopDemand:
    """Clients, how many of their requests are in steps at once, and output tokens of each; arrays of points."""

    clients: Array
    batch: Array
    output_tokens: Array


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A closed loop of `clients`: the running batch's steady state, and what a request waits for first."""

    clients: Array
    state: SteadyState
    first: FirstTokenLatency

    @property
    def tpot_s(self) -> Array:
        """Time per output token."""
        return self.state.tpot_s

    @property
    def ttft_s(self) -> Array:
        """Time to first token."""
        return self.first.total_s

    @property
    def output_tokens_per_s(self) -> Array:
        """Output tokens of all clients per second: C O / (TTFT + (O - 1) TPOT)."""
        output = self.state.requests.output_tokens
        return np.asarray(self.clients * output / (self.ttft_s + np.maximum(output - 1, 0) * self.tpot_s))


def closed_loop(
    ready: ReplicaTimer, held: ReplicaMemory, requests: UniformRequests, clients: npt.ArrayLike
) -> ClosedLoop:
    """The closed loop of `clients` on a replica with the memory `held`; arrays of points.

    Where not even one request fits, the batch is 1: the caller checks `batch_that_fits`.
    """
    count = np.broadcast_to(np.asarray(clients, float), np.broadcast(clients, requests.input_tokens).shape)
    fits = np.maximum(batch_that_fits(held, requests, ready.replica.engine.max_batch), 1.0)
    batch = np.minimum(count, fits)
    state = _no_faster_than_larger(ready, requests, steady(ready, requests, batch), fits)
    load = ClosedLoopDemand(count, batch, requests.output_tokens)
    first = closed_first_token(ready.serving, load, state.prefill_s, state.marginal_s, state.tpot_s)
    return ClosedLoop(count, state, first)


def _no_faster_than_larger(
    ready: ReplicaTimer, requests: UniformRequests, state: SteadyState, fits: Array
) -> SteadyState:
    """The state with tokens no faster than the throughput of the larger batches that fit leaves them.

    A prompt is priced as the one more beside a decoding batch. Where several start in each step (B > O) that is too
    little until the step fills the units, and B / t_stay would fall as the batch grows: the larger batch, whose steps
    are full, says what the units give.
    """
    crowded = np.flatnonzero(np.ravel(state.batch > requests.output_tokens))
    if not crowded.size:
        return state
    shape, count = state.batch.shape, len(LARGER)
    inputs, outputs, cached, most = (
        np.repeat(np.ravel(np.broadcast_to(each, shape))[crowded], count)
        for each in (requests.input_tokens, requests.output_tokens, requests.cached_tokens, fits)
    )
    sizes = np.minimum(np.ravel(np.ravel(state.batch)[crowded, None] * LARGER), most)
    found = steady(ready, UniformRequests(inputs, outputs, cached), sizes)
    load = ClosedLoopDemand(sizes, sizes, outputs)
    first = closed_first_token(ready.serving, load, found.prefill_s, found.marginal_s, found.tpot_s)
    waits, after = ready.serving.steps + ready.serving.unseen_steps, np.maximum(outputs - 1, 0)
    fixed_s = first.total_s - waits * found.tpot_s
    least = (sizes / (first.total_s + after * found.tpot_s)).reshape(-1, count).min(axis=1)
    own = slice(None, None, count)
    token_s = np.array(state.tpot_s)
    token_s.flat[crowded] = np.maximum(found.tpot_s[own], (sizes[own] / least - fixed_s[own]) / (waits + after[own]))
    return replace(state, tpot_s=token_s)


def replica_loop(
    replica: ModelReplica,
    calibration: TimingCalibration,
    tokens: tuple[npt.ArrayLike, npt.ArrayLike],
    clients: npt.ArrayLike,
) -> ClosedLoop:
    """The closed loop of `clients` on a replica as a calibration prices it; tokens: of prompts and of outputs.

    Raises:
        InsufficientMemoryError: the weights leave no room for a cache.
        UnsupportedFormatError: the accelerator cannot run the formats.
    """
    arrays = (np.atleast_1d(np.asarray(each, float)) for each in (*tokens, clients))
    inputs, outputs, count = np.broadcast_arrays(*arrays)
    return closed_loop(replica_timer(replica, calibration), memory(replica), UniformRequests(inputs, outputs), count)


def closed_first_token(
    serving: ServingOverheads, load: ClosedLoopDemand, solo_s: Array, marginal_s: Array, token_s: Array
) -> FirstTokenLatency:
    """Parts of the time to the first token in a closed loop.

    t_first = t_outside + t_solo + t_crowd + s t_token + t_place,   t_stay = t_first - t_place + (O - 1) t_token

    solo_s: t_solo, s, a prompt alone.  marginal_s: s, what it adds to the steps it shares.  token_s: t_token, s.
    The parts are those of `serving_time.first_token`, `crowd_wait_s` and `place_wait_s`; N of t_outside is B. With
    clients beyond B the throughput C O / (t_first + (O - 1) t_token) stays at B O / t_stay.

    >>> serving, load = ServingOverheads(), ClosedLoopDemand(np.array(3.0), np.array(1.0), np.array(10.0))
    >>> float(closed_first_token(serving, load, np.array(0.5), np.array(0.4), np.array(0.25)).total_s)
    6.75
    """
    wait = crowd_wait_s(serving, load.batch, marginal_s)
    served = first_token(serving, load.batch, solo_s, wait, token_s)
    stay = served.total_s + np.maximum(load.output_tokens - 1, 0) * token_s
    return replace(served, queue_s=place_wait_s(load.clients, load.batch, stay))
