"""The bounded joint program against the whole one: the same optimum, whatever is left out before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.joint_program import JointProgram, JointProgramData, RentableDeployments
from comptroller.planning.solve.mix import OPTIONS, MixProblem, ReplicaLimit, run
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.planning.solve.cheapest import at, bound_of, optimum, within


def drawn(rng: np.random.Generator, kind: str) -> tuple[JointProgramData, Goal]:
    """A small matter: classes, ways and arms with whole units, and a goal of a kind."""
    classes, ways, arms = int(rng.integers(1, 4)), int(rng.integers(2, 9)), int(rng.integers(0, 4))
    weight = rng.dirichlet(np.ones(classes))
    rents, calls, limited = {}, {}, kind == "limits"
    for arm in range(arms):
        buckets, candidates = int(rng.integers(1, 4)), int(rng.integers(1, 6))
        uses = (rng.random((1, ways, 1)) < 0.5) & (rng.random((classes, ways, buckets)) < 0.6)
        calls[arm] = rng.integers(1, 4, (classes, ways, buckets)) * uses
        shape = (buckets, candidates)
        energy = rng.random(shape) * 3 if kind == "energy" else None
        limits = (ReplicaLimit("power", rng.random(candidates) + 0.1, 4.0),) if limited else ()
        mix = MixProblem(
            rng.random(shape) + 0.05, rng.random(candidates) * 4 + 0.5, (rng.random(shape),), energy, limits
        )
        rents[arm] = RentableDeployments(np.arange(candidates), np.arange(buckets), mix)
    own = [arm for arm in rents if calls[arm].any()]
    rents, calls = {arm: rents[arm] for arm in own}, {arm: calls[arm] for arm in own}
    score = rng.integers(0, 11, (classes, ways)) / 10
    reach = float(weight @ score.max(axis=1))
    matter = JointProgramData(
        rate_per_s=float(rng.uniform(0.2, 4.0)),
        weight=weight,
        score=score,
        usd=rng.random((classes, ways)) / 3600.0 * rng.integers(0, 3, (classes, ways)),
        rents=rents,
        calls=calls,
        quality=((None, reach * float(rng.uniform(0.3, 1.0)) - 1e-9),),
    )
    goal = Goal("j" if kind == "energy" else "usd", (), limits=(("power", 4.0),) if limited else ())
    return matter, goal if kind != "spare" else Goal("usd", (), spare=1)


def whole(matter: JointProgramData, goal: Goal) -> float:
    """The optimum of the whole program, infinite where there is none."""
    highs: Any = run(JointProgram(matter, goal).program(), OPTIONS)
    found = highs.getSolution()
    return float(highs.getInfo().objective_function_value) if found.value_valid else np.inf


KINDS = ("usd", "energy", "limits", "spare")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_the_bounded_optimum_is_that_of_the_whole_program(seed: int, kind: str) -> None:
    matter, goal = drawn(np.random.default_rng(seed), kind)
    least, found = whole(matter, goal), optimum(matter, goal)
    if found is None:
        assert np.isinf(least)
        return
    assert found.objective == pytest.approx(least, rel=1e-6, abs=1e-7)
    assert np.allclose(found.share.sum(axis=1), 1.0)
    solved = float(matter.weight @ (matter.score * found.share).sum(axis=1))
    assert solved >= matter.quality[0][1] - 1e-6
    assert bound_of(matter, goal).least <= least * (1 + 1e-6) + 1e-7
    for more, so in ((1.001, True), (0.999, False)):
        if least > 1e-3:
            assert within(matter, goal, least * more) is so


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_units_of_an_optimum_hold_it_and_fewer_do_not_cost_less(seed: int) -> None:
    matter, goal = drawn(np.random.default_rng(seed), "usd")
    found = optimum(matter, goal)
    assert found is not None
    units = {
        arm: found.rented[arm].units if arm in found.rented else np.zeros(rent.shape[1], np.int64)
        for arm, rent in matter.rents.items()
    }
    again = at(matter, goal, units)
    assert again is not None and again.objective == pytest.approx(found.objective, rel=1e-6, abs=1e-7)
    for arm, count in units.items():
        for row in np.flatnonzero(count):
            less = {**units, arm: count - (np.arange(len(count)) == row)}
            other = at(matter, goal, less)
            assert other is None or other.objective >= found.objective * (1 - 1e-6) - 1e-7
