"""Start-up: its parts by their sources, against published starts, and what makes it longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.start_up import LAYER_WARM_UP_S, WEIGHT_SOURCES, start_up
from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts

ONE = ModelReplica(
    model("llama_3_1_8b"),
    accelerator("h100_sxm"),
    PrecisionRecipe(),
    ParallelLayout(),
    EngineSettings.default(engine_facts("vllm")),
)


def test_a_cold_start_is_that_of_the_records() -> None:
    """180 s of a pod of llm-d (issue 1517); ten minutes of Llama 3.1 8B where the image is pulled (BentoML)."""
    assert start_up(ONE).total_s == pytest.approx(180, rel=0.15)
    assert start_up(ONE, image_pulled=True).total_s == pytest.approx(600, rel=0.15)


@pytest.mark.parametrize(("layers", "took_s"), [(32, 39.3), (80, 145.0), (28, 34.1)])
def test_warm_up_is_that_of_logs_within_what_others_of_them_give(layers: int, took_s: float) -> None:
    assert layers * LAYER_WARM_UP_S == pytest.approx(took_s, rel=0.32)


def test_more_weights_take_longer_and_faster_sources_shorter() -> None:
    large = replace(ONE, model=model("llama_3_1_70b"), layout=ParallelLayout(tp=8))
    for source in WEIGHT_SOURCES:
        assert start_up(large, source).weights_s > start_up(ONE, source).weights_s / 8
    by_source = [start_up(ONE, source).weights_s for source in ("object_store", "disk", "peer")]
    assert by_source == sorted(by_source, reverse=True)
    eager = replace(ONE, engine=replace(ONE.engine, eager=True))
    assert start_up(eager).total_s < start_up(ONE).total_s


def test_what_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="weights from 'tape': not known; allowed: disk, object_store, peer"):
        start_up(ONE, "tape")
    alone = replace(ONE, device=replace(ONE.device, scale_out=None))
    with pytest.raises(UnsupportedError, match="no known network"):
        start_up(alone, "peer")
