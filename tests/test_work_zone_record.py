"""Records of spot capacity: read whole, refused with all their faults, and as the shared ones are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comptroller.errors import InputError
from comptroller.work.zone_record import choose_record, read_zone_records
from spot_worlds import HEAD, record_file

SHARED = Path(os.environ.get("COMPTROLLER_DATA", "../shared/data")) / "fleet" / "spot_runs.csv"


def written(folder: Path, text: str) -> Path:
    path = folder / "zones.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_runs_are_nodes_over_time(tmp_path: Path) -> None:
    rows = ["a,0,10,4", "a,10,30,1", "b,0,40,2"]
    record = choose_record(read_zone_records(written(tmp_path, record_file(rows))), "")
    assert record.name == "2023-02-15" and record.span_s == 1800.0
    first, second = record.zones
    assert [first.share(at_s) for at_s in (0.0, 599.0, 600.0, 1e9)] == [1.0, 1.0, 0.25, 0.25]
    assert first.standing() == pytest.approx((600 + 1200 / 4) / 1800) and second.standing(0, 60) == 0.5
    assert first.changes_s(0.0, 1e9) == [600.0] and second.changes_s(0.0, 1e9) == []


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    rows = ["a,0,10,5", "a,10,10,1", "b,0,10,x", "c,3,10,1", "d,0,10,1", "d,12,20,1"]
    with pytest.raises(InputError) as told:
        read_zone_records(written(tmp_path, record_file(rows)))
    for words in (
        "line 2: nodes is 5; allowed: 0 to the 4 wanted",
        "line 3: from_tick 10 to_tick 10; a run has at least one tick",
        "line 4: nodes: no number",
        "2023-02-15/v100x1/c: begins at tick 3, not 0",
        "2023-02-15/v100x1/d: a run to tick 10 is followed by one from 12",
    ):
        assert words in str(told.value)
    with pytest.raises(InputError, match="lacks zone, instance"):
        read_zone_records(written(tmp_path, "start,nodes\n2023-02-15,1\n"))
    with pytest.raises(InputError, match="lacks start"):
        read_zone_records(written(tmp_path, HEAD))
    with pytest.raises(InputError, match="no such file"):
        read_zone_records(tmp_path / "nothing.csv")


@pytest.mark.skipif(not SHARED.exists(), reason="the recorded zones lie beside the project")
def test_recorded_zones_stand_as_counted() -> None:
    records = read_zone_records(SHARED)
    with pytest.raises(InputError, match="several records; name one of 2022-10-26/k80x1"):
        choose_record(records, "")
    with pytest.raises(InputError, match="no record '2020-01-01'"):
        choose_record(records, "2020-01-01")
    standing = {zone.zone: round(zone.standing(), 2) for zone in records["2023-02-15"].zones}
    assert standing == {
        "us-east-1a": 0.17, "us-east-1c": 0.47, "us-east-1d": 0.45, "us-west-2a": 0.88, "us-west-2b": 0.90,
    }  # fmt: skip
