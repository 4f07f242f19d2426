"""Copies of calls: a reference of servers that take one call at a time, what is called off, codes and their errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import InputError
from comptroller.serving.berrut import amplification, berrut_weights, code_points, mixtures, unmixing
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.hedge_timer import HedgeTimer
from comptroller.serving.redundancy import serve_coded, serve_hedged
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable

ONE = linear(max_batch=1)
DECODE_S = 6e-3 + 60e-6


def prefill_s(prompt: int) -> float:
    return 6e-3 + 22e-6 * prompt


def fleet(replicas: int = 2, slow: float = 1.0, batch: int = 1) -> SimulatedFleet:
    """Replicas in turns, the first of them slower."""
    table = linear(max_batch=batch)
    made = (SimulatedReplica(table.slowed(slow)), *(SimulatedReplica(table),) * (replicas - 1))
    return SimulatedFleet((SimulatedService("all", made),), ServingPolicies(routing="round_robin"))


@dataclass(eq=False)
class Copy:
    call: int
    prompt: int
    output: int
    first_s: float = -1.0
    end_s: float = -1.0
    cancelled: bool = False


def servers_of_one(calls: list[tuple[float, int, int]], delay_s: float, slow: float) -> list[float]:
    """First tokens of calls on two servers that take one call at a time, the first one slower; a second copy after a
    delay. Written by moments: each server knows its queue, and when what it does ends."""
    queues: list[list[Copy]] = [[], []]
    works: list[Copy | None] = [None, None]
    until: list[float] = [np.inf, np.inf]
    todo = [(at, 0, n) for n, (at, _, _) in enumerate(calls)]
    copies: dict[int, list[Copy]] = {n: [] for n in range(len(calls))}
    where: dict[int, int] = {}
    turn = 0
    answered: dict[int, float] = {}
    while todo or any(works):
        todo.sort()
        step_s, server = min((until[0], 0), (until[1], 1))
        at = min(step_s, todo[0][0] if todo else np.inf)
        if step_s <= at and works[server] is not None:
            one = works[server]
            assert one is not None
            if one.first_s < 0:
                one.first_s = at
                answered.setdefault(one.call, at)
                for other in copies[one.call]:
                    other.cancelled |= other is not one and answered[one.call] == at and other.first_s < 0
            over = one.cancelled or at >= one.end_s - 1e-12
            factor = slow if server == 0 else 1.0
            until[server] = np.inf if over else min(one.end_s, at + DECODE_S * factor)
            works[server] = None if over else one
        else:
            _, kind, n = todo.pop(0)
            _, prompt, output = calls[n]
            if kind == 0:
                chosen, turn = turn % 2, turn + 1
                where[n] = chosen
                todo.append((at + delay_s, 1, n))
            elif n in answered:
                continue
            else:
                chosen, turn = 1 - where[n], turn + 1
            copies[n].append(Copy(n, prompt, output))
            queues[chosen].append(copies[n][-1])
        for server in (0, 1):
            queues[server] = [one for one in queues[server] if not one.cancelled]
            if works[server] is None and queues[server]:
                one = queues[server].pop(0)
                factor = slow if server == 0 else 1.0
                one.end_s = at + (prefill_s(one.prompt) + (one.output - 1) * DECODE_S) * factor
                works[server], until[server] = one, at + prefill_s(one.prompt) * factor
    return [answered[n] - calls[n][0] for n in range(len(calls))]


CALLS = st.lists(st.tuples(st.floats(0.01, 0.5), st.integers(20, 4000), st.integers(1, 40)), min_size=2, max_size=15)


@settings(max_examples=80, deadline=None)
@given(CALLS, st.floats(0.003, 0.7), st.sampled_from([1.0, 3.0, 10.0]))
def test_first_tokens_are_those_of_servers_that_take_one_call_at_a_time(
    gaps: list[tuple[float, int, int]], delay_s: float, slow: float
) -> None:
    at_s = np.cumsum([gap for gap, _, _ in gaps])
    calls = [(float(at), prompt, output) for at, (_, prompt, output) in zip(at_s, gaps, strict=True)]
    table = CallTable.of(
        arrival_s=at_s, input_tokens=[prompt for _, prompt, _ in calls], output_tokens=[output for *_, output in calls]
    )
    found = serve_hedged(fleet(2, slow), table, HedgeTimer(1.0, delay_s))
    assert found.latency_s("ttft_s") == pytest.approx(servers_of_one(calls, delay_s, slow), abs=1e-6)
    assert np.isfinite(found.latency_s("e2e_s")).all()


def load(count: int = 400, seed: int = 0, output: int | None = None) -> CallTable:
    rng = np.random.default_rng(seed)
    return CallTable.of(
        arrival_s=np.sort(rng.uniform(0, count / 10, count)), input_tokens=rng.integers(50, 3000, count),
        output_tokens=rng.integers(1, 120, count) if output is None else np.full(count, output),
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_a_delay_that_nothing_reaches_is_the_plain_simulation(seed: int) -> None:
    calls, plain = load(60, seed), fleet(3, batch=8)
    found = serve_hedged(plain, calls, HedgeTimer(1.0, 1e6))
    alone = simulate(plain, calls)
    assert found.sent == 0 and found.latency_s("e2e_s") == pytest.approx(alone.e2e_s, rel=1e-9)
    assert found.latency_s("tpot_s") == pytest.approx(alone.tpot_s, nan_ok=True)


def test_beside_a_slow_replica_the_tail_is_cut_and_the_double_work_is_counted() -> None:
    calls, slow = load(800, 1), fleet(4, 12.0, batch=16)
    plain, hedged = simulate(slow, calls), serve_hedged(slow, calls, HedgeTimer(1.0, 0.25))
    assert np.percentile(hedged.latency_s("ttft_s"), 99) < 0.6 * np.percentile(plain.ttft_s, 99)
    assert 0 < hedged.won <= hedged.sent < len(calls)
    assert hedged.wasted_s > 0
    heard = hedged.outcome.done[hedged.heard]
    assert heard.all() and hedged.unheard.sum() == hedged.sent


def test_a_share_of_copies_is_never_passed() -> None:
    found = serve_hedged(fleet(4, 12.0, batch=16), load(800, 2), HedgeTimer(0.05))
    assert 0 < found.sent <= 0.05 * 800


@pytest.mark.parametrize(("group", "copies"), [(2, 3), (3, 5), (4, 6)])
def test_outputs_are_those_of_constants_and_near_those_of_smooth_functions(group: int, copies: int) -> None:
    rng = np.random.default_rng(4)
    for came in combinations(range(copies), group):
        back = unmixing(group, copies, np.array(came))
        assert back.sum(axis=1) == pytest.approx(1.0)
    assert mixtures(group, copies).sum(axis=1) == pytest.approx(1.0)
    assert amplification(group, copies) >= 1.0
    # A linear function of inputs that are alike comes back as it is.
    same = np.tile(rng.normal(size=8), (group, 1))
    weights = rng.normal(size=(8, 3))
    out = unmixing(group, copies, np.arange(group)) @ (mixtures(group, copies) @ same @ weights)[:group]
    assert out == pytest.approx(same @ weights)


def test_more_copies_decode_a_smooth_function_better() -> None:
    """All copies back: Berrut's interpolant converges as the number of its nodes grows."""

    def error(copies: int) -> float:
        inputs, places = code_points(4, copies)
        values = np.array([0.3, -0.2, 0.5, 0.1])
        replies = np.tanh(berrut_weights(places, inputs) @ values)
        return float(np.abs(berrut_weights(inputs, places) @ replies - np.tanh(values)).max())

    assert error(192) < error(48) < error(6)
    assert error(192) < 0.02


