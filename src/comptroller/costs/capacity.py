"""An open loop on one replica: how much of a demand it carries, and how late, as a function of the batch it runs at.

A replica serves a mixture of request sizes. By Little's law over the time per token (`costs.serving_time`), a request
of slice i takes per second of the replica's time

    u_i = m_i + O_i (a / B + c k_i)

where m_i is the time its prompt's chunks add to the steps they share, O_i its output tokens, k_i its mean context,
a / B its share of the fixed part of a decode step at batch B, and c the time per cached token. Usage adds over
slices (as Melange's load, arXiv 2404.14527, does), and at usage 1 the batch is B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.power import device_w as step_w
from comptroller.costs.power import idle_w
from comptroller.costs.prefix_store import places_of, stored_prompt_s
from comptroller.costs.queueing import allen_cunneen_wait_s, busy_batch
from comptroller.costs.serving_time import FULL, first_token, marginal_prompt_s, open_prompts_per_step, token_time_s
from comptroller.costs.steady import UniformRequests, batch_that_fits, chunk_alone, chunk_beside, prompt_chunks
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer, ServingOverheads

Array = npt.NDArray[np.float64]

BATCH_GRID = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)
"""Batch caps that are tried."""

BISECTIONS = 14
"""Halvings of a quantile's bracket: a precision of 1e-4 of its width."""


@dataclass(frozen=True, slots=True)
class LatencyTarget:
    """A latency objective: the quantile of a quantity (`ttft_s`, `tpot_s`, `e2e_s`) that must stay below `most_s`.

    aim: share of `most_s` that the steady state has to keep, below one where queues take the rest; what is simulated is
    judged by `most_s`.
    """

    quantity: str
    quantile: float
    most_s: float
    aim: float = 1.0

    @property
    def sized_s(self) -> float:
        """The most that is allowed in the steady state."""
        return self.most_s * self.aim


@dataclass(frozen=True)
class SlicedLoad:
    """A demand in slices of equal requests, and how irregular its arrivals are (coefficient of variation).

    longest_tokens: prompt and output of the longest request, which a server has to accept.  working_tokens: of all
    different beginnings of prompts together, where that is known.
    """

    requests: UniformRequests
    rate_per_s: Array
    arrival_cv: float
    longest_tokens: float = 0.0
    working_tokens: float = 0.0

    @cached_property
    def weight(self) -> Array:
        """Share of each slice in the requests."""
        return np.asarray(self.rate_per_s / self.rate_per_s.sum())

    @cached_property
    def context_tokens(self) -> float:
        """Mean context of a sequence that is decoding, seen at a random time: longer outputs weigh more."""
        tokens = self.weight * self.requests.output_tokens
        return float(tokens @ self.requests.mean_context_tokens / tokens.sum())


@dataclass(frozen=True, slots=True)
class PrefillOverhead:
    """What prompts take, all their chunks: (slices, columns).

    marginal_s: seconds one prompt adds to the steps it shares.  solo_s: seconds it takes alone, at any batch the same.
    """

    marginal_s: Array
    solo_s: Array


@dataclass(frozen=True, slots=True)
class MixtureSteadyState:
    """A replica under a mixture, at each of several batches (columns); rows are slices.

    serving: the engine's constants.  batch: mean sequences in flight.  decode_s: of a pure decode step, per token.
    usage_s: replica seconds per request.  step_tokens: that a sequence gets of a step.
    """

    load: SlicedLoad
    serving: ServingOverheads
    batch: Array
    decode_s: Array
    prompts: PrefillOverhead
    usage_s: Array
    step_tokens: float = 1.0

    def part(self, columns: slice, beside: PrefillOverhead) -> MixtureSteadyState:
        """Some of the batches."""
        return replace(
            self,
            batch=self.batch[columns],
            decode_s=self.decode_s[columns],
            prompts=beside,
            usage_s=self.usage_s[:, columns],
        )

    @property
    def saturated_per_s(self) -> Array:
        """Requests per second of the mixture at usage 1."""
        return np.asarray(1.0 / (self.load.weight @ self.usage_s))

    def prefill_share(self, rate_per_s: Array) -> Array:
        """rho: share of the time that goes to prompts."""
        return np.asarray(np.minimum(rate_per_s * (self.load.weight @ self.prompts.marginal_s), FULL))

    def tpot_s(self, rate_per_s: Array) -> Array:
        """Mean time per output token."""
        mean = self.load.weight @ self.prompts.marginal_s
        return token_time_s(self.decode_s, open_prompts_per_step(rate_per_s, self.decode_s, mean), mean)

    def wait_s(self, rate_per_s: Array) -> tuple[Array, Array]:
        """Mean wait for prefill, and its utilisation: Allen-Cunneen over the prompts' marginal times."""
        mean = self.load.weight @ self.prompts.marginal_s
        square = self.load.weight @ self.prompts.marginal_s**2
        spread = np.sqrt(np.maximum(square / np.maximum(mean, 1e-12) ** 2 - 1.0, 0.0))
        used = self.prefill_share(rate_per_s)
        return allen_cunneen_wait_s(used, mean, self.load.arrival_cv, spread), used

    def first_token_s(self, tpot_s: Array) -> Array:
        """TTFT of each slice where no prompt of others is before it: all of `serving_time.first_token` but the wait."""
        calm = np.zeros(self.batch.shape)
        return first_token(self.serving, self.batch, self.prompts.solo_s, calm, tpot_s * self.step_tokens).total_s

    def in_flight(self, rate_per_s: Array) -> Array:
        """Sequences that decode, by Little's law: r O t_token."""
        return np.asarray(
            rate_per_s * float(self.load.weight @ self.load.requests.output_tokens) * self.tpot_s(rate_per_s)
        )

    def device_w(self, ready: ReplicaTimer, rate_per_s: Array) -> Array:
        """Mean watts of one device at a rate: prompts, decoding, and idle when nothing is in flight."""
        chunk = float(ready.replica.engine.chunk_tokens)
        fresh = float(self.load.weight @ self.load.requests.kept_by(ready.replica).fresh_tokens)
        typical = ReplicaStep.prefill(min(chunk, fresh))
        decoding = step_w(ready, ready.decode(self.batch, self.batch * self.load.context_tokens))
        share = self.prefill_share(rate_per_s)
        working = share * step_w(ready, ready.step(typical)) + (1.0 - share) * decoding
        flying = -np.expm1(-rate_per_s / self.saturated_per_s * self.batch)
        return np.asarray(flying * working + (1.0 - flying) * idle_w(ready.replica.device))


