"""The table of engines and formats as a user sees it: every row, every gap, and what papers claim beside."""

from __future__ import annotations

import json

import pytest

from comptroller.cli import main
from comptroller.facts.engine_formats import engine_formats
from comptroller.facts.reader import ids
from comptroller.report.facts import details
from comptroller.report.format_support import engines_that_hold, support_of_engine, support_of_format

CLAIMED = {
    "int3": "Tilus", "fp6_e3m2": "Tilus", "int6_g128": "FlexQ", "int4_w4a4": "COMET", "kv_int4": "COMET",
    "w2a8_planes": "bipolar-INT", "ternary": "lookup", "tq2_0": "lookup", "bf16_2of4": "sparse tensor cores",
    "fp8_2of4": "sparse", "int4_g128": "Sparse-Marlin", "fp32": "LayerCast", "fp8_e4m3": "FP8 hardware beside INT8",
}  # fmt: skip
"""Format -> a method of a paper that its page has to name."""


@pytest.mark.parametrize("engine", ids("engine_formats"))
def test_every_row_and_gap_of_an_engine_is_shown(engine: str) -> None:
    table, records = engine_formats(engine), support_of_engine(engine).records()
    shown = {(x["format"], x["kernel"]) for x in records}
    assert {(name, row.kernel) for row in table.rows for name in row.formats} <= shown
    assert {(name, f"cannot: {gap.why}") for gap in table.cannot for name in gap.formats} <= shown
    assert {(name, "cache") for row in table.caches for name in row.formats} <= shown
    assert all(x["source"] and x["date"] for x in records), "a row without its source"


@pytest.mark.parametrize("name", ids("formats"))
def test_every_engine_answers_on_every_format(name: str) -> None:
    records = support_of_format(name).records()
    assert {x["engine"] for x in records} == set(ids("engine_formats"))
    held = {str(x["engine"]) for x in records if not str(x["kernel"]).startswith("cannot") and x["families"]}
    assert ", ".join(sorted(held)) == engines_that_hold(name)


@pytest.mark.parametrize(("name", "method"), CLAIMED.items())
def test_what_papers_claim_stands_beside_who_runs_it(name: str, method: str) -> None:
    sheets = {sheet.title.partition(":")[0]: sheet.records() for sheet in details("formats", name)}
    assert sheets["engines"] and any(method in str(row["method"]) for row in sheets["published"])
    for row in sheets["published"]:
        assert row["runs_in"] and (row.get("ratio") or row.get("note"))


def test_the_command_prints_who_holds_a_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", "formats", "nvfp4", "--json"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)["engines"]
    timed = {row["engine"] for row in rows if "timed on blackwell" in row["speed"]}
    assert "vllm" in timed and all(row["checkpoint"] for row in rows if "timed" in row["speed"])
