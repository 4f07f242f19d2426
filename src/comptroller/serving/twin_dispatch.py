"""Who takes a call, in the twin: what the router sees, split pools, and the promise made to a rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comptroller.serving.fleet import Fleet
from comptroller.serving.policies import module
from comptroller.serving.policies.view import Router, Seen
from comptroller.serving.state import Pool, State
from comptroller.serving.ticks import TickTable
from comptroller.serving.twin_call import Sequence
from comptroller.serving.twin_rank import Group, Rank


class View:
    """What the router sees when it takes one call: now, or an older snapshot; prefix matches are current."""

    def __init__(self, older: list[Seen] | None, call: Sequence, router: Router) -> None:
        self.older, self.call, self.router = older, call, router

    def row(self, rank: Rank) -> Seen:
        """The row of a rank."""
        now = rank.seen(self.call)
        if self.older is None:
            return now
        old = self.older[rank.id]
        return replace(old, match=now.match)

    def pick(self, policy: str, ranks: list[Rank]) -> Rank:
        """The rank a policy chooses."""
        chosen = module("routing", policy).plain([self.row(rank) for rank in ranks], self.call, self.router)
        return next(rank for rank in ranks if rank.id == chosen)

    def fewest(self, ranks: list[Rank], of: Callable[[Seen], float]) -> Rank | None:
        """The rank without a shared store that has least of something."""
        alone = [rank for rank in ranks if rank.peer is None]
        return min(alone, key=lambda rank: (of(self.row(rank)), rank.id), default=None)


def pair_of(fleet: Fleet, able: list[Rank], view: View) -> tuple[Rank, Rank] | None:
    """Prompt, token and mixed pools, as Splitwise's mixed-pool scheduler fills them."""
    pools = {pool: [rank for rank in able if rank.pool == pool] for pool in Pool}
    prompt = _from_pools(fleet, pools, Pool.PROMPT, view)
    if prompt and prompt.peer:
        return prompt, prompt.peer
    token = _from_pools(fleet, pools, Pool.TOKEN, view)
    if prompt is None:
        prompt = view.fewest([rank for rank in able if rank.pool == Pool.TOKEN], lambda row: row.pending)
        if prompt:
            prompt.pool = Pool.MIXED
    if token is None:
        token = view.fewest([rank for rank in able if rank.pool == Pool.PROMPT], lambda row: row.reserved)
        if token:
            token.pool = Pool.MIXED
    if prompt is None or token is None:
        prompt = token = view.fewest(able, lambda row: row.pending)
    if prompt is None and pools[Pool.PROMPT]:
        prompt = view.pick(fleet.policies.routing, pools[Pool.PROMPT])
        token = prompt.peer
    return (prompt, token) if prompt and token else None


def _from_pools(fleet: Fleet, pools: dict[Pool, list[Rank]], own: Pool, view: View) -> Rank | None:
    call, policies = view.call, fleet.policies
    for pool in (own, Pool.MIXED):
        if pools[pool]:
            rank = view.pick(policies.routing if own == Pool.PROMPT else policies.handoff, pools[pool])
            row = view.row(rank)
            if own == Pool.PROMPT:
                waits = row.pending + call.prompt > fleet.split.max_pending_tokens
                if not (row.queued > 0 and waits):
                    return rank
            elif row.reserved + call.prompt + call.predicted < rank.capacity * rank.block:
                return rank
    return None


def send(fleet: Fleet, call: Sequence, prompt: Rank, token: Rank) -> None:
    """Queue a call at the rank of its prompt and promise its tokens."""
    expected = call.prompt + call.predicted
    call.prompt_rank, call.token_rank, call.prompt_held = prompt, token, True
    prompt.active += 1
    prompt.pending += call.prompt
    if prompt is token:
        prompt.promised += expected
    else:
        prompt.promised += call.prompt
        token.active += 1
        token.promised += expected
    call.fair_start = max(prompt.virtual, prompt.tags[call.tenant])
    prompt.tags[call.tenant] = call.fair_start + expected
    call.rank_key = module("scheduling", fleet.policies.scheduling).plain(call)
    call.state, call.rank = State.QUEUED, prompt
    prompt.queue.append(call)


def holds(rank: Rank, call: Sequence) -> bool:
    """Whether a call fits a rank's context and cache at all."""
    total = call.prompt + call.output
    return total <= rank.context and rank.pages(total + rank.replica.verify_tokens) <= rank.capacity


def ranks_of(fleet: Fleet, later: Callable[[Sequence, int], None]) -> tuple[list[Rank], list[Group]]:
    """The ranks of a fleet and the groups that step together."""
    ranks: list[Rank] = []
    groups: list[Group] = []
    tables: dict[int, TickTable] = {}
    stores: dict[tuple[str, int], Rank] = {}
    for service, replica in fleet.replicas():
        table = tables.setdefault(id(replica.table), TickTable.of(replica.table))
        first = len(ranks)
        members = [Rank(first + place, fleet, replica, table) for place in range(replica.ranks)]
        group = Group(first, members, later)
        for rank in members:
            rank.group = group
            if replica.storage is not None:
                other = stores.setdefault((service.name, replica.storage), rank)
                rank.peer, other.peer = (None, None) if other is rank else (other, rank)
        ranks += members
        groups.append(group)
    return ranks, groups