def prompts(ready: ReplicaTimer, load: SlicedLoad, batch: Array) -> PrefillOverhead:
    """What prompts take beside `batch` decoding sequences, shape (columns,), and alone; cached tokens are only read."""
    return from_tier(ready.replica, load, batch * load.context_tokens, lambda of: _prompts_with(ready, load, of, batch))


def from_tier(
    replica: ModelReplica, load: SlicedLoad, running_tokens: Array, taken: Callable[[UniformRequests], PrefillOverhead]
) -> PrefillOverhead:
    """What prompts take of a replica, with a tier for their beginnings in the mean over those that are in the device,
    in the tier and in neither.

    running_tokens: (columns,), in the device's cache beside beginnings.  taken: what requests take of the replica,
    (slices, columns), that find all they have cached in the device.
    """
    asked, store = load.requests.kept_by(replica), replica.engine.prefix_store
    found = taken(asked)
    if store is None or not load.working_tokens or not np.any(asked.cached_tokens):
        return found
    where = places_of(replica, store, load.working_tokens, running_tokens)
    anew = taken(UniformRequests(asked.input_tokens, asked.output_tokens))
    loaded = stored_prompt_s(replica, store, np.asarray(asked.cached_tokens)[:, None], found.solo_s)
    marginal = (1.0 - where.anew) * found.marginal_s + where.anew * anew.marginal_s
    return PrefillOverhead(marginal, where.device * found.solo_s + where.store * loaded + where.anew * anew.solo_s)


def _prompts_with(ready: ReplicaTimer, load: SlicedLoad, asked: UniformRequests, batch: Array) -> PrefillOverhead:
    columns, slices = len(batch), len(load.rate_per_s)
    per_slice = asked.only(np.ones(slices, bool))
    wide = np.tile(batch, slices)
    repeated = UniformRequests(
        *(np.repeat(x, columns) for x in (per_slice.input_tokens, per_slice.output_tokens, per_slice.cached_tokens))
    )
    steps = ReplicaStep.side_by_side(
        chunk_beside(ready.replica, repeated, wide, wide * load.context_tokens),
        ReplicaStep.decode(batch, batch * load.context_tokens),
        chunk_alone(ready.replica, per_slice.fresh_tokens, per_slice.cached_tokens),
    )
    mixed, alone, one_chunk = np.split(ready.step(steps).total_s, [len(wide), len(wide) + columns])
    chunks, stages = prompt_chunks(ready.replica, repeated.fresh_tokens), float(ready.replica.layout.pp)
    marginal = marginal_prompt_s(mixed, np.tile(alone, slices), chunks, stages)
    drafted = ready.draft_prompt_s(per_slice.fresh_tokens, per_slice.cached_tokens)
    solo = one_chunk * prompt_chunks(ready.replica, per_slice.fresh_tokens) + drafted
    marginal = marginal.reshape(slices, columns) + drafted[:, None]
    return PrefillOverhead(marginal, np.tile(solo[:, None], columns))


