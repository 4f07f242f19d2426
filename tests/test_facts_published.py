"""Speeds that papers claim of formats: each with its source and who runs it, told where an engine cannot."""

from __future__ import annotations

import pytest

from comptroller.errors import UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.engine_formats import engine_formats
from comptroller.facts.format import format_
from comptroller.facts.reader import ids
from comptroller.measure.host import FAMILIES

CLAIMED = [name for name in ids("formats") if format_(name).published]


@pytest.mark.parametrize("name", CLAIMED)
def test_a_claim_has_a_source_a_device_and_a_ratio_or_a_sentence(name: str) -> None:
    families = {accelerator(device).family for device in ids("accelerators")} | set(FAMILIES.values())
    fmt = format_(name)
    for claim in fmt.published:
        assert claim.source in fmt.sources and fmt.sources[claim.source].url.startswith("https://")
        assert claim.families and set(claim.families) <= families and claim.runs_in
        assert claim.note or claim.ratio
        assert not claim.ratio or (claim.over and min(claim.ratio) > 0 and len(claim.ratio) <= 2)
        assert list(claim.ratio) == sorted(claim.ratio)


@pytest.mark.parametrize(
    ("name", "family", "says"),
    [
        ("int6_g128", "ampere", r"published, not measured here: FlexQ.*1\.78 to 1\.82 x cuBLAS W8A8"),
        ("int4_w4a4", "ampere", r"COMET.*2\.88 x cuBLAS.*APEX4.*0\.43 to 2\.5"),
        ("int3", "hopper", r"Tilus A16Wx \(the Tilus package alone\)"),
        ("w2a8_planes", "ada", r"bipolar-INT"),
        ("bf16_2of4", "hopper", r"at most 2 x as fast"),
    ],
)
def test_an_engine_that_cannot_says_what_papers_claim(name: str, family: str, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        engine_formats("vllm").support(name, "weights", family, "0.12")
