"""Monitors of agents' runs at a real gateway: what is stopped, what the books say of it, and the same on records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from agent_runs import write_runs
from command_ends import ends
from comptroller.books.agent_runs import booked_stops
from comptroller.books.ledger import CallLedger
from comptroller.errors import FactError, InputError, UnknownIdError
from comptroller.gateway.config import MonitorConfig, config_from_document
from comptroller.gateway.run_monitors import RunMonitors, RunRecord
from comptroller.gateway.solve import solve_live
from comptroller.strategies.monitor_file import RunMonitor, judge_file, plain_monitor, read_monitor, train_monitor
from comptroller.strategies.monitor_study import stops
from comptroller.strategies.monitors import monitors
from comptroller.work.call import Call
from comptroller.work.trajectories import AgentTrajectories
from comptroller.work.trajectory_files import read_trajectories
from gateway_houses import GUARD_S, config, process, rows, until
from gateway_upstream import USAGE, Upstream, upstream, whole

STUCK = "{} is not found anywhere below the folder that was searched; look at another place, or give up."
"""What a tool says again and again, longer than what repetition overlooks."""
MOST = 30
"""Calls after which an agent of the tests gives up by itself."""


def asking() -> dict[str, Any]:
    """A reply of an upstream that misbehaves: it asks for the same tool for ever."""
    call = {"id": "a", "type": "function", "function": {"name": "search", "arguments": '{"for": "x"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return whole("stuck", USAGE) | {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}]}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        made.replies["stuck"] = (200, asking())
        yield made


async def agent(url: str, session: str, says: Any = lambda step: STUCK) -> tuple[int, openai.APIStatusError | None]:
    """An agent that goes on as long as it is asked for tools: calls that it made, and how it was stopped."""
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=2)
    turns: list[Any] = [{"role": "user", "content": "Where is x?"}]
    for step in range(MOST):
        try:
            made: ChatCompletion = await client.chat.completions.create(
                model="stuck", messages=turns, extra_body={"comptroller": {"session": session}}
            )
        except openai.APIStatusError as error:
            return step, error
        said = made.choices[0].message
        turns.append(said.model_dump(exclude_none=True))
        turns.append({"role": "tool", "tool_call_id": "a", "content": says(step)})
    return MOST, None


def monitored(folder: Path, up: Upstream, **monitors: dict[str, Any]) -> dict[str, Any]:
    return config(folder, up.url, "stuck") | {"monitors": monitors}


def stops_of(books: Path) -> list[Any]:
    with CallLedger.open(str(books)) as ledger:
        return booked_stops(ledger)


def test_a_stuck_agent_is_stopped_by_a_served_gateway_and_the_books_say_what_it_spent(
    up: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The official client does not ask again; another session goes on; a monitored one that works is left alone."""
    document = monitored(tmp_path, up, stuck={"kind": "repetition", "threshold": 0.45})
    before = up.tries["stuck"]
    with process(tmp_path, document) as (_, url):
        made, error = asyncio.run(agent(url, "task 1"))
        assert error is not None and error.status_code == 403 and error.code == "run_stopped"
        assert "monitor stuck stopped this session: repetition 0.5 > 0.45 after" in str(error)
        assert up.tries["stuck"] - before == made < MOST
        again, refused = asyncio.run(agent(url, "task 1"))
        assert again == 0 and refused is not None and up.tries["stuck"] - before == made
        assert asyncio.run(agent(url, "task 2", lambda step: STUCK + "." * step)) == (MOST, None)
        asyncio.run(until(lambda: len(stops_of(tmp_path / "books.sqlite")) == 1))
    (stop,) = stops_of(tmp_path / "books.sqlite")
    each = (USAGE["prompt_tokens"] * 1 + USAGE["completion_tokens"] * 2) / 1e6
    assert (stop.monitor, stop.calls) == ("stuck", made) and stop.usd == pytest.approx(made * each)
    assert np.isnan(stop.spared_usd) and stop.why == f"repetition 0.5 > 0.45 after {made} calls"
    assert ends(["books", "stops", tmp_path / "books.sqlite"]) == 0
    assert "stuck" in capsys.readouterr().out


