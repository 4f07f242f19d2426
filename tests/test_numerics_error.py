"""Closed forms against measurement, crossovers, and arithmetic without multipliers against the exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.format import format_
from comptroller.numerics.error import crest_factor, predicted_qsnr_db, qsnr_db, spread_in, spread_of
from comptroller.numerics.quantise import format_with_variants, round_trip
from comptroller_lab.arithmetic import exact_mul, l_mul, plane_product, planes
from comptroller_lab.arrange import block_floating_point, channel_order, codebook
from comptroller_lab.crossover import crossover, hadamard_effect, integer_qsnr_db
from comptroller_lab.sketch import sketch

RNG = np.random.default_rng(11)
SHAPE = (512, 4096)
KINDS = {"gauss": stats.norm(), "laplace": stats.laplace(), "t5": stats.t(5)}
SAMPLES = {
    "gauss": RNG.standard_normal(SHAPE).astype(np.float32),
    "laplace": RNG.laplace(size=SHAPE).astype(np.float32),
    "t5": RNG.standard_t(5, SHAPE).astype(np.float32),
    "t3": RNG.standard_t(3, SHAPE).astype(np.float32),
}
BLOCKED = [
    *("mxint8", "mxfp8", "mxfp8+ceil", "mxfp8_e5m2", "mxint6", "mxfp6_e2m3", "mxfp6_e3m2", "mxint4", "mxfp4"),
    *(
        "nvfp4",
        "nvint4",
        "fp4_ue5m3",
        "int8_g32",
        "int4_g32",
        "int4_g128",
        "int3_g128",
        "q4_0",
        "q8_0",
        "nf4",
        "iq4_nl",
    ),
]


@pytest.mark.parametrize("name", BLOCKED)
@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_from_the_distribution_is_within_a_third_of_a_decibel(name, kind):
    fmt, x = format_with_variants(name), SAMPLES[kind]
    spread = spread_of(KINDS[kind], fmt.levels[0].block, x.size)
    assert predicted_qsnr_db(fmt, spread) == pytest.approx(qsnr_db(x, fmt), abs=0.3)


@pytest.mark.parametrize("name", BLOCKED)
@pytest.mark.parametrize("kind", SAMPLES)
def test_closed_form_from_samples_is_within_a_tenth_of_a_decibel(name, kind):
    fmt, x = format_with_variants(name), SAMPLES[kind][:64]
    assert predicted_qsnr_db(fmt, spread_in(x, fmt.levels[0].block)) == pytest.approx(qsnr_db(x, fmt), abs=0.15)


@pytest.mark.parametrize("block", [16, 32, 128])
def test_the_simple_form_of_integers_with_exact_scales(block):
    fmt = format_with_variants(f"int8_g{block}" if block != 16 else "int8_g32")
    size = fmt.levels[0].block
    x = SAMPLES["gauss"]
    expected = integer_qsnr_db(127, crest_factor(x, size), size)
    assert qsnr_db(x, fmt) == pytest.approx(expected, abs=0.1)


def test_published_order_of_integer_and_float():
    for x in SAMPLES.values():
        assert qsnr_db(x, format_with_variants("mxint8")) > qsnr_db(x, format_with_variants("mxfp8"))
    heavy = SAMPLES["t3"]
    assert qsnr_db(heavy, format_with_variants("nvfp4")) > qsnr_db(heavy, format_with_variants("nvint4"))
    assert qsnr_db(heavy, format_with_variants("nvfp4+hadamard")) < qsnr_db(
        heavy, format_with_variants("nvint4+hadamard")
    )


def test_crossovers_lie_near_the_published_crest_factors():
    assert (
        crossover(format_with_variants("mxint8"), format_with_variants("mxfp8")) is None
    )  # published 7.55; a block of 32 ends at 5.66
    assert crossover(format_with_variants("mxint6"), format_with_variants("mxfp6_e2m3")) == pytest.approx(
        1.96, abs=0.15
    )
    assert crossover(format_with_variants("mxint4"), format_with_variants("mxfp4")) == pytest.approx(2.04, abs=0.15)
    assert crossover(format_with_variants("nvint4"), format_with_variants("nvfp4")) == pytest.approx(2.39, abs=0.15)


def test_rotation_makes_heavy_blocks_gaussian():
    before, after = hadamard_effect(SAMPLES["t3"], format_with_variants("nvint4"))
    gauss = crest_factor(SAMPLES["gauss"], 16)
    assert before > 2.5 and after < before and abs(after - gauss) < 0.15 * gauss


def test_no_closed_form_is_said_so():
    with pytest.raises(UnsupportedError, match="measure it"):
        predicted_qsnr_db(format_("q4_1"), spread_of(stats.norm(), 32))


class TestLMul:
    X, Y = 1 + RNG.random(200_000), 1 + RNG.random(200_000)

    def error(self, mantissa_bits, carry):
        true = self.X * self.Y
        return float(np.abs(l_mul(self.X, self.Y, mantissa_bits, carry) / true - 1).mean())

    def test_the_printed_equation_stays_near_seven_percent_from_three_bits_on(self):
        assert all(0.069 < self.error(m, False) < 0.077 for m in (3, 4, 5, 7, 10, 23))

    def test_with_the_carry_of_an_integer_addition_it_beats_e4m3_from_five_bits_on(self):
        e4m3 = float(np.abs(exact_mul(self.X, self.Y, 3) / (self.X * self.Y) - 1).mean())
        e5m2 = float(np.abs(exact_mul(self.X, self.Y, 2) / (self.X * self.Y) - 1).mean())
        assert self.error(5, True) < e4m3 < self.error(4, True) < e5m2

    def test_signs_zeros_and_exponents(self):
        assert l_mul(0.0, 3.0, 4).item() == 0
        assert l_mul(-2.0, 8.0, 3).item() == -l_mul(2.0, 8.0, 3).item() < 0
        assert l_mul(1.5 * 4, 1.5, 3).item() == 4 * l_mul(1.5, 1.5, 3).item()


@given(st.integers(1, 8), st.integers(1, 8), st.booleans(), st.integers(0, 2**32))
def test_bit_planes_multiply_exactly_at_every_width(p, q, bipolar, seed):
    rng = np.random.default_rng(seed)
    if bipolar:
        a, b = (2 * rng.integers(0, 2**n, (5, 33)) - (2**n - 1) for n in (p, q))
    else:
        a, b = (rng.integers(-(2 ** (n - 1)), 2 ** (n - 1), (5, 33)) for n in (p, q))
    assert np.array_equal(plane_product(a, b, (p, q), bipolar), a @ b.T)


def test_planes_refuse_what_a_width_cannot_hold():
    with pytest.raises(InputError, match="from -4 to 3"):
        planes([4], 3)
    with pytest.raises(InputError, match="odd whole numbers from -7 to 7"):
        planes([2], 3, bipolar=True)


class TestSketch:
    KEYS = RNG.standard_normal((128, 128)).astype(np.float32)
    QUERIES = RNG.standard_normal((32, 128)).astype(np.float32)

    def errors(self, bits, draws=12):
        true = self.QUERIES @ self.KEYS.T
        rng = np.random.default_rng(bits)
        made = [sketch(128, bits, rng) for _ in range(draws)]
        return np.array([one.scores(self.QUERIES, one.encode(self.KEYS)) - true for one in made]), true

    def test_unbiased(self):
        errors, true = self.errors(256, 40)
        slope = np.polyfit(true.ravel(), (errors.mean(axis=0) + true).ravel(), 1)[0]
        assert slope == pytest.approx(1, abs=0.02)
        assert abs(errors.mean()) < 0.05 * true.std()

    def test_error_falls_with_the_square_root_of_bits(self):
        rms = [float(np.sqrt(np.square(self.errors(bits)[0]).mean())) for bits in (128, 512, 2048)]
        assert rms[0] / rms[1] == pytest.approx(2, rel=0.1)
        assert rms[1] / rms[2] == pytest.approx(2, rel=0.1)

    def test_outlier_channels_apart_lower_the_error(self):
        keys = self.KEYS.copy()
        keys[:, [3, 77]] *= 20
        true = self.QUERIES @ keys.T
        rng = np.random.default_rng(5)
        plain, apart = sketch(128, 256, rng), sketch(128, 256, rng, (3, 77))
        error = [np.abs(one.scores(self.QUERIES, one.encode(keys)) - true).mean() for one in (plain, apart)]
        assert error[1] < error[0] / 2

    def test_saves_more_than_five_times(self):
        assert 16 / sketch(128, 256, RNG).bits_per_element > 5
        assert 16 / format_("qjl").bits_per_element > 5

    def test_refuses_what_is_not_there(self):
        with pytest.raises(InputError, match="below 64"):
            sketch(64, 128, RNG, (64,))


def test_arranged_channels_keep_inner_products_and_lose_less():
    spread = np.exp(RNG.standard_normal(128) * 0.5)
    keys = (RNG.standard_normal((400, 128)) * spread).astype(np.float32)
    queries = RNG.standard_normal((10, 128)).astype(np.float32)
    order = channel_order(np.linalg.norm(keys, axis=0))
    assert np.allclose(queries[:, order] @ keys[:, order].T, queries @ keys.T, rtol=1e-3, atol=1e-2)
    for block in (32, 64):
        fmt = block_floating_point(4, block)
        assert qsnr_db(keys[:, order], fmt) > qsnr_db(keys, fmt) + 1


def test_pairs_of_channels_stay_together():
    order = channel_order(RNG.random((3, 64)), pairs=True)
    assert (order[:, 1::2] == order[:, ::2] + 1).all() and not (order[:, ::2] % 2).any()
    with pytest.raises(InputError, match="not pairs"):
        channel_order(np.ones(3), pairs=True)


def test_a_fitted_codebook_loses_less_than_even_steps_and_near_the_optimum():
    x = SAMPLES["gauss"][:16]
    fitted = codebook(x, format_with_variants("int4_g32"))
    assert len(fitted.element.values) == 16 and fitted.bits_per_element == 4.5
    assert qsnr_db(x, fitted) > max(qsnr_db(x, format_with_variants("int4_g32")), 21.3)
    back = round_trip(x, fitted)
    assert math.isfinite(float(np.abs(back).max()))
