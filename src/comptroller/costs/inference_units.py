"""What thinking costs, in the units that papers use: FLOPs, eFLOPs, prefill-token equivalents, per solved question.

Each unit leaves something out, and each docstring says what. All functions take numbers or arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.facts.model import LatentAttention, Mixer, Model, SoftmaxAttention
from comptroller.quantities import HOUR_S

Array = npt.NDArray[np.float64]
Number = float | Array

KINETICS_INTENSITY = 562.5
"""FLOPs that weigh as much as a byte in Kinetics: 4.5 PFLOP/s over 8 TB/s (arXiv 2506.05333, cost model)."""


@dataclass(frozen=True, slots=True)
class ModelCostShape:
    """What of a model the formulas need: parameters used per token, cache bytes per token, and the FLOPs of
    attention per pair of a query and a key, over all layers."""

    params: float
    kv_bytes_per_token: float
    pair_flops: float

    @classmethod
    def of(cls, model: Model, kv_element_bytes: float = 2.0) -> ModelCostShape:
        """The shape of a model; its cache as `kv_element_bytes` bytes per element.

        >>> from comptroller.facts.config import model
        >>> ModelCostShape.of(model("llama_3_1_8b")).kv_bytes_per_token
        131072.0
        """
        flops = sum(block.count * _pair_flops(block.mixer) for block in model.blocks)
        return cls(model.active_params, model.kv_elements_per_token * kv_element_bytes, flops)


def _pair_flops(mixer: Mixer | None) -> float:
    if isinstance(mixer, SoftmaxAttention):
        return 2.0 * mixer.heads * (mixer.head_dim + (mixer.value_dim or mixer.head_dim))
    if isinstance(mixer, LatentAttention):
        return 2.0 * mixer.heads * (2 * mixer.kv_rank + mixer.rope_dim)
    return 0.0


def parameter_flops(params: Number, tokens: Number) -> Number:
    """FLOPs of generating tokens, two for each parameter: 2 P T. Leaves out attention, prompts and memory.

    >>> parameter_flops(8e9, 1000.0)
    16000000000000.0
    """
    return 2.0 * params * tokens


def verification_solutions(solutions: Number, verdicts: Number, ratio: Number) -> Number:
    """Compute of S solutions with V verdicts on each, in solutions: S (1 + lambda V), lambda = T_V / T_S.

    arXiv 2504.01005; lambda is 1 for their prompted verifier and 2 for their trained one. Leaves out prompts.

    >>> verification_solutions(8.0, 4.0, 2.0)
    72.0
    """
    return solutions * (1.0 + ratio * verdicts)


def attention_flops(shape: ModelCostShape, input_tokens: Number, output_tokens: Number) -> Number:
    """FLOPs of attention while T_out tokens follow T_in: pair_flops * T_out (T_in + T_out / 2).

    >>> attention_flops(ModelCostShape(1e9, 4096.0, 8192.0), 100.0, 50.0)
    51200000.0
    """
    return shape.pair_flops * output_tokens * (input_tokens + output_tokens / 2)


def cache_bytes_read(
    shape: ModelCostShape, input_tokens: Number, output_tokens: Number, trials: Number = 1.0
) -> Number:
    """Cache bytes that N trials read from a shared prompt: b T_out (T_in + N T_out / 2).

    The prompt's cache is read once for all trials, as Kinetics counts (arXiv 2506.05333).

    >>> cache_bytes_read(ModelCostShape(1e9, 4096.0, 8192.0), 100.0, 50.0, 2.0)
    30720000.0
    """
    return shape.kv_bytes_per_token * output_tokens * (input_tokens + trials * output_tokens / 2)


def eflops(
    shape: ModelCostShape,
    input_tokens: Number,
    output_tokens: Number,
    trials: Number = 1.0,
    intensity: float = KINETICS_INTENSITY,
) -> Number:
    """Equivalent FLOPs of N trials: N (2 P T_out + attention) + I * cache bytes read (Kinetics, arXiv 2506.05333).

    With b = 4 n H_kv d and pair_flops = 4 n H_q d it is the paper's formula,
    N [2 P L_out + 2 (2 L_in + L_out) L_out H_q d n] + I 2 (2 L_in + N L_out) L_out H_kv d n.
    Leaves out the prompt's own FLOPs and reading the weights, which it takes to be shared by a large batch.

    >>> eflops(ModelCostShape(1e9, 4096.0, 8192.0), 100.0, 50.0, 2.0)
    217382400000.0
    """
    compute = parameter_flops(shape.params, output_tokens) + attention_flops(shape, input_tokens, output_tokens)
    return trials * compute + intensity * cache_bytes_read(shape, input_tokens, output_tokens, trials)


def prefill_token_equivalents(
    prefill_tokens: npt.ArrayLike, decode_tokens: npt.ArrayLike, context_tokens: npt.ArrayLike, gamma: float
) -> float:
    """Prefill-token equivalents of a conversation: sum over rounds of D_prefill + gamma L D_decode.

    arXiv 2604.05404: the whole context counts as prefill again after every tool call. Leaves out the weights.

    >>> prefill_token_equivalents([1000, 1500], [200, 300], [1200, 1800], gamma=0.001)
    3280.0
    """
    prefill, decode, context = (np.asarray(item, float) for item in (prefill_tokens, decode_tokens, context_tokens))
    return float(np.sum(prefill + gamma * context * decode))


def prefill_gamma(shape: ModelCostShape, intensity: float) -> float:
    """Prefill tokens that reading one cached token costs: gamma = b I / (2 P).

    arXiv 2604.05404 has 2 n d_model HOI / N, which is this for multi-head attention at 16 bits (b = 4 n d_model);
    with the model's own b, grouped and latent attention are counted as they are.

    >>> prefill_gamma(ModelCostShape(1e9, 4096.0, 8192.0), 500.0)
    0.001024
    """
    return shape.kv_bytes_per_token * intensity / (2.0 * shape.params)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Dollars per token by kind; reasoning is sold as output."""

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None

    def usd(self, input_tokens: Number, output_tokens: Number, cached: Number = 0.0, written: Number = 0.0) -> Number:
        """Dollars of tokens, each in one kind; `output_tokens` include reasoning.

        Raises:
            InputError: there are tokens of a kind that has no price.

        >>> round(TokenPrice(3e-6, 15e-6).usd(1000.0, 200.0), 9)
        0.006
        """
        for name, tokens, price in (("cached", cached, self.cached), ("cache_write", written, self.cache_write)):
            if price is None and np.any(np.asarray(tokens) > 0):
                raise InputError(f"there is no price for {name} tokens")
        side = (self.cached or 0.0) * cached + (self.cache_write or 0.0) * written
        return self.input * input_tokens + self.output * output_tokens + side


