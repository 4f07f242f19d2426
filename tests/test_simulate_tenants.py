"""Tenants and priorities from a trace's columns to the scheduler: a contended fleet, by library and command line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import InputError
from comptroller.planning.simulation import TraceReplaySettings, simulate_plan
from comptroller.serving.jobs import calls_of
from comptroller.work.rows import TraceReadOptions
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.traces import read_trace
from simulate_worlds import chat
from test_simulate_cli import ends

HEADING = "when,prompt,reply,customer,urgency"
NAMES = {"arrival": "when", "input": "prompt", "output": "reply", "tenant": "customer", "priority": "urgency"}
OPTIONS = [word for role, name in (NAMES | {"unit": "s"}).items() for word in ("--column", f"{role}={name}")]
POLICIES = ("fcfs", "fair_share", "priority")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute at several times what the fleet carries: nine in ten requests are one tenant's, one in ten is urgent."""
    rng = np.random.default_rng(5)
    count = 3000
    times = np.sort(rng.uniform(0, 60, count))
    lengths = rng.integers(200, 2000, count), rng.integers(50, 300, count)
    who, urgent = rng.random(count) < 0.1, rng.random(count) < 0.1
    rows = zip(times, *lengths, np.where(who, "small", "flood"), urgent.astype(int), strict=True)
    path = tmp_path_factory.mktemp("crowd") / "crowd.csv"
    path.write_text("\n".join([HEADING, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def reading(**columns: str) -> TraceReadOptions:
    return TraceReadOptions(columns=TraceColumnNames.model_validate(columns | {"unit": "s"}))


def test_the_calls_have_the_tenants_and_priorities_of_the_trace(crowd: Path) -> None:
    trace = read_trace(crowd, reading(**NAMES))
    calls = calls_of(trace)
    with crowd.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert calls.text("key").tolist() == [row["customer"] for row in rows]
    assert calls["priority"].tolist() == [float(row["urgency"]) for row in rows]


def test_a_contended_fleet_serves_each_policy_otherwise(crowd: Path) -> None:
    """Fair share shields the small tenant, priority the urgent requests; first come first served neither."""
    trace = read_trace(crowd, reading(**NAMES))
    assert trace.tenant is not None and trace.priority is not None
    small, urgent = trace.tenant == trace.tenants.index("small"), trace.priority == 1
    waits = {
        name: simulate_plan(chat(), trace, TraceReplaySettings(scheduling=name)).outcome.queue_s for name in POLICIES
    }
    mean = {name: (np.nanmean(wait[small]), np.nanmean(wait[urgent])) for name, wait in waits.items()}
    assert np.nanmean(waits["fcfs"]) > 1.0, "the fleet is not contended"
    assert mean["fair_share"][0] < 0.5 * mean["fcfs"][0]
    assert mean["priority"][1] < 0.5 * mean["fcfs"][1]


def test_the_command_line_writes_other_requests_for_each_policy(crowd: Path, tmp_path: Path) -> None:
    found = []
    for name in POLICIES:
        calls = tmp_path / f"{name}.csv"
        assert ends("--trace", crowd, *OPTIONS, "--scheduling", name, "--calls", calls) == 0
        found.append(calls.read_bytes())
    assert len(set(found)) == len(POLICIES)


@pytest.mark.parametrize(("policy", "column"), [("fair_share", "tenant"), ("priority", "priority")])
def test_a_policy_is_refused_by_the_column_that_the_trace_lacks(
    policy: str, column: str, crowd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {role: name for role, name in NAMES.items() if role != column}
    says = f"scheduling policy {policy} needs the column '{column}', which crowd.csv lacks; name it by columns.{column}"
    with pytest.raises(InputError, match=says):
        simulate_plan(chat(), read_trace(crowd, reading(**names)), TraceReplaySettings(scheduling=policy))
    options = [word for role, name in (names | {"unit": "s"}).items() for word in ("--column", f"{role}={name}")]
    assert ends("--trace", crowd, *options, "--scheduling", policy) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_what_was_taken_for_granted_is_said_on_the_other_stream(
    crowd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends("--trace", crowd, *OPTIONS[:6], "--column", "unit=s", "--json") == 0
    seen = capsys.readouterr()
    assert seen.err.count("not used of crowd.csv, though it may matter: customer, urgency") == 1
    assert seen.out.startswith("{")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--column", "tenant"), "--column: 'tenant': is not ROLE=NAME (allowed: arrival, input"),
        (("--column", "owner=customer"), "--column: owner: unknown field"),
        (("--column", "unit=h"), "--column: unit: 'h' is not allowed"),
        (("--column", "block_tokens=many"), "--column: block_tokens"),
        (("--rate", "0"), "--rate"),
    ],
)
def test_columns_that_cannot_be_meant(
    words: tuple[str, ...], said: str, crowd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends("--trace", crowd, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_file_without_times_is_simulated_at_a_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n" + "300,20\n" * 200, encoding="utf-8")
    assert ends("--trace", path) == 2
    assert "has no arrival times" in capsys.readouterr().err
    assert ends("--trace", path, "--rate", 4, "--json") == 0
    assert "a Poisson stream of 4/s" in " ".join(capsys.readouterr().err.split())
