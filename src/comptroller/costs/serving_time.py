"""One latency model: time per output token and time to the first token of a server under load.

    t_token = t_decode + n t_marginal
    t_first = t_outside + t_solo + t_wait + (s + u) t_token,   t_outside = t_host + t_client N + (p - 1) t_solo

A closed loop (`costs.closed_loop`: a fixed number of clients), an open one (`costs.capacity`: an arrival rate), the
simulator's outcome and the fit of the constants read these functions. The loops differ in three inputs only:

- n, prompts of others that start per step: in a closed loop the other B - 1 requests bring phi (B - 1) / O; in an open
  one arrivals come whatever is in flight, r t_token per step.
- N, requests in flight: the clients; or by Little's law, and the request itself.
- t_wait, what others take before: the clients of a closed loop start together and are answered together, so prompts
  come in crowds, and the rest waits for a place in the cache; independent arrivals meet Allen and Cunneen's queue.

Crowds belong to the closed loop alone. What comes together with one's own prompt delays the first token
(`crowd_wait_s`) and not the tokens (phi < 1). Independent arrivals come while one decodes and each delays it in full,
and their queue is a wait for the same prompts that a crowd would be: an open loop counts neither.

The constants are those of the engine (`ServingOverheads`): scalars, or arrays where a fit evaluates many runs at once.
All quantities are arrays of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.timing import ServingOverheads

Array = npt.NDArray[np.float64]

FULL = 1.0 - 1e-9
"""Largest share of the time that prompts may take: at 1 no token would ever come, and the time per token is infinite.
So close to 1 that it is beyond any objective, and far enough that 1 - share keeps seven digits."""


def token_time_s(decode_s: Array, prompts_per_step: Array, marginal_s: Array) -> Array:
    """Time per output token: a decode step, and what prompts of others that start in it add to it.

    t_token = t_decode + n t_marginal

    decode_s: t_decode, s.  prompts_per_step: n, prompts/step.  marginal_s: t_marginal, s/prompt, what one prompt adds
    to the steps it shares. Source: chunked prefill as in Sarathi-Serve (arXiv 2403.02310).

    >>> round(float(token_time_s(np.array(0.02), np.array(0.05), np.array(0.1))), 4)
    0.025
    """
    return np.asarray(decode_s + prompts_per_step * marginal_s)


def closed_prompts_per_step(batch: Array, output_tokens: Array, interference: Array | float) -> Array:
    """Prompts of others that start per step of a closed loop: each of the B - 1 others starts once in O steps.

    n = phi (B - 1) / O

    batch: B, requests in flight.  output_tokens: O, tokens/request.  interference: phi, the share that does not come
    together with one's own prompt (`ServingOverheads`, fitted to measured closed loops, near 1). The arrival theorem:
    in a closed loop a request meets the others only, never itself.

    >>> float(closed_prompts_per_step(np.array(33.0), np.array(512.0), 0.5))
    0.03125
    """
    return np.asarray(interference * np.maximum(batch - 1, 0) / np.maximum(output_tokens, 1))


def open_prompts_per_step(rate_per_s: Array, decode_s: Array, marginal_s: Array) -> Array:
    """Prompts that arrive per step of an open loop, where prompts make the step itself longer.

    n = r t_token = r t_decode / (1 - r t_marginal)

    rate_per_s: r, prompts/s.  decode_s, marginal_s: as in `token_time_s`, which solved for t_token gives the second
    form. Poisson arrivals see time averages (Wolff 1982), so all of them count; `FULL` bounds r t_marginal.

    >>> n = open_prompts_per_step(np.array(2.0), np.array(0.02), np.array(0.1))
    >>> round(float(n), 4), round(float(n / token_time_s(np.array(0.02), n, np.array(0.1))), 4)
    (0.05, 2.0)
    """
    share = np.minimum(rate_per_s * marginal_s, FULL)
    return np.asarray(rate_per_s * decode_s / (1.0 - share))


def prompts_within_per_s(decode_s: Array, marginal_s: Array, most_s: float) -> Array:
    """Rate of prompts that slows an open loop's tokens to a limit: `open_prompts_per_step` solved for the rate.

    r = (1 - t_decode / T) / t_marginal, infinite where nothing limits

    decode_s: t_decode, s.  marginal_s: t_marginal, s/prompt.  most_s: T, s/token, infinite without a limit.

    >>> round(float(prompts_within_per_s(np.array(0.02), np.array(0.1), 0.025)), 4)
    2.0
    """
    room = np.maximum(1.0 - decode_s / most_s, 0.0)
    return np.where(np.isfinite(most_s), room / np.maximum(marginal_s, 1e-12), np.inf)


def marginal_prompt_s(mixed_s: Array, decode_s: Array, chunks: Array, stages: Array | float = 1.0) -> Array:
    """What one prompt adds to the steps it shares.

    t_marginal = chunks max(t_mixed - t_decode, 0) / p

    mixed_s: t_mixed, s, a step with the batch and one chunk.  decode_s: t_decode, s, the batch alone.  chunks: steps
    that the prompt takes at the engine's token budget.  stages: p, of a pipeline: while one holds the prompt the others
    go on with the batch's other parts, so that a turn of all parts is longer by one stage's share.

    >>> round(float(marginal_prompt_s(np.array(0.07), np.array(0.02), np.array(2.0))), 4)
    0.1
    """
    return np.asarray(np.maximum(mixed_s - decode_s, 0.0) * chunks / stages)


def outside_s(serving: ServingOverheads, in_flight: Array | float, solo_s: Array) -> Array:
    """Time to the first token that passes neither in the engine's queue nor in its steps: the server around it.

    t_outside = t_host + t_client N + (p - 1) t_solo

    serving: t_host, s, fixed; t_client, s, per request in flight; p, a prompt's time over that of its steps (fitted:
    tokenising, scheduling).  in_flight: N, requests.  solo_s: t_solo, s, the prompt alone, all its chunks.
    A simulator, which has queue and steps of its own, adds this and nothing else.

    >>> round(float(outside_s(ServingOverheads(host_s=0.04, client_s=0.0005, prefill=1.3), 20.0, np.array(0.1))), 4)
    0.08
    """
    return np.asarray(serving.host_s + serving.client_s * in_flight + (serving.prefill - 1.0) * solo_s)


def crowd_wait_s(serving: ServingOverheads, batch: Array, marginal_s: Array) -> Array:
    """Wait of a closed loop for prompts that came together with one's own.

    t_crowd = b (B^c - 1) t_marginal

    serving: b = `burst`, c = `crowd`, fitted over all measured closed loops.  batch: B, requests in flight.
    marginal_s: t_marginal, s/prompt.

    >>> round(float(crowd_wait_s(ServingOverheads(burst=0.2, crowd=0.5), np.array(16.0), np.array(0.1))), 4)
    0.06
    """
    return np.asarray(serving.burst * (batch**serving.crowd - 1.0) * marginal_s)


def place_wait_s(clients: Array, batch: Array, stay_s: Array) -> Array:
    """Wait of a closed loop for a place in the cache: overload shows as overload.

    t_place = max(C - B, 0) / B t_stay  (Little's law over those who wait)

    clients: C.  batch: B, requests that fit.  stay_s: t_stay, s, from a request's place to its end.

    >>> float(place_wait_s(np.array(30.0), np.array(10.0), np.array(4.0)))
    8.0
    """
    return np.asarray(np.maximum(clients - batch, 0.0) / batch * stay_s)


@dataclass(frozen=True, slots=True)
class FirstTokenLatency:
    """Parts of the time to the first token, in seconds, arrays of points.

    outside_s: the server around the engine.  solo_s: the prompt alone.  wait_s: for prompts of others.
    steps_s: for steps under way.  queue_s: for a place in the cache.
    """

    outside_s: Array
    solo_s: Array
    wait_s: Array
    steps_s: Array
    queue_s: Array

    @property
    def total_s(self) -> Array:
        """Time to first token."""
        return np.asarray(self.outside_s + self.solo_s + self.wait_s + self.steps_s + self.queue_s)


def first_token(
    serving: ServingOverheads, in_flight: Array | float, solo_s: Array, wait_s: Array, token_s: Array
) -> FirstTokenLatency:
    """Time to the first token by its parts, without a wait for a place in the cache.

    t_first = t_outside + t_solo + t_wait + (s + u) t_token

    serving, in_flight, solo_s: as in `outside_s`; s = `serving.steps`, steps under way before the prompt's;
    u = `serving.unseen_steps`, until its request is seen.
    wait_s: t_wait, s, for prompts of others.  token_s: t_token, s.

    >>> serving = ServingOverheads(host_s=0.04, client_s=0.0005, prefill=1.3, steps=0.9)
    >>> round(float(first_token(serving, 20.0, np.array(0.1), np.array(0.02), np.array(0.03)).total_s), 4)
    0.227
    """
    outside = outside_s(serving, in_flight, solo_s)
    steps = np.asarray((serving.steps + serving.unseen_steps) * token_s)
    return FirstTokenLatency(outside, solo_s, wait_s, steps, np.zeros(np.shape(steps)))
