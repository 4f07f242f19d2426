"""The twin's calls and prefix blocks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comptroller.serving.state import RequestState

if TYPE_CHECKING:
    from comptroller.serving.twin_rank import TwinRank


@dataclass(eq=False)
class TwinRequest:
    """A request from its submission to its end. `goal` is what its prompt has to reach, `context` what is in
    cache, `high` the most that ever was; `held` blocks of it are shared through the prefix cache."""

    id: int
    arrival: int
    wait: int
    prompt: int
    output: int
    predicted: int
    session: int
    priority: float
    tenant: int
    service: int
    blocks: list[int]
    watched: bool
    state: RequestState = RequestState.PENDING
    children: list[TwinRequest] = field(default_factory=list)
    started: int = -1
    first: int = -1
    last: int = -1
    generated: int = 0
    left: int = 0
    goal: int = 0
    context: int = 0
    high: int = 0
    held: int = 0
    cached: int = 0
    computed: int = 0
    recomputed: int = 0
    preemptions: int = 0
    steps: int = 0
    cancelled: bool = False
    fair_start: float = 0.0
    rank_key: float = 0.0
    j_prefill: float = 0.0
    j_decode: float = 0.0
    j_waste: float = 0.0
    device_s: float = 0.0
    usd: float = 0.0
    rank: TwinRank | None = None
    home: TwinRank | None = None
    prompt_rank: TwinRank | None = None
    token_rank: TwinRank | None = None
    prompt_held: bool = False

    @property
    def place(self) -> tuple[float, int, int]:
        """Who waits behind whom, and who is preempted last."""
        return self.rank_key, self.arrival, self.id


class TwinPrefixCache:
    """Prefix blocks by id: how many requests use each, and the idle ones, least recently used first."""

    def __init__(self) -> None:
        self.users: dict[int, int] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()
        self.evictions = 0

    @property
    def held(self) -> int:
        """Blocks in use."""
        return len(self.users) - len(self.idle)

    def hold(self, block: int) -> None:
        """One more request uses a block."""
        self.idle.pop(block, None)
        self.users[block] = self.users.get(block, 0) + 1

    def drop(self, block: int) -> None:
        """One request fewer does."""
        self.users[block] -= 1
        if self.users[block] == 0:
            self.idle[block] = None

    def evict(self) -> None:
        """The least recently used idle block is forgotten."""
        block, _ = self.idle.popitem(last=False)
        del self.users[block]
        self.evictions += 1
