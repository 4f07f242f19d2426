"""Shares of devices that follow what prompts and tokens need: semi-PD's feedback on windows of latencies.

Once a window's first tokens or times of tokens are late, the share of prompts goes up or down by a notch, whichever
makes the worse of the two less bad by the step tables, or stays. A new share is in force some time after the decision,
for the engines with it are started beside those at work and take over between two steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.serving.engine import EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.outcome import EngineOutcome
from comptroller.work.call import CallTable

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ShareFeedback:
    """What the feedback holds to.

    ttft_s, tpot_s: objectives of the first token and of the mean time of a token after it.  share: of the calls of a
    window that shall meet each.  window_s: of what it looks at, and how often.  delay_s: from a decision until it is in
    force; nothing is decided meanwhile.  first: place, among the shares of prompts, of that at the start.
    """

    ttft_s: float
    tpot_s: float
    share: float = 0.9
    window_s: float = 5.0
    delay_s: float = 10.0
    first: int = 0

    def __post_init__(self) -> None:
        if not (min(self.ttft_s, self.tpot_s, self.window_s) > 0 and 0 < self.share < 1 and self.delay_s >= 0):
            raise InputError(
                f"feedback: {self.ttft_s:g} s, {self.tpot_s:g} s, a share of {self.share:g}, windows of"
                f" {self.window_s:g} s, {self.delay_s:g} s of delay; allowed: above 0, a share below 1, a delay from 0"
            )


@dataclass(frozen=True, slots=True)
class ShareChange:
    """A pair of engines has another share from a moment on; `level`: its place among the shares of prompts."""

    at_s: float
    pair: int
    level: int


def strain(seen: EngineOutcome, calls: Bools, since_s: float, how: ShareFeedback) -> tuple[float, float]:
    """The quantile of first tokens, and of times of tokens, over their objectives; of calls of a window.

    seen: up to now.  calls: those of the pair.  since_s: when the window began. A call without its first token counts
    with what it has waited, a token's time when its call ends; 0 where there was none.
    """
    now_s, arrived = seen.horizon_s, seen.arrival_s
    first_s = seen.ttft_s + arrived
    waits = calls & (arrived <= now_s) & ~(first_s <= now_s)
    ttft_s = np.r_[seen.ttft_s[calls & (first_s > since_s)], (now_s - arrived)[waits]]
    ended = calls & seen.done & (arrived + seen.e2e_s > since_s)
    tpot_s = seen.tpot_s[ended]
    tpot_s = tpot_s[np.isfinite(tpot_s)]
    return (
        float(np.quantile(ttft_s, how.share) / how.ttft_s) if ttft_s.size else 0.0,
        float(np.quantile(tpot_s, how.share) / how.tpot_s) if tpot_s.size else 0.0,
    )


@dataclass(frozen=True, slots=True)
class LevelSpeeds:
    """Seconds, at each share of prompts and beside the other engine, of a step of prompts and of one of tokens."""

    prompts_s: tuple[float, ...]
    tokens_s: tuple[float, ...]

    @classmethod
    def of(cls, fleet: SimulatedFleet) -> LevelSpeeds:
        """Of the first pair: a full step of prompts, and one of a quarter of the largest batch, full of cache."""
        prompts, tokens = (replica for _, replica in fleet.replicas()[:2])
        size, chunk = max(tokens.table.max_batch // 4, 1), fleet.chunk_tokens(prompts)
        kv = min(float(tokens.table.kv_capacity_tokens), tokens.table.kv_knots_tokens[-1]) / 4
        return cls(
            tuple(one.mixed_step_s(chunk, 0.5 * chunk**2) for one in prompts.beside),
            tuple(one.decode_step_s(size, kv) for one in tokens.beside),
        )

    def notch(self, level: int, ttft: float, tpot: float) -> int:
        """By how many notches the share of prompts changes where latencies are so many times their objectives.

        The change of which max(TTFT p' / p, TPOT t' / t) is least, p and t the steps' seconds now and then; 0 while
        both are met.

        >>> speeds = LevelSpeeds((0.4, 0.3, 0.25), (0.01, 0.012, 0.02))
        >>> speeds.notch(1, 0.9, 0.8), speeds.notch(1, 1.2, 0.5), speeds.notch(1, 0.5, 1.2), speeds.notch(1, 1.2, 1.1)
        (0, 1, -1, 0)
        """
        if max(ttft, tpot) <= 1:
            return 0

        def after(change: int) -> float:
            to = level + change
            return max(
                ttft * self.prompts_s[to] / self.prompts_s[level], tpot * self.tokens_s[to] / self.tokens_s[level]
            )

        return min((change for change in (0, 1, -1) if 0 <= level + change < len(self.tokens_s)), key=after)


def followed(
    fleet: SimulatedFleet, calls: CallTable, how: ShareFeedback
) -> tuple[EngineOutcome, tuple[ShareChange, ...]]:
    """What comes of calls on pairs of engines whose shares follow the feedback, and the changes that came into force.

    fleet: pairs of a prompts' and a tokens' engine, in this order, each with as many levels (`device_shares`).
    """
    engine, pairs = EventEngine(fleet), len(fleet.replicas()) // 2
    speeds = LevelSpeeds.of(fleet)
    engine.submit(calls)
    levels, due = [how.first] * pairs, [np.inf] * pairs
    changes: list[ShareChange] = []
    for pair, level in enumerate(levels):
        _set(engine, pair, level)
    last_s, at_s = float(calls["arrival_s"].max()), 0.0
    while at_s < last_s:
        at_s += how.window_s
        for pair in range(pairs):
            if due[pair] <= at_s:
                engine.advance(due[pair])
                _set(engine, pair, levels[pair])
                changes.append(ShareChange(due[pair], pair, levels[pair]))
                due[pair] = np.inf
        engine.advance(at_s)
        seen = engine.outcome()
        for pair in [pair for pair in range(pairs) if np.isinf(due[pair])]:
            mine = seen.requests.prompt_rank == 2 * pair
            if change := speeds.notch(levels[pair], *strain(seen, mine, at_s - how.window_s, how)):
                levels[pair], due[pair] = levels[pair] + change, at_s + how.delay_s
    return engine.run(), tuple(changes)


def _set(engine: EventEngine, pair: int, level: int) -> None:
    for replica in (2 * pair, 2 * pair + 1):
        engine.set_level(replica, level)
