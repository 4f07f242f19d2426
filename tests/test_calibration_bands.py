"""Bands of predictions: the shift between groups, and which held-out errors judge a replica."""

from __future__ import annotations

import numpy as np

from comptroller.facts.serving import PredictionErrorBands
from comptroller_lab.intervals import shifted_band


def test_a_band_holds_the_shift_of_a_new_group_and_narrows_with_groups() -> None:
    """Units of equal rows with a shift of their own: the band holds near 80 % of a new one; more units narrow it."""
    rng, held, widths = np.random.default_rng(3), [], {}
    for units in (4, 30):
        width = []
        for _ in range(100):
            shift = rng.normal(0.0, 0.2, units + 1)
            errors = shift[:, None] + rng.normal(0.0, 0.1, (units + 1, 20))
            names = np.repeat(np.arange(units).astype(str), 20)
            band = shifted_band(errors[:-1].ravel(), names)
            assert band is not None
            held.append(((errors[-1] >= band[0]) & (errors[-1] <= band[1])).mean())
            width.append(band[1] - band[0])
        widths[units] = np.mean(width)
    assert 0.76 < np.mean(held) < 0.88
    assert widths[30] < 0.85 * widths[4]


def test_one_group_alone_gives_no_band() -> None:
    assert shifted_band(np.zeros(50), np.repeat("one", 50)) is None


def test_each_replica_is_judged_by_the_errors_of_its_like() -> None:
    """A band of its own group where the calibration has one, else that of all strange ones, else of models left out."""
    bands = PredictionErrorBands((-1, 1), (-2, 2), (-3, 3), (-4, 4), vendor=(-5, 5))
    assert bands.of_group("vendor", measured=True) == ("vendor", (-5, 5))
    assert bands.of_group("engine", measured=True) == ("foreign", (-4, 4))
    assert bands.of_group("timed", measured=True) == ("related", (-2, 2))
    assert bands.of_group("timed", measured=False) == ("new", (-1, 1))
