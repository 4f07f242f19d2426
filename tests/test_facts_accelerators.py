"""Every accelerator file is sound, sourced and dense, and states what its vendor publishes."""

import re
from dataclasses import replace
from datetime import date
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path

import pytest

import comptroller.facts
from comptroller.errors import UnsupportedFormatError
from comptroller.facts.accelerator import Accelerator, InterconnectLink, accelerator
from comptroller.facts.reader import ids, real_ids

FACTS = Path(comptroller.facts.__file__).parent / "accelerators"

EXPECTED = [
    *("v100_sxm2_32", "t4", "a10g", "l4", "l40s", "rtx_4090", "rtx_5090", "rtx_pro_6000"),
    *("a100_40_sxm", "a100_40_pcie", "a100_80_sxm", "a100_80_pcie"),
    *("h100_sxm", "h100_pcie", "h100_nvl", "h200_sxm", "gh200"),
    *("b200_sxm", "gb200", "b300_sxm", "gb300"),
    *("mi300x", "mi325x", "mi355x", "tpu_v5e", "tpu_v5p", "tpu_v6e"),
    *("trainium2", "gaudi3", "ascend_910c", "jetson_agx_orin_64", "apple_m4_max", "epyc_9654"),
]
# Dense rates over the rate of bf16 (fp16 where there is no bf16): half the width, twice the rate. A family states where
# it differs; fp32 is the vector units' rate, of which the vendors print no sparse one.
HALVING = {"tf32": 0.5, "fp16": 1.0, "fp8": 2.0, "fp6": 2.0, "int8": 2.0, "fp4": 4.0, "int4": 4.0}
FAMILY_RATIOS = {
    "volta": {"fp32": 1 / 8},
    "turing": {"fp32": 1 / 8},
    "ampere": {"fp32": 1 / 16},
    "ada": {"fp32": 1 / 4},
    "hopper": {"fp32": 0.07},
    "blackwell": {"fp32": 0.03},
    "blackwell_ultra": {"fp32": 0.033, "fp4": 6.0, "int8": 0.07},  # integers gave way to fp4
    "blackwell_rtx": {"fp32": 1 / 4},
    "cdna1": {"fp32": 1 / 2, "fp16": 2.0},
    "cdna2": {"fp32": 1 / 4, "int8": 1.0},
    "cdna3": {"fp32": 1 / 8},
    "cdna4": {"fp6": 4.0},  # at fp4's rate
    "tpu_v5": {"fp8": 1.0},  # no fp8 unit: "no faster than bf16"
    "tpu_v6": {"fp8": 1.0},
    "trainium": {"fp32": 0.27, "tf32": 1.0},
    "gaudi": {"fp32": 0.0085, "tf32": 0.27, "fp16": 0.27, "fp8": 1.0},
    "ascend": {},
    "rdna3_5": {},
    "xe2": {"fp32": 1 / 8},
    "xe_hpc": {"fp32": 1 / 16},
    "apple": {},
    "zen": {},
}
# Devices whose datasheet differs from their family's.
DEVICE_RATIOS = {
    "a10g": {"fp32": 0.45},  # GA102, not GA100: twice the vector units, a quarter of the matrix units
    "jetson_agx_orin_64": {"fp32": 1 / 8},  # GA10B
    "rtx_a6000": {"fp32": 1 / 4},  # GA102, as the A40 and the RTX 3090
    "a40": {"fp32": 1 / 4},
    "rtx_3090": {"fp32": 0.5, "int8": 4.0},
    "h20": {"fp32": 0.3},  # matrix units cut, vector units kept
    "gaudi2": {"fp8": 2.0},
    # GeForce halves the rates with fp32 accumulation (bf16, fp16, fp8), not those of fp4 and integers
    "rtx_4090": {"fp32": 0.5, "int8": 4.0, "int4": 8.0},
    "rtx_4090_d": {"fp32": 0.5, "int8": 4.0, "int4": 8.0},
    "rtx_4080": {"fp32": 0.5, "int8": 4.0},
    "rtx_5090": {"fp32": 0.5, "fp4": 8.0},
}
TOLERANCE = 0.15
"""Clocks and rounding move the shipped ratios by up to 9 %; what sparsity doubles is off by half or by 100 %."""
FIRST, LAST = date(2017, 1, 1), date(2026, 12, 31)
T = 1e12

