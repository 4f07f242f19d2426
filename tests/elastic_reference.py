"""A plain reference of replicas that come and go: a script of what happens to whom, played beside stepping ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.jobs import fill
from comptroller.serving.policies import decision
from comptroller.serving.policies.view import RouterState
from comptroller.serving.state import ARRIVE, END, JOB, OVER, START, TICKS_PER_S, RequestState, records, ticks
from comptroller.serving.work_after_loss import CachePath, WorkAfterLoss
from comptroller.work.call import CallTable
from serving_reference import ReferenceRank, ReferenceRequest


@dataclass
class ScriptEvent:
    """At a moment a replica takes calls, takes no more, is gone, or sends its calls away within a notice."""

    at_s: float
    act: str
    replica: int
    work: WorkAfterLoss = WorkAfterLoss.RESTART
    notice_s: float = 0.0
    path: CachePath | None = None


@dataclass
class ElasticReference:
    """Ranks that step, calls that come, and a script; `rows` is what became of every row, in its order."""

    fleet: SimulatedFleet
    calls: CallTable
    script: Sequence[ScriptEvent]
    taking: set[int]
    rows: list[Any] = field(default_factory=list)
    parked: list[Any] = field(default_factory=list)

    def play(self) -> list[Any]:
        """Within each tick steps end, calls arrive, steps start, and then the script has its turn."""
        self.jobs, self.now, self.turn = records(JOB, len(self.calls)), 0, 0
        fill(self.jobs, self.calls, self.fleet)
        self.rows = [ReferenceRequest(n, job, []) for n, job in enumerate(self.jobs)]
        self.ranks = [ReferenceRank(self.fleet, replica) for _, replica in self.fleet.replicas()]
        self.acts: list[tuple[int, int] | None] = [None] * len(self.ranks)
        self.since, self.coming = [0] * len(self.ranks), list(self.rows)
        todo = sorted(self.script, key=lambda event: event.at_s)
        while self.coming or any(self.acts) or todo:
            self.coming.sort(key=lambda r: (r.arrival, r.id))
            nexts = [(*at, rank) for rank, at in enumerate(self.acts) if at]
            nexts += [(r.arrival, ARRIVE, r.id) for r in self.coming[:1]]
            nexts += [(ticks(event.at_s), OVER, 0) for event in todo[:1]]
            self.now, phase, number = min(nexts)
            if phase == OVER:
                self.happen(todo.pop(0))
            elif phase == ARRIVE:
                self.arrive(self.coming.pop(0))
            elif phase == END:
                self.ranks[number].finish(self.now - self.since[number], self.now)
                self.ranks[number].let_go(self.now)
                self.acts[number] = self.now, START
            else:
                took, self.since[number] = self.ranks[number].begin(self.now), self.now
                again = (self.now, START) if self.ranks[number].disturbed else None
                self.acts[number] = (self.now + took, END) if took else again
        return self.rows

    def arrive(self, request: Any) -> None:
        if not self.taking:
            self.parked.append(request)
            return
        view = np.array([rank.row(request) for rank in self.ranks])
        router = RouterState(
            self.turn, self.fleet.policies.seed, self.fleet.policies.bound, self.fleet.policies.overlap
        )
        self.turn += 1
        number = decision("routing", self.fleet.policies.routing)(view, np.array(sorted(self.taking)), request, router)
        request.key = decision("scheduling", self.fleet.policies.scheduling)(request)
        request.prompt_rank, request.token_rank, request.state = number, number, RequestState.QUEUED
        self.ranks[number].sent.append(request)
        self.ranks[number].queue.append(request)
        self.acts[number] = self.acts[number] or (self.now, START)

    def happen(self, event: ScriptEvent) -> None:
        if event.act == "open":
            self.taking.add(event.replica)
            waiting, self.parked = sorted(self.parked, key=lambda r: r.id), []
            for request in waiting:
                self.again(request, 0, self.now / TICKS_PER_S, 0)
            return
        self.taking.discard(event.replica)
        if event.act == "close":
            return
        alive = [r for r in self.ranks[event.replica].sent if r.state < RequestState.DONE]
        self.ranks[event.replica].__init__(self.fleet, self.fleet.replicas()[event.replica][1])  # nothing is left there
        self.acts[event.replica] = None
        now_s, size = self.now / TICKS_PER_S, self.ranks[event.replica].table.kv_bytes_per_token
        away_s = 0.0
        for request in sorted(alive, key=lambda r: r.id):
            request.state = RequestState.CANCELLED
            if event.act == "move" and event.path is not None:
                out_s = request.context * size / event.path.out_bytes_per_s
                if away_s + out_s <= event.notice_s:
                    away_s += out_s
                    there_s = now_s + (away_s + request.context * size / event.path.in_bytes_per_s)
                    self.again(request, request.generated, there_s, request.context)
                    continue
            self.again(request, request.generated if event.work != WorkAfterLoss.RESTART else 0, now_s, 0)

    def again(self, old: Any, made: int, at_s: float, kept: int) -> None:
        """The call as a row more, whose first tokens stand in its prompt."""
        job, made = self.jobs[0].copy(), min(made, old.output - 1)
        job["arrival_s"], job["prompt"], job["output"], job["kept"] = at_s, old.prompt + made, old.output - made, kept
        request = ReferenceRequest(len(self.rows), job, [])
        request.arrival = max(self.now + 1, request.arrival)
        self.rows.append(request)
        self.coming.append(request)
