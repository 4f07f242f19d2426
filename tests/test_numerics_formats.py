"""Every format of the catalogue: bit-exact against other libraries, idempotent, monotone, unbiased."""

from __future__ import annotations

import math
from dataclasses import replace

import gfloat
import gguf
import ml_dtypes
import numpy as np
import pytest
from gfloat import formats as gformats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from comptroller.errors import InputError, UnknownIdError, UnsupportedError
from comptroller.facts.format import format_
from comptroller.facts.reader import ids
from comptroller.numerics.error import qsnr_db
from comptroller.numerics.grid import FloatGrid, grid
from comptroller.numerics.quantise import dequantise, format_with_variants, quantise, round_trip, sparse
from comptroller.numerics.rotation import rotate

RNG = np.random.default_rng(7)
NORMAL = RNG.standard_normal((128, 512)).astype(np.float32)
HEAVY = RNG.standard_t(3, (128, 512)).astype(np.float32) * np.exp(RNG.standard_normal((128, 1))).astype(np.float32)
KEEPS = [name for name in ids("formats") if name != "qjl"]
GGUF = {
    "q4_0": "Q4_0",
    "q4_1": "Q4_1",
    "q5_0": "Q5_0",
    "q5_1": "Q5_1",
    "q8_0": "Q8_0",
    "tq1_0": "TQ1_0",
    "tq2_0": "TQ2_0",
}
CASTS = {
    "float8_e4m3fn": FloatGrid(4, 3), "float8_e5m2": FloatGrid(5, 2), "float6_e2m3fn": FloatGrid(2, 3),
    "float6_e3m2fn": FloatGrid(3, 2), "float4_e2m1fn": FloatGrid(2, 1), "bfloat16": FloatGrid(8, 7),
}  # fmt: skip


@pytest.mark.parametrize("name", [*GGUF, "mxfp4", "bf16"])
@pytest.mark.parametrize("x", [NORMAL, HEAVY, np.zeros((1, 256), np.float32), NORMAL.astype(np.float16)])
def test_bit_exact_with_gguf(name, x):
    x = np.asarray(x, np.float32)
    if name == "mxfp4" and (x == x.astype(np.float16)).all():
        x = x * np.float32(1.0001)  # llama.cpp rounds exact ties to the smaller magnitude, OCP to even
    kind = gguf.GGMLQuantizationType[GGUF.get(name, name.upper())]
    theirs = gguf.quants.dequantize(gguf.quants.quantize(x, kind), kind)
    assert np.array_equal(round_trip(x, format_(name)), theirs)


