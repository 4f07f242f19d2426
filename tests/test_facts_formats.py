"""Every format file is sound, weighs what its publisher says, and runs where units or kernels exist."""

import math
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import FactError, UnknownIdError, UnsupportedFormatError
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.format import DequantisationKernel, ElementEncoding, Format, ScaleLevel, format_
from comptroller.facts.reader import ids, real_ids

FAMILIES = {
    *("volta", "turing", "ampere", "ada", "hopper", "blackwell", "blackwell_ultra", "blackwell_rtx"),
    *("cdna1", "cdna2", "rdna3_5", "xe2", "xe_hpc"),
    *("cdna3", "cdna4", "tpu_v5", "tpu_v6", "trainium", "gaudi", "ascend", "apple", "zen", "x86", "arm"),
}
ARITHMETIC = {"fp32", "tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8", "int4", "int1"}
SCALE_BITS = {"f32": 32, "f16": 16, "bf16": 16, "e8m0": 8, "e4m3": 8, "ue5m3": 8, "int8": 8, "int6": 6}

# llama.cpp ggml-common.h states these beside each block; OCP MX, NVFP4 and 2:4 are arithmetic of their
# published layouts; Marlin's README gives 0.125 bit for the scales at group 128.
PUBLISHED_BITS = {
    **{"q8_0": 8.5, "q6_k": 6.5625, "q5_k": 5.5, "q4_k": 4.5, "q3_k": 3.4375, "q2_k": 2.625},
    **{"q4_0": 4.5, "q4_1": 5.0, "q5_0": 5.5, "q5_1": 6.0, "iq4_nl": 4.5, "iq4_xs": 4.25},
    **{"iq3_xxs": 3.0625, "iq2_xxs": 2.0625, "iq1_s": 1.5625, "tq2_0": 2.0625, "tq1_0": 1.6875},
    **{"mxfp8": 8.25, "mxfp6_e2m3": 6.25, "mxfp6_e3m2": 6.25, "mxfp4": 4.25, "mxint8": 8.25},
    **{"nvfp4": 4.5, "fp16_2of4": 9.0, "fp8_2of4": 5.0, "int4_g128": 4.125, "kv_int4_g32": 4.5},
    **{"bf16": 16.0, "fp16": 16.0, "fp32": 32.0, "fp8_e4m3": 8.0, "int8": 8.0, "ternary": 2.0},
    **{"nf4": 4.5, "nf4_dq": 4 + 0.127, "fp8_block": 8 + 32 / 128**2},
}


def device(family: str, *rates: str) -> Accelerator:
    return Accelerator(
        id=f"a_{family}",
        name=family,
        vendor="test",
        family=family,
        kind="gpu",
        released=date(2024, 1, 1),
        peak_flops_per_s=dict.fromkeys(rates, 1000000000000000.0),
        memory_bytes=1e11,
        memory_bytes_per_s=1e12,
        tdp_w=700.0,
        node_devices=8,
        sources={},
        provenance={},
    )


H100 = device("hopper", "bf16", "fp16", "tf32", "fp8", "int8")
B200 = device("blackwell", "bf16", "fp16", "fp8", "fp6", "fp4", "int8")
MI355X = device("cdna4", "bf16", "fp16", "fp8", "fp6", "fp4", "int8")
A100 = device("ampere", "bf16", "fp16", "tf32", "int8", "int4", "int1")
V100 = device("volta", "fp16")
TPU = device("tpu_v6", "bf16", "int8")


def test_there_are_at_least_forty_formats():
    assert len(ids("formats")) >= 40


@pytest.mark.parametrize("name", ids("formats"))
class TestEveryFormat:
    def test_element_and_levels_are_consistent(self, name):
        fmt = format_(name)
        element = fmt.element
        if element.kind == "float":
            assert element.exponent_bits is not None
            assert element.mantissa_bits is not None
            assert 1 + element.exponent_bits + element.mantissa_bits == (19 if name == "tf32" else element.bits)
        else:
            assert element.exponent_bits is None
        if element.kind == "int":
            assert element.bits == int(element.bits)
        for level in fmt.levels:
            assert level.scale_bits <= SCALE_BITS.get(level.scale, 4)
        blocks = [level.block or math.inf for level in fmt.levels]
        assert blocks == sorted(blocks)
        assert fmt.of >= fmt.keep >= 1

    def test_weighs_at_least_its_element(self, name):
        fmt = format_(name)
        assert fmt.bits_per_element >= fmt.element.bits * fmt.keep / fmt.of
        assert fmt.bytes_per_element == fmt.bits_per_element / 8

    def test_names_known_families_arithmetic_and_sources(self, name):
        fmt = format_(name)
        assert fmt.arithmetic is None or fmt.arithmetic in ARITHMETIC
        assert set(fmt.native_families) <= FAMILIES
        assert fmt.arithmetic or not fmt.native_families
        assert fmt.roles and fmt.sources
        for kernel in fmt.kernels:
            assert set(kernel.families) <= FAMILIES
            assert kernel.computes_in in ARITHMETIC
            assert kernel.source in fmt.sources
        for source in fmt.sources.values():
            assert source.url.startswith("https://")

    def test_says_how_it_runs_or_says_why_not(self, name):
        fmt = format_(name)
        for where in (H100, B200, MI355X, A100, V100, TPU):
            if fmt.support(where) == "emulated":
                with pytest.raises(UnsupportedFormatError, match=f"{where.id} .* cannot run {name}"):
                    fmt.compute_arithmetic(where)
            else:
                assert fmt.compute_arithmetic(where) in where.peak_flops_per_s


