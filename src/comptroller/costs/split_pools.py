"""Prefill and decode on replicas of their own: a group of x prefill and y decode replicas in the steady state.

Prompts never share a step with tokens, so a token takes a decode step and nothing else; each pool has its own usage,

    u_prefill,i = p_i / x,    u_decode,i = (O_i - 1) (a / B + c k_i) / y

with p_i the time of prompt i in a full prompt step, O_i its output tokens (the first comes of the prefill pool), and
a / B + c k_i as in `costs.capacity`. The cache of the prompt crosses a link in between, which delays the second token.
Source: Splitwise (arXiv 2311.18677), DistServe (arXiv 2401.09670).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import (
    CapacityCurve,
    LatencyTarget,
    MixtureSteadyState,
    PrefillOverhead,
    SlicedLoad,
    batch_caps,
    from_tier,
    mean_batch,
    tail_s,
)
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.power import device_w as step_w
from comptroller.costs.power import idle_w
from comptroller.costs.serving_time import first_token
from comptroller.costs.steady import UniformRequests, chunk_alone, prompt_chunks
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import InputError

Array = npt.NDArray[np.float64]

PROMPT_STEP_TOKENS = 2048
"""Largest step of a prefill pool: the prompt batches of the Splitwise paper. At twice this short prompts wait longer
for each other, and a step that is bound by arithmetic gains nothing."""

PREFILL_FULL = 0.95
"""Most of the time that a prefill pool is busy in the steady state. A queue with Poisson arrivals then waits nineteen
half service times; at half the distance to 1 it waits twice as long for a twentieth more of the throughput."""


@dataclass(frozen=True, slots=True)
class PoolRatio:
    """Replicas of a group: so many for prompts, so many for tokens."""

    prefill: int
    decode: int

    def __post_init__(self) -> None:
        if min(self.prefill, self.decode) < 1:
            raise InputError(f"pools {self}: both take at least one replica")

    @property
    def replicas(self) -> int:
        """Replicas of a group."""
        return self.prefill + self.decode

    @classmethod
    def of(cls, text: str) -> PoolRatio:
        """The ratio that is spelled like this.

        Raises:
            InputError: it is spelled otherwise, or a pool is empty.

        >>> PoolRatio.of("2P3D")
        PoolRatio(prefill=2, decode=3)
        """
        found = re.fullmatch(r"(\d{1,3})[pP](\d{1,3})[dD]", text)
        if not found:
            raise InputError(f"pools {text!r} are not known; allowed: 2P3D, two for prefill and three for decode")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.prefill}P{self.decode}D"


@dataclass(frozen=True, slots=True)
class SplitPools:
    """A ratio, and the seconds that the cache of one token takes from a prefill replica to a decode replica."""

    ratio: PoolRatio
    token_s: float


def prompt_pool_replica(replica: ModelReplica) -> ModelReplica:
    """A replica as it steps in a prefill pool."""
    chunk = min(replica.engine.chunk_tokens, PROMPT_STEP_TOKENS)
    return replace(replica, engine=replace(replica.engine, chunk_tokens=chunk))


@dataclass(frozen=True, slots=True)
class SplitSteadyState(MixtureSteadyState):
    """A group under a mixture, at each of several batches of a decode replica (columns); rates are the group's.

    prompts: p_i of a full step in `marginal_s`, of a prompt alone in `solo_s`.  usage_s: of a decode replica.
    move_s: (slices,), what the cache of a prompt takes on the link.
    """

    pools: SplitPools = field(kw_only=True)
    move_s: Array = field(kw_only=True)
    late_s: float = 0.0

    @property
    def decode_per_s(self) -> Array:
        """Requests per second that the decode pool carries at usage 1."""
        return np.asarray(self.pools.ratio.decode / (self.load.weight @ self.usage_s))

    @property
    def saturated_per_s(self) -> Array:
        """Requests per second of the mixture at usage 1 of decoding, or `PREFILL_FULL` of prefill."""
        most = PREFILL_FULL * self.pools.ratio.prefill / (self.load.weight @ self.prompts.marginal_s)
        return np.asarray(np.minimum(self.decode_per_s, most))

    def prefill_share(self, rate_per_s: Array) -> Array:
        """rho: share of the time that a prefill replica is busy."""
        each = rate_per_s / self.pools.ratio.prefill
        return np.asarray(np.minimum(each * (self.load.weight @ self.prompts.marginal_s), 1.0))

    def tpot_s(self, rate_per_s: Array) -> Array:
        """Mean time per output token: a decode step, and the transfer spread over the tokens after the first."""
        return np.asarray(self.decode_s + self.load.weight @ self.moved_per_token_s)

    @property
    def moved_per_token_s(self) -> Array:
        """(slices,): what the transfer adds to each token after the first."""
        return np.asarray(self.move_s / np.maximum(self.load.requests.output_tokens - 1, 1.0))

    def first_token_s(self, tpot_s: Array) -> Array:
        """TTFT of each slice without a wait; no step of tokens is under way. `late_s` counts transfers too."""
        calm = np.zeros(self.batch.shape)
        found = first_token(self.serving, self.batch, self.prompts.solo_s, calm, calm).total_s
        return np.asarray(found + self.late_s * self.move_s[:, None])

    def in_flight(self, rate_per_s: Array) -> Array:
        """Sequences that a decode replica holds, by Little's law: r (O - 1) t_step / y."""
        tokens = self.load.weight @ decoded_tokens(self.load)
        return np.asarray(rate_per_s / self.pools.ratio.decode * tokens * self.decode_s)

    def device_w(self, ready: ReplicaTimer, rate_per_s: Array) -> Array:
        """Mean watts of one device of the group."""
        chunk = float(prompt_pool_replica(ready.replica).engine.chunk_tokens)
        fresh = float(self.load.weight @ self.load.requests.kept_by(ready.replica).fresh_tokens)
        rest = idle_w(ready.replica.device)
        busy = self.prefill_share(rate_per_s)
        prefill = busy * step_w(ready, ready.step(ReplicaStep.prefill(min(chunk, fresh)))) + (1.0 - busy) * rest
        context = self.load.context_tokens
        decoding = step_w(ready, ready.decode(self.batch, self.batch * context))
        flying = -np.expm1(-rate_per_s / self.decode_per_s * self.batch)
        decode = flying * decoding + (1.0 - flying) * rest
        ratio = self.pools.ratio
        return np.asarray((ratio.prefill * prefill + ratio.decode * decode) / ratio.replicas)


