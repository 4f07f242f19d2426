"""Who takes a call, in the twin: what the router sees, split pools, and the promise made to a rank."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from comptroller.errors import InputError
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import decision
from comptroller.serving.policies.view import MATCH, PENDING, QUEUED, RESERVED, WRONG_RANK, RouterState, View
from comptroller.serving.state import PoolRole, RequestState
from comptroller.serving.ticks import TickTable
from comptroller.serving.twin_call import TwinRequest
from comptroller.serving.twin_rank import LockstepGroup, TwinRank


class RouterView:
    """What the router sees when it takes one call: now, or an older view; prefix matches are current."""

    def __init__(self, view: View, ranks: list[TwinRank], call: TwinRequest, router: RouterState) -> None:
        self.view, self.call, self.router = view, call, router
        for rank in ranks:
            view[rank.id, MATCH] = rank.matched(call, call.prompt) * rank.fleet.prefix_block_tokens

    def pick(self, policy: str, ranks: list[TwinRank]) -> TwinRank:
        """The rank a policy chooses.

        Raises:
            InputError: it may not choose that one.
        """
        numbers = np.array([rank.id for rank in ranks])
        chosen = decision("routing", policy)(self.view, numbers, self.call, self.router)
        for rank in ranks:
            if rank.id == chosen:
                return rank
        raise InputError(WRONG_RANK)

    def fewest(self, ranks: list[TwinRank], column: int) -> TwinRank | None:
        """The rank without a shared store that has least in a column."""
        alone = [rank for rank in ranks if rank.peer is None]
        return min(alone, key=lambda rank: (self.view[rank.id, column], rank.id), default=None)


def pair_of(fleet: SimulatedFleet, able: list[TwinRank], sight: RouterView) -> tuple[TwinRank, TwinRank] | None:
    """Prompt, token and mixed pools, as Splitwise's mixed-pool scheduler fills them."""
    pools = {pool: [rank for rank in able if rank.pool == pool] for pool in PoolRole}
    prompt = _from_pools(fleet, pools, PoolRole.PROMPT, sight)
    if prompt and prompt.peer:
        return prompt, prompt.peer
    token = _from_pools(fleet, pools, PoolRole.TOKEN, sight)
    if prompt is None:
        prompt = sight.fewest([rank for rank in able if rank.pool == PoolRole.TOKEN], PENDING)
        if prompt:
            prompt.pool = PoolRole.MIXED
    if token is None:
        token = sight.fewest([rank for rank in able if rank.pool == PoolRole.PROMPT], RESERVED)
        if token:
            token.pool = PoolRole.MIXED
    if prompt is None or token is None:
        prompt = token = sight.fewest(able, PENDING)
    if prompt is None and pools[PoolRole.PROMPT]:
        prompt = sight.pick(fleet.policies.routing, pools[PoolRole.PROMPT])
        token = prompt.peer
    return (prompt, token) if prompt and token else None


def _from_pools(
    fleet: SimulatedFleet, pools: dict[PoolRole, list[TwinRank]], own: PoolRole, sight: RouterView
) -> TwinRank | None:
    call, policies = sight.call, fleet.policies
    for pool in (own, PoolRole.MIXED):
        if pools[pool]:
            rank = sight.pick(policies.routing if own == PoolRole.PROMPT else policies.handoff, pools[pool])
            row = sight.view[rank.id]
            if own == PoolRole.PROMPT:
                waits = row[PENDING] + call.prompt > fleet.split.max_pending_tokens
                if not (row[QUEUED] > 0 and waits):
                    return rank
            elif row[RESERVED] + call.prompt + call.predicted < rank.capacity * rank.block:
                return rank
    return None


def send(fleet: SimulatedFleet, call: TwinRequest, prompt: TwinRank, token: TwinRank) -> None:
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
    call.rank_key = decision("scheduling", fleet.policies.scheduling)(call)
    call.state, call.rank = RequestState.QUEUED, prompt
    prompt.queue.append(call)


def holds(rank: TwinRank, call: TwinRequest) -> bool:
    """Whether a call fits a rank's context and cache at all."""
    total = call.prompt + call.output
    return total <= rank.context and rank.pages(total + rank.replica.verify_tokens) <= rank.capacity


def ranks_of(
    fleet: SimulatedFleet, later: Callable[[TwinRequest, int], None]
) -> tuple[list[TwinRank], list[LockstepGroup]]:
    """The ranks of a fleet and the groups that step together."""
    ranks: list[TwinRank] = []
    groups: list[LockstepGroup] = []
    tables: dict[int, TickTable] = {}
    stores: dict[tuple[str, int], TwinRank] = {}
    for service, replica in fleet.replicas():
        table = tables.setdefault(id(replica.table), TickTable.of(replica.table))
        first = len(ranks)
        members = [TwinRank(first + place, fleet, replica, table) for place in range(replica.ranks)]
        group = LockstepGroup(first, members, later)
        for rank in members:
            rank.group, rank.service = group, 1 + fleet.services.index(service)
            if replica.storage is not None:
                other = stores.setdefault((service.name, replica.storage), rank)
                rank.peer, other.peer = (None, None) if other is rank else (other, rank)
        ranks += members
        groups.append(group)
    return ranks, groups


def at_home(rank: TwinRank) -> None:
    """A replica drawn into the mixed pool goes back to its own when it is free."""
    if rank.pool == PoolRole.MIXED and rank.active == 0:
        rank.pool = rank.replica.pool


def off_prompt(call: TwinRequest) -> None:
    """A split request no longer counts on its prompt rank."""
    rank = call.prompt_rank
    if rank and call.prompt_held and rank is not call.token_rank:
        call.prompt_held = False
        rank.active -= 1
        rank.promised -= call.prompt
        at_home(rank)


def take_over(rank: TwinRank) -> TwinRank | None:
    """Of two ranks that hand over to each other and hold what the other waits for, one takes a request without its
    cache, to compute it again; who had handed it over."""
    call = min(rank.intake, key=lambda item: item.place, default=None)
    sender = call.rank if call else None
    if call is None or sender is None or rank.peer or rank.disturbed or rank.at_work or sender.at_work:
        return None
    rank.intake.remove(call)
    sender.release(call, sender.private(call))
    off_prompt(call)
    call.state, call.rank, call.context = RequestState.QUEUED, rank, 0
    call.preemptions += 1
    rank.queue.append(call)
    return sender


def take_shared(rank: TwinRank) -> None:
    """Of a shared store: requests whose prompt is done join, their blocks stay where they are."""
    while rank.peer and rank.intake and not rank.full:
        call = min(rank.intake, key=lambda item: item.place)
        rank.intake.remove(call)
        blocks = rank.private(call)
        rank.peer.used -= blocks
        rank.used += blocks
        off_prompt(call)
        rank.join(call)