@pytest.mark.parametrize(("name", "bits"), PUBLISHED_BITS.items())
def test_published_bits(name, bits):
    assert format_(name).bits_per_element == pytest.approx(bits, abs=1e-3 if name == "nf4_dq" else 1e-12)


def test_every_width_from_one_to_eight_bits_is_served_on_ampere():
    dequantised = [f for f in map(format_, ids("formats")) if f.support(A100) == "dequantised"]
    widths = {kind: {f.element.bits for f in dequantised if f.element.kind == kind} for kind in ("int", "float")}
    assert set(range(1, 9)) <= widths["int"]
    assert set(range(3, 9)) <= widths["float"]


@pytest.mark.parametrize(
    ("name", "where", "support", "arithmetic"),
    [
        ("bf16", H100, "native", "bf16"),
        ("bf16", V100, "dequantised", "fp16"),
        ("fp8_e4m3", H100, "native", "fp8"),
        ("fp8_e4m3", A100, "dequantised", "fp16"),
        ("nvfp4", B200, "native", "fp4"),
        ("nvfp4", H100, "dequantised", "bf16"),
        ("nvfp4", MI355X, "emulated", None),
        ("mxfp4", MI355X, "native", "fp4"),
        ("mxfp4", B200, "native", "fp4"),
        ("mxfp4", V100, "dequantised", "fp16"),
        ("int4_g128", H100, "dequantised", "fp16"),
        ("int4_w4a4", A100, "native", "int4"),
        ("int4_w4a4", H100, "emulated", None),
        ("int6_g128", A100, "dequantised", "int1"),
        ("q4_k", V100, "dequantised", "fp16"),
        ("int8", TPU, "native", "int8"),
        ("fp16_2of4", V100, "emulated", None),
        ("nvint4", B200, "emulated", None),
    ],
)
def test_support(name, where, support, arithmetic):
    fmt = format_(name)
    assert fmt.support(where) == support
    if arithmetic:
        assert fmt.compute_arithmetic(where) == arithmetic
    else:
        with pytest.raises(UnsupportedFormatError):
            fmt.compute_arithmetic(where)


def test_an_unsupported_format_says_what_it_needs_and_what_the_device_has():
    with pytest.raises(UnsupportedFormatError) as error:
        format_("nvfp4").compute_arithmetic(MI355X)
    text = str(error.value)
    assert "fp4 units (blackwell, blackwell_ultra, blackwell_rtx)" in text
    assert "published kernel (ada, ampere" in text
    assert "has rates for bf16, fp16, fp4, fp6, fp8, int8" in text


def test_every_accelerator_runs_some_format_and_has_a_known_family():
    formats = [format_(name) for name in ids("formats")]
    for name in real_ids("accelerators"):
        where = accelerator(name)
        assert where.family in FAMILIES
        assert any(fmt.support(where) == "native" for fmt in formats)


def test_a_kernel_without_its_rate_does_not_count():
    no_rate = device("ampere", "int8")
    assert format_("int4_g128").support(no_rate) == "emulated"


def test_unknown_id_lists_the_nearest():
    with pytest.raises(UnknownIdError, match="nvfp4"):
        format_("nvfp5")


def test_a_malformed_file_names_file_and_field(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "x"\nelement = { kind = "decimal", bits = 4 }\n')
    with pytest.raises(FactError, match=r"mine\.toml:\d+: element\.kind"):
        format_(str(path))


@given(
    bits=st.integers(1, 16),
    block=st.integers(1, 1024),
    scale_bits=st.integers(0, 32),
    of=st.integers(1, 16),
    data=st.data(),
)
def test_bits_per_element_counts_a_whole_number_of_blocks(bits, block, scale_bits, of, data):
    keep = data.draw(st.integers(1, of))
    fmt = Format(
        id="x",
        name="x",
        element=ElementEncoding("int", bits),
        levels=(ScaleLevel(block, "f32", scale_bits),),
        kernels=(DequantisationKernel("k", ("hopper",), "fp16", "s"),),
        keep=keep,
        of=of,
        sources={},
        provenance={},
    )
    elements = block * of
    index = math.ceil(math.log2(of)) if of > 1 else 0
    stored = block * keep * (bits + index) + of * scale_bits
    assert fmt.bits_per_element * elements == pytest.approx(stored)
