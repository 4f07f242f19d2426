"""A fleet chosen over time: nothing that lost would have been cheaper and held, the last part is not looked at."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import InfeasibleError, InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.over_time import fleet_over_time, parts_of
from comptroller.planning.over_time_play import FIXED
from comptroller.planning.over_time_trial import OverTimeWish
from comptroller.planning.scaled_simulation import ScalingConditions, replica_targets
from comptroller.report.over_time_tables import over_time_record, over_time_sheets
from comptroller.work.trace import RequestTrace
from golden_replicas import replicated_plan

CONDITIONS = ScalingConditions(start_up_s=10.0, most=6)


@pytest.fixture(scope="module")
def planned() -> Plan:
    return replicated_plan(2)


@pytest.fixture(scope="module")
def trace(planned: Plan) -> RequestTrace:
    """Three parts alike, each quiet and then busy, and a fourth that is quiet."""
    per_s, _ = replica_targets(planned.services[0])
    rng = np.random.default_rng(0)
    part = [rng.uniform(0, 300, int(60 * per_s)), rng.uniform(150, 240, int(180 * per_s))]
    busy = np.concatenate([300 * number + arrivals for number in range(3) for arrivals in part])
    arrivals = np.sort(np.concatenate([busy, rng.uniform(900, 1200, int(90 * per_s) + 120)]))
    return RequestTrace(arrivals, np.full(arrivals.size, 400), np.full(arrivals.size, 100))


def test_the_winner_held_in_every_part_and_nothing_that_held_is_cheaper(planned: Plan, trace: RequestTrace) -> None:
    wish = OverTimeWish(0.9, 4, ("forecast", "hpa"))
    found = fleet_over_time(planned, trace, wish, CONDITIONS)
    assert len(found.winner.shares) == 3 and min(found.winner.shares) >= 0.9 and not found.winner.lost
    for one in found.trials:
        assert (one is found.winner) == (not one.lost)
        if len(one.shares) == 3 and min(one.shares) >= 0.9:
            assert one.spent >= found.winner.spent
    assert found.odds == 0.75 and len(found.kept.shares) == 1
    record = over_time_record(found)
    assert record["chosen"]["first"] == found.winner.first and len(record["trials"]) == len(found.trials)
    answer, reasons = over_time_sheets(found)
    assert "odds of 75%" in answer.title and len(reasons.rows) == len(found.trials)


def test_what_comes_in_the_last_part_moves_no_choice(planned: Plan, trace: RequestTrace) -> None:
    last = trace.arrival_s > 900.0
    longer = replace(trace, output_tokens=np.where(last, 200, trace.output_tokens))
    wish = OverTimeWish(0.9, 4, ("forecast",))
    one, other = (fleet_over_time(planned, each, wish, CONDITIONS) for each in (trace, longer))
    assert one.winner.name == other.winner.name and one.winner.usd == other.winner.usd
    assert one.kept.usd != other.kept.usd


def test_a_larger_fixed_fleet_costs_more_and_holds_no_less(planned: Plan, trace: RequestTrace) -> None:
    found = fleet_over_time(planned, trace, OverTimeWish(0.5, 4, ()), CONDITIONS)
    fixed = [one for one in found.trials if one.policy == FIXED]
    assert [one.usd[0] for one in fixed] == sorted(one.usd[0] for one in fixed)
    assert all(a.shares[0] <= b.shares[0] + 0.01 for a, b in pairwise(fixed))


def test_what_cannot_be_chosen_is_refused_by_name(planned: Plan, trace: RequestTrace) -> None:
    with pytest.raises(InfeasibleError, match=r"no fleet of at most 2 replicas holds 99\.0% .*closest: 2 replicas"):
        fleet_over_time(planned, trace.scaled(4), OverTimeWish(0.99, 4, ()), replace(CONDITIONS, most=2))
    with pytest.raises(InputError, match=r"one with .* calls; needed: 100"):
        parts_of(trace.take(np.arange(200)), 4)
    with pytest.raises(InputError, match=r"a share of 1\.5, 1 parts"):
        OverTimeWish(1.5, 1)


def test_the_command_refuses_a_short_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.csv").write_text("arrival_s,input_tokens,output_tokens\n0,10,10\n5,10,10\n", encoding="utf-8")
    words = [
        "plan",
        "llama_3_1_8b",
        "--rate",
        "5",
        "--in",
        "300",
        "--out",
        "50",
        "--over-time",
        str(tmp_path / "short.csv"),
    ]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--png", str(tmp_path / "x.png")])
    assert ended.value.code == 2 and "one with 0 calls; needed: 100" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()