# Dense, vendor-published, in Tflop/s or Top/s: NVIDIA's tables print sparse rates beside or instead of them.
PUBLISHED_DENSE = [
    ("v100_sxm2_32", "fp16", 125),
    ("t4", "fp16", 65),
    ("t4", "int8", 130),
    ("l4", "bf16", 121),
    ("l4", "fp8", 242),
    ("l40s", "bf16", 362),
    ("l40s", "fp8", 733),
    ("a100_40_sxm", "bf16", 312),
    ("a100_80_sxm", "bf16", 312),
    ("a100_80_sxm", "int8", 624),
    ("a100_80_pcie", "tf32", 156),
    ("h100_sxm", "bf16", 989),
    ("h100_sxm", "fp8", 1979),
    ("h100_pcie", "bf16", 756),
    ("h100_pcie", "fp8", 1513),
    ("h100_nvl", "bf16", 835),
    ("h200_sxm", "bf16", 989),
    ("b200_sxm", "bf16", 2250),
    ("b200_sxm", "fp4", 9000),
    ("gb200", "bf16", 2500),
    ("gb300", "fp4", 15000),
    ("rtx_4090", "bf16", 165.2),
    ("rtx_5090", "bf16", 209.5),
    ("mi300x", "bf16", 1307.4),
    ("mi300x", "fp8", 2614.9),
    ("mi355x", "bf16", 2516.6),
    ("tpu_v5e", "bf16", 197),
    ("tpu_v5e", "int8", 393),
    ("tpu_v5p", "bf16", 459),
    ("tpu_v6e", "bf16", 918),
    ("trainium2", "bf16", 667),
    # what no ratio holds: devices with one rate, and those that state no rate of their vector units
    ("apple_m4_max", "fp16", 34),
    ("apple_m2_ultra", "fp16", 27.2),
    ("epyc_9654", "fp32", 5),
    ("ascend_910c", "bf16", 780),
    ("rtx_pro_6000", "bf16", 467.8),
    ("strix_halo_8060s", "bf16", 59.4),
    ("gaudi2", "bf16", 432),
    ("mi350x", "bf16", 2309.6),
]
PUBLISHED_MEMORY = [
    ("t4", 16e9, 320e9),
    ("a100_40_sxm", 40e9, 1555e9),
    ("a100_80_pcie", 80e9, 1935e9),
    ("a100_80_sxm", 80e9, 2039e9),
    ("h100_pcie", 80e9, 2000e9),
    ("h100_sxm", 80e9, 3350e9),
    ("h200_sxm", 141e9, 4800e9),
    ("mi300x", 192e9, 5300e9),
    ("mi355x", 288e9, 8000e9),
    ("rtx_4090", 24e9, 1008e9),
    ("tpu_v5e", 16e9, 819e9),
]
ONE_WAY_SCALE_UP = [
    ("v100_sxm2_32", 150e9),
    ("a100_80_sxm", 300e9),
    ("h100_sxm", 450e9),
    ("h200_sxm", 450e9),
    ("b200_sxm", 900e9),
    ("gb200", 900e9),
    ("b300_sxm", 900e9),
    ("gb300", 900e9),
    ("mi300x", 448e9),
    ("l40s", 32e9),
    ("t4", 16e9),
]
every = pytest.mark.parametrize("name", real_ids("accelerators"))


def links(device: Accelerator) -> list[InterconnectLink]:
    return [link for link in (device.scale_up, device.scale_out, device.host) if link]


def test_the_folder_holds_every_expected_accelerator() -> None:
    assert len(EXPECTED) == len(set(EXPECTED)) >= 26
    assert set(EXPECTED) <= set(ids("accelerators"))