def test_a_coded_group_is_answered_by_as_many_replies_as_it_has_calls() -> None:
    """By hand: three copies of a pair on three idle servers, one of them slow, are answered by the two others."""
    calls = CallTable.of(arrival_s=[0.0, 0.1], input_tokens=[500, 1000], output_tokens=[1, 1])
    found = serve_coded(fleet(3, 50.0), calls, 2, 3)
    assert found.latency_s("ttft_s") == pytest.approx([0.1 + prefill_s(1000), prefill_s(1000)])
    assert found.sent == 1 and found.unheard.sum() == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 3), st.integers(5, 61))
def test_every_coded_call_is_answered(seed: int, group: int, more: int, count: int) -> None:
    found = serve_coded(fleet(3, 4.0, batch=4), load(count, seed, output=1), group, group + more)
    assert np.isfinite(found.latency_s("ttft_s")).all() and (found.latency_s("ttft_s") > 0).all()
    assert found.sent == (count // group) * more


def test_what_cannot_be_copied_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="the fleet has one"):
        serve_hedged(fleet(1), load(5), HedgeTimer(1.0, 1.0))
    with pytest.raises(InputError, match="reply with more than one token"):
        serve_coded(fleet(2), load(5), 2, 3)
    with pytest.raises(InputError, match="3 of 3; allowed"):
        serve_coded(fleet(2), load(5, output=1), 3, 3)
    assert replace(ONE).max_batch == 1
