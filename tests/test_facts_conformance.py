"""Public configs outside of the catalogue: read as their library's own classes count them, or refused by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.errors import FactError
from comptroller.facts.config import model, model_from_config
from comptroller.facts.families import families
from comptroller.facts.model import Model
from comptroller.facts.reader import folder, ids, parse_toml

TABLE = Path(__file__).parent / "data" / "architectures.json"
CONFIGS: dict[str, dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))["configs"]
READ = sorted(name for name, entry in CONFIGS.items() if "refused" not in entry)
REFUSED = sorted(set(CONFIGS) - set(READ))


JUNK = st.sampled_from([None, True, 0, -1, 10**30, 1.5, "x", "", "auto", [], [1], ["x"], {}, {"a": 1}, [{}]])


def state_elements(found: Model) -> int:
    return sum(block.count * block.mixer.state_elements for block in found.blocks if block.mixer)


def test_at_least_sixty_configs_have_a_source() -> None:
    assert len(CONFIGS) >= 60
    assert all(entry["source"] and entry["config"] for entry in CONFIGS.values())


@pytest.mark.parametrize("name", READ)
def test_read_as_the_library_counts_it(name: str) -> None:
    entry = CONFIGS[name]
    found = model_from_config(entry["config"], name)
    assert found.total_params == pytest.approx(entry["parameters"], rel=0.01)
    assert found.active_params == pytest.approx(entry["active"], rel=0.01)
    assert found.kv_elements_per_token == entry["cache"]
    assert state_elements(found) == entry["state"]


@pytest.mark.parametrize("name", READ)
def test_what_is_not_checked_says_so(name: str) -> None:
    found = model_from_config(CONFIGS[name]["config"], name)
    assert found.checked == ("unchecked" not in CONFIGS[name])
    assert found.checked or "architecture not checked" in found.doubt


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_the_key_that_is_not_understood(name: str) -> None:
    with pytest.raises(FactError) as caught:
        model_from_config(CONFIGS[name]["config"], name, "config.json")
    assert caught.value.field == CONFIGS[name]["refused"]
    assert "config.json" in str(caught.value)


def test_every_checked_family_is_in_the_table_or_in_the_catalogue() -> None:
    configs = [entry["config"] for name, entry in CONFIGS.items() if name in READ]
    configs += [parse_toml(folder("models") / f"{name}.toml")["config"] for name in ids("models")]
    parts = [part for config in configs for part in (config, config.get("text_config", {}))]
    present = {part.get("model_type") for part in parts if isinstance(part, dict)}
    nested = {"qwen2_5_vl_text": "qwen2_5_vl", "qwen2_vl_text": "qwen2_vl"}
    for name, family in families().items():
        assert not family.checked or nested.get(name, name) in present, name


def test_the_page_names_every_checked_family() -> None:
    page = (Path(__file__).parents[1] / "docs" / "architectures.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name, family in families().items() if family.checked or family.refused)
    assert f"{len(CONFIGS)} public configs" in page


@pytest.mark.parametrize("name", ids("models"))
def test_the_catalogue_is_checked(name: str) -> None:
    assert model(name).checked


@pytest.mark.parametrize("name", READ)
def test_a_key_that_looks_like_structure_is_never_passed_over(name: str) -> None:
    config = CONFIGS[name]["config"]
    place = next((key for key in ("text_config",) if key in config), None)
    strange = {"quux_num_experts": 8}
    config = {**config, place: {**config[place], **strange}} if place else {**config, **strange}
    with pytest.raises(FactError, match="quux_num_experts") as caught:
        model_from_config(config, name)
    assert "[model.structure]" in str(caught.value)


@given(st.data(), st.sampled_from(READ), JUNK)
def test_any_slip_in_any_key_is_a_fact_error_or_harmless(data: st.DataObject, name: str, junk: object) -> None:
    config = json.loads(json.dumps(CONFIGS[name]["config"]))
    tables = [table for table in (config, *config.values()) if isinstance(table, dict) and table]
    table = data.draw(st.sampled_from(tables))
    table[data.draw(st.sampled_from(sorted(table)))] = junk
    try:
        assert model_from_config(config, name).layers > 0
    except FactError as error:
        assert error.field and error.problem
