"""A closed loop of clients on one replica: time to first token under load, every part of it visible.

    TTFT = host + client * C + prefill * t_solo + burst * (B^crowd - 1) * t_marginal + steps * TPOT + queue
    queue = (C - B) / B * (TTFT without it + O * TPOT),   B = min(C, what the cache and the engine hold)

The first part is the server's own time, the second the prompt's, the third that of prompts that came together
(chunked prefill interference and the clients' common start), the fourth the steps in flight. The last is the wait
for a place in the cache: overload is predicted as overload.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.steady import SteadyState, UniformRequests, batch_that_fits, steady
from comptroller.costs.timing import ReplicaTimer, ServingOverheads

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FirstTokenLatency:
    """Parts of the time to the first token, in seconds, arrays of points."""

    host_s: Array
    prefill_s: Array
    burst_s: Array
    steps_s: Array
    queue_s: Array

    @property
    def total_s(self) -> Array:
        """Time to first token."""
        return np.asarray(self.host_s + self.prefill_s + self.burst_s + self.steps_s + self.queue_s)


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
    state = steady(ready, requests, batch)
    return ClosedLoop(count, state, first_token(ready.serving, state, count))


def first_token(serving: ServingOverheads, state: SteadyState, clients: Array) -> FirstTokenLatency:
    """Parts of the time to first token; the module's equation."""
    batch, tpot = state.batch, state.tpot_s
    host = serving.host_s + serving.client_s * clients
    prefill = serving.prefill * state.prefill_s
    burst = serving.burst * (batch**serving.crowd - 1.0) * state.marginal_s
    steps = serving.steps * tpot
    served = host + prefill + burst + steps + state.requests.output_tokens * tpot
    queue = np.maximum(clients - batch, 0.0) / batch * served
    return FirstTokenLatency(*(np.asarray(part) for part in (host, prefill, burst, steps, queue)))
