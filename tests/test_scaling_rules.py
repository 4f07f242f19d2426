"""Scaling policies against their published rules, written down a second time as plain loops over seconds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.serving.policies import decision
from comptroller.serving.policies.scaling_outlook import needed_replicas, weighted_quantile
from comptroller.serving.policies.scaling_view import ScalingView

TARGET, RATE = 10.0, 5.0


def view(calls: list[int], current: int, queued: list[int]) -> ScalingView:
    seen, waiting = np.array(calls, float), np.array(queued, float)
    return ScalingView(
        arrivals=np.floor(seen / 2), in_flight=seen, queued=waiting, cache=seen / (seen + 40.0),
        ready=np.full(seen.size, float(current)), current=current, target_calls=TARGET, target_per_s=RATE,
        capacity_per_s=RATE, start_up_s=30.0, least=1, most=60,
    )  # fmt: skip


def up(value: float) -> int:
    return math.ceil(value - 1e-9)


def hpa(calls: list[int], n: int, _: list[int]) -> int:
    """ceil(n metric / target), nothing within 10 %, up by 100 % or four pods, down to the most of five minutes."""
    ratio = calls[-1] / (TARGET * n)
    if abs(ratio - 1) <= 0.1:
        return n
    if ratio > 1:
        return min(up(n * ratio), max(2 * n, n + 4))
    return min(n, max(up(one / TARGET) for one in calls[-300:]))


def kpa(calls: list[int], n: int, _: list[int]) -> int:
    """Concurrency over 70 % of the target: a minute's mean, or six seconds' in panic, which lasts a minute."""

    def wanted(last: int, seconds: int) -> int:
        kept = calls[max(0, last - seconds) : last]
        return up(sum(kept) / len(kept) / (0.7 * TARGET))

    panic = any(wanted(last, 6) >= 2 * n for last in range(max(1, len(calls) - 59), len(calls) + 1))
    stable = wanted(len(calls), 60)
    found = max(stable, wanted(len(calls), 6), n) if panic else stable
    return max(found, n // 2)


def apa(calls: list[int], n: int, _: list[int]) -> int:
    """r = use over target; beyond 10 % n r, at most twice, at least half."""
    kept = calls[-60:]
    ratio = sum(kept) / len(kept) / (TARGET * n)
    if ratio > 1.1:
        return min(up(n * ratio), 2 * n)
    return max(up(n * ratio), n // 2) if ratio < 0.9 else n


def sky_serve(calls: list[int], _: int, __: list[int]) -> int:
    """Calls a second of the last minute over those of a replica."""
    kept = [one // 2 for one in calls[-60:]]
    return up(sum(kept) / len(kept) / RATE)


def ray_serve(calls: list[int], n: int, _: list[int]) -> int:
    """Mean of 30 s over the target, once 30 s long all wished more or 600 s long all fewer."""
    wishes = []
    for last in range(1, len(calls) + 1):
        kept = calls[max(0, last - 30) : last]
        wishes.append(up(sum(kept) / len(kept) / TARGET))
    if len(wishes) >= 30 and all(wish > n for wish in wishes[-30:]):
        return wishes[-1]
    if len(wishes) >= 600 and all(wish < n for wish in wishes[-600:]):
        return wishes[-1]
    return n


def keda(calls: list[int], n: int, queued: list[int]) -> int:
    """The larger of 30 waiting calls and 60 % of the cache a replica; down to the most wished in five minutes."""
    wishes = [max(wait / 30, one / (one + 40) * n / 0.6) for one, wait in zip(calls, queued, strict=True)]
    now = up(wishes[-1])
    if now > n:
        return min(now, max(2 * n, n + 4))
    return min(n, up(max(wishes[-300:])))


def dynamo(calls: list[int], n: int, _: list[int]) -> int:
    """A floor by the throughput of the last whole three minutes; one more above the target, one fewer below 80 % of it
    on the others."""
    whole = len(calls) // 180 * 180
    kept = [one // 2 for one in calls[max(0, whole - 180) : whole]]
    floor = up(sum(kept) / len(kept) / RATE) if kept else 1
    if calls[-1] / TARGET > n:
        return max(floor, n + 1)
    if n > 1 and calls[-1] / TARGET / (n - 1) < 0.8:
        return max(floor, n - 1)
    return max(floor, n)


RULES = (hpa, kpa, apa, sky_serve, ray_serve, keda, dynamo)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@given(
    st.lists(st.tuples(st.integers(0, 160), st.integers(1, 90)), min_size=1, max_size=12),
    st.integers(1, 14),
    st.integers(0, 200),
)
@settings(max_examples=25, deadline=None)
def test_a_policy_is_its_rule(rule, stretches: list[tuple[int, int]], current: int, waits: int) -> None:  # type: ignore[no-untyped-def]
    calls = [level for level, seconds in stretches for _ in range(seconds)]
    queued = [(waits * place) % 97 for place in range(len(calls))]
    assert decision("scaling", rule.__name__)(view(calls, current, queued)) == rule(calls, current, queued)


# ours


@given(st.lists(st.integers(0, 60), min_size=200, max_size=400), st.integers(5, 60))
@settings(max_examples=30, deadline=None)
def test_what_followed_is_never_less_than_what_is(calls: list[int], ahead_s: int) -> None:
    seen = view(calls, 4, [0] * len(calls))
    needed, weights = needed_replicas(seen, ahead_s)  # type: ignore[misc]
    now = float(seen.arrivals[-20:].mean()) / RATE
    assert (needed >= now - 1e-9).all() and (weights > 0).all() and needed.size <= 60
    assert weighted_quantile(needed, weights, 0.3) <= weighted_quantile(needed, weights, 0.95)


@given(st.lists(st.integers(0, 60), min_size=200, max_size=400), st.floats(1.0, 8.0))
@settings(max_examples=30, deadline=None)
def test_the_level_of_minutes_is_never_filled_above_what_replicas_take(calls: list[int], fill: float) -> None:
    """However full bursts may make a replica: what is there two minutes long has its replicas."""
    seen = view(calls, 1, [0] * len(calls))._replace(target_per_s=fill * RATE, target_calls=fill * TARGET)
    level = up(float(seen.arrivals[-120:].mean()) / RATE)
    for name in ("forecast", "harmony"):
        assert decision("scaling", name)(seen) >= level


@pytest.mark.parametrize("name", ["forecast", "harmony"])
def test_a_larger_share_to_hold_never_wants_fewer_replicas(name: str) -> None:
    rng = np.random.default_rng(0)
    seen = view(rng.poisson(40, 600).tolist(), 4, [0] * 600)
    wants = [decision("scaling", name)(seen._replace(share=share)) for share in (0.05, 0.5, 0.8, 0.95, 0.995)]
    assert wants == sorted(wants) and wants[-1] > 3


@pytest.mark.parametrize("name", ["forecast", "harmony"])
def test_nothing_is_given_up_before_anything_was_seen(name: str) -> None:
    assert decision("scaling", name)(view([0] * 20, 7, [0] * 20)) == 7