def per_solved(amount: npt.ArrayLike, solved: npt.ArrayLike) -> float:
    """What a solved question costs: all that was spent, on solved and unsolved questions, over those solved.

    solved: score of each question in [0, 1].  Infinite where nothing was solved; NaN where an amount is unknown.

    >>> per_solved([0.02, 0.05, 0.03], [1.0, 0.0, 1.0])
    0.05
    """
    spent, won = float(np.sum(np.asarray(amount, float))), float(np.sum(np.asarray(solved, float)))
    if won == 0:
        return float("nan") if np.isnan(spent) else float("inf")
    return spent / won


TASKS_PER_H = 1e6
"""The rate at which a design's energy is told as power of a datacentre; power goes with the rate."""


def at_rate_w(joules: float) -> float:
    """Watts that tasks of so many joules draw at `TASKS_PER_H`.

    >>> at_rate_w(3600.0)
    1000000.0
    """
    return joules * TASKS_PER_H / HOUR_S


def elasticity(quality: tuple[float, float], tokens: tuple[float, float]) -> float:
    """Relative change of quality for one of tokens, from a base to an alternative (TEP of EllieSQL, arXiv 2503.22402).

    (dQ / Q_base) / (dT / T_base). NaN where the tokens do not change.

    >>> round(elasticity((0.60, 0.66), (1000.0, 1500.0)), 3)
    0.2
    """
    if tokens[1] == tokens[0] or quality[0] == 0:
        return float("nan")
    return (quality[1] / quality[0] - 1) / (tokens[1] / tokens[0] - 1)


def sleep_time_cost(sleep_tokens: Number, test_tokens: Number, queries: Number, premium: float = 10.0) -> Number:
    """Tokens a query costs where a context is thought through once: (T_sleep + t q T_test) / q.

    arXiv 2504.13171; the premium t is what a token costs while somebody waits, 10 in the paper.

    >>> sleep_time_cost(5000.0, 200.0, 10.0)
    2500.0
    """
    return sleep_tokens / queries + premium * test_tokens


def sleep_break_even(sleep_tokens: float, saved_tokens: float, premium: float = 10.0) -> float:
    """Queries per context from which sleep-time compute is cheaper: T_sleep / (t * tokens saved per query).

    >>> sleep_break_even(5000.0, 250.0)
    2.0
    """
    return sleep_tokens / (premium * saved_tokens) if saved_tokens > 0 else float("inf")
