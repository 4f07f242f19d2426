"""Bands of predictions: the shift between groups, and which held-out errors judge a replica."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from comptroller.costs.causes import TIMED, strangeness
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.facts.reader import build
from comptroller.facts.serving import PredictionErrorBands, ServingFacts, serving_facts
from comptroller.measure.calibration_text import constants_text
from comptroller.planning.offer.intervals import ReplicaIntervals, judged_by
from comptroller.report.replica_names import replica_of_names
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


@pytest.mark.parametrize(
    "text",
    ["vllm/mi300x/llama_3_1_70b/tp4", "sglang/mi355x/deepseek_r1/tp8", "llama_cpp/rtx_4090/llama_3_1_8b",
     "vllm@0.6/h100_sxm/llama_3_1_8b", "vllm/max_1550/llama_2_7b", "vllm/tpu_v6e/llama_3_1_8b"],
)  # fmt: skip
def test_a_first_token_is_no_surer_than_the_steps_it_is_made_of_where_no_first_token_was_held_out(text: str) -> None:
    replica = replica_of_names([text])
    found = ReplicaIntervals.of(replica, FittedCalibration.shipped())
    assert strangeness(replica) != TIMED and not serving_facts().ttft.has_group(strangeness(replica))
    assert found.ttft.low < found.tpot.low and found.ttft.high > found.tpot.high
    assert "its steps by" in found.first_judged_by and "its steps" not in found.judged_by


def test_a_first_token_of_a_timed_server_has_the_band_of_first_tokens() -> None:
    facts = serving_facts()
    assert facts.first_token_band("timed", measured=False) == facts.ttft.of_group("timed", measured=False)
    found = ReplicaIntervals.of(replica_of_names(["vllm/h100_sxm/qwen3_8b"]), FittedCalibration.shipped())
    assert found.first_judged_by == found.judged_by


def test_first_tokens_that_were_held_out_judge_their_own() -> None:
    own = PredictionErrorBands((-1, 1), (-2, 2), (-3, 3), vendor=(-5, 5))
    facts = replace(serving_facts(), ttft=own)
    assert facts.first_token_band("vendor", measured=True) == ("vendor", (-5, 5))
    name, (low, high) = facts.first_token_band("engine", measured=True)
    steps = facts.tpot.of_group("engine", measured=True)[1]
    assert name == "related+foreign" and (low, high) == (-np.hypot(2, steps[0]), np.hypot(2, steps[1]))


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
