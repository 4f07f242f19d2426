"""What an agent's tools take between its calls: rows of the books, and the patterns that are told from them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comptroller.books.agent_runs import calls_of_runs
from comptroller.books.inefficiency import patterns_of_runs
from comptroller.books.insight import patterns
from comptroller.books.ledger import CallLedger
from comptroller.gateway.tool_waits import tool_rounds
from comptroller.work.tool_notes import KNOWN, MALFORMED, NOTHING
from comptroller.work.trajectory_files import read_trajectories
from gateway_houses import House, config, held, rows, running
from gateway_upstream import Upstream, upstream

TASK = {"role": "user", "content": "What does the log say?"}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def asks(id: str, name: str, arguments: str = '{"of": "log"}', said: str = "") -> dict[str, Any]:
    """A turn of a model that asks for a tool."""
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": said, "tool_calls": [call]}


def gives(id: str, content: str) -> dict[str, Any]:
    """What a tool gave."""
    return {"role": "tool", "tool_call_id": id, "content": content}


async def turns(house: House, session: str, *messages: dict[str, Any]) -> None:
    """A task turn by turn: a request after the question, and one after every result of a tool."""
    for end, turn in enumerate(messages, 1):
        if turn["role"] != "assistant":
            await house.client().chat.completions.create(
                model="fine", messages=messages[:end], extra_body={"comptroller": {"session": session}}
            )


def played(up: Upstream, folder: Path, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a task's session."""

    async def work() -> None:
        async with running(config(folder, up.url, "fine")) as house:
            await turns(house, "task 7", TASK, *messages)

    asyncio.run(work())
    return rows(folder / "books.sqlite")


def shares(books: Path) -> dict[str, float]:
    """What each pattern takes of all prefill-token equivalents."""
    with CallLedger.open(str(books)) as ledger:
        found = patterns(ledger, gamma=0.0)
    assert found.requests == 1
    return {one.name: one.tokens / found.tokens for one in found.found}


def test_a_wait_stands_between_the_calls_of_a_session(up: Upstream, tmp_path: Path) -> None:
    found = played(up, tmp_path, asks("a", "search"), gives("a", "nothing odd"))
    calls = [row for row in found if row["role"] == "solver"]
    (wait,) = (row for row in found if row["role"] == "tool:search")
    assert (calls[0]["parent"], wait["parent"], calls[1]["parent"]) == (-1, calls[0]["id"], wait["id"])
    assert {row["session"] for row in found} == {calls[0]["session"]} and calls[0]["session"] >= 0
    assert wait["wait_s"] == pytest.approx(calls[1]["arrival_s"] - calls[0]["last_s"], abs=1e-5)
    assert (wait["kind"], wait["charged_pusd"], wait["input_tokens"], wait["request"]) == (
        "released", 0, 0, calls[0]["request"],
    )  # fmt: skip
    assert held(tmp_path / "books.sqlite") == 0


def test_results_of_several_tools_share_the_wait(up: Upstream, tmp_path: Path) -> None:
    both = asks("a", "search")
    both["tool_calls"] += asks("b", "python")["tool_calls"]
    found = [
        row
        for row in played(up, tmp_path, both, gives("a", "one"), gives("b", "two"))
        if row["role"].startswith("tool:")
    ]
    assert [row["role"] for row in found][-2:] == ["tool:search", "tool:python"]
    assert found[-1]["wait_s"] == pytest.approx(found[-2]["wait_s"], abs=1e-5)


def test_requests_without_a_session_have_no_waits(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            for messages in ([TASK], [TASK, asks("a", "search"), gives("a", "x")]):
                await house.client().chat.completions.create(model="fine", messages=messages)  # type: ignore[arg-type]

    asyncio.run(work())
    assert [(row["role"], row["session"], row["parent"]) for row in rows(tmp_path / "books.sqlite")] == [
        ("solver", -1, -1)
    ] * 2


PLAIN = (asks("a", "search"), gives("a", "12 faults"))
CASES = {
    "confirmatory use": (asks("a", "search", said="It must be 12 faults."), gives("a", "12 faults")),
    "tool mixing": (*PLAIN, asks("b", "python"), gives("b", "13")),
    "lack of tool priors": (asks("a", "search"), gives("a", " ")),
    "format collapse": (asks("a", "search", arguments="{log"), gives("a", "cannot be read")),
}


@pytest.mark.parametrize("pattern", CASES)
def test_each_of_the_four_patterns_is_told_from_rows_that_the_gateway_wrote(
    up: Upstream, tmp_path: Path, pattern: str
) -> None:
    played(up, tmp_path, *CASES[pattern])
    found = shares(tmp_path / "books.sqlite")
    assert {name for name in CASES if found[name] > 0} == {pattern}
    assert found[pattern] == (1.0 if pattern == "tool mixing" else 0.5)


@pytest.mark.parametrize("pattern", [*CASES, ""])
def test_a_table_of_the_calls_tells_the_patterns_that_the_books_tell(
    up: Upstream, tmp_path: Path, pattern: str
) -> None:
    played(up, tmp_path, *CASES.get(pattern, PLAIN))
    books, table = tmp_path / "books.sqlite", tmp_path / "calls.csv"
    with CallLedger.open(str(books)) as ledger, table.open("w") as to:
        calls_of_runs(ledger, to)
    found = patterns_of_runs(read_trajectories(table), gamma=0.0)
    told, kept = {one.name: one.tokens / found.tokens for one in found.found}, shares(books)
    assert {name: told[name] for name in CASES} == pytest.approx({name: kept[name] for name in CASES})


def test_a_task_without_a_pattern_has_none(up: Upstream, tmp_path: Path) -> None:
    played(up, tmp_path, *PLAIN)
    assert not any(share for name, share in shares(tmp_path / "books.sqlite").items() if name in CASES)


def test_no_text_is_kept(up: Upstream, tmp_path: Path) -> None:
    found = played(up, tmp_path, asks("a", "search", said="It must be 12 faults."), gives("a", "12 faults"))
    assert "faults" not in json.dumps(found, default=str)


def test_the_same_call_with_the_same_result_was_known() -> None:
    again = tool_rounds([TASK, asks("a", "run"), gives("a", "3 failed"), asks("b", "run"), gives("b", "3 failed")])
    moved = tool_rounds([TASK, asks("a", "run"), gives("a", "3 failed"), asks("b", "run"), gives("b", "2 failed")])
    assert [one.note for one in (*again, *moved)] == [KNOWN, ""]


def test_what_strangers_send_as_rounds_is_read_without_an_error() -> None:
    odd: list[list[dict[str, Any]]] = [
        [gives("a", "x")],
        [{"role": "assistant", "tool_calls": None}, gives("a", "x")],
        [{"role": "assistant", "tool_calls": ["x", {"id": 3}]}, {"role": "tool", "content": None}],
        [asks("a", "x" * 500, arguments="{"), gives("a", "")],
    ]
    told = [tool_rounds(messages) for messages in odd]
    assert [[one.note for one in each] for each in told] == [[], [""], [NOTHING], [MALFORMED]]
    assert len(told[3][0].name) == 64
