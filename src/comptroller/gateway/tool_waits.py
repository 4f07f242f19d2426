"""What an agent's tools take between its calls, as rows of the books: told by the next request of a session.

A client that calls a model, runs the tools that it asked for and sends their results has waited from the end of the one
call to the arrival of the next. Where it names its session, that wait becomes a row without tokens under the role
`tool:NAME`, between the two calls. No text is kept: what a result says of the round is judged here, in a word.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comptroller.gateway.attempt import CallAttempt
from comptroller.gateway.config import MonitorConfig
from comptroller.gateway.conversation import text_of
from comptroller.gateway.desk import UpstreamDispatcher
from comptroller.gateway.replica_choice import session_number
from comptroller.gateway.run_monitors import SESSIONS, RunMonitors, RunRecord, book_stop
from comptroller.work.call import Call
from comptroller.work.tool_notes import KNOWN, MALFORMED, NOTHING

MOST_SESSIONS = 10_000
"""Sessions whose calls are remembered; the one that has been silent longest is forgotten first: its next wait has no
row, and monitors begin anew. Some ten megabytes, and 72 bytes a call; at twice it twice as much."""

TOLD = 200
"""Characters of a result that is looked for in what the model had said: a longer one is a document, no answer."""

MOST_NAME = 64
"""Characters of a tool's name that are kept, as many as OpenAI's API permits."""


@dataclass(frozen=True, slots=True)
class ToolRound:
    """A tool that was called between two requests: its name, and what the round says of itself, or nothing.

    characters: that it gave back.
    """

    name: str
    note: str
    characters: int = 0


def tool_rounds(messages: Sequence[Mapping[str, Any]]) -> list[ToolRound]:
    """The tools whose results a request begins its turn with, in their order.

    >>> asks = {"id": "a", "function": {"name": "search", "arguments": "{}"}}
    >>> told = {"role": "tool", "tool_call_id": "a", "content": ""}
    >>> tool_rounds([{"role": "assistant", "tool_calls": [asks]}, told])
    [ToolRound(name='search', note='nothing came back', characters=0)]
    """
    last = max((n for n, turn in enumerate(messages) if turn.get("role") == "assistant"), default=-1)
    results = [turn for turn in messages[last + 1 :] if turn.get("role") == "tool"]
    if last < 0 or not results:
        return []
    asked = {str(call.get("id")): call for call in _calls_of(messages[last])}
    earlier = set(_rounds_of(messages[:last]))
    said = text_of(messages[last].get("content"))
    return [_round_of(asked.get(str(turn.get("tool_call_id")), {}), turn, said, earlier) for turn in results]


def _round_of(
    call: Mapping[str, Any], result: Mapping[str, Any], said: str, earlier: set[tuple[str, str, str]]
) -> ToolRound:
    name, arguments = _name_and_arguments(call)
    told = text_of(result.get("content")).strip()
    if not _is_json(arguments):
        note = MALFORMED
    elif not told:
        note = NOTHING
    elif (name, arguments, told) in earlier or _stands_in(told, said):
        note = KNOWN
    else:
        note = ""
    return ToolRound(name, note, len(told))


def _calls_of(turn: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [call for call in turn.get("tool_calls") or () if isinstance(call, Mapping)]


def _name_and_arguments(call: Mapping[str, Any]) -> tuple[str, str]:
    """Name and arguments of a call; of one that is not in the conversation, `unknown` and none."""
    function = call.get("function") or {}
    return str(function.get("name") or "unknown")[:MOST_NAME], str(function.get("arguments") or "{}")


def _rounds_of(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Name, arguments and result of every round so far."""
    asked: dict[str, tuple[str, str]] = {}
    for turn in messages:
        asked |= {str(call.get("id")): _name_and_arguments(call) for call in _calls_of(turn)}
        if turn.get("role") == "tool" and (call := asked.get(str(turn.get("tool_call_id")))):
            yield (*call, text_of(turn.get("content")).strip())


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _stands_in(told: str, said: str) -> bool:
    """Whether a short result stands in a text as a whole word; a single character stands in too many."""
    if not 1 < len(told) <= TOLD:
        return False
    return re.search(rf"(?<!\w){re.escape(told)}(?!\w)", said) is not None


class SessionTurns:
    """The calls of every session, rows of what passed until its next, and the monitors' stops. `start` comes first."""

    _desk: UpstreamDispatcher

    def __init__(self, monitors: Mapping[str, MonitorConfig]) -> None:
        self.monitors = RunMonitors(monitors)
        self._runs: OrderedDict[tuple[str, str], RunRecord] = OrderedDict()

    def start(self, desk: UpstreamDispatcher) -> None:
        """From now on rows are booked."""
        self._desk = desk

    def arrived(self, call: Call, session: str, messages: Sequence[Mapping[str, Any]]) -> Call:
        """The call with its session and its parent, which is the last wait of a tool where there is one, else the
        session's last call; the waits are booked.

        Raises:
            GatewayError: a monitor stops the session, or has stopped it.
        """
        if not session:
            return call
        call = replace(call, session=session_number(session))
        record = self._runs.get((call.key, session))
        if record is None or record.last is None:
            return call
        if record.stop is not None:
            raise record.stop.problem
        rounds = tool_rounds(messages)
        parent = self._booked(record.last, rounds, call)
        told = sum(one.characters for one in rounds)
        wait_s = call.arrival_s - record.last.last_s
        record.went_on(call.arrival_s, *((float(told), wait_s) if rounds else ()))
        self._require_going_on(record, call)
        return replace(call, parent=parent)

    def _booked(self, last: Call, rounds: Sequence[ToolRound], call: Call) -> int:
        """The id of the last row before a call, once the waits for tools are rows."""
        wait_s = max(call.arrival_s - last.last_s, 0.0) / max(len(rounds), 1)
        parent = last.call
        for number, one in enumerate(rounds):
            began_s = last.last_s + number * wait_s
            row = Call(
                request=last.request, parent=last.call, role=f"tool:{one.name}", key=call.key, project=call.project,
                question=last.question, session=call.session, finish="failed" if one.note == MALFORMED else "stop",
            )  # fmt: skip
            parent = self._desk.waited(row, (began_s, began_s + wait_s), one.note)
        return parent

    def _require_going_on(self, record: RunRecord, call: Call) -> None:
        """Raises GatewayError where a monitor stops the session before this call; the stop is booked."""
        stop = self.monitors.verdict(record, self.monitors.watching(SESSIONS, call.key))
        if stop is not None:
            assert record.last is not None
            book_stop(self._desk, stop, record.last, call.arrival_s)
            raise stop.problem

    def ended(self, session: str, attempts: Sequence[CallAttempt]) -> None:
        """A request of a session is over."""
        if not session or not attempts:
            return
        place = (attempts[-1].call.key, session)
        record = self._runs.setdefault(place, RunRecord())
        for attempt in attempts:
            record.add(attempt.call)
        self._runs.move_to_end(place)
        if len(self._runs) > MOST_SESSIONS:
            self._runs.popitem(last=False)
