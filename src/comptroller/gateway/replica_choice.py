"""Which replica of a service takes a call: the policy that the plan names, over what this gateway has counted itself.

`choose(view, ranks, call, router)` of `serving/policies/routing` is called as the simulator calls it. The columns of
the view hold what a gateway can know of engines that it sees from outside:

ACTIVE: calls that were sent and have not ended.  QUEUED: of those, the ones whose first event has not come.
PENDING: prompt tokens of the latter; a reply that is not streamed has its first event when it ends.
RESERVED: prompt and predicted output tokens of ACTIVE.  KV: prompt tokens of calls whose first event has come, and the
output tokens that came since.  CAPACITY: `kv_tokens` of the configuration, or the plan's; NaN where neither says.
WEIGHT: `weights` of the configuration, or 1.  MATCH: tokens of the prompt that lately were sent to the replica.

Prompt tokens are bytes over `BYTES_PER_TOKEN`. A call's tenant is the number of its key's name, 0 without one; its
priority, adapter and fair_start are 0: no request states them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import nan
from typing import Any, NamedTuple

import msgspec
import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.gateway.problems import GatewayError
from comptroller.quantities import BYTES_PER_TOKEN
from comptroller.serving.policies import decision, module
from comptroller.serving.policies.view import (
    ACTIVE,
    BOUND,
    CAPACITY,
    COLUMNS,
    KV,
    MATCH,
    OVERLAP,
    PENDING,
    QUEUED,
    RESERVED,
    WEIGHT,
    WRONG_RANK,
    RouterState,
)

Json = dict[str, Any]

DEFAULT_POLICY = "bounded_hash"
"""Where neither configuration nor plan names one: what begins alike meets the same cache, and no replica is far busier
than the others. It needs nothing that a gateway does not know."""
KNOWN_NEEDS = ("kv", "match", "opening", "tenant")
"""What a policy may declare in NEEDS and gets here."""
SEED = 0
"""Of random draws, as in the simulator's default: the same calls in the same order are routed alike."""
BLOCK_TOKENS = 64
"""Of a block of a prompt whose hash is kept. Engines cache in blocks of 16; four times that costs a quarter of the
hashing, and a match is short by less than 64 tokens. At twice it a system prompt of 100 tokens matches nowhere."""
INDEX_TOKENS = 500_000
"""Prompt tokens that a replica is taken to keep where its cache is not known: 64 GB at 128 kB a token, an 8B model on
an 80 GB device, the default of the Gateway API Inference Extension (31,250 blocks of 16). At twice it matches are
expected that the engine has evicted."""
LEARNING = 0.02
"""Weight of the newest output length in the mean that predicts the next: the last fifty calls or so. At twice it the
prediction follows twice as fast and is noisier by the root of two."""


class RoutedPrompt(NamedTuple):
    """What a request tells a router.

    tokens: of the prompt, estimated.  most: of the output; None where it has no cap.  session: as the client named it,
    or the strategy's run; empty without one.  opening: the session, or how the prompt begins.  body: of the request.
    tenant: the name of the key that asks; empty without one.
    """

    tokens: int
    most: int | None
    session: str
    opening: str
    body: Json
    tenant: str = ""


class RoutedCall(NamedTuple):
    """A call as policies see it: the fields of `serving.policies.view.Call`."""

    id: int
    prompt: int
    predicted: int
    session: int = -1
    priority: float = 0.0
    fair_start: float = 0.0
    tenant: int = 0
    adapter: int = 0
    counter: float = 0.0


@dataclass(frozen=True)
class ReplicaRoutingSettings:
    """How the replicas of a service are chosen among.

    policy: an id, or the path or dotted path of one's own.  weights: of the replicas, empty for all alike.
    kv_tokens: of the cache of each replica; None where nobody has said.
    """

    policy: str = DEFAULT_POLICY
    weights: tuple[float, ...] = ()
    kv_tokens: int | None = None


