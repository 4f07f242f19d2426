"""Every reader of the folder, on a file of its format: a new reader needs a sample in `tests/traces`, no edit here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from comptroller.errors import ComptrollerError, FactError
from comptroller.work.rows import TraceReader, TraceReadOptions
from comptroller.work.trace import RequestTrace
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.traces import HEAD_CHARACTERS, read_trace, readers

SAMPLES = sorted(path for path in (Path(__file__).parent / "traces").iterdir() if path.name != "README.md")
RATED = TraceReadOptions(rate_per_s=2.0)


def name_of(sample: Path) -> str:
    return sample.name.split(".")[0].split("-")[0]


def head(sample: Path) -> str:
    return "" if sample.is_dir() else sample.read_text(encoding="utf-8")[:HEAD_CHARACTERS]


every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
tables = pytest.mark.parametrize(
    "sample",
    [
        path
        for path in SAMPLES
        if path.suffix in (".csv", ".tsv") and next(r for r in readers() if r.name == name_of(path)).has_columns
    ],
    ids=lambda path: path.name,
)


def same(one: RequestTrace, other: RequestTrace) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("arrival_s", "input_tokens", "output_tokens", "session", "tenant", "priority")
    )


@pytest.mark.parametrize("reader", readers(), ids=lambda reader: reader.name)
def test_every_reader_has_a_sample(reader: TraceReader) -> None:
    assert any(name_of(sample) == reader.name for sample in SAMPLES), f"tests/traces has no {reader.name}.*"
    assert reader.looks_like


@every_sample
def test_a_sample_is_recognised_by_its_reader_alone(sample: Path) -> None:
    assert [reader.name for reader in readers() if reader.recognises(sample, head(sample))] == [name_of(sample)]


@every_sample
def test_a_sample_is_read_in_order_with_whole_tokens(sample: Path) -> None:
    trace = read_trace(sample, RATED)
    assert len(trace) >= 2 and trace.dropped == 0
    assert (np.diff(trace.arrival_s) >= 0).all() and trace.arrival_s[0] >= 0
    assert min(trace.input_tokens.min(), trace.output_tokens.min()) >= 1
    assert same(trace, read_trace(sample, RATED)), "two readings differ"
    if trace.tenant is not None:
        assert 0 <= trace.tenant.min() <= trace.tenant.max() < len(trace.tenants)
    if trace.blocks is not None:
        blocks = np.diff(trace.blocks.offsets)
        assert (abs(blocks * trace.blocks.tokens - trace.input_tokens) < trace.blocks.tokens)[blocks > 0].all()


@every_sample
def test_without_arrival_times_a_rate_is_asked_for(sample: Path) -> None:
    try:
        trace = read_trace(sample)
    except FactError as error:
        assert error.field == "arrival" and "rate_per_s" in str(error)
        assert any("no arrival times" in note for note in read_trace(sample, RATED).notes)
        return
    assert same(trace, read_trace(sample, RATED)), "a rate changed recorded times"


@every_sample
def test_damage_gives_one_clear_error_and_no_traceback(sample: Path, tmp_path: Path) -> None:
    if sample.is_dir():
        pytest.skip("a pool's damage is in tests/test_work_traces.py")
    text = sample.read_text(encoding="utf-8")
    broken = tmp_path / sample.name
    for cut in range(0, len(text), max(len(text) // 40, 1)):
        for damaged in (text[:cut], text[:cut] + "\x00}\n" + text[cut:], text[cut:]):
            broken.write_text(damaged, encoding="utf-8")
            try:
                trace = read_trace(broken, TraceReadOptions(skip_bad=bool(cut % 2), rate_per_s=1.0))
            except ComptrollerError as error:
                assert broken.name in str(error)
            else:
                assert len(trace) > 0


@tables
def test_rows_in_any_order_give_the_same_trace_and_are_counted(sample: Path, tmp_path: Path) -> None:
    heading, *rows = sample.read_text(encoding="utf-8").splitlines()
    mixed = tmp_path / sample.name
    mixed.write_text("\n".join([heading, *rows[::-1]]) + "\n", encoding="utf-8")
    whole, turned = read_trace(sample, RATED), read_trace(mixed, RATED)
    if any("no arrival times" in note for note in whole.notes):
        return
    assert turned.arrival_s.tolist() == whole.arrival_s.tolist()
    assert turned.input_tokens.tolist() == whole.input_tokens.tolist()
    assert f"rows that arrive before a row above them: {len(rows) - 1}; sorted by arrival" in turned.notes


@tables
def test_columns_of_other_names_give_the_same_trace(sample: Path, tmp_path: Path) -> None:
    """The heading is renamed; the columns are then named in the options."""
    heading, *rows = sample.read_text(encoding="utf-8").splitlines()
    separator = "\t" if "\t" in heading else ","
    names = heading.split(separator)
    renamed = tmp_path / sample.name
    renamed.write_text("\n".join([separator.join(f"x{n}" for n in range(len(names))), *rows]) + "\n", encoding="utf-8")
    with pytest.raises(FactError, match="not a trace format that is known"):
        read_trace(renamed, RATED)
    whole = read_trace(sample, RATED)
    found = [
        given
        for given in _namings(len(names))
        if (trace := _read(renamed, given)) is not None
        and trace.input_tokens.tolist() == whole.input_tokens.tolist()
        and trace.output_tokens.tolist() == whole.output_tokens.tolist()
    ]
    assert found, "no naming of the columns reads what the format's own names read"


UNITS: tuple[Literal["s", "ns"], ...] = ("s", "ns")


def _namings(columns: int) -> list[TraceColumnNames]:
    timed = [
        TraceColumnNames(arrival=f"x{a}", input=f"x{i}", output=f"x{o}", unit=unit)
        for unit in UNITS
        for a in range(columns)
        for i in range(columns)
        for o in range(columns)
        if len({a, i, o}) == 3
    ]
    return timed + [TraceColumnNames(input=f"x{i}", output=f"x{o}") for i in range(columns) for o in range(columns)]


def _read(path: Path, columns: TraceColumnNames) -> RequestTrace | None:
    try:
        return read_trace(path, TraceReadOptions(columns=columns, rate_per_s=2.0))
    except ComptrollerError:
        return None