def state(ready: ReplicaTimer, load: SlicedLoad, batch: Array, beside: PrefillOverhead) -> MixtureSteadyState:
    """Evaluate a replica under a mixture at given batches, shape (columns,)."""
    context, columns = load.context_tokens, len(batch)
    steps = ready.decode_s(np.tile(batch, 2), np.concatenate([batch * context, 0 * batch]))
    full, bare = steps[:columns], steps[columns:]
    per_token = (full - bare) / np.maximum(batch * context, 1.0)
    output, held = load.requests.output_tokens[:, None], load.requests.mean_context_tokens[:, None]
    usage = beside.marginal_s + output * (bare / batch + per_token * held)
    return MixtureSteadyState(load, ready.serving, batch, full, beside, usage, ready.step_tokens)


def tail_s(at: MixtureSteadyState, rate_per_s: Array, crowded_tpot_s: Array, target: LatencyTarget) -> Array:
    """Quantile of a latency over all requests of the mixture, at each batch.

    TPOT is that of a crowded batch. TTFT and end-to-end latency are the wait, exponential for the share that waits
    at all, plus what each slice takes: the quantile solves sum_i w_i P(W > t - b_i) = 1 - q.
    """
    if target.quantity == "tpot_s":
        return crowded_tpot_s
    base = at.first_token_s(crowded_tpot_s)
    if target.quantity == "e2e_s":
        base = base + crowded_tpot_s * np.maximum(at.load.requests.output_tokens[:, None] - 1, 0)
    wait, used = at.wait_s(rate_per_s)
    scale = np.where(np.isfinite(wait), np.maximum(wait / np.maximum(used, 1e-12), 1e-12), 1e12)
    low, high = np.zeros(len(at.batch)), base.max(axis=0) + scale * np.log(1.0 / (1.0 - target.quantile))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        late = middle[None, :] - base
        beyond = at.load.weight @ np.where(late < 0, 1.0, used * np.exp(-np.maximum(late, 0.0) / scale))
        above = beyond > 1.0 - target.quantile
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(np.isfinite(wait), high, np.inf)


@dataclass(frozen=True, slots=True)
class CapacityCurve:
    """What one replica does at each batch cap (columns).

    cap: the caps, held to what fits.  rate_per_s: (slices, caps), requests per second if it served that slice's
    share of the mixture only.  decode_s: a decode step of the crowded batch.
    marginal_s: (slices, caps), what a prompt adds to it.  latency_s: by (quantity, quantile).
    usual: the state at the mean batch, for watts.  prompts_per_s: (slices, caps), where prompts have a pool of their
    own the requests per second that it takes of each slice alone.
    """

    cap: Array
    rate_per_s: Array
    decode_s: Array
    marginal_s: Array
    latency_s: dict[tuple[str, float], Array]
    usual: MixtureSteadyState
    prompts_per_s: Array | None = None


def batch_caps(replica: ModelReplica, held: ReplicaMemory, load: SlicedLoad) -> Array | None:
    """The grid of batch caps, held to what fits of the mixture; `None` if not even one sequence does."""
    mean = UniformRequests(np.array([load.context_tokens]), np.zeros(1))
    room = float(batch_that_fits(held, mean, replica.engine.max_batch)[0])
    if room < 1:
        return None
    grid = [b for b in BATCH_GRID if b <= room]
    return np.array([*grid, room] if grid[-1] < room < BATCH_GRID[-1] else grid, float)


def curve(
    ready: ReplicaTimer, held: ReplicaMemory, load: SlicedLoad, targets: Sequence[LatencyTarget]
) -> CapacityCurve | None:
    """Rates and latencies of a replica over the grid of batch caps; `None` if not even one sequence fits.

    The cap is what the batch may grow to, the mean is lower by the spread of irregular arrivals (`busy_batch`).
    """
    cap = batch_caps(ready.replica, held, load)
    if cap is None:
        return None
    quantile = max((t.quantile for t in targets), default=0.5)
    beside = prompts(ready, load, cap)
    twice = PrefillOverhead(np.tile(beside.marginal_s, 2), np.tile(beside.solo_s, 2))
    both = state(ready, load, np.concatenate([mean_batch(cap, quantile), cap]), twice)
    usual, crowded = both.part(slice(0, len(cap)), beside), both.part(slice(len(cap), None), beside)
    rate = usual.saturated_per_s
    tpot = crowded.tpot_s(rate)
    latency = {(t.quantity, t.quantile): tail_s(usual, rate, tpot, t) for t in targets}
    return CapacityCurve(cap, 1.0 / usual.usage_s, crowded.decode_s, beside.marginal_s, latency, usual)


def mean_batch(cap: Array, quantile: float) -> Array:
    """The mean whose `quantile` is the cap: the inverse of B + z sqrt(B), at least half a sequence.

    >>> round(float(mean_batch(np.array([116.4]), 0.95)[0]), 1)
    100.0
    """
    spread = float(busy_batch(np.ones(1), quantile)[0]) - 1.0
    root = (np.sqrt(spread**2 + 4 * cap) - spread) / 2
    return np.asarray(np.maximum(root**2, 0.5))