@every
def test_every_number_has_a_dated_public_source(name: str) -> None:
    device = accelerator(name)
    wanted = {"memory_bytes", "memory_bytes_per_s", "tdp_w"}
    wanted |= {"reported_memory_bytes"} if device.reported_memory_bytes else set()
    wanted |= {f"peak_flops_per_s.{rate}" for rate in device.peak_flops_per_s}
    wanted |= {f"{key}.bytes_per_s" for key in ("scale_up", "scale_out", "host") if getattr(device, key)}
    wanted |= {"die_area_m2"} if device.die_area_m2 is not None else set()
    wanted |= {name for name in ("idle_w", "clock_hz") if getattr(device, name) is not None}
    assert set(device.provenance) == wanted
    cited = {*device.provenance.values(), *re.findall(r"^peer_access = \w+ # (\w+)$", text_of(name), re.MULTILINE)}
    cited |= {key for key in device.sources if re.search(rf"^note = .*\({key}\)", text_of(name), re.MULTILINE)}
    assert cited == set(device.sources), "a source that nothing cites, or the reverse"
    for source in device.sources.values():
        assert re.match(r"https?://[\w.-]+/\S+$", source.url)
        assert source.title
        assert FIRST <= source.date <= LAST


def text_of(name: str) -> str:
    """The file of an accelerator; a value that is no quantity has its source in a remark."""
    return (FACTS / f"{name}.toml").read_text(encoding="utf-8")


@every
def test_a_device_is_plausible(name: str) -> None:
    device = accelerator(name)
    assert re.fullmatch(r"[a-z]+[a-z0-9_]*", device.family)
    assert device.family in FAMILY_RATIOS or not get_close_matches(device.family, FAMILY_RATIOS, cutoff=0.87), "a typo?"
    assert FIRST <= device.released <= LAST
    assert 1e9 <= device.memory_bytes <= 1e13
    assert 1e11 <= device.memory_bytes_per_s <= 1e13
    assert 30 <= device.tdp_w <= 2000
    assert device.idle_w is None or 0 < device.idle_w < device.tdp_w / 2
    assert device.peak_flops_per_s, "a device that computes nothing"
    assert all(1e12 <= rate <= 2e16 for rate in device.peak_flops_per_s.values())
    for link in links(device):
        assert 1e9 <= link.one_way_bytes_per_s <= device.memory_bytes_per_s
    assert device.scale_up is None or device.node_devices <= device.scale_up.devices or device.id == "h100_nvl"


@every
def test_a_narrower_format_is_never_slower(name: str) -> None:
    rates = {str(rate): value for rate, value in accelerator(name).peak_flops_per_s.items()}
    for narrow, wide in [("bf16", "tf32"), ("fp16", "fp32"), ("fp8", "bf16"), ("fp6", "fp8"), ("fp4", "fp8")]:
        if narrow in rates and wide in rates:
            assert rates[narrow] >= rates[wide]
    for narrow, wide in [("int4", "int8"), ("int1", "int4")]:
        if narrow in rates and wide in rates:
            assert rates[narrow] >= rates[wide]


def odd_ratios(device: Accelerator) -> list[str]:
    """Rates that do not stand to the device's bf16 (or fp16) as its family's do."""
    rates = {str(name): rate for name, rate in device.peak_flops_per_s.items()}
    base = rates.get("bf16") or rates.get("fp16")
    wanted = {**HALVING, **FAMILY_RATIOS.get(device.family, {}), **DEVICE_RATIOS.get(device.id, {})}
    return [
        f"{name} is {rates[name] / base:.3g} of the base rate, the family's {ratio:.3g}"
        for name, ratio in wanted.items()
        if base and name in rates and not (1 - TOLERANCE <= rates[name] / base / ratio <= 1 + TOLERANCE)
    ]


def unpublished(device: Accelerator) -> list[str]:
    """Rates that are not the dense ones that the vendor publishes."""
    return [
        f"{rate} is not {tera}"
        for name, rate, tera in PUBLISHED_DENSE
        if name == device.id and device.peak(rate) != pytest.approx(tera * T, rel=0.006)
    ]


def doubled(device: Accelerator, *names: str) -> Accelerator:
    rates = {name: rate * (2 if str(name) in names else 1) for name, rate in device.peak_flops_per_s.items()}
    return replace(device, peak_flops_per_s=rates)