def test_what_a_stop_spares_is_predicted_by_the_file_and_measured_by_a_run_without_it(
    up: Upstream, tmp_path: Path
) -> None:
    """Fitted to runs of which those that fail get stuck; the same agent without the monitor spends what is measured."""
    write_runs(tmp_path / "calls.csv")
    assert (
        ends(["fit", "monitors", tmp_path / "calls.csv", "--kind", "agent_stop", "--out", tmp_path / "stop.json"]) == 0
    )
    document = monitored(tmp_path, up, careful={"file": str(tmp_path / "stop.json")})
    with process(tmp_path, document) as (_, url):
        made, error = asyncio.run(agent(url, "task 1"))
        asyncio.run(until(lambda: len(stops_of(tmp_path / "books.sqlite")) == 1))
    assert error is not None and 10 <= made < MOST
    (stop,) = stops_of(tmp_path / "books.sqlite")
    each = stop.usd / stop.calls
    measured = (MOST - made) * each
    assert stop.spared_usd > 0
    low, middle, high = (stop.usd * share for share in read_monitor(tmp_path / "stop.json").rest)
    assert stop.spared_usd == pytest.approx(middle, abs=1e-11) and low <= middle <= high
    assert low <= measured <= 2 * high
    found = [row for row in rows(tmp_path / "books.sqlite") if row["role"] == "monitor:careful"]
    last = [row for row in rows(tmp_path / "books.sqlite") if row["role"] == "solver"][-1]
    assert [(row["parent"], row["session"], row["charged_pusd"]) for row in found] == [(last["id"], last["session"], 0)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_live_stops_where_a_replay_stops(drawn: AgentTrajectories, data: st.DataObject) -> None:
    """Call by call with what is known until then, every monitor stops after the call that the study stops after."""
    name = data.draw(st.sampled_from(sorted(monitors())))
    rule = train_monitor(name, drawn, 0.05, {})
    low, high = np.quantile(rule.signal(drawn), [0.5, 1.0])
    rule = replace(rule, threshold=float(data.draw(st.floats(float(low), float(high)))))
    run = data.draw(st.integers(0, len(drawn.runs) - 1))
    one = drawn.take(np.arange(len(drawn.runs)) == run)
    ended = stops(one, rule.signal(one), np.array([rule.threshold])).spared_usd
    assert _live_calls(rule, one) == pytest.approx(_calls_until(one, float(ended[0])))


def _calls_until(one: AgentTrajectories, spared: float) -> int:
    """Calls that were made before what was spared."""
    after = np.cumsum(one.usd[::-1])[::-1]
    return len(one.run) if spared == 0 else int(np.argmin(np.abs(after - spared)))


def _live_calls(rule: RunMonitor, one: AgentTrajectories) -> int:
    """Calls that a live run makes which goes on as the record does."""
    record, watching = RunRecord(), RunMonitors({"x": MonitorConfig(kind="step_budget", threshold=1.0)})
    named = [replace(watching.watching("sessions", "")[0], rule=rule)]
    for step in range(len(one.run)):
        row = {name: int(getattr(one, name)[step]) for name in ("input_tokens", "cached_tokens", "output_tokens")}
        call = Call(**row, usd=float(one.usd[step]), started_s=0.0, last_s=float(one.llm_s[step]))
        record.add(call)
        record.went_on(one.to_next_s[step], float(one.observation[step]), float(one.tool_s[step]))
        if step + 1 < len(one.run) and RunMonitors.verdict(record, named) is not None:
            return step + 1
    return len(one.run)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> AgentTrajectories:
    path = tmp_path_factory.mktemp("runs") / "calls.csv"
    write_runs(path)
    return read_trajectories(path)


def test_a_file_keeps_the_monitor_bit_by_bit_and_is_judged_as_it_is(
    drawn: AgentTrajectories, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in monitors():
        made = train_monitor(name, drawn, 0.05, {})
        made.save(tmp_path / f"{name}.json")
        again = read_monitor(tmp_path / f"{name}.json")
        assert (again.signal(drawn) == made.signal(drawn)).all() and again.threshold == made.threshold
        found = judge_file(again, "drawn", drawn)
        assert found.lost <= 0.1 * found.successes
    write_runs(tmp_path / "calls.csv")
    assert ends(["fit", "monitors", tmp_path / "calls.csv", "--kind", tmp_path / "agent_stop.json", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["findings"]
    assert told["monitor"].startswith("agent_stop, ") and told["cut"] > 0.15


def test_runs_in_the_books_teach_the_monitor_that_stops_the_next_ones(up: Upstream, tmp_path: Path) -> None:
    """The table of `books export --as runs` has the calls, their dollars, times and waits, and how runs ended."""
    with process(tmp_path, monitored(tmp_path, up)) as (gateway, url):
        for number in range(3):
            asyncio.run(agent(url, f"task {number}"))
        gateway.terminate()  # a kill may come before the last call is settled
        gateway.wait(GUARD_S)
    assert ends(["books", "export", tmp_path / "books.sqlite", "--as", "runs", "--out", tmp_path / "runs.csv"]) == 0
    calls = read_trajectories(tmp_path / "runs.csv")
    assert len(calls.runs) == 3 and len(calls.run) == 3 * MOST
    each = (USAGE["prompt_tokens"] * 1 + USAGE["completion_tokens"] * 2) / 1e6
    assert calls.usd.tolist() == pytest.approx([each] * len(calls.run))
    within = ~calls.last
    assert (calls.tool_s[within] > 0).all() and (calls.to_next_s[within] >= calls.llm_s[within]).all()
    assert not np.isfinite(calls.observation).any()


async def solved(folder: Path, up: Upstream, checker: dict[str, str] | None = None, **about: Any) -> Any:
    document = config(folder, up.url, "fine") | about
    made = config_from_document(document)
    options = {"checker": checker or {"exact": "what it never says"}}
    return await solve_live("What is it?", "repair(rounds=8)", made, options, books=str(folder / "books.sqlite"))


def test_a_run_of_a_strategy_is_stopped_with_its_best_answer(up: Upstream, tmp_path: Path) -> None:
    watched = {"long": {"kind": "step_budget", "threshold": 3, "watches": ["repair", "react"]}}
    made = asyncio.run(solved(tmp_path, up, monitors=watched))
    assert made.answer.reply is not None and len(made.calls) == 4
    (stop,) = stops_of(tmp_path / "books.sqlite")
    assert stop.why == "step_budget 4 > 3 after 4 calls" and stop.usd == pytest.approx(float(made.cost.usd))
    (tmp_path / "free").mkdir()
    assert len(asyncio.run(solved(tmp_path / "free", up)).calls) == 9


def test_a_run_whose_answer_is_about_to_be_accepted_is_not_stopped(up: Upstream, tmp_path: Path) -> None:
    """A monitor judges before the next call, as on records, where the last call of a run loses nothing."""
    watched = {"long": {"kind": "step_budget", "threshold": 0, "watches": ["repair", "react"]}}
    made = asyncio.run(solved(tmp_path, up, {"regex": "."}, monitors=watched))
    assert len(made.calls) == 1 and made.answer.confidence == 1.0 and stops_of(tmp_path / "books.sqlite") == []
    (tmp_path / "wrong").mkdir()
    assert asyncio.run(solved(tmp_path / "wrong", up, monitors=watched)).answer.confidence < 1.0
    (stop,) = stops_of(tmp_path / "wrong" / "books.sqlite")
    assert stop.calls == 1


def test_a_stopped_strategy_says_so_to_the_client(up: Upstream, tmp_path: Path) -> None:
    watched = {"long": {"kind": "dollar_budget", "threshold": 4e-5, "watches": ["react"], "keys": []}}
    with process(tmp_path, config(tmp_path, up.url, "fine") | {"monitors": watched}) as (_, url):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        told = client.chat.completions.create(
            model="comptroller/react:steps=8",
            messages=[{"role": "user", "content": "What?"}],
            extra_body={"comptroller": {"checker": {"exact": "what it never says"}}},
        )
    about = (told.model_extra or {})["comptroller"]
    assert about["stopped"]["monitor"] == "long" and not about["budget_spent"]
    assert about["calls"] == about["stopped"]["calls"] == 2 and about["stopped"]["spared_usd"]["value"] is None
    assert about["stopped"]["spent_usd"] == pytest.approx(about["cost"]["usd"])


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        ({}, InputError, "monitors.x: give `file`"),
        ({"kind": "step_budget"}, InputError, "monitors.x.threshold: missing"),
        ({"kind": "agent_stop", "threshold": 0.5}, InputError, "agent_stop learns from runs"),
        ({"kind": "clairvoyance", "threshold": 0.5}, UnknownIdError, "unknown monitor 'clairvoyance'"),
        ({"kind": "step_budget", "threshold": 2, "watches": ["sesions"]}, UnknownIdError, "nearest: sessions"),
        ({"kind": "repetition", "threshold": 0.5, "watches": ["react"]}, InputError, "reads observation"),
        ({"file": "nowhere.json"}, FactError, "nowhere.json"),
    ],
)
def test_what_is_no_monitor_is_refused_by_name(table: dict[str, Any], error: type[Exception], says: str) -> None:
    made = config_from_document({"services": {"echo": {"backend": "echo"}}, "monitors": {"x": table}})
    with pytest.raises(error, match=says):
        RunMonitors(made.monitors)


def test_a_file_that_is_no_monitor_says_what_it_lacks(tmp_path: Path, drawn: AgentTrajectories) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"kind": "milestone"}')
    with pytest.raises(FactError, match="not a monitor"):
        read_monitor(path)
    replace(train_monitor("agent_stop", drawn, 0.05, {}), lessons={"signals": ["mood"]}).save(path)
    with pytest.raises(FactError, match="mood"):
        read_monitor(path)
    with pytest.raises(InputError, match="learns from runs"):
        plain_monitor("milestone", 3)