def decoded_tokens(load: SlicedLoad) -> Array:
    """(slices,): tokens that come of decode steps, all but the first; half a token where there is no other."""
    return np.asarray(np.maximum(load.requests.output_tokens - 1.0, 0.5))


def pool_prompts(ready: ReplicaTimer, load: SlicedLoad, columns: int) -> PrefillOverhead:
    """What prompts take of a prefill replica, in steps filled with like prompts and alone; the same in every column.

    With a tier its device holds beginnings beside the prompts of one step, and loads others (`capacity.from_tier`).
    """
    replica = prompt_pool_replica(ready.replica)
    running = np.full(columns, float(max(replica.engine.chunk_tokens, load.requests.input_tokens.max())))
    return from_tier(replica, load, running, lambda of: _full_steps(ready, replica, of, load, columns))


def _full_steps(
    ready: ReplicaTimer, replica: ModelReplica, requests: UniformRequests, load: SlicedLoad, columns: int
) -> PrefillOverhead:
    asked = requests.only(np.ones(len(load.rate_per_s), bool))
    fresh, past = asked.fresh_tokens, asked.cached_tokens
    chunks = prompt_chunks(replica, fresh)
    together = np.maximum(np.floor(replica.engine.chunk_tokens / np.maximum(fresh, 1.0)), 1.0)
    full = ReplicaStep.prefill(fresh / chunks, past + (chunks - 1) / (2 * chunks) * fresh, together)
    seconds = ready.step(ReplicaStep.side_by_side(full, chunk_alone(replica, fresh, past))).total_s
    packed, alone = np.split(seconds * np.tile(chunks, 2), 2)
    marginal = np.minimum(packed / together, alone / replica.layout.dp)
    return PrefillOverhead(*(np.tile(one[:, None], columns) for one in (marginal, alone)))


def split_state(ready: ReplicaTimer, load: SlicedLoad, batch: Array, pools: SplitPools) -> SplitSteadyState:
    """Evaluate a group under a mixture at given batches of a decode replica, shape (columns,)."""
    context, columns = load.context_tokens, len(batch)
    steps = ready.decode_s(np.tile(batch, 2), np.concatenate([batch * context, 0 * batch]))
    full, bare = steps[:columns], steps[columns:]
    per_token = (full - bare) / np.maximum(batch * context, 1.0)
    held = load.requests.mean_context_tokens[:, None]
    usage = decoded_tokens(load)[:, None] * (bare / batch + per_token * held)
    move = load.requests.input_tokens * pools.token_s
    beside = pool_prompts(ready, load, columns)
    return SplitSteadyState(load, ready.serving, batch, full, beside, usage, pools=pools, move_s=np.asarray(move))


def split_tail_s(at: SplitSteadyState, rate_per_s: Array, crowded_s: Array, target: LatencyTarget) -> Array:
    """Quantile of a latency over all requests of the mixture, at each batch; crowded_s: a crowded decode step."""
    if target.quantity == "tpot_s":
        return np.asarray(crowded_s + weighted_quantile(at.moved_per_token_s, at.load.weight, target.quantile))
    return tail_s(replace(at, late_s=float(target.quantity == "e2e_s")), rate_per_s, crowded_s, target)


def weighted_quantile(values: Array, weight: Array, quantile: float) -> float:
    """The least value that at least this share of the weight does not exceed.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.6, 0.3]), 0.9)
    2.0
    """
    order = np.argsort(values)
    place = np.searchsorted(np.cumsum(weight[order]), quantile * float(weight.sum()) - 1e-12)
    return float(values[order][min(int(place), len(values) - 1)])


def split_curve(
    ready: ReplicaTimer, held: ReplicaMemory, load: SlicedLoad, targets: Sequence[LatencyTarget], pools: SplitPools
) -> CapacityCurve | None:
    """Rates and latencies of a group over the grid of batch caps of its decode replicas; `None` if nothing fits.

    The prefill pool is filled as far as its latency was evaluated: `prompts_per_s` of the curve.
    """
    cap = batch_caps(ready.replica, held, load)
    if cap is None:
        return None
    quantile = max((t.quantile for t in targets), default=0.5)
    usual = split_state(ready, load, mean_batch(cap, quantile), pools)
    crowded = split_state(ready, load, cap, pools)
    rate = usual.saturated_per_s
    latency = {(t.quantity, t.quantile): split_tail_s(usual, rate, crowded.decode_s, t) for t in targets}
    share = usual.prefill_share(rate)
    return CapacityCurve(
        cap,
        pools.ratio.decode / usual.usage_s,
        crowded.decode_s,
        np.zeros(usual.usage_s.shape),
        latency,
        usual,
        pools.ratio.prefill * share / usual.prompts.marginal_s,
    )
