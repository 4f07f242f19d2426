"""A malformed fact file is refused by file, field and what is allowed; a sound one arrives in SI."""

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import FactError, InputError, UnknownIdError
from comptroller.facts.accelerator import Accelerator, InterconnectLink, accelerator
from comptroller.facts.engine import EngineFacts, engine_facts
from comptroller.facts.reader import folder, ids, read
from comptroller.facts.site import site
from comptroller.quantities import UNITS, to_si

DEVICE = """
name = "Test device"
vendor = "nobody"
family = "hopper"
kind = "gpu"
released = 2024-01-01
memory_bytes = { value = 80, unit = "GB", source = "sheet" }
memory_bytes_per_s = { value = 2, unit = "TB/s", source = "sheet" }
tdp_w = { value = 0.7, unit = "kW", source = "sheet", note = "board" }
node_devices = 8

[peak_flops_per_s]
bf16 = { value = 1, unit = "Pflop/s", source = "sheet" }

[scale_up]
name = "link"
direction = "both"
bytes_per_s = { value = 800, unit = "Gbit/s", source = "sheet" }
devices = 8

[sources.sheet]
title = "Datasheet"
url = "https://example.org/sheet"
date = 2024-02-03
"""


def write(folder: Path, text: str, name: str = "device.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, old: str, new: str) -> FactError:
    assert old in DEVICE
    with pytest.raises(FactError) as caught:
        read(Accelerator, write(folder, DEVICE.replace(old, new)))
    assert caught.value.file == "device.toml"
    assert re.match(rf"device\.toml(:\d+)?: {re.escape(caught.value.field)}: ", str(caught.value))
    return caught.value


def test_a_sound_file_arrives_in_si_with_its_provenance(tmp_path: Path) -> None:
    device = read(Accelerator, write(tmp_path, DEVICE))
    assert device.id == "device"
    assert (device.memory_bytes, device.memory_bytes_per_s, device.tdp_w) == (80e9, 2e12, 700.0)
    assert device.peak("bf16") == 1e15
    assert device.scale_up == InterconnectLink(name="link", direction="both", bytes_per_s=1e11, devices=8)
    assert device.scale_up.one_way_bytes_per_s == 5e10
    assert device.idle_w is None
    assert device.provenance["scale_up.bytes_per_s"] == "sheet"
    assert device.provenance["peak_flops_per_s.bf16"] == "sheet"
    assert device.sources["sheet"].date == date(2024, 2, 3)


@pytest.mark.parametrize(
    ("old", "new", "field", "allowed"),
    [
        ('unit = "GB"', 'unit = "gigabyte"', "memory_bytes", "GiB"),
        ('unit = "GB"', "unit = 8", "memory_bytes", "GiB"),
        ('unit = "GB", ', "", "memory_bytes", "GiB"),
        ('unit = "GB"', 'unit = "GB/s"', "memory_bytes", "TB"),
        ('unit = "kW"', 'unit = "J"', "tdp_w", "kW"),
        ('unit = "Gbit/s"', 'unit = "Gbit"', "scale_up.bytes_per_s", "Gbit/s"),
        ('unit = "GB", source = "sheet"', 'unit = "GB"', "memory_bytes", "sheet"),
        ('unit = "GB", source = "sheet"', 'unit = "GB", source = "brochure"', "memory_bytes", "sheet"),
        ('unit = "GB", source = "sheet"', 'unit = "GB", source = ["sheet"]', "memory_bytes", "sheet"),
        ('{ value = 80, unit = "GB", source = "sheet" }', "80e9", "memory_bytes", "value, unit, source"),
        ('{ value = 1, unit = "Pflop/s", source = "sheet" }', "1e15", "peak_flops_per_s.bf16", "value, unit"),
        ("value = 80, ", "", "memory_bytes", ""),
        ("value = 80,", 'value = "80",', "memory_bytes", ""),
        ("value = 80,", "value = true,", "memory_bytes", ""),
        ("value = 80,", "value = -80,", "memory_bytes", ""),
        ("value = 80,", "value = nan,", "memory_bytes", ""),
        ("value = 80,", "value = inf,", "memory_bytes", ""),
        ("value = 80,", "value = 0,", "memory_bytes", ""),
        ('note = "board"', 'remark = "board"', "tdp_w", "note"),
        ("node_devices = 8", "node_devices = 0", "node_devices", ""),
        ("node_devices = 8", "", "node_devices", ""),
        ("node_devices = 8", 'node_devices = { value = 8, unit = "1", source = "sheet" }', "node_devices", ""),
        ("node_devices = 8", "node_devices = 8\ncolour = 1", "colour", "memory_bytes"),
        ("node_devices = 8", 'node_devices = 8\nid = "h100_sxm"', "id", ""),
        ('kind = "gpu"', 'kind = "graphics"', "kind", "tpu"),
        ('direction = "both"', 'direction = "sum"', "scale_up.direction", "each"),
        ("bf16 = ", "bfloat16 = ", "peak_flops_per_s.bfloat16.[key]", "bf16"),
        ("date = 2024-02-03", "", "sources.sheet.date", ""),
        ('url = "https://example.org/sheet"', "", "sources.sheet.url", ""),
        ("released = 2024-01-01", 'released = "soon"', "released", ""),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, old: str, new: str, field: str, allowed: str) -> None:
    error = refusal(tmp_path, old, new)
    assert error.field == field
    assert allowed in error.allowed


def test_the_allowed_units_are_the_ones_that_fit(tmp_path: Path) -> None:
    error = refusal(tmp_path, 'unit = "kW"', 'unit = "Gflop/s"')
    assert set(error.allowed.split(", ")) == {unit for unit, (suffix, _) in UNITS.items() if suffix == "w"}


@pytest.mark.parametrize("text", ["name = ", "\x00", "name = 1\nname = 2"])
def test_what_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(FactError, match=r"device\.toml: file: not valid TOML"):
        read(Accelerator, write(tmp_path, text))


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FactError, match="not valid TOML"):
        read(Accelerator, path)


@pytest.mark.parametrize("sources", ["sources = 3", "sources = []"])
def test_sources_are_a_table(tmp_path: Path, sources: str) -> None:
    path = write(tmp_path, sources + "\n" + DEVICE.split("[sources.sheet]", maxsplit=1)[0])
    with pytest.raises(FactError, match="sources: must be a table") as caught:
        read(Accelerator, path)
    assert "title, url, date" in caught.value.allowed


def test_an_entry_of_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    own = (folder("sites") / "us_neocloud.toml").read_text(encoding="utf-8")
    place = own.count('unit = "USD/h"') - 1
    head, tail = own.rsplit('unit = "USD/h"', maxsplit=1)
    with pytest.raises(FactError, match=rf"mine\.toml:\d+: offers\.{place}\.usd_per_s: unknown unit 'EUR/h'"):
        site(str(write(tmp_path, f'{head}unit = "EUR/h"{tail}', "mine.toml")))


def test_an_unknown_id_lists_the_nearest() -> None:
    with pytest.raises(UnknownIdError, match=r"unknown accelerator 'h100'; nearest: .*h100_sxm"):
        accelerator("h100")
    with pytest.raises(UnknownIdError, match=r"unknown engine 'vlm'; nearest: vllm"):
        engine_facts("vlm")


@pytest.mark.parametrize("name", ["", "../sites/us_neocloud", "none.toml", "/etc", "a\x00b"])
def test_a_name_is_an_id_or_an_existing_file(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown accelerator|No such file"):
        accelerator(name)


def test_a_users_own_file_is_accepted(tmp_path: Path) -> None:
    device = accelerator(str(write(tmp_path, DEVICE, "mine.toml")))
    assert device.id == "mine"
    assert "mine" not in ids("accelerators")


def test_an_engine_cannot_take_more_than_the_memory(tmp_path: Path) -> None:
    text = (folder("engines") / "vllm.toml").read_text(encoding="utf-8").replace("value = 0.9,", "value = 1.1,")
    with pytest.raises(FactError, match=r"greedy\.toml:\d+: fraction: .*less than or equal to 1"):
        read(EngineFacts, write(tmp_path, text, "greedy.toml"))


@given(st.floats(min_value=1e-6, max_value=1e9), st.sampled_from(sorted(UNITS)))
def test_a_unit_is_accepted_exactly_where_it_fits(
    tmp_path_factory: pytest.TempPathFactory, value: float, unit: str
) -> None:
    text = DEVICE.replace('value = 80, unit = "GB"', f'value = {value!r}, unit = "{unit}"')
    path = write(tmp_path_factory.getbasetemp(), text, "property.toml")
    number, suffix = to_si(value, unit)
    if suffix == "bytes":
        assert read(Accelerator, path).memory_bytes == number
    else:
        with pytest.raises(FactError, match="does not fit a field in bytes"):
            read(Accelerator, path)
