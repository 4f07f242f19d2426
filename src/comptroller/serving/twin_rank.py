"""The twin's ranks: who is in the batch, what is in memory, and one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica
from comptroller.serving.jit import plain
from comptroller.serving.policies import decision
from comptroller.serving.policies.draw import accepted_drafts, draw
from comptroller.serving.state import TICKS_PER_S, RequestState
from comptroller.serving.ticks import TickTable
from comptroller.serving.twin_call import TwinPrefixCache, TwinRequest


class TwinRank:
    """One engine rank, stepping one iteration at a time."""

    def __init__(self, number: int, fleet: SimulatedFleet, replica: SimulatedReplica, table: TickTable) -> None:
        self.id, self.replica, self.fleet, self.table = number, replica, fleet, table
        self.pool, self.service = replica.pool, 0
        self.peer: TwinRank | None = None
        self.group: LockstepGroup
        self.block = replica.table.kv_block_tokens
        self.capacity = replica.table.kv_capacity_tokens // self.block
        self.context = replica.context_tokens
        self.chunk = fleet.chunk_tokens(replica)
        self.host = replica.swap_tokens // self.block
        self.cache = TwinPrefixCache()
        self.cache_blocks = fleet.prefix_block_tokens // self.block if replica.prefixes else 0
        self.queue: list[TwinRequest] = []
        self.intake: list[TwinRequest] = []
        self.landed: list[TwinRequest] = []
        self.prefilling: list[TwinRequest] = []
        self.decoding: list[TwinRequest] = []
        self.moving = 0
        self.used = self.reserved = self.swapped = 0
        self.link_free = 0
        self.virtual = 0.0
        self.tags = [0.0] * fleet.tenants
        self.active = self.pending = self.promised = 0
        self.stall = self.own_ticks = self.budget = 0
        self.decodes = self.disturbed = self.freed = False
        self.busy = self.steps = 0
        self.joules = 0.0
        self.prompt_done = self.recomputed = self.decode_done = 0

    def seen(self) -> list[float]:
        """What a router may know of the rank: its row of the view."""
        queued = len(self.queue) + len(self.intake)
        kv, most = self.occupied * self.block, self.capacity * self.block
        return [self.active, queued, self.pending, self.promised, kv, most, self.replica.weight, 0]

    # Memory

    @property
    def occupied(self) -> int:
        """Blocks that running requests hold."""
        return self.used + self.cache.held * self.cache_blocks

    @property
    def free(self) -> int:
        """Blocks that may be taken, idle cached ones included."""
        other = self.peer.occupied + self.peer.reserved if self.peer else 0
        return self.capacity - self.occupied - other

    def pages(self, tokens: int) -> int:
        """Blocks that so many tokens take."""
        return -(-tokens // self.block)

    def private(self, call: TwinRequest) -> int:
        """Blocks of a request beyond those it shares."""
        return self.pages(max(call.goal, call.context)) - call.held * self.cache_blocks

    def growth(self) -> int:
        """Blocks that the next decode step takes up at most."""
        ahead = self.replica.verify_tokens
        return sum(self.pages(call.context + ahead) - self.pages(call.context) for call in self.decoding)

    def trim(self) -> None:
        """Evict idle blocks until everything fits, the peer's last."""
        caches = [self.cache] + ([self.peer.cache] if self.peer else [])
        room = self.capacity - self.occupied - (self.peer.occupied if self.peer else 0)
        for cache in caches:
            while cache.idle and sum(len(item.idle) for item in caches) * self.cache_blocks > room:
                cache.evict()

    def matched(self, call: TwinRequest, tokens: int) -> int:
        """Leading blocks of a request that are cached, leaving at least one of `tokens` to compute."""
        if not self.cache_blocks:
            return 0
        most = min(len(call.blocks), (tokens - 1) // self.fleet.prefix_block_tokens)
        hits = 0
        while hits < most and call.blocks[hits] in self.cache.users:
            hits += 1
        return hits

    def publish(self, call: TwinRequest, tokens: int) -> None:
        """Make a request's full blocks findable by others, from the step on that computes them."""
        if self.cache_blocks and call.home:
            for block in call.blocks[call.held : tokens // self.fleet.prefix_block_tokens]:
                call.home.cache.hold(block)
                call.held += 1
                self.used -= self.cache_blocks

    def release(self, call: TwinRequest, blocks: int) -> None:
        """Give back private blocks and the hold on cached ones, tail first."""
        self.used -= blocks
        if call.home:
            for block in reversed(call.blocks[: call.held]):
                call.home.cache.drop(block)
        call.held = 0

    # Who is in the batch

    @property
    def full(self) -> bool:
        """Whether no seat is left."""
        seated = len(self.decoding) + len(self.prefilling) + self.moving + len(self.landed)
        return seated >= self.replica.table.max_batch

    def join(self, call: TwinRequest) -> None:
        """A request decodes from the next step on."""
        call.state, call.rank = RequestState.DECODE, self
        call.context, call.left = call.goal, call.output - call.generated
        self.decoding.append(call)

    def leave(self, call: TwinRequest) -> int:
        """A request leaves the batch; the private blocks it had."""
        if call in self.decoding:
            self.decoding.remove(call)
            call.goal = call.context
            call.high = max(call.high, call.context)
        else:
            self.prefilling.remove(call)
            call.context = 0
        return self.private(call)

    def set_aside(self, call: TwinRequest) -> None:
        """Preempt a request: its cache is swapped out or forgotten, it queues again."""
        swaps = call in self.decoding and self.swapped + self.pages(call.context) <= self.host
        self.release(call, self.leave(call))
        self.disturbed = self.freed = True
        call.preemptions += 1
        call.state = RequestState.SWAPPED if swaps else RequestState.QUEUED
        if swaps:
            self.swapped += self.pages(call.goal)
            self.wait_for_swap(call)
        call.context = 0
        self.queue.append(call)

    def wait_for_swap(self, call: TwinRequest) -> None:
        """The step waits for a cache to cross the host link."""
        table = self.replica.table
        ticks = int(call.goal * (table.kv_bytes_per_token / table.swap_bytes_per_s * TICKS_PER_S) + 0.5)
        self.stall += ticks
        joules = table.idle_w * (ticks / TICKS_PER_S)
        self.joules += joules
        call.j_waste += joules

    def victim(self) -> TwinRequest:
        """Whoever goes behind all others."""
        return max(self.decoding + self.prefilling, key=lambda call: call.place)

    def make_room(self) -> None:
        """Preempt until the decoding requests can take their next step."""
        while self.decoding and self.growth() > self.free:
            self.set_aside(self.victim())

    def fits(self, call: TwinRequest) -> bool:
        """Whether a queued request can have its seat and its blocks now."""
        if self.full:
            return False
        room = self.free - self.growth()
        if call.state == RequestState.SWAPPED:
            return self.pages(call.goal + self.replica.verify_tokens) <= room
        goal = call.prompt + call.generated
        hits = call.blocks[: self.matched(call, goal)]
        awakened = sum(block in self.cache.idle for block in hits)
        return self.pages(goal) - (len(hits) - awakened) * self.cache_blocks <= room

    def admit(self, tick: int) -> None:
        """Take requests from the queue as long as seats, blocks and the step's budget last."""
        while self.queue:
            call = min(self.queue, key=lambda item: item.place)
            unfinished = sum(item.goal - item.context for item in self.prefilling)
            if call.state == RequestState.QUEUED and self.budget <= unfinished:
                return
            if self.fits(call):
                self.queue.remove(call)
                self.enter(call, tick)
                continue
            if not self.fleet.policies.evict_for_priority or not self.decoding + self.prefilling:
                return
            victim = self.victim()
            if victim.priority >= call.priority or victim.place < call.place:
                return
            self.set_aside(victim)

    def enter(self, call: TwinRequest, tick: int) -> None:
        """A request leaves the queue: it starts on its prompt, or its cache comes back from the host."""
        call.rank = call.home = self
        self.virtual = max(self.virtual, call.fair_start)
        if call.started < 0:
            call.started = tick
        if call.state == RequestState.SWAPPED:
            self.used += self.pages(call.goal)
            self.swapped -= self.pages(call.goal)
            self.wait_for_swap(call)
            self.join(call)
        else:
            call.goal = call.prompt + call.generated
            call.held = self.matched(call, call.goal)
            for block in call.blocks[: call.held]:
                self.cache.hold(block)
            call.context = call.held * self.fleet.prefix_block_tokens
            call.cached += max(0, call.context - call.high)
            call.high = max(call.high, call.context)
            call.state = RequestState.PREFILL
            left = self.budget - sum(item.goal - item.context for item in self.prefilling)
            self.prefilling.append(call)
            self.used += self.private(call)
            self.trim()
            self.publish(call, call.context + max(0, min(call.goal - call.context, left)))
        self.trim()

    # One step

    def chunks(self) -> list[tuple[TwinRequest, int]]:
        """Prompt tokens of each request in the step."""
        left, found = self.budget, []
        for call in self.prefilling:
            take = min(call.goal - call.context, left)
            left -= take
            if take:
                found.append((call, take))
        return found

    def begin(self, tick: int) -> int:
        """Admit, make up the next step, and say how many ticks it takes alone; 0 if there is nothing to do."""
        budget = decision("batching", self.fleet.policies.batching)
        tokens, mixes = budget(len(self.decoding) * self.replica.verify_tokens, self.chunk)
        self.budget = max(0, tokens)
        self.receive(tick)
        if not self.disturbed:
            self.admit(tick)
        chunks = self.chunks()
        for call, take in chunks:
            self.publish(call, call.context + take)
        self.decodes = bool(self.decoding) and (mixes or not chunks)
        self.reserved = self.growth() if self.decodes else 0
        self.own_ticks = self.stall + self._ticks(chunks)
        return self.own_ticks

    def receive(self, tick: int) -> None:
        """Start the transfers of requests handed over that have a seat and blocks here."""
        while self.intake and not self.peer and not self.disturbed and not self.full:
            call = min(self.intake, key=lambda item: item.place)
            need = self.pages(call.goal)
            if need + self.growth() > self.free or not call.rank:
                return
            self.intake.remove(call)
            table = call.rank.replica.table
            ticks = int(call.goal * (table.kv_bytes_per_token / table.transfer_bytes_per_s * TICKS_PER_S) + 0.5)
            call.rank.link_free = max(tick, call.rank.link_free) + ticks
            self.used += need
            self.moving += 1
            call.state = RequestState.MOVING
            self.group.later(call, call.rank.link_free)
            self.trim()

    @property
    def at_work(self) -> bool:
        """Whether anybody here goes on without waiting for another rank."""
        return bool(self.decoding or self.prefilling or self.moving or self.landed)

    def _ticks(self, chunks: list[tuple[TwinRequest, int]]) -> int:
        batch, kv = len(self.decoding), sum(call.context for call in self.decoding)
        if not chunks:
            return self.table.decode_ticks(batch, kv) if self.decodes else 0
        beside = batch * self.replica.verify_tokens if self.decodes else 0
        tokens = sum(take for _, take in chunks) + beside
        ticks = self.table.prompt_ticks(tokens, self._pairs(chunks))
        if beside:
            ticks += self.table.decode_ticks(batch, kv) - self.table.decode_ticks(batch, 0)
        return max(ticks, 1)

    def _pairs(self, chunks: list[tuple[TwinRequest, int]]) -> float:
        return sum(take * (call.context + 0.5 * (take + 1)) for call, take in chunks)

    def finish(self, ticks: int) -> None:
        """The step is over: book what it used and what it made."""
        chunks = self.chunks()
        if not chunks and not self.decodes:
            self.busy += self.stall
            return
        self.busy += self.own_ticks
        self.steps += 1
        self._book(chunks, ticks)
        for call, take in chunks:
            again = max(0, min(call.context + take, call.high) - call.context)
            call.context += take
            call.recomputed += again
            call.computed += take - again
            call.high = max(call.high, call.context)
            call.steps += 1
            self.prompt_done += take - again
            self.recomputed += again
        if self.decodes:
            self._decode()

    def _decode(self) -> None:
        self.reserved = 0
        for call in self.decoding:
            call.steps += 1
            ahead = 1 + self._kept(call)
            made = max(0, min(ahead, call.left))
            call.generated += made
            self.decode_done += made
            self.used += self.pages(call.context + ahead) - self.pages(call.context)
            call.context += ahead
            call.left -= ahead
        self.trim()

    def _kept(self, call: TwinRequest) -> int:
        """Draft tokens of the step that the target accepts."""
        drawn = draw(self.fleet.policies.seed, call.id, call.steps)
        kept: int = plain(accepted_drafts)(drawn, self.replica.acceptance, self.replica.draft_tokens)
        return kept

    def _book(self, chunks: list[tuple[TwinRequest, int]], ticks: int) -> None:
        """Energy and device time: by tokens, by query-key pairs, by cached tokens, the rest in equal parts."""
        beside = len(self.decoding) * self.replica.verify_tokens if self.decodes else 0
        prompt = sum(take for _, take in chunks)
        seconds = ticks / TICKS_PER_S
        fixed = each = slope = 0.0
        if self.decodes:
            kv = sum(call.context for call in self.decoding)
            fixed, slope = self.table.decode_joules(len(self.decoding), kv)
            self.joules += fixed + slope * kv
        if chunks:
            pairs = self._pairs(chunks)
            linear_j = self.table.mixed.joules_at(prompt + beside)
            pairs_j = self.table.pairs.joules_at(pairs)
            each = linear_j / (prompt + beside)
            self.joules += linear_j + pairs_j
            if self.decodes:
                without = self.table.decode_joules(len(self.decoding), 0)[0]
                fixed -= without
                self.joules -= without
        for call, take in chunks:
            joules = take * each + take * (call.context + 0.5 * (take + 1)) * pairs_j / max(pairs, 1.0)
            again = max(0, min(call.context + take, call.high) - call.context)
            call.j_waste += joules * again / take
            call.j_prefill += joules * (take - again) / take
            self._charge(call, seconds * take / (prompt + beside))
        for call in self.decoding if self.decodes else []:
            call.j_decode += slope * call.context + fixed / len(self.decoding) + each * self.replica.verify_tokens
            self._charge(call, seconds * (beside / (prompt + beside)) / len(self.decoding))

    def _charge(self, call: TwinRequest, seconds: float) -> None:
        call.device_s += seconds
        call.usd += seconds * self.replica.table.usd_per_s


@dataclass(eq=False)
class LockstepGroup:
    """Ranks in lockstep. `at` is when it acts next (tick, phase), None while it rests."""

    id: int
    ranks: list[TwinRank]
    later: Callable[[TwinRequest, int], None]
    at: tuple[int, int] | None = None
    since: int = 0
