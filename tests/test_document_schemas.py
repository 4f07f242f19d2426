"""Schemas of documents: every file that ships is one, a wrong one is none, and every key says what it means."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from comptroller.cli import main
from comptroller.cli._document_schemas import DOCUMENTS, document_schema
from comptroller.errors import UnknownIdError
from comptroller.facts.reader import folder

ROOT = Path(__file__).parents[1]
KINDS = {"services": "fleet", "training": "training", "lifetime": "lifetime", "runs": "register"}
"""Table of an example -> what kind of document it is; without any of them it is a workload."""


def examples(kind: str) -> list[Path]:
    found = sorted((ROOT / "examples").glob("*.toml"))
    tables = {path: set(tomllib.loads(path.read_text(encoding="utf-8"))) & set(KINDS) for path in found}
    return [path for path in found if {KINDS[name] for name in tables[path]} == ({kind} - {"workload"})]


FILES: dict[str, list[Path]] = {
    **{kind: examples(kind) for kind in ("workload", *KINDS.values())},
    "training_plan": [ROOT / "tests" / "golden" / "training.json"],
    "gateway": [ROOT / "deploy" / "gateway.toml", *sorted((ROOT / "examples" / "gateway").glob("*.toml"))],
    "calibration": [folder("calibration") / "serving.toml"],
    "plan": sorted(path for path in (ROOT / "tests" / "golden").glob("*.json") if path.stem != "training"),
    **{kind: sorted(folder(f"{kind}s").glob("*.toml")) for kind in DOCUMENTS if folder(f"{kind}s").is_dir()},
}


@cache
def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(document_schema(kind))


def document(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return json.loads(text if path.suffix == ".json" else json.dumps(tomllib.loads(text), default=str))


def tables(kind: str) -> list[dict[str, Any]]:
    schema = document_schema(kind)
    return [schema, *schema.get("$defs", {}).values()]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_file_that_ships_is_what_its_schema_says(kind: str) -> None:
    Draft202012Validator.check_schema(document_schema(kind))
    for path in FILES[kind]:
        found = [(fault.json_path, fault.message) for fault in validator(kind).iter_errors(document(path))]
        assert found == [], path.name
    assert FILES[kind]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_key_of_a_document_says_what_it_means(kind: str) -> None:
    silent = [
        (table.get("title"), key)
        for table in tables(kind)
        for key, field in table.get("properties", {}).items()
        if not field.get("description")
    ]
    assert silent == [], "say it in the class's docstring, `key: meaning.`, or in cli/key_meanings.toml"


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("workload", "rate_per_s", "five"),
        ("workload", "sede", 3),
        ("workload", "budget", {"max": 5, "unit": "EUR/month"}),
        ("accelerator", "memory_bytes", 80e9),
        ("accelerator", "memory_bytes", {"value": 80, "unit": "GB/s", "source": "sheet"}),
        ("site", "id", "mine"),
        ("gateway", "port", 70000),
    ],
)
def test_a_document_with_a_fault_is_none(kind: str, key: str, value: Any) -> None:
    sound = document(FILES[kind][0])
    assert validator(kind).is_valid(sound)
    assert not validator(kind).is_valid({**sound, key: value})


def test_an_unknown_document_lists_those_that_there_are() -> None:
    with pytest.raises(UnknownIdError, match="nearest: workload"):
        document_schema("worklaod")


def test_a_new_workload_lies_beside_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["new", str(tmp_path / "own.toml"), "--model", "llama_3_1_8b", "--rate", "5", "--in", "9", "--out", "9"])
    first = (tmp_path / "own.toml").read_text().splitlines()[0]
    schema = json.loads((tmp_path / first.removeprefix("#:schema ")).read_text())
    assert Draft202012Validator(schema).is_valid(document(tmp_path / "own.toml"))
    with pytest.raises(SystemExit):
        main(["schema", "workload"])
    assert json.loads(capsys.readouterr().out) == schema
