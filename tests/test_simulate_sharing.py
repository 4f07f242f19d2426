"""Who shares a fleet: groups by tenant, priority and adapter, and who was slowed by whom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_ends import ends as exit_of
from comptroller.errors import InputError
from comptroller.planning.fleet_sharing import OTHERS, call_grouping, grouping_roles, pace_per_s, sharing_slowdown
from comptroller.planning.simulation import simulate_plan
from comptroller.serving.fairness import jain_index
from comptroller.serving.jobs import calls_of
from comptroller.work.call import CallTable
from comptroller.work.trace import NO_ADAPTER, RequestTrace
from comptroller.work.traces import read_trace
from simulate_worlds import GOLDEN, chat, stream

COUNT = 600


def crowd(flood: float = 0.9) -> RequestTrace:
    """A flooding tenant and a light one, two priorities, three adapters and none."""
    trace, rng = stream(COUNT, 40.0), np.random.default_rng(1)
    light = rng.random(COUNT) > flood
    return replace(
        trace,
        tenant=light.astype(np.int64),
        tenants=("flood", "light"),
        priority=rng.integers(0, 2, COUNT).astype(float),
        adapter=rng.integers(NO_ADAPTER, 3, COUNT),
        adapters=("red", "green", "blue"),
    )


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20), st.floats(0.01, 100))
def test_the_index_lies_between_one_party_and_all_alike(values: list[float], scale: float) -> None:
    index = jain_index(values)
    assert 1 / len(values) - 1e-12 <= index <= 1 + 1e-12
    assert jain_index([scale * value for value in values]) == pytest.approx(index)
    assert jain_index([values[0]] * len(values)) == pytest.approx(1.0)


def test_groups_are_those_of_the_columns_and_the_rest_is_others() -> None:
    calls = calls_of(crowd())
    assert grouping_roles(calls) == ("tenant", "priority", "adapter")
    grouping = call_grouping(calls, "tenant")
    assert grouping.names == ("flood", "light")
    np.testing.assert_array_equal(grouping.rows(1), crowd().tenant == 1)
    by_adapter = call_grouping(calls, "adapter", most=2)
    assert by_adapter.names[-1] == OTHERS and len(by_adapter.names) == 3
    assert "no adapter" in call_grouping(calls, "adapter").names
    assert grouping_roles(CallTable.of(input_tokens=[1, 2])) == ()


def test_every_call_is_in_one_group_and_the_paces_weigh_to_the_whole() -> None:
    simulation = simulate_plan(chat(), crowd())
    grouping, outcome = call_grouping(simulation.asked, "tenant"), simulation.outcome
    stay_s = np.array([np.nansum(outcome.e2e_s[grouping.rows(group)]) for group in (0, 1)])
    tokens = (simulation.asked["input_tokens"] + simulation.asked["output_tokens"])[outcome.done].sum()
    assert (pace_per_s(outcome, grouping) * stay_s).sum() == pytest.approx(tokens)


def test_a_flooding_tenant_slows_a_light_one_and_hardly_the_other_way_round() -> None:
    found = sharing_slowdown(simulate_plan(chat(), crowd()), "tenant")
    assert found.slowdown[1] > 1.2 and found.ttft_p99_ratio[1] > 2
    assert found.later_s[1, 0] > found.later_s[0, 1]
    assert np.isnan(np.diag(found.later_s)).all()
    assert 0.5 <= found.fairness <= 1


def test_tenants_that_never_meet_slow_nobody() -> None:
    """Metamorphic: far apart in time each is served as it is alone."""
    trace = stream(60, 5.0)
    apart = replace(
        trace,
        arrival_s=np.sort(trace.arrival_s + np.repeat([0.0, 5000.0], 30)),
        tenant=np.repeat([0, 1], 30),
        tenants=("early", "late"),
    )
    found = sharing_slowdown(simulate_plan(chat(), apart), "tenant")
    np.testing.assert_allclose(found.slowdown, 1.0)
    np.testing.assert_allclose(found.later_s[~np.eye(2, dtype=bool)], 0.0, atol=1e-9)
    assert found.fairness == pytest.approx(1.0)


def test_what_cannot_be_told_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="needs the column 'tenant' with two values or more"):
        sharing_slowdown(simulate_plan(chat(), stream(20)), "tenant")
    with pytest.raises(InputError, match="grouped by tenant, priority, adapter, not by 'moon'"):
        call_grouping(calls_of(crowd()), "moon")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, trace = ["arrival_s,input_tokens,output_tokens,tenant,adapter,priority,session"], crowd()
    assert trace.tenant is not None and trace.adapter is not None and trace.priority is not None
    for row in range(200):
        adapter = trace.adapters[trace.adapter[row]] if trace.adapter[row] >= 0 else ""
        lengths = f"{trace.input_tokens[row]},{trace.output_tokens[row]}"
        who = f"{trace.tenants[trace.tenant[row]]},{adapter},{trace.priority[row]:g},s{row % 7}"
        rows.append(f"{float(trace.arrival_s[row])},{lengths},{who}")
    path = tmp_path_factory.mktemp("sharing") / "crowd.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_the_reader_knows_the_adapters(file: Path) -> None:
    trace, made = read_trace(file), crowd()
    assert trace.adapter is not None and made.adapter is not None
    assert (trace.adapter < 0).tolist() == (made.adapter[:200] < 0).tolist()
    labels = [trace.adapters[number] if number >= 0 else "" for number in trace.adapter]
    assert labels == [made.adapters[number] if number >= 0 else "" for number in made.adapter[:200]]
    assert calls_of(trace).text("adapter").tolist() == labels


def ends(*words: object) -> int:
    return exit_of(["simulate", str(GOLDEN), *words])


def test_the_command_tells_who_was_slowed_by_whom(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends("--trace", file, "--slowdown", "tenant") == 0
    said = capsys.readouterr().out
    for words in ("By tenant", "By priority", "By adapter", "Jain", "Who was slowed by whom", "later by flood"):
        assert words in said
    assert ends("--trace", file, "--slowdown", "priority", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["role"] for one in document["sharing"]] == ["tenant", "priority", "adapter"]
    groups = document["sharing"][0]["groups"]
    assert sum(group["requests"] for group in groups) == 200
    assert {group["name"] for group in document["slowdown"]["groups"]} == {"0", "1"}


def test_the_command_tells_how_often_adapters_were_fetched(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With room for all each replica fetches each at most once; with one slot more often than that."""
    wanted = sum(bool(row.split(",")[4]) for row in file.read_text().split()[1:])
    loads = {}
    for slots in (1, 3):
        assert ends("--trace", file, "--adapter-slots", slots, "--adapter-load", 50, "--json") == 0
        tokens = json.loads(capsys.readouterr().out)["tokens"]
        assert tokens["adapter_calls"] == wanted
        loads[slots] = tokens["adapter_loads"]
    replicas = sum(pool.replicas for one in chat().services for pool in one.deployment.pools)
    assert 3 <= loads[3] <= 3 * replicas and loads[3] < loads[1] <= wanted
    assert ends("--trace", file, "--adapter-slots", 1, "--adapter-load", 50) == 0
    assert f"loads of adapters, {1 - loads[1] / wanted:.1%} found" in capsys.readouterr().out


@pytest.mark.parametrize(("role", "says"), [("moon", "not by 'moon'"), ("tenant", "needs the column 'tenant'")])
def test_the_command_refuses_what_it_cannot_tell(
    role: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0.0,100,10\n1.0,100,10\n", encoding="utf-8")
    assert ends("--trace", path, "--slowdown", role) == 2
    assert says in " ".join(capsys.readouterr().err.split())