@every
def test_rates_stand_to_each_other_as_in_their_family(name: str) -> None:
    assert odd_ratios(accelerator(name)) == []


@every
def test_a_sparse_rate_in_place_of_a_dense_one_is_caught(name: str) -> None:
    """Each rate of every file doubled alone, and all that sparsity doubles (everything but fp32) at once."""
    device = accelerator(name)
    rates = {str(rate) for rate in device.peak_flops_per_s}
    for rate in rates:
        planted = doubled(device, rate)
        assert odd_ratios(planted) or unpublished(planted), f"{rate} may be twice what it is"
    sparse = doubled(device, *(rates - {"fp32"} or rates))
    assert odd_ratios(sparse) or unpublished(sparse), "the column of sparse rates would pass"


def test_the_ratios_have_no_stale_entry() -> None:
    devices = [accelerator(name) for name in real_ids("accelerators")]
    assert set(FAMILY_RATIOS) == {device.family for device in devices}
    assert set(DEVICE_RATIOS) <= {device.id for device in devices if odd_without_exception(device)}


def odd_without_exception(device: Accelerator) -> list[str]:
    return odd_ratios(replace(device, id=f"another_{device.family}"))


@every
def test_the_balance_of_compute_and_memory_is_that_of_a_matrix_unit(name: str) -> None:
    device = accelerator(name)
    balance = max(device.peak_flops_per_s.values()) / device.memory_bytes_per_s
    assert 5 <= balance <= 3000, "flop per byte: a factor of a thousand means a wrong prefix"


@pytest.mark.parametrize(("name", "rate", "tera"), PUBLISHED_DENSE)
def test_peaks_are_the_published_dense_ones(name: str, rate: str, tera: float) -> None:
    assert accelerator(name).peak(rate) == pytest.approx(tera * T, rel=0.006)


@pytest.mark.parametrize(("name", "size", "speed"), PUBLISHED_MEMORY)
def test_memory_is_the_published_one(name: str, size: float, speed: float) -> None:
    device = accelerator(name)
    assert (device.memory_bytes, device.memory_bytes_per_s) == (size, speed)


@pytest.mark.parametrize(("name", "speed"), ONE_WAY_SCALE_UP)
def test_links_are_counted_in_one_direction(name: str, speed: float) -> None:
    link = accelerator(name).scale_up
    assert link is not None
    assert link.one_way_bytes_per_s == pytest.approx(speed)


def test_one_die_has_one_peak() -> None:
    hopper = {accelerator(name).peak("bf16") for name in ("h100_sxm", "h200_sxm", "gh200")}
    assert max(hopper) / min(hopper) < 1.001
    ampere = {accelerator(f"a100_{size}_{form}").peak("bf16") for size in (40, 80) for form in ("sxm", "pcie")}
    assert ampere == {312 * T}


def test_blackwell_ultra_gave_up_integers() -> None:
    for name in ("b300_sxm", "gb300"):
        device = accelerator(name)
        assert device.peak("int8") < device.peak("fp8") / 10
    assert accelerator("b200_sxm").peak("int8") == accelerator("b200_sxm").peak("fp8")


def test_what_the_hardware_lacks_is_absent() -> None:
    lacking = {
        "v100_sxm2_32": ("bf16", "fp8", "int8"),
        "t4": ("bf16", "fp8"),
        "a100_80_sxm": ("fp8", "fp4"),
        "h100_sxm": ("fp4", "int4"),
        "mi300x": ("fp4", "fp6"),
        "tpu_v5e": ("fp8", "fp16"),
    }
    for name, rates in lacking.items():
        for rate in rates:
            with pytest.raises(UnsupportedFormatError, match=f"{name} has no {rate} rate; it has "):
                accelerator(name).peak(rate)


def test_a_vendor_s_successor_is_not_slower() -> None:
    chain = ["v100_sxm2_32", "a100_40_sxm", "a100_80_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm"]
    devices = [accelerator(name) for name in chain]
    for older, newer in pairwise(devices):
        assert newer.peak("fp16") >= older.peak("fp16")
        assert newer.memory_bytes_per_s >= older.memory_bytes_per_s
