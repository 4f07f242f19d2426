"""Bands of predictions: the shift between groups, and which held-out errors judge a replica."""

from __future__ import annotations

import tomllib

import numpy as np

from comptroller.facts.reader import build
from comptroller.facts.serving import PredictionErrorBands, ServingFacts, serving_facts
from comptroller.measure.calibration_text import constants_text
from comptroller.planning.offer.intervals import judged_by
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


def test_a_kind_of_models_has_its_own_band_where_it_was_measured() -> None:
    """Only within the replica's own group: experts of another vendor say nothing of experts under old engines."""
    bands = PredictionErrorBands(
        (-1, 1), (-2, 2), (-3, 3), (-4, 4), vendor=(-5, 5), by_kind={"vendor experts": (-6, 6)}
    )
    assert bands.of_group("vendor", True, "experts") == ("vendor experts", (-6, 6))
    assert bands.of_group("vendor", True, "dense") == ("vendor", (-5, 5))
    assert bands.of_group("engine", True, "experts") == ("foreign", (-4, 4))
    assert judged_by("vendor experts").endswith("mixtures of experts alone")


def test_one_unit_that_is_far_off_does_not_widen_the_band_of_all() -> None:
    units = np.repeat(list("abcdefgh"), 10)
    calm = np.repeat([-0.1, -0.06, -0.03, 0.0, 0.03, 0.06, 0.1, 0.12], 10)
    faulty = np.where(units == "h", 2.0, calm)
    for one, other in zip(shifted_band(calm, units) or (), shifted_band(faulty, units) or (), strict=True):
        assert abs(one - other) < 0.1


def test_bands_of_the_shipped_file_are_read_as_they_were_written() -> None:
    facts = serving_facts()
    text = constants_text(facts)
    again = build(ServingFacts, tomllib.loads(text), "again")
    assert again.tpot == facts.tpot and again.ttft == facts.ttft
    assert any(name.endswith(" experts") for name in facts.tpot.by_kind)
