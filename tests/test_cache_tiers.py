"""Prompts whose beginning lies in a slower tier: loading against computing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.cli import main
from comptroller.costs.deployment import ParallelLayout
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.errors import InputError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.planning.offer.cache_tiers import CacheTierAnswer, check_tiers
from comptroller.planning.offer.replica_fit import FitQuery, replica_to_check

PROMPT = 32_000
REPLICA = replica_to_check(model("llama_3_1_8b"), accelerator("h100_sxm"), ParallelLayout())


def found(cached: int, *own: str, prompt: int = PROMPT) -> CacheTierAnswer:
    return check_tiers(FitQuery(REPLICA, prompt, 100), cached, own, FittedCalibration.shipped())


@given(st.integers(1, PROMPT - 1), st.floats(0.1, 500), st.floats(1, 10))
def test_a_faster_tier_never_takes_longer_and_none_is_faster_than_the_device(
    cached: int, rate: float, times: float
) -> None:
    loads = {one.tier.name: one for one in found(cached, f"slow={rate}", f"fast={rate * times}").loads}
    answer = found(cached, f"slow={rate}")
    assert loads["fast"].prompt_s <= loads["slow"].prompt_s * (1 + 1e-12)
    assert loads["slow"].prompt_s >= answer.device_s * (1 - 1e-12)
    assert loads["slow"].prompt_s >= loads["slow"].load_s * (1 - 1e-12)


def test_a_tier_without_end_is_the_device_and_the_break_even_rate_breaks_even() -> None:
    answer = found(30_000, "endless=1e9")
    assert {one.tier.name: one for one in answer.loads}["endless"].prompt_s == pytest.approx(answer.device_s, rel=0.04)
    even = {one.tier.name: one for one in found(30_000, f"even={answer.worth_bytes_per_s / 1e9}").loads}["even"]
    assert even.prompt_s == pytest.approx(even.computed_s, rel=1e-9)


def test_later_tokens_are_worth_loading_from_slower_tiers() -> None:
    """Attention to what came before makes them dearer to compute; their caches are as large as any."""
    assert found(60_000, prompt=61_000).worth_bytes_per_s < found(3_000, prompt=4_000).worth_bytes_per_s


@pytest.mark.parametrize("cached", [0, -1, PROMPT, PROMPT + 1])
def test_what_is_no_part_of_the_prompt_is_refused(cached: int) -> None:
    with pytest.raises(InputError, match=r"allowed: 1 to 31,999"):
        found(cached)


@pytest.mark.parametrize("text", ["nvme", "nvme=", "nvme=0", "nvme=-1", "nvme=fast", "=7", "nvme=inf", "nvme=nan"])
def test_a_tier_that_is_spelled_wrong_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="allowed: NAME=GB/s"):
        found(100, text)


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fits", "llama_3_1_8b", "h100_sxm", "--input", "8000", *words])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_command_tells_tiers_and_refuses_a_tier_without_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = outcome(capsys, "--tier", "nvme=7", "--cached", "7000", "--json")
    assert code == 0
    assert [one["tier"] for one in json.loads(out)["cache_tiers"]["tiers"]] == ["host memory", "network", "nvme"]
    assert outcome(capsys, "--tier", "nvme=7")[0] == 2
    assert outcome(capsys, "--cached", "0")[0] == 2
