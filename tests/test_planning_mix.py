"""The mix: published optimum, brute force, limits, spares, and errors that name what binds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from comptroller.planning.solve.mix import MixProblem, MixSolution, ReplicaLimit, balance, solve
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import InfeasibleError

RATES = np.array([[2, 1, 5, 2], [20, 20, 40, 20]], float)
DEMAND = 30 * np.array([0.2, 0.1, 0.5, 0.2])
MELANGE = MixProblem(load=(DEMAND / RATES).T, price=np.array([1.01, 3.67]), whole=True)


def test_melange_readme_example() -> None:
    """Mélange's own example: 3 A10G + 1 A100-80GB at $6.70/h (melange/config/example.json)."""
    chosen = solve(MELANGE)
    assert chosen.replicas.tolist() == [3, 1]
    assert chosen.objective == pytest.approx(6.70)


def test_splitting_a_slice_never_costs_more() -> None:
    assert solve(replace(MELANGE, whole=False)).objective <= solve(MELANGE).objective


def test_spares_are_added_to_every_candidate_in_use() -> None:
    plain, spared = solve(replace(MELANGE, whole=False)), solve(replace(MELANGE, whole=False, spare=1))
    need = (MELANGE.load * spared.share).sum(axis=0)
    used = need > 1e-9
    assert (spared.replicas[used] >= np.ceil(need[used] - 1e-6) + 1).all()
    assert spared.objective > plain.objective


def test_a_limit_is_held_and_an_impossible_one_is_named() -> None:
    capped = replace(MELANGE, limits=(ReplicaLimit("cap a100", np.array([0.0, 1.0]), 0),))
    chosen = solve(capped)
    assert chosen.replicas[1] == 0
    impossible = replace(MELANGE, limits=(ReplicaLimit("budget", MELANGE.price, 2.0),))
    with pytest.raises(InfeasibleError, match=r"budget \(at most 2, needs 6\.7\)"):
        solve(impossible)


def test_a_slice_that_fits_nowhere_is_named() -> None:
    load = MELANGE.load.copy()
    load[2] = np.inf
    with pytest.raises(InfeasibleError, match="slice 2"):
        solve(replace(MELANGE, load=load))


def test_balancing_keeps_the_fleet_and_lowers_the_busiest() -> None:
    mix = MixProblem(np.array([[0.6, 0.5], [0.6, 0.7]]), np.array([1.0, 1.1]))
    brim = MixSolution(np.array([1, 1]), np.array([[1.0, 0.0], [0.6, 0.4]]), 2.1, 2.1)
    even = balance(mix, brim)
    busiest = [(mix.load * x.share).sum(axis=0).max() for x in (brim, even)]
    assert busiest[1] < busiest[0] and even.replicas.tolist() == [1, 1]
    assert even.share.sum(axis=1) == pytest.approx(1.0)


def brute_force(mix: MixProblem) -> float:
    """Every assignment of whole slices to candidates, replicas rounded up, limits checked."""
    slices, candidates = mix.load.shape
    best = np.inf
    for assigned in itertools.product(range(candidates), repeat=slices):
        used = np.zeros((1 + len(mix.also), candidates))
        for i, j in enumerate(assigned):
            used[:, j] += [load[i, j] for load in (mix.load, *mix.also)]
        if not np.isfinite(used).all():
            continue
        count = np.ceil(used.max(axis=0) - 1e-9)
        if all(float(x.weights @ count) <= x.most + 1e-9 for x in mix.limits):
            extra = 0.0 if mix.energy is None else sum(mix.energy[i, j] for i, j in enumerate(assigned))
            best = min(best, float(mix.price @ count) + extra)
    return best


@st.composite
def mixes(draw: st.DrawFn) -> MixProblem:
    slices, candidates = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    load = rng.uniform(0.05, 2.5, (slices, candidates))
    load[rng.uniform(size=load.shape) < 0.15] = np.inf
    load[:, 0] = rng.uniform(0.05, 2.5, slices)
    also = (np.where(np.isfinite(load), rng.uniform(0.0, 2.0, load.shape), np.inf),)
    limits = (ReplicaLimit("cap", np.ones(candidates), float(draw(st.integers(3, 12)))),)
    return MixProblem(
        load,
        rng.uniform(0.5, 5.0, candidates),
        also if draw(st.booleans()) else (),
        rng.uniform(0.0, 1.0, load.shape) if draw(st.booleans()) else None,
        limits if draw(st.booleans()) else (),
        whole=True,
    )


@settings(max_examples=120, deadline=None)
@given(mixes())
def test_whole_slices_agree_with_brute_force(mix: MixProblem) -> None:
    truth = brute_force(mix)
    if np.isinf(truth):
        with pytest.raises(InfeasibleError):
            solve(mix)
    else:
        assert solve(mix).objective == pytest.approx(truth, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(mixes())
def test_a_split_mix_is_feasible_and_within_the_whole_one(mix: MixProblem) -> None:
    try:
        whole = solve(mix)
    except InfeasibleError:
        return
    split = solve(replace(mix, whole=False))
    assert split.objective <= whole.objective * (1 + 1e-9)
    assert split.share.sum(axis=1) == pytest.approx(1.0)
    for load in (mix.load, *mix.also):
        carried = np.where(split.share > 0, np.where(np.isfinite(load), load, 0.0), 0.0) * split.share
        assert (carried.sum(axis=0) <= split.replicas + 1e-6).all()
    assert split.bound <= split.objective * (1 + 1e-6)
