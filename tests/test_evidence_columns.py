"""Evidence in tables of other tools by the names of their columns, and Zstandard members of logs."""

import json
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from comptroller.cli import main
from comptroller.errors import FactError, InputError, RecordError
from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.quality import WorkloadQuality, records
from evidence_files import inspect_eval, measured

ROWS = [
    {"id": "a", "llm": "m1", "ok": True, "use": {"cost": 0.5, "ms": 1500}, "other": 1},
    {"id": "a", "llm": "m2", "ok": False, "use": {"cost": 0.25, "ms": 500}, "other": 2},
    {"id": "b", "llm": "m1", "ok": True, "use": {"cost": 0.125, "ms": None}, "other": 3},
]
NAMES = ["question=id,model=llm", "score=ok,usd=use.cost,latency_s=use.ms*0.001"]


def as_jsonl(folder):
    file = folder / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def as_nested_text(folder):
    file = folder / "log.json"
    file.write_text(json.dumps([row | {"use": json.dumps(row["use"])} for row in ROWS]))
    return file


def as_parquet(folder):
    parquet.write_table(pa.Table.from_pylist(ROWS), folder / "log.parquet")
    return folder / "log.parquet"


def as_csv(folder):
    file = folder / "log.csv"
    lines = [f"{r['id']};{r['llm']};{r['ok']};{r['use']['cost']};{r['use']['ms'] or ''};7" for r in ROWS]
    file.write_text("\n".join(["id;llm;ok;use.cost;use.ms;other", *lines]) + "\n")
    return file


@pytest.mark.parametrize("make", [as_jsonl, as_nested_text, as_parquet, as_csv])
def test_every_kind_of_table_reads_alike(make, tmp_path):
    read = read_evidence(make(tmp_path), EvidenceColumnNames.parse(NAMES))
    assert [item.id for item in read.items] == ["a", "b"]
    assert [arm.model for arm in read.arms] == ["m1", "m2"]
    assert read.rows.score.tolist() == [1.0, 0.0, 1.0]
    assert read.rows.usd.tolist() == [0.5, 0.25, 0.125]
    np.testing.assert_allclose(read.rows.latency_s, [1.5, 0.5, np.nan])


def test_counts_may_be_named_too(tmp_path):
    file = tmp_path / "counts.csv"
    file.write_text("problem,size,tried,won\np,70M,100,3\n")
    named = EvidenceColumnNames.parse(["question=problem,model=size,n=tried,correct=won"])
    assert read_evidence(file, named).correct.tolist() == [[3.0]]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("question=id,model=llm,skore=ok", "'skore' is nothing that evidence has; it has id, parent"),
        ("question=id", "which column holds the model"),
        ("question=id,question=llm", "each name once"),
        ("question", "write NAME=COLUMN"),
    ],
)
def test_a_wrong_map_says_what_is_wrong(text, fault):
    with pytest.raises(InputError, match=fault):
        EvidenceColumnNames.parse([text])


@pytest.mark.parametrize("make", [as_jsonl, as_parquet, as_csv])
def test_a_column_that_is_not_there_is_named_with_those_that_are(make, tmp_path):
    named = EvidenceColumnNames.parse(["question=id,model=modell"])
    with pytest.raises(FactError, match=r"modell: no such column \(allowed: id, llm, ok"):
        read_evidence(make(tmp_path), named)


def test_a_cell_that_is_no_number_is_named_with_its_row(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("id,llm,ms\na,m,fast\n")
    with pytest.raises(RecordError, match="row 2: latency_s is 'fast'; it must be a number"):
        read_evidence(file, EvidenceColumnNames.parse(["question=id,model=llm,latency_s=ms*0.001"]))


def test_a_workload_may_name_the_columns(tmp_path):
    quality = {"solve": {"min": 50}, "evidence": str(as_csv(tmp_path)), "map": {"question": "id", "model": "llm"}}
    assert len(records(WorkloadQuality(**quality), 0)) == len(ROWS)


def test_the_commands_take_the_map_and_an_unknown_table_says_so(tmp_path, capsys):
    file = as_csv(tmp_path)
    for words in (["show", "evidence", file], ["replay", "once", "--evidence", file, "--model", "m1"]):
        with pytest.raises(SystemExit) as end:
            main([*map(str, words), "--map", ",".join(NAMES)])
        assert end.value.code == 0
        assert "log.csv" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["show", "evidence", str(file)])
    assert end.value.code == 2
    assert "--map says which column holds what" in capsys.readouterr().err


def test_tables_of_routers_are_read_as_they_come():
    arena = EvidenceColumnNames.parse(
        ["question=global_index,model=llm_selected,score=evaluation_result.score,input_tokens=token_usage.input_tokens"]
    )
    read = read_evidence(measured("map_routerarena_300.jsonl"), arena)
    assert (len(read.items), len(read.arms), len(read)) == (150, 2, 300)
    bench = EvidenceColumnNames.parse(["question=canonical_id,model=selected_model,score=correct,usd=cost"])
    assert len(read_evidence(measured("map_routerbench_mini_500.csv"), bench)) == 500


def zstandard(file, target):
    """A copy of a zip file whose members are packed with Zstandard, method 93."""
    patched = []
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            whole = source.read(name)
            info = zipfile.ZipInfo(name)
            copy.writestr(info, pa.compress(whole, "zstd", asbytes=True))
            patched.append((info, whole))
        for info, whole in patched:
            info.compress_type, info.file_size, info.CRC = 93, len(whole), zlib.crc32(whole)
    return target


def test_members_packed_with_zstandard_are_read_as_others_are(tmp_path):
    plain = inspect_eval(tmp_path)
    packed = read_evidence(zstandard(plain, tmp_path / "new.eval"))
    expected = read_evidence(plain)
    assert packed.items == expected.items and packed.arms == expected.arms
    assert packed.rows.content.tolist() == expected.rows.content.tolist()
    np.testing.assert_array_equal(packed.rows.score, expected.rows.score)
