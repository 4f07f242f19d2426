"""Questions over time whose calls are known before: the engine releases each call when what it waits for has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.serving.engine import EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.question_graphs import QuestionGraph, QuestionGraphRecord
from comptroller.serving.state import JOB, TICKS_PER_S, records
from comptroller.serving.world import (
    ELSEWHERE,
    QuestionStream,
    QuestionStreamOutcome,
    code_texts,
    require_seconds,
    solve,
    whole_ticks_s,
)
from comptroller.strategies.protocol import UNLIMITED
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def solve_recorded(fleet: SimulatedFleet, stream: QuestionStream, record: QuestionGraphRecord) -> QuestionStreamOutcome:
    """As `world.solve`, call by call: by graphs where no clock decides what is asked, else live.

    record: what was recorded of the strategies before.  Policies that draw by the number of a request, and drafts,
    draw other numbers.

    Raises:
        UnsupportedError: a strategy asks for what is not recorded, or the record lacks tokens.
    """
    return replay_stream(fleet, stream, record) or solve(fleet, stream)


def replay_stream(
    fleet: SimulatedFleet, stream: QuestionStream, record: QuestionGraphRecord
) -> QuestionStreamOutcome | None:
    """The stream played by graphs; `None` where a clock decides what is asked, or a request is refused.

    Raises:
        UnsupportedError: as `solve_recorded`.
    """
    if stream.budget != UNLIMITED:
        return None
    graphs = list[QuestionGraph]()
    for number, question in enumerate(stream.question.tolist()):
        graph = record.graph(stream.of(number), question, (stream.seed, number))
        if graph is None:
            return None
        graphs.append(graph)
    return _StreamReplay(fleet, stream, record, graphs).outcome()


class _StreamRows(NamedTuple):
    """Rows of the jobs. number: question of each.  calls: the rows that are calls.  first: of each question."""

    jobs: Any
    number: Ints
    calls: Ints
    first: Ints


def _job_pool(graphs: list[QuestionGraph], counts: Ints, within: Ints) -> Any:
    """The rows of all graphs, one after the other, of which most stand there many times. within: place in its graph."""
    known = dict.fromkeys(graphs, 0)
    pool = records(JOB, sum(len(graph.rows) for graph in known))
    end = 0
    for graph in known:
        known[graph], end = end, end + len(graph.rows)
        pool[known[graph] : end] = graph.rows
    return pool[np.repeat([known[graph] for graph in graphs], counts) + within]


class _StreamReplay:
    def __init__(
        self, fleet: SimulatedFleet, stream: QuestionStream, record: QuestionGraphRecord, graphs: list[QuestionGraph]
    ) -> None:
        self._fleet, self._stream, self._record, self._graphs = fleet, stream, record, graphs
        self._engine = EventEngine(fleet)
        self._outside: dict[tuple[int, int], float] = {}
        self._start_s = np.array([whole_ticks_s(at_s) for at_s in stream.arrival_s.tolist()])

    def outcome(self) -> QuestionStreamOutcome | None:
        """What came of it; `None` where a request was refused, or a run would have asked something else."""
        rows = self._rows()
        self._place(rows)
        if self._fleet.prefix_block_tokens:
            self._share_blocks(rows)
        self._engine.enter(rows.jobs)
        self._engine.advance()
        found = self._engine.outcome()
        if not found.done.all():
            return None
        last = found.requests.last.astype(np.int64)
        score = self._scores(rows, last)
        if score is None:
            return None
        ended = np.round(self._start_s * TICKS_PER_S).astype(np.int64)
        np.maximum.at(ended, rows.number, last)
        own = replace(found, jobs=found.jobs[rows.calls], requests=found.requests[rows.calls])
        return QuestionStreamOutcome(self._calls(rows, own), own, score, ended / TICKS_PER_S - self._start_s)

    def _rows(self) -> _StreamRows:
        counts = np.array([len(graph.rows) for graph in self._graphs])
        first = np.cumsum(counts) - counts
        number, base = np.repeat(np.arange(len(counts)), counts), np.repeat(first, counts)
        jobs = _job_pool(self._graphs, counts, np.arange(len(number)) - base)
        jobs.parent = np.where(jobs.parent >= 0, jobs.parent + base, -1)
        jobs.joins = np.where(jobs.joins > 0, jobs.joins + base, 0)
        calls = np.concatenate([graph.of_call + at for graph, at in zip(self._graphs, first.tolist(), strict=True)])
        return _StreamRows(jobs, number, calls, first)

    def _place(self, rows: _StreamRows) -> None:
        """Send every call to its service, or elsewhere; those that begin a run arrive, the others are released."""
        roles = [call.role for graph in self._graphs for call in graph.calls]
        jobs, numbers = rows.jobs, rows.number[rows.calls].tolist()
        prompts, outputs = jobs.prompt[rows.calls].tolist(), jobs.output[rows.calls].tolist()
        services, outside_s = np.zeros(len(jobs), np.int64), np.zeros(len(jobs))
        each = zip(rows.calls.tolist(), numbers, roles, prompts, outputs, strict=True)
        for row, number, role, prompt, output in each:
            if not prompt:
                continue
            play = self._stream.of(number)
            services[row] = service = play.place(number, role, prompt, output)
            if service == ELSEWHERE:
                require_seconds(play, role)
            else:
                outside_s[row] = self._outside_s(service, prompt)
        elsewhere = services == ELSEWHERE
        jobs.prompt[elsewhere], jobs.output[elsewhere], jobs.predicted[elsewhere] = 0, 0, 0
        of_fleet = jobs.prompt > 0
        jobs.service = np.where(of_fleet, services, 0)
        jobs.session = np.where(of_fleet, rows.number, -1)
        root = (jobs.parent < 0) & (jobs.awaits == 0)
        jobs.arrival_s = np.where(root, self._start_s[rows.number] + outside_s, 0.0)
        jobs.wait_s = np.where(of_fleet, np.where(root, 0.0, outside_s), jobs.wait_s)

    def _outside_s(self, service: int, prompt: int) -> float:
        if (service, prompt) not in self._outside:
            self._outside[service, prompt] = whole_ticks_s(self._fleet.outside_s(service, prompt))
        return self._outside[service, prompt]

    def _share_blocks(self, rows: _StreamRows) -> None:
        """The blocks of each question's calls, after those of the questions before it."""
        size, made, found, counts = self._fleet.prefix_block_tokens, 0, [], []
        ends = np.cumsum([len(graph.calls) for graph in self._graphs]).tolist()
        of_fleet = rows.jobs.prompt[rows.calls] > 0
        for number, (graph, end) in enumerate(zip(self._graphs, ends, strict=True)):
            own = of_fleet[end - len(graph.calls) : end]
            blocks = self._record.blocks(self._stream.of(number), graph, own, size)
            found.append(blocks.ids + made)
            counts.append(blocks.counts)
            made += blocks.made
        count = np.concatenate(counts)
        base = self._engine.add_blocks(np.concatenate(found))
        rows.jobs.block_count[rows.calls] = count
        rows.jobs.blocks[rows.calls] = np.where(count > 0, base + np.cumsum(count) - count, 0)

    def _scores(self, rows: _StreamRows, last: Ints) -> Floats | None:
        """The scores, where replies came in the order that they did; `None` if that changes what is asked."""
        score = np.array([graph.score for graph in self._graphs])
        for number, graph in enumerate(self._graphs):
            if graph.crowded:
                orders = graph.orders(last[rows.first[number] + graph.of_call])
                play, question = self._stream.of(number), int(self._stream.question[number])
                found = self._record.score(play, question, (self._stream.seed, number), graph, orders)
                if found is None:
                    return None
                score[number] = found
        return score

    def _calls(self, rows: _StreamRows, outcome: EngineOutcome) -> CallTable:
        """What was asked, as call records."""
        calls = [call for graph in self._graphs for call in graph.calls]
        number = rows.number[rows.calls]
        roles = code_texts(call.role for call in calls)
        questions = code_texts(self._stream.of(n).replay.questions[q].id for n, q in enumerate(self._stream.question))
        spelled = code_texts(self._stream.of(n).spelled for n in range(len(self._graphs)))
        base = np.concatenate([[0], np.cumsum([len(graph.calls) for graph in self._graphs])])[number]
        after = np.array([call.after for call in calls], np.int64)
        names = {
            "role": roles[0],
            "question": questions[0],
            "strategy": spelled[0],
            "service": ("", *(service.name for service in self._fleet.services)),
        }
        jobs = outcome.jobs
        return CallTable.of(
            names,
            None,
            request=number,
            parent=np.where(after >= 0, after + base, -1),
            role=roles[1],
            strategy=np.array(spelled[1])[number],
            question=np.array(questions[1])[number],
            session=jobs.session,
            service=jobs.service,
            arrival_s=outcome.arrival_s,
            wait_s=np.where(jobs.prompt > 0, 0.0, jobs.wait_s),
            input_tokens=jobs.prompt,
            output_tokens=jobs.output,
        )