@pytest.mark.parametrize("name", CASTS)
def test_values_and_bit_patterns_are_those_of_ml_dtypes(name):
    cells, kind = CASTS[name], getattr(ml_dtypes, name)
    x = np.clip(np.concatenate([NORMAL.ravel() * 10.0**k for k in range(-6, 4)]), cells.low, cells.high)
    x = x.astype(np.float32)
    theirs = x.astype(kind)
    ours = cells.nearest(x, "even", None)
    assert np.array_equal(ours, theirs.astype(np.float32))
    codes = cells.encode(ours)
    assert np.array_equal(codes, theirs.view(codes.dtype))
    assert np.array_equal(cells.decode(codes), ours)
    assert cells.high == float(ml_dtypes.finfo(kind).max)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (FloatGrid(4, 3), gformats.format_info_ocp_e4m3),
        (FloatGrid(5, 2), gformats.format_info_ocp_e5m2),
        (FloatGrid(2, 3), gformats.format_info_ocp_e2m3),
        (FloatGrid(3, 2), gformats.format_info_ocp_e3m2),
        (FloatGrid(2, 1), gformats.format_info_ocp_e2m1),
        (FloatGrid(5, 10), gformats.format_info_binary16),
    ],
)
def test_rounding_agrees_with_gfloat_even_on_ties(ours, theirs):
    middle = (ours.values()[1:] + ours.values()[:-1]) / 2
    x = np.concatenate([middle[:: max(1, len(middle) // 500)], NORMAL.ravel()[:2000]]).astype(np.float32)
    expected = gfloat.round_ndarray(theirs, x.astype(np.float64), gfloat.RoundMode.TiesToEven, sat=True)
    assert np.array_equal(ours.nearest(x, "even", None), expected.astype(np.float32))


def test_mx_blocks_agree_with_gfloat():
    x = NORMAL[0, :32].astype(np.float64)
    scale = 2.0 ** (math.floor(math.log2(np.abs(x).max())) - 2)
    expected = gfloat.round_ndarray(gformats.format_info_ocp_e2m1, x / scale, sat=True) * scale
    assert np.array_equal(round_trip(x[None], format_("mxfp4"))[0], expected.astype(np.float32))


def test_k_quants_unpack_to_what_gguf_reads():
    stored = quantise(NORMAL[:4], format_("q6_k"))
    top = np.abs(stored.scale.reshape(-1, 16)).max(axis=1)
    d = (top / 127).astype(np.float16)
    scales = np.rint(stored.scale.reshape(-1, 16) / d.astype(np.float32)[:, None]).astype(np.int8)
    keep = np.abs(scales.astype(np.float32) * d.astype(np.float32)[:, None] - stored.scale.reshape(-1, 16)).max() == 0
    assert keep, "the scales of a block are whole numbers of one half-precision number"
    codes = (stored.codes.reshape(-1, 2, 4, 32) + 32).astype(np.uint8)  # halves of 128, quarters of 32
    low = np.concatenate(
        [codes[:, :, :2].reshape(-1, 2, 64) & 15 | (codes[:, :, 2:].reshape(-1, 2, 64) & 15) << 4], axis=1
    )
    high = sum((codes[:, :, i] >> 4) << (2 * i) for i in range(4))
    packed = np.concatenate(
        [
            low.reshape(len(d), -1),
            high.reshape(len(d), -1).astype(np.uint8),
            scales.view(np.uint8),
            d[:, None].view(np.uint8),
        ],
        axis=1,
    )
    theirs = gguf.quants.dequantize(packed.reshape(4, -1), gguf.GGMLQuantizationType.Q6_K)
    assert np.array_equal(theirs, dequantise(stored))


@pytest.mark.parametrize("name", KEEPS)
class TestEveryFormat:
    def test_keeps_shape_and_loses_no_more_than_the_signal(self, name):
        x = NORMAL.reshape(2, -1, 256, 128)[:, :, ::2] if "block" in name else NORMAL.reshape(2, -1, 512)
        back = round_trip(x, format_(name))
        assert back.shape == x.shape and back.dtype == np.float32
        assert ((back - x) ** 2).sum() < (x**2).sum()

    def test_is_deterministic_and_zero_stays_zero(self, name):
        fmt = format_(name)
        zero = np.zeros((128, 512), np.float32)
        assert not round_trip(zero, fmt).any()
        assert np.array_equal(round_trip(HEAVY, fmt), round_trip(HEAVY, fmt))

    def test_codes_fit_in_the_bits_of_the_element(self, name):
        fmt = format_(name)
        stored = quantise(NORMAL, fmt)
        if not fmt.element.lattice:
            span = int(stored.codes.max()) - int(stored.codes.min()) + 1
            assert span <= 2 ** math.ceil(fmt.element.bits)


SCALED = [n for n in KEEPS if format_(n).levels and {x.scale for x in format_(n).levels} <= {"f32", "e8m0"}]


@pytest.mark.parametrize("name", SCALED)
def test_scaling_by_a_power_of_two_scales_the_result(name):
    fmt = format_(name)
    assert np.array_equal(round_trip(NORMAL * np.float32(0.125), fmt) * 8, round_trip(NORMAL, fmt))


EXACT = ["mxfp4", "mxfp8", "mxfp6_e2m3", "mxfp6_e3m2", "mxint8", "fp8_e4m3", "int8", "nf4", "bf16", "tf32", "fp16"]


@pytest.mark.parametrize("name", EXACT)
@given(x=arrays(np.float32, (2, 64), elements=st.floats(-1e4, 1e4, width=32)))
def test_quantising_twice_changes_nothing(name, x):
    fmt = format_(name)
    once = round_trip(x, fmt)
    again = round_trip(once, fmt)
    exact = fmt.levels == () or fmt.levels[0].scale == "e8m0"
    assert np.array_equal(once, again) if exact else np.allclose(once, again, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "mxint8", "int4_g32", "q4_0", "q4_1", "nf4", "fp8_e4m3", "ternary"])
@given(x=arrays(np.float32, (1, 64), elements=st.floats(-100, 100, width=32)))
def test_larger_stays_larger_within_a_block(name, x):
    fmt = format_(name)
    block = fmt.levels[0].block or 64
    back = round_trip(x, fmt)
    for one, other in zip(x.reshape(-1, block), back.reshape(-1, block), strict=True):
        assert (np.diff(other[np.argsort(one, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("name", ["mxfp4+ceil", "nvfp4", "int4_g32", "fp8_e4m3", "mxint4+ceil", "nf4", "int1"])
def test_stochastic_rounding_is_unbiased_and_nearest_is_not(name):
    fmt = format_with_variants(name)
    x = np.abs(RNG.standard_normal((1, 512)).astype(np.float32)) * np.float32(0.3)
    x[0, ::16] = 1.0  # holds the scale while the others are rounded
    rng = np.random.default_rng(1)
    draws = np.mean([round_trip(x, fmt, "stochastic", rng) for _ in range(1500)], axis=0, dtype=np.float64)
    inside = x < np.abs(round_trip(x, fmt)).max() * 0.999
    if fmt.levels[0].fit == "absmean":
        inside &= x < quantise(x, fmt).scale.min()
    error = np.abs(draws - x)[inside]
    step = np.abs(round_trip(x, fmt) - x)[inside]
    assert error.mean() < 0.12 * step.mean()
    assert np.abs((draws - x)[inside].mean()) < 0.02 * step.mean() + 1e-3 * step.max()


def test_stochastic_bfloat16_is_unbiased():
    x = np.full((1, 20000), 1.001, np.float32)
    found = round_trip(x, format_("bf16"), "stochastic", np.random.default_rng(3))
    assert set(np.unique(found)) == {np.float32(1.0), np.float32(1.0078125)}
    assert found.mean(dtype=np.float64) == pytest.approx(1.001, abs=1e-4)


def test_sparsity_keeps_the_largest():
    x = np.array([[1.0, -4.0, 3.0, 2.0, 0.0, 0.0, 0.0, 5.0]], np.float32)
    assert sparse(x, 2, 4).tolist() == [[0, -4, 3, 0, 0, 0, 0, 5]]
    assert (sparse(NORMAL, 2, 4).reshape(-1, 4) != 0).sum(axis=1).max() == 2


@given(x=arrays(np.float32, (3, 64), elements=st.floats(-100, 100, width=32)))
def test_rotation_is_its_own_inverse_and_keeps_lengths(x):
    turned = rotate(x, 32)
    assert np.allclose(rotate(turned, 32), x, atol=1e-3)
    assert np.allclose((turned**2).sum(), (x**2).sum(), rtol=1e-4, atol=1e-3)


def test_granularity_orders_the_error():
    names = ["int4+tensor", "int4", "int4_g128", "int4_g64", "int4_g32"]
    assert (np.diff([qsnr_db(HEAVY, format_with_variants(name)) for name in names]) > 0).all()


def test_grids_of_every_element():
    assert grid(format_("int1").element).values().tolist() == [-1, 1]
    assert grid(format_("int4").element, "signed").low == -8
    assert grid(format_("int4").element).low == -7
    assert FloatGrid(5, 3, signed=False).high == 114688
    assert len(grid(format_("fp8_e4m3").element).values()) == 253


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("mxfp4", (4, 577), "nearest lengths: 576 or 608"),
        ("int4_g128", (4, 576), "nearest format that fits: int4_g64"),
        ("bf16_2of4", (4, 6), "groups of 4 do not divide rows of 6"),
        ("fp8_block", (100, 128), "nearest: 128 x 128; nearest format that fits: fp8_e4m3"),
        ("mxfp4", (0, 32), "empty"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_with_the_nearest(name, shape, words):
    with pytest.raises(InputError, match=words):
        quantise(np.ones(shape), format_(name))


@pytest.mark.parametrize("name", ["mxfp4", "bf16", "int4_awq_g128", "iq2_xxs", "ternary"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_by_place(name, bad):
    x = NORMAL.copy()
    x[5, 300] = bad
    with pytest.raises(InputError, match=rf"element \[5, 300\] is {bad}"):
        quantise(x, format_(name))


def test_unknown_names_list_the_nearest():
    with pytest.raises(UnknownIdError, match="mxfp4"):
        format_with_variants("mxpf4")
    with pytest.raises(UnknownIdError, match="hadamard"):
        format_with_variants("mxfp4+hadamrd")
    with pytest.raises(UnknownIdError, match="stochastic"):
        quantise(NORMAL, format_("int8"), "stochstic")
    with pytest.raises(InputError, match="generator"):
        quantise(NORMAL, format_("int8"), "stochastic")
    with pytest.raises(UnsupportedError, match="sketch"):
        quantise(NORMAL, format_("qjl"))
    with pytest.raises(InputError, match="no scale to change"):
        format_with_variants("bf16+ceil")


def test_a_scale_beyond_half_precision_is_refused():
    with pytest.raises(InputError, match="beyond what f16 holds"):
        quantise(np.full((1, 32), 1e8), format_("q8_0"))


def test_a_format_of_the_users_own_is_read(tmp_path):
    own = tmp_path / "int5_own.toml"
    own.write_text(
        'name = "own"\nelement = { kind = "int", bits = 5 }\nlevels = [{ block = 8, scale = "f32", scale_bits = 32 }]\n'
        '[sources.own]\ntitle = "own"\nurl = "https://example.org"\ndate = 2026-11-21\n'
    )
    fmt = format_with_variants(str(own))
    assert fmt.bits_per_element == 9.0
    assert qsnr_db(NORMAL, fmt) > qsnr_db(NORMAL, replace(fmt, levels=format_("int5").levels))
