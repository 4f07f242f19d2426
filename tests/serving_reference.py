"""A plain reference of the event engine: one service of continuous batching, one step after another.

It covers calls that wait for replies, chunked prefill, admission to a paged cache, preemption with recomputation,
prefix caching, what routers see, and energy. Memory is counted anew whenever it is asked for, and no steps are summed
in closed form.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from comptroller.serving.fleet import BlockStore, SimulatedFleet, SimulatedReplica
from comptroller.serving.jobs import fill, parents_of
from comptroller.serving.outcome import EngineOutcome, RankMeters
from comptroller.serving.policies import decision, module
from comptroller.serving.policies.view import RouterState
from comptroller.serving.state import ARRIVE, END, JOB, RESULT, START, TICKS_PER_S, RequestState, records
from comptroller.serving.ticks import TickTable
from comptroller.work.call import CallTable


class ReferenceRequest:
    """The fields of a job and of its result, and of its cache: `goal`, tokens that the prompt phase computes;
    `context`, tokens in cache; `high`, the most ever there; `held`, blocks shared through the prefix cache."""

    def __init__(self, number: int, job: Any, blocks: list[int]) -> None:
        vars(self).update(dict.fromkeys(RESULT.names or (), 0), **dict(zip(JOB.names or (), job.item(), strict=True)))
        self.id, self.blocks, self.arrival = number, blocks, int(job.arrival_s * TICKS_PER_S + 0.5)
        self.started = self.first = self.last = self.prompt_rank = self.token_rank = -1
        self.key = self.fair_start = self.counter = 0.0
        self.goal = self.context = self.high = self.held = self.ready = self.due = 0
        self.slot: list[int] | None = None


def place(request: Any) -> tuple[float, int, int]:
    """Who waits behind whom, and who is preempted last."""
    return request.key, request.arrival, request.id


class ReferenceRank:
    """One rank: its queue, its batch, its memory (idle cached blocks last), its meters."""

    def __init__(self, fleet: SimulatedFleet, replica: SimulatedReplica, shared: ReferenceStore | None = None) -> None:
        self.policies, self.replica, self.table = fleet.policies, replica, replica.table
        self.stores = [ReferenceStore(store, fleet) for store in replica.stores] + ([shared] if shared else [])
        self.pooled, self.loading, self.loaded, self.link = shared, [], [], 0
        self.lanes = [[0, 0] for _ in self.stores]
        self.slots = [[-1, 0, 0, 0] for _ in range(replica.adapter_slots)]
        self.turn, self.counters, self.last = 0, ReferenceCounters(fleet, self), -1
        self.ticks, self.block = TickTable.of(replica.table), replica.table.kv_block_tokens
        self.spans: list[tuple[int, int, float]] = []
        self.size = fleet.prefix_block_tokens if replica.prefixes else 0
        self.shared, self.capacity = self.size // self.block, self.table.kv_capacity_tokens // self.block
        self.unit, footprint = 1, self.table.footprint
        if footprint:
            self.unit, self.capacity = footprint.block_bytes, footprint.capacity_bytes
            self.shared *= footprint.full_block_bytes
        self.size = self.size if self.shared else 0
        self.sent, self.queue, self.prompts, self.batch = [], [], [], []
        self.users: dict[int, int] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()
        self.meters = dict.fromkeys(RankMeters.__dataclass_fields__, 0.0)
        self.budget, self.decodes, self.disturbed = 0, False, False

    def pages(self, tokens: int) -> int:
        blocks, footprint = -(-tokens // self.block), self.table.footprint
        if footprint is None:
            return blocks
        kept = sum(min(blocks, most) * size for most, size in footprint.parts)
        return kept + (footprint.state_bytes if tokens else 0)

    def occupied(self) -> int:
        on = self.prompts + self.batch + self.loading + self.loaded
        private = sum(self.pages(max(r.goal, r.context)) - r.held * self.shared for r in on)
        return private + (len(self.users) - len(self.idle)) * self.shared

    def room(self) -> int:
        """Blocks that the next decode step leaves."""
        growth = sum(self.pages(r.context + 1) - self.pages(r.context) for r in self.batch)
        return self.capacity - self.occupied() - growth

    def trim(self, tick: int) -> None:
        while self.idle and len(self.idle) * self.shared > self.capacity - self.occupied():
            block = self.idle.popitem(last=False)[0]
            del self.users[block]
            self.put(0, block, tick)
            self.meters["evictions"] += 1

    def put(self, first: int, block: int, tick: int) -> None:
        """A block is sent at a tick to the first store from there on that takes any; what that forgets to the next."""
        for place, store in enumerate(self.stores):
            if place < first or not store.most:
                continue
            if block in store.blocks:
                store.blocks.move_to_end(block)
                return
            old = store.blocks.popitem(last=False) if len(store.blocks) == store.most else None
            there, way = tick, int(store.of.duplex)
            if store.write_ticks:
                there = self.lanes[place][way] = max(tick, self.lanes[place][way]) + store.write_ticks
            store.blocks[block] = there
            if old:
                self.put(place + 1, old[0], max(tick, old[1]))
            return

    def matched(self, request: Any, tokens: int) -> int:
        known = [block in self.users for block in request.blocks[: (tokens - 1) // self.size if self.size else 0]]
        return known.index(False) if False in known else len(known)

    def reach(self, request: Any) -> int:
        """Leading blocks that are in the device or in a store."""
        most, count = (request.prompt - 1) // self.size if self.size else 0, 0
        for block in request.blocks[:most]:
            if block not in self.users and not any(block in store.blocks for store in self.stores):
                break
            count += 1
        return count

    def hold(self, request: Any, tokens: int) -> None:
        """Share the full blocks of a request's first tokens."""
        for block in request.blocks[request.held : tokens // self.size] if self.size else []:
            self.idle.pop(block, None)
            self.users[block] = self.users.get(block, 0) + 1
            request.held += 1

    def leave(self, request: Any) -> None:
        """A request stops running; its blocks are free, its cached ones idle once nobody uses them."""
        (self.batch if request in self.batch else self.prompts).remove(request)
        if request.slot:
            request.slot[1], request.slot = request.slot[1] - 1, None
        for block in reversed(request.blocks[: request.held]):
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None
        request.held = request.goal = request.context = 0

    def row(self, request: Any) -> list[float]:
        """What a router sees."""
        alive, hits = [r for r in self.sent if r.state < RequestState.DONE], self.reach(request)
        pending, promised = sum(r.prompt for r in alive if r.first < 0), sum(r.prompt + r.predicted for r in alive)
        memory = (size * self.block // self.unit for size in (self.occupied(), self.capacity))
        return [len(alive), len(self.queue), pending, promised, *memory, self.replica.weight, hits * self.size]

    def admit(self, tick: int) -> None:
        """Take requests from the queue as long as seats, blocks and the step's budget last."""
        while self.queue:
            request = self.counters.first() if self.counters.policy else min(self.queue, key=place)
            left, goal = self.budget - sum(r.goal - r.context for r in self.prompts), request.prompt + request.generated
            hits = self.matched(request, goal)
            used = sum(block not in self.idle for block in request.blocks[:hits])
            fits = self.pages(goal) - used * self.shared <= self.room()
            seats = len(self.batch + self.prompts + self.loading + self.loaded)
            slot = self.slot_of(request)
            if left <= 0 or not fits or slot is False or seats >= self.table.max_batch:
                return
            self.queue.remove(request)
            self.counters.admit(request)
            request.started = tick if request.started < 0 else request.started
            came = 0 if request.preemptions else min(request.kept, goal - 1)
            request.goal, request.context = goal, max(hits * self.size, came)
            self.hold(request, request.context)
            request.due = self.load(request, slot, hits, tick)
            if request.due > tick:
                self.loading.append(request)
                self.trim(tick)
                continue
            self.prompts.append(request)
            self.find(request, request.context)
            self.trim(tick)
            self.hold(request, request.context + max(0, min(goal - request.context, left)))
            self.trim(tick)

    def find(self, request: Any, context: int) -> None:
        """A request has its first tokens in cache."""
        request.cached += max(0, context - request.high)
        request.context, request.high = context, max(request.high, context)

    def slot_of(self, request: Any) -> Any:
        """The slot for a request's adapter: None if it needs none, False if there is none."""
        if not self.slots or not request.adapter:
            return None
        own = [slot for slot in self.slots if slot[0] == request.adapter]
        free = [slot for slot in self.slots if slot[1] == 0]
        return own[0] if own else min(free, key=lambda slot: slot[2]) if free else False

    def load(self, request: Any, slot: list[int] | None, hits: int, tick: int) -> int:
        """When the adapter and the blocks that lie in stores are in the device."""
        due, self.turn = tick, self.turn + 1
        if slot:
            if slot[0] != request.adapter:
                self.link = max(tick, self.link) + int(self.replica.adapter_load_s * TICKS_PER_S + 0.5)
                slot[0], slot[3] = request.adapter, self.link
                request.adapter_loads += 1
                self.meters["adapter_loads"] += 1
            slot[1], slot[2], request.slot, due = slot[1] + 1, self.turn, slot, max(due, slot[3])
        request.ready, there, before = hits, max(tick, self.link), request.loaded
        for block in request.blocks[hits : (request.goal - 1) // self.size if self.size else 0]:
            having = [place for place, store in enumerate(self.stores) if block in store.blocks]
            if block not in self.users and not having:
                break
            request.ready += 1
            if block not in self.users:
                store, lane = self.stores[having[0]], self.lanes[having[0]]
                store.blocks.move_to_end(block)
                request.loaded += self.size
                there = lane[0] = max(there, lane[0], store.blocks[block]) + store.ticks
        if request.loaded > before:
            self.link, due = there, max(due, there)
        return due

    def share(self, request: Any, tick: int) -> None:
        for block in reversed(request.blocks[: request.held] if self.pooled else []):
            self.put(len(self.stores) - 1, block, tick)

    def begin(self, tick: int) -> int:
        """Make up the next step; the ticks it takes alone, 0 if there is nothing to do."""
        self.disturbed = False
        for request in self.loaded:
            self.hold(request, request.ready * self.size)
            self.find(request, request.ready * self.size)
            self.prompts.append(request)
        self.loaded = []
        while self.batch and self.room() < 0:
            request, self.disturbed = max(self.batch + self.prompts, key=place), True
            request.preemptions, request.high = request.preemptions + 1, max(request.high, request.context)
            self.leave(request)
            self.join_queue(request)
        batching = decision("batching", self.policies.batching)
        self.budget, mixes = batching(len(self.batch), self.table.chunk_tokens)
        if not self.disturbed:
            self.admit(tick)
        for request, take in self.chunks():
            self.hold(request, request.context + take)
        self.decodes = bool(self.batch) and (mixes or not self.chunks())
        return self.cost()[0]

    def chunks(self) -> list[tuple[Any, int]]:
        """Prompt tokens of each request in the step."""
        left, takes = self.budget, []
        for request in self.prompts:
            takes.append((request, min(request.goal - request.context, left)))
            left -= takes[-1][1]
        return [(request, take) for request, take in takes if take]

    def cost(self) -> tuple[int, float, float, float, float]:
        """Ticks of the step, and joules: per prompt token, per query-key pair, per cached token, shared by decodes."""
        chunks, size, kv = self.chunks(), len(self.batch), sum(r.context for r in self.batch)
        ticks, fixed, per_kv = self.decode(size, kv) if self.decodes else (0, 0.0, 0.0)
        if not chunks:
            return ticks, 0.0, 0.0, per_kv, fixed
        if self.decodes:
            ticks, fixed = ticks - self.decode(size, 0)[0], fixed - self.decode(size, 0)[1]
        tokens = sum(take for _, take in chunks) + size * self.decodes
        pairs = sum(take * (r.context + 0.5 * (take + 1)) for r, take in chunks)
        (mixed_s, mixed_j), (pair_s, pair_j) = line(self.ticks.mixed, tokens), line(self.ticks.pairs, pairs)
        ticks = max(ticks + int((mixed_s + pair_s) * TICKS_PER_S + 0.5), 1)
        return ticks, mixed_j / tokens, pair_j / max(pairs, 1.0), per_kv, fixed

    def decode(self, size: int, kv: int) -> tuple[int, float, float]:
        """Ticks of a decode step, joules beside its cached tokens, joules of each of those."""
        of, left = self.ticks, segment(self.ticks.knots, kv)
        ticks = int(of.value[size, left]) + int(of.slope[size, left]) * (kv - int(of.knots[left]))
        return ticks, float(of.intercept_j[size, left]), float(of.slope_j[size, left])

    def finish(self, ticks: int, now: int) -> None:
        """The step is over: book what it used and what it made."""
        (_, per_token, per_pair, per_kv, fixed), chunks = self.cost(), self.chunks()
        size = len(self.batch) * self.decodes
        tokens, seconds = sum(take for _, take in chunks) + size, ticks / TICKS_PER_S
        before = self.meters["step_j"]
        self.meters["busy_s"] += seconds
        self.meters["steps"] += 1
        for request, take in chunks:
            joules = take * per_token + take * (request.context + 0.5 * (take + 1)) * per_pair
            again = max(0, min(request.context + take, request.high) - request.context)
            self.charge(request, seconds * take / tokens, joules)
            request.j_waste += joules * again / take
            request.j_prefill += joules * (take - again) / take
            request.recomputed, request.computed = request.recomputed + again, request.computed + take - again
            request.context, request.high = request.context + take, max(request.high, request.context + take)
            self.meters["prompt_tokens"] += take - again
            self.meters["recomputed_tokens"] += again
        for request in self.batch[:size]:
            joules = per_kv * request.context + fixed / size + per_token
            request.j_decode += joules
            self.charge(request, seconds / tokens, joules)
            request.context, request.generated = request.context + 1, request.generated + 1
            self.counters.made(request)
            self.meters["output_tokens"] += 1
        self.spans.append((now - ticks, now, self.meters["step_j"] - before))
        self.trim(now)

    def reply_ticks(self, request: Any) -> int:
        """From the end of a request here to its reply: what the server takes around the engine."""
        fresh, serving = request.prompt - request.cached, self.table.serving
        chunks = max(-(-fresh // self.table.chunk_tokens), 1)
        pairs = fresh * (request.cached + (fresh + 1) / 2) / chunks
        alone = line(TickTable.of(self.table).mixed, fresh / chunks)[0] + line(TickTable.of(self.table).pairs, pairs)[0]
        around = serving.host_s + serving.client_s * self.table.in_flight
        return round((around + (serving.prefill - 1) * chunks * alone) * TICKS_PER_S)

    def join_queue(self, request: Any) -> None:
        self.counters.lift(request.tenant)
        self.queue.append(request)

    def charge(self, request: Any, seconds: float, joules: float) -> None:
        request.steps, request.device_s = request.steps + 1, request.device_s + seconds
        request.usd += seconds * self.table.usd_per_s
        self.meters["step_j"] += joules

    def let_go(self, tick: int) -> list[Any]:
        """Whose prompt is done decodes on; who is done leaves, and is told."""
        left = []
        done = [r for r in self.batch if r.generated == r.output]
        for request in sorted(done, key=lambda r: r.id) + [r for r in self.prompts if r.context == r.goal]:
            if request in self.prompts:
                self.hold(request, request.goal)
                self.prompts.remove(request)
                self.batch.append(request)
                request.first = tick if request.first < 0 else request.first
                request.generated += 1
                self.counters.made(request)
                self.share(request, tick)
                self.meters["output_tokens"] += 1
            if request.generated == request.output:
                self.hold(request, min(request.context, request.prompt + request.output - 1))
                self.share(request, tick)
                self.leave(request)
                request.state, request.last = RequestState.DONE, tick
                left.append(request)
        return left


class ReferenceStore:
    """Blocks outside the device, in order of last use, each with the tick from which on it is there."""

    def __init__(self, store: BlockStore, fleet: SimulatedFleet) -> None:
        table, size = fleet.replicas()[0][1].table, fleet.prefix_block_tokens
        self.most = store.tokens // size if size else 0
        block_s = store.block_s, store.write_s
        self.ticks, self.write_ticks = [int(of(size * table.kv_bytes_per_token) * TICKS_PER_S + 0.5) for of in block_s]
        self.of, self.blocks = store, OrderedDict[int, int]()


class ReferenceCounters:
    """The virtual token counter of Sheng et al. (OSDI 2024), algorithm 2, in its own words: c_u of every client u."""

    def __init__(self, fleet: SimulatedFleet, rank: ReferenceRank) -> None:
        self.policy = "counter" in getattr(module("scheduling", fleet.policies.scheduling), "NEEDS", ())
        self.rank, self.had, self.last = rank, [0.0] * fleet.tenants, -1
        self.log: list[tuple[float, ...]] = []

    def lift(self, client: int) -> None:
        """A request of u comes: if u has none in Q, c_u = max(c_u, least of those in Q, or of the last that left)."""
        waiting = {request.tenant for request in self.rank.queue}
        if client not in waiting:
            floor = (
                min(self.had[other] for other in waiting) if waiting else self.had[self.last] if self.last >= 0 else 0
            )
            self.had[client] = max(self.had[client], floor)

    def first(self) -> Any:
        """The earliest request of the client k = argmin c_i."""
        for request in self.rank.queue:
            request.counter = self.had[request.tenant]
        heads = {}
        for request in sorted(self.rank.queue, key=lambda r: (r.arrival, r.id)):
            heads.setdefault(request.tenant, request)
        of = decision("scheduling", self.rank.policies.scheduling)
        return min(heads.values(), key=lambda r: (of(r), r.arrival, r.id))

    def admit(self, request: Any) -> None:
        self.last = request.tenant
        self.had[request.tenant] += VTC_INPUT * request.prompt * (request.started < 0)

    def made(self, request: Any) -> None:
        self.had[request.tenant] += VTC_OUTPUT


VTC_INPUT, VTC_OUTPUT = 1.0, 2.0


def segment(knots: Any, x: float) -> int:
    return int(np.clip(np.searchsorted(knots, x, side="right") - 1, 0, knots.size - 2))


def line(curve: Any, x: float) -> list[float]:
    """Seconds and joules at x."""
    left = segment(curve.knots, x)
    over, width = x - curve.knots[left], curve.knots[left + 1] - curve.knots[left]
    return [float(v[left] + (v[left + 1] - v[left]) / width * over) for v in (curve.seconds, curve.joules)]


def reference(
    fleet: SimulatedFleet,
    calls: CallTable,
    taking: Callable[[int], list[int]] | None = None,
    level: Callable[[int, int], int] | None = None,
    spans: list[list[tuple[int, int, float]]] | None = None,
) -> EngineOutcome:
    """What comes of the calls: within each tick steps end, then calls arrive, then steps start.

    taking: the ranks that may be sent a call at a tick; all where not given.  level: of a rank at a tick; what a step
    begins with holds to its end.  spans: takes first tick, last tick and joules of every step, by rank.
    """
    jobs, policies, turns, now = records(JOB, len(calls)), fleet.policies, [0, 0], 0
    fill(jobs, calls, fleet)
    requests: list[Any] = [ReferenceRequest(n, job, calls.blocks(n).tolist()) for n, job in enumerate(jobs)]
    pool = ReferenceStore(fleet.shared_store, fleet) if fleet.shared_store else None
    ranks = [ReferenceRank(fleet, replica, pool) for _, replica in fleet.replicas()]
    acts: list[tuple[int, int] | None] = [None] * len(ranks)
    parents = np.broadcast_to(parents_of(calls, 0), len(calls)).tolist()
    since, coming = [0] * len(ranks), [r for r in requests if parents[r.id] < 0]
    while coming or any(acts) or any(rank.loading for rank in ranks):
        coming.sort(key=lambda r: (r.arrival, r.id))
        arrivals = [(r.arrival, ARRIVE, r.id) for r in coming[:1]]
        arrivals += [(r.due, ARRIVE, r.id) for rank in ranks for r in rank.loading]
        now, phase, number = min([(*at, rank) for rank, at in enumerate(acts) if at] + arrivals)
        if phase == ARRIVE and requests[number].state == RequestState.QUEUED:
            request, number = requests[number], requests[number].prompt_rank
            ranks[number].loading.remove(request)
            ranks[number].loaded.append(request)
            ranks[number].loaded.sort(key=lambda one: (one.due, one.arrival))
            acts[number] = acts[number] or (now, START)
        elif phase == ARRIVE:
            request = coming.pop(0)
            view = np.array([rank.row(request) for rank in ranks])
            who = np.arange(len(ranks)) if taking is None else np.array(taking(now))
            router = RouterState(turns[request.service], policies.seed, policies.bound, policies.overlap)
            turns[request.service] += 1
            number = decision("routing", policies.routing)(view, who, request, router)
            request.key = 0.0 if ranks[0].counters.policy else decision("scheduling", policies.scheduling)(request)
            request.prompt_rank, request.token_rank, request.state = number, number, RequestState.QUEUED
            ranks[number].sent.append(request)
            ranks[number].join_queue(request)
            acts[number] = acts[number] or (now, START)
        elif phase == END:
            ranks[number].finish(now - since[number], now)
            for request in ranks[number].let_go(now):
                for child in (requests[at] for at, parent in enumerate(parents) if parent == request.id):
                    wait = int(child.wait_s * TICKS_PER_S + 0.5) + ranks[number].reply_ticks(request)
                    child.arrival = max(child.arrival, now + max(wait, 0))
                    coming.append(child)
            acts[number] = now, START
        else:
            if level is not None:
                ranks[number].ticks = TickTable.of(ranks[number].replica.tables[level(number, now)])
            ticks, since[number] = ranks[number].begin(now), now
            acts[number] = (now + ticks, END) if ticks else (now, START) if ranks[number].disturbed else None
    if spans is not None:
        spans.extend(rank.spans for rank in ranks)
    results = records(RESULT, len(calls))
    for name in set(RESULT.names or ()) - {"slot"}:
        results[name] = [getattr(request, name) for request in requests]
    meters = RankMeters(*(np.array([rank.meters[name] for rank in ranks]) for name in ranks[0].meters))
    return EngineOutcome(fleet, jobs, results, meters, now / TICKS_PER_S)
