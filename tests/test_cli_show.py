"""`comptroller show`: tables, details and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comptroller.cli import main
from comptroller.facts.reader import ids
from comptroller.report.facts import LISTS

GOLDEN = Path(__file__).parent / "golden" / "two_services.json"


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["show", *words])
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_has_a_row_for_every_file(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(shown(capsys, kind, "--json"))
    assert [row["id"] for row in rows] == ids(kind)
    table = shown(capsys, kind)
    assert all(name in table for name in ids(kind))


def test_one_accelerator_shows_every_value_with_unit_source_and_date(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["field"]: row for row in json.loads(shown(capsys, "accelerator", "h100_sxm", "--json"))}
    memory = rows["memory_bytes"]
    assert (memory["value"], memory["unit"]) == (80, "GB")
    assert memory["source"] and memory["date"] and memory["url"].startswith("https://")
    assert "3,350" in shown(capsys, "accelerators", "h100_sxm")


def test_a_site_lists_its_offers_and_a_model_answers_to_its_repository(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "site", "us_neocloud", "--json"))
    assert {"accelerator", "usd_per_s", "since", "source"} <= set(found["offers"][0])
    rows = json.loads(shown(capsys, "model", "meta-llama/Llama-3.1-70B-Instruct", "--json"))
    fields = {row["field"]: row["value"] for row in rows}
    assert fields["config.num_hidden_layers"] == 80 and fields["kv_elements_per_token"] == 163840


def test_a_users_own_file_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(
        'name = "Mine"\nmemory_bytes = { value = 1, unit = "GB", source = "me" }\n'
        '[sources.me]\ntitle = "t"\nurl = "u"\ndate = 2026-01-01\n'
    )
    assert "2026-01-01" in shown(capsys, "accelerator", str(own))


def test_a_plan_is_shown_as_it_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "plan", str(GOLDEN), "--json") == GOLDEN.read_text()
    assert "Shadow prices" in shown(capsys, "plan", str(GOLDEN))


def test_the_installation_names_core_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["what"]: row for row in json.loads(shown(capsys, "installation", "--json"))}
    assert rows["numpy"]["belongs_to"] == "core" and rows["matplotlib"]["belongs_to"] == "plot"
    assert rows["models"]["version"] == str(len(ids("models")))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["modles"], "nearest: models"),
        (["accelerator", "h100"], "nearest: h100_sxm"),
        (["model", "no-such/model"], "unknown model"),
        (["plan"], "name the plan"),
        (["plan", "nothing.json"], "nothing.json"),
    ],
)
def test_bad_input_exits_with_2_and_says_what_is_known(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", *words])
    said = capsys.readouterr()
    assert ended.value.code == 2 and says in said.err and said.out == ""
