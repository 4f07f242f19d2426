"""Jobs with a deadline on spot: a reference by the second, deadlines never missed, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from comptroller.cli import application
from comptroller.cluster.deadline_rules import DEADLINE_RULES
from comptroller.cluster.deadline_run import DeadlineJob, record_of_zones, run_deadlines
from comptroller.errors import InputError, UnknownIdError
from spot_worlds import drawn_zones, record_file, zones

SPAN_S = 4000.0


def by_the_second(there: list[bool], work: int, deadline: int, changeover: int, rule: str) -> dict[str, int]:
    """Uniform progress or greedy as their paper tells them, a second at a time; decisions at every second."""
    done = spot = on_demand = losses = now = ready = 0
    held = "idle"
    while done < work:
        if held == "spot" and not there[now]:
            held, losses = "idle", losses + 1
        hurry = deadline - now - (work - done) <= 2 * changeover
        wish = held
        if held != "spot":
            stays = held == "on_demand" and (
                rule == "uniform_progress" and done * deadline < (now + 2 * changeover) * work
            )
            if hurry or stays:
                wish = "on_demand"
            elif there[now]:
                wish = "spot"
            else:
                behind = rule == "uniform_progress" and done * deadline < now * work
                wish = "on_demand" if behind else "idle"
        if wish != held:
            held, ready = wish, now + changeover
        spot, on_demand = spot + (held == "spot"), on_demand + (held == "on_demand")
        done += held != "idle" and now >= ready
        now += 1
    return {"spot": spot, "on_demand": on_demand, "ended": now, "losses": losses}


RUNS = st.lists(st.tuples(st.integers(5, 90), st.booleans()), min_size=3, max_size=12)


@settings(max_examples=80, deadline=None)
@given(RUNS, st.integers(50, 300), st.floats(1.05, 2.5), st.integers(0, 9))
@pytest.mark.parametrize("rule", ["greedy", "uniform_progress"])
def test_a_job_goes_as_in_a_simulation_by_the_second(
    rule: str, runs: list[tuple[int, bool]], work: int, slack: float, changeover: int
) -> None:
    deadline = int(work * slack) + changeover + 1
    starts, there = [], []
    for seconds, on in runs:
        starts.append((float(len(there)), float(on)))
        there += [on] * seconds
    there += [runs[-1][1]] * (deadline + 1)
    record = zones(starts, wanted=1, end_s=float(len(there)))
    # A rule is asked every second, as the reference is.
    own = Path(__file__).parent / "data" / f"each_second_{rule}.py"
    (found,) = run_deadlines(record, DeadlineJob(work, deadline, changeover), [str(own)], 0.3)
    (run,) = found.runs
    expected = by_the_second(there, work, deadline, changeover, rule)
    got = {
        "spot": run.spot_s, "on_demand": run.on_demand_s, "ended": run.ended_s, "losses": run.interruptions
    }  # fmt: skip
    assert got == pytest.approx(expected, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9), st.floats(0.0, 60.0), st.integers(1, 3))
@pytest.mark.parametrize("rule", DEADLINE_RULES.names())
def test_no_deadline_is_missed_and_nothing_costs_less_than_the_bound(
    rule: str, seed: int, share: float, changeover_s: float, count: int
) -> None:
    record = drawn_zones(np.random.default_rng(seed), count, SPAN_S)
    deadline_s = 2000.0
    job = DeadlineJob(share * (deadline_s - changeover_s), deadline_s, changeover_s, nodes=2)
    (found,) = run_deadlines(record, job, [rule], 0.4, starts=3)
    assert found.missed == 0
    assert (found.cost >= found.bound - 1e-9).all()
    for run in found.runs:
        paid = run.spot_s + run.on_demand_s
        assert paid <= job.work_s + run.starts * changeover_s + 1e-6, "no more than work and changeovers"


@pytest.mark.parametrize("rule", ["greedy", "uniform_progress"])
def test_spot_that_always_stands_and_spot_that_never_does(rule: str) -> None:
    job = DeadlineJob(1000.0, 1500.0, 50.0)
    (always,) = run_deadlines(zones([(0.0, 1.0)], wanted=1, end_s=SPAN_S), job, [rule], 0.3, starts=4)
    (never,) = run_deadlines(zones([(0.0, 0.0)], wanted=1, end_s=SPAN_S), job, [rule], 0.3, starts=4)
    assert always.cost == pytest.approx(0.3)
    for cost, run in zip(never.cost, never.runs, strict=True):
        assert cost == pytest.approx((1000.0 + 50.0 * run.starts) / 1050.0)
    assert {run.interruptions for run in (*always.runs, *never.runs)} == {0}


def test_more_slack_never_costs_greedy_more_on_one_zone_without_changeovers() -> None:
    record = drawn_zones(np.random.default_rng(7), 1, SPAN_S, wanted=1)
    costs = [
        float(run_deadlines(record, DeadlineJob(500.0, deadline_s, 0.0), ["greedy"], 0.3)[0].cost[0])
        for deadline_s in (500.0, 800.0, 1200.0, 2000.0, 3000.0)
    ]
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]


def test_what_cannot_be_run_is_refused_by_name() -> None:
    record = zones([(0.0, 1.0)], wanted=1, end_s=SPAN_S)
    with pytest.raises(InputError, match="missed even on demand"):
        DeadlineJob(1000.0, 1000.0, 50.0)
    with pytest.raises(InputError, match="the deadline is"):
        run_deadlines(record, DeadlineJob(1000.0, 5000.0, 50.0), ["greedy"], 0.3)
    with pytest.raises(InputError, match="price ratio of 0"):
        run_deadlines(record, DeadlineJob(1000.0, 2000.0, 50.0), ["greedy"], 0.0)
    with pytest.raises(UnknownIdError, match="rule for a deadline"):
        run_deadlines(record, DeadlineJob(1000.0, 2000.0, 50.0), ["lazy"], 0.3)
    with pytest.raises(InputError, match="no zone 'z9'; it has z0"):
        record_of_zones(record, ["z9"])


def test_the_command_compares_rules_on_a_record(tmp_path: Path) -> None:
    path = tmp_path / "zones.csv"
    path.write_text(record_file(["a,0,30,4", "a,30,50,0", "a,50,100,4", "b,0,100,2"]), encoding="utf-8")
    words = ["cluster", "spot", str(path), "--work", "0.5", "--deadline", "1", "--price-ratio", "0.3"]
    words += ["--changeover", "60", "--nodes", "3", "--starts", "3"]
    found = json.loads(CliRunner().invoke(application(words), [*words, "--json"]).stdout)
    assert [one["rule"] for one in found] == list(DEADLINE_RULES.names())
    assert all(one["missed"] == 0 and len(one["runs"]) == 3 for one in found)
    text = CliRunner().invoke(application(words), [*words, "--zone", "a", "--rule", "uniform_progress"]).stdout
    assert "0.5 h of work within 1 h" in text and "0 of 3" in text
