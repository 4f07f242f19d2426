"""What makes large searches fast changes no answer: ways left out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from comptroller.planning.joint_ways import undominated_ways

COARSE = st.integers(0, 3)


@given(st.data())
def test_ways_left_out_change_no_optimum(data: st.DataObject) -> None:
    """The linear program of one class with capacities of two arms, with and without what was left out."""
    ways, rng = data.draw(st.integers(1, 24)), np.random.default_rng(data.draw(st.integers(0, 10**6)))
    own = [frozenset(np.flatnonzero(row).tolist()) for row in rng.random((ways, 2)) < 0.5]
    score, usd = rng.integers(0, 4, (1, ways)) / 3, rng.integers(0, 4, (1, ways)).astype(float)
    calls = {arm: rng.integers(0, 3, (1, ways, 2)) * np.array([[[arm in x] for x in own]]) for arm in (0, 1)}
    kept = undominated_ways(own, score, usd, calls, np.arange(ways))
    room = float(data.draw(COARSE))

    def least(of: np.ndarray) -> float:
        bounds = [-score[0, of], *(calls[arm][0, of, place] for arm in (0, 1) for place in (0, 1))]
        found = linprog(usd[0, of], bounds, [-0.5, *[room] * 4], [np.ones(len(of))], [1.0])
        return float(found.fun) if found.success else np.inf

    assert np.isclose(least(kept), least(np.arange(ways))) or least(kept) == least(np.arange(ways))
