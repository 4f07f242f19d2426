"""Prompts whose beginning lies in a slower tier: loading against computing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.cli import main
from comptroller.costs.deployment import ParallelLayout
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.tiers import prompt_from_tier_s, worth_loading_bytes_per_s
from comptroller.errors import InputError, UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.planning.offer.cache_tiers import CacheTierAnswer, check_tiers
from comptroller.planning.offer.replica_fit import FitQuery, replica_to_check

PROMPT = 32_000
REPLICA = replica_to_check(model("llama_3_1_8b"), accelerator("h100_sxm"), ParallelLayout())


def found(cached: int, *names: str, prompt: int = PROMPT) -> CacheTierAnswer:
    return check_tiers(FitQuery(REPLICA, prompt, 100), cached, names, FittedCalibration.shipped())


@given(st.floats(0.001, 10), st.floats(0.0001, 10), st.integers(1, 128), st.floats(1, 10))
def test_a_slower_tier_never_takes_less_and_none_is_faster_than_the_device(
    fresh_s: float, load_s: float, layers: int, times: float
) -> None:
    quick = prompt_from_tier_s(np.array(fresh_s), np.array(load_s), layers)
    slow = prompt_from_tier_s(np.array(fresh_s), np.array(load_s * times), layers)
    assert max(fresh_s, load_s) * (1 - 1e-12) <= quick <= slow * (1 + 1e-12)
    assert quick <= (fresh_s + load_s) * (1 + 1e-12)


@given(st.floats(0.1, 10), st.floats(0.001, 0.09), st.integers(1, 128), st.floats(1e6, 1e12))
def test_the_break_even_rate_breaks_even(whole_s: float, fresh_s: float, layers: int, loaded: float) -> None:
    rate = worth_loading_bytes_per_s(np.array(loaded), np.array(whole_s), np.array(fresh_s), layers)
    assert prompt_from_tier_s(np.array(fresh_s), loaded / rate, layers) == pytest.approx(whole_s, rel=1e-9)


def test_later_tokens_are_worth_loading_from_slower_tiers() -> None:
    """Attention to what came before makes them dearer to compute; their caches are as large as any."""
    assert found(60_000, prompt=61_000).worth_bytes_per_s < found(3_000, prompt=4_000).worth_bytes_per_s


def test_tiers_rank_by_how_long_they_load() -> None:
    answer = found(30_000)
    ranked = sorted(answer.loads, key=lambda one: one.load_s)
    assert len(ranked) >= 4
    assert [one.prompt_s for one in ranked] == sorted(one.prompt_s for one in ranked)
    assert all(one.prompt_s >= answer.device_s for one in ranked)


@pytest.mark.parametrize("cached", [0, -1, PROMPT, PROMPT + 1])
def test_what_is_no_part_of_the_prompt_is_refused(cached: int) -> None:
    with pytest.raises(InputError, match=r"allowed: 1 to 31,999"):
        found(cached)


def test_an_unknown_tier_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownIdError, match="host_memory"):
        found(100, "host_memry")


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fits", "llama_3_1_8b", "h100_sxm", "--input", "8000", *words])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_command_tells_tiers_and_refuses_a_tier_without_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = outcome(capsys, "--tier", "nvme_pcie5", "--cached", "7000", "--json")
    assert code == 0
    assert [one["tier"] for one in json.loads(out)["cache_tiers"]["tiers"]] == ["nvme_pcie5"]
    assert outcome(capsys, "--tier", "nvme_pcie5")[0] == 2
    assert outcome(capsys, "--cached", "0")[0] == 2