class PromptPrefixIndex:
    """Blocks of prompts that were lately sent to one replica, the longest unused forgotten first.

    >>> index = PromptPrefixIndex(1000)
    >>> first, second = prompt_blocks({"prompt": "a" * 1000}), prompt_blocks({"prompt": "a" * 600 + "b" * 400})
    >>> index.add(first); index.matched(first), index.matched(second), index.matched([1])
    (192, 128, 0)
    """

    def __init__(self, tokens: int) -> None:
        self._most = max(1, tokens // BLOCK_TOKENS)
        self._blocks: dict[int, None] = {}

    def matched(self, blocks: Sequence[int]) -> int:
        """Tokens of the longest prefix that is here."""
        count = 0
        for block in blocks:
            if block not in self._blocks:
                break
            count += 1
        return count * BLOCK_TOKENS

    def add(self, blocks: Sequence[int]) -> None:
        """Takes note of a prompt. Its first block counts as used last: prefixes are forgotten from their end."""
        for block in reversed(blocks[: self._most]):
            self._blocks.pop(block, None)
            self._blocks[block] = None
        while len(self._blocks) > self._most:
            del self._blocks[next(iter(self._blocks))]

    def clear(self) -> None:
        """Forgets all."""
        self._blocks.clear()


def prompt_blocks(body: Json) -> list[int]:
    """A hash for each whole block of a prompt, which covers all blocks before it."""
    text = msgspec.json.encode((body.get("tools"), body.get("messages") or body.get("prompt")))
    size, block, blocks = BLOCK_TOKENS * BYTES_PER_TOKEN, 0, []
    for start in range(0, len(text) - size + 1, size):
        block = hash((block, text[start : start + size]))
        blocks.append(block)
    return blocks


def session_number(name: str) -> int:
    """A session as policies hash it: 63 bits, the same in every process.

    >>> session_number("a") == session_number("a") != session_number("b"), session_number("")
    (True, -1)
    """
    if not name:
        return -1
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


class RoutedLoad:
    """What one call adds to the row of its replica, from when it is sent until it ends."""

    __slots__ = ("_begun", "_call", "_kv", "_router", "rank")

    def __init__(self, router: ReplicaRouter, rank: int, call: RoutedCall) -> None:
        self._router, self.rank, self._call = router, rank, call
        self._begun, self._kv = False, 0
        cells = router.cells
        cells[rank, ACTIVE] += 1.0
        cells[rank, QUEUED] += 1.0
        cells[rank, PENDING] += call.prompt
        cells[rank, RESERVED] += call.prompt + call.predicted

    def begin(self) -> None:
        """Its first event has come: the prompt is computed and in the cache."""
        if self._begun:
            return
        self._begun = True
        cells, rank, prompt = self._router.cells, self.rank, self._call.prompt
        cells[rank, QUEUED] -= 1.0
        cells[rank, PENDING] -= prompt
        cells[rank, KV] += prompt
        self._kv = prompt

    def grow(self, output: int) -> None:
        """So many output tokens have come."""
        tokens = self._call.prompt + output
        self._router.cells[self.rank, KV] += tokens - self._kv
        self._kv = tokens

    def end(self) -> None:
        """It is over."""
        self.begin()
        cells, rank, call = self._router.cells, self.rank, self._call
        cells[rank, ACTIVE] -= 1.0
        cells[rank, RESERVED] -= call.prompt + call.predicted
        cells[rank, KV] -= self._kv


class ReplicaRouter:
    """A policy and the view it decides by. cells: the view, quick to count in.

    Raises:
        UnknownIdError: there is no such policy.
        InputError, UnsupportedError: it cannot be run here; says what is missing.
    """

    def __init__(self, service: str, settings: ReplicaRoutingSettings, replicas: int) -> None:
        self.service, self.policy = service, settings.policy
        self._choose = decision("routing", settings.policy)
        file = module("routing", settings.policy)
        wanted: tuple[str, ...] = tuple(getattr(file, "NEEDS", ()))
        self._require(wanted, hasattr(file, "CAPACITY") and settings.kv_tokens is None)
        self.keeps_kv, self._matches, self._opens = (need in wanted for need in KNOWN_NEEDS[:3])
        self.view = np.zeros((replicas, COLUMNS))
        self.view[:, CAPACITY] = nan if settings.kv_tokens is None else settings.kv_tokens
        self.view[:, WEIGHT] = settings.weights or 1.0
        self.cells: Any = self.view.data
        self._every = np.arange(replicas)
        self._indices = [PromptPrefixIndex(settings.kv_tokens or INDEX_TOKENS) for _ in range(replicas)]
        self._turn = 0
        self._output: float | None = None
        if self._chosen(range(replicas), RoutedCall(0, 1, 1)) is None:
            raise InputError(f"service {service}: {settings.policy}: {WRONG_RANK}")

    def _require(self, wanted: Sequence[str], unsized: bool) -> None:
        unknown = [need for need in wanted if need not in KNOWN_NEEDS]
        about = f"service {self.service}: routing policy {self.policy}"
        if unknown:
            raise UnsupportedError(
                f"{about} needs {unknown[0]!r}, which a gateway does not know; it knows {', '.join(KNOWN_NEEDS)}"
            )
        if unsized:
            raise InputError(
                f"{about} reads CAPACITY, which a gateway cannot see: set kv_tokens, the tokens of a replica's cache"
            )

    def place(self, healthy: Sequence[int], prompt: RoutedPrompt) -> RoutedLoad:
        """Chooses among healthy replicas, and counts the call there.

        Raises:
            GatewayError: the policy chose none of them.
        """
        session = session_number((self._opens and prompt.opening) or prompt.session)
        tenant = max(session_number(prompt.tenant), 0)
        call = RoutedCall(self._turn, prompt.tokens, self.predicted(prompt.most), session, tenant=tenant)
        blocks: list[int] = []
        if self._matches:
            blocks = prompt_blocks(prompt.body)
            for rank in healthy:
                self.cells[rank, MATCH] = min(prompt.tokens, self._indices[rank].matched(blocks))
        chosen = self._chosen(healthy, call)
        if chosen is None:
            raise GatewayError(500, f"service {self.service}: {self.policy}: {WRONG_RANK}", "routing_policy")
        self._turn += 1
        if blocks:
            self._indices[chosen].add(blocks)
        return RoutedLoad(self, chosen, call)

    def predicted(self, most: int | None) -> int:
        """Output tokens: the mean so far, at most the cap; the cap alone before any answer."""
        if self._output is None:
            return most or 0
        mean = round(self._output)
        return mean if most is None else min(mean, most)

    def _chosen(self, healthy: Sequence[int], call: RoutedCall) -> int | None:
        """The rank that the policy chooses; None where it is none of those it was given."""
        ranks = self._every if len(healthy) == len(self.view) else np.array(healthy)
        chosen = self._choose(self.view, ranks, call, RouterState(self._turn, SEED, BOUND, OVERLAP))
        for rank in healthy:
            if rank == chosen:
                return rank
        return None

    def learn(self, output_tokens: int) -> None:
        """Takes note of how long an answer was."""
        mean = output_tokens if self._output is None else self._output
        self._output = mean + LEARNING * (output_tokens - mean)

    def forget(self, rank: int) -> None:
        """A replica failed: what it had in its cache is not to be counted on."""
        self._indices[rank].clear()
