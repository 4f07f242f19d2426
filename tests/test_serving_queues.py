"""Queues with known answers: a step table can make the engine such a queue."""

from __future__ import annotations

from dataclasses import replace
from math import factorial

import numpy as np
import pytest

from comptroller.costs.steptable import StepTable
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.jit import COMPILED
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable

pytestmark = pytest.mark.skipif(not COMPILED, reason="a million requests need numba")

STEP_S = 1e-3
COUNT = 1_000_000


def servers(count: int) -> StepTable:
    """Each sequence of a batch gets a token per millisecond, however many there are: so many servers."""
    table = linear(base_s=STEP_S, token_s=0.0, sequence_s=0.0, max_batch=count)
    return replace(table, chunk_tokens=1 << 20)


def mean_wait_s(table: StepTable, tokens: np.ndarray, load: float, seed: int) -> float:
    """Mean seconds in the queue, arrivals Poisson, the service time one step per token."""
    rng = np.random.default_rng(seed)
    rate = load * table.max_batch / (tokens.mean() * STEP_S)
    calls = CallTable.of(
        arrival_s=rng.exponential(1 / rate, tokens.size).cumsum(),
        input_tokens=np.ones(tokens.size, int),
        output_tokens=tokens,
    )
    return float(simulate(SimulatedFleet.uniform(table, 1), calls).queue_s.mean())


def exponential(mean: float, seed: int) -> np.ndarray:
    return np.maximum(1, np.rint(np.random.default_rng(seed).exponential(mean, COUNT))).astype(int)


def pollaczek_khinchine_s(tokens: np.ndarray, load: float) -> float:
    """W = load E[S^2] / (2 E[S] (1 - load))."""
    service = tokens * STEP_S
    return float(load * (service**2).mean() / (2 * service.mean() * (1 - load)))


def test_deterministic_service() -> None:
    tokens = np.full(COUNT, 1000)
    assert mean_wait_s(servers(1), tokens, 0.5, 1) == pytest.approx(pollaczek_khinchine_s(tokens, 0.5), rel=0.01)


def test_general_service() -> None:
    rng = np.random.default_rng(2)
    tokens = np.where(rng.random(COUNT) < 0.2, 3000, 500)
    assert mean_wait_s(servers(1), tokens, 0.5, 3) == pytest.approx(pollaczek_khinchine_s(tokens, 0.5), rel=0.01)


@pytest.mark.parametrize("count", [1, 3])
def test_exponential_service(count: int) -> None:
    tokens, load = exponential(1000, 4), 0.6
    offered = load * count
    waiting = offered**count / factorial(count) / (1 - load)
    erlang_c = waiting / (waiting + sum(offered**k / factorial(k) for k in range(count)))
    expected = erlang_c * tokens.mean() * STEP_S / (count * (1 - load))
    assert mean_wait_s(servers(count), tokens, load, 5) == pytest.approx(expected, rel=0.01)
