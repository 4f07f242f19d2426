"""From the cost model to the step table that the simulator runs on, and how far the table is off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.memory import ReplicaMemory
from comptroller.costs.money import host_w
from comptroller.costs.power import device_w, idle_w
from comptroller.costs.step import ReplicaStep
from comptroller.costs.steptable import SequenceFootprint, StepTable
from comptroller.costs.timing import ReplicaTimer, StepTime
from comptroller.facts.accelerator import InterconnectLink

Floats = npt.NDArray[np.float64]

KV_KNOTS = 40
TOKEN_KNOTS = 96
PAIR_KNOTS = 40
PROBES = 512

NO_WINDOW_BLOCKS = 1 << 40
"""Blocks that no sequence has: layers that keep everything."""

UNKNOWN_LINK_BYTES_PER_S = 1.0
"""A link that the facts do not hold: so slow that no simulation gains from a cache moved over it."""


@dataclass(frozen=True, slots=True)
class SiteRates:
    """What a replica's second and joule cost where it stands."""

    usd_per_s: float
    pue: float
    gco2e_per_j: float


def tabulate(
    ready: ReplicaTimer, held: ReplicaMemory, terms: SiteRates, context_tokens: int | None = None
) -> StepTable:
    """The step table of a replica.

    Joules are at the wall: devices and servers times PUE. Knots are geometric; `table_error` says how far linear
    interpolation between them is from the model. A mixed step adds a decode row less its value at 0 cached tokens;
    as no decoding sequence is without cache, that entry holds the part of the row that `mixed_s` already contains.
    Of a pipeline a prompt lengthens the turn by one stage's share (`serving_time.marginal_prompt_s`), and the rest of
    its way delays its own first token alone (`StepTable.outside_s`).
    """
    replica = ready.replica
    engine, device, layout = replica.engine, replica.device, replica.layout
    wall = _Wall(ready, layout.devices, terms.pue)
    batches = np.arange(1, engine.max_batch + 1, dtype=float)
    longest = context_tokens or int(min(replica.model.context_tokens, max(held.longest_tokens, 1.0)))
    kv_knots = _knots(max(held.tokens_at(longest), engine.max_batch), KV_KNOTS)
    rows = (engine.max_batch, len(kv_knots))
    own, whole = wall.decode(np.repeat(batches, len(kv_knots)), np.tile(kv_knots, len(batches)))
    width = float(engine.verify_tokens)
    tokens = _knots(engine.chunk_tokens + engine.max_batch * width, TOKEN_KNOTS)[1:]
    mixed_s, mixed_j = wall.prompt(_prompt(tokens, np.zeros(len(tokens))))
    pairs = _knots(float(engine.chunk_tokens) * longest, PAIR_KNOTS)
    prompt = np.clip(np.sqrt(2 * pairs), 1.0, engine.chunk_tokens)
    pair_s, pair_j = wall.between(_prompt(prompt, pairs), _prompt(prompt, 0 * pairs))
    half = np.full(len(batches), engine.chunk_tokens / 2)
    added_s, added_j = wall.beside(batches, half)
    stages = float(layout.pp)
    return StepTable(
        kv_knots_tokens=kv_knots,
        decode_s=_rows(whole[0].reshape(rows), (own[0].reshape(rows)[:, 0] - added_s) / stages),
        decode_j=_rows(whole[1].reshape(rows), (own[1].reshape(rows)[:, 0] - added_j) / stages),
        token_knots=tokens,
        mixed_s=mixed_s / stages,
        mixed_j=mixed_j / stages,
        pair_knots=pairs,
        pair_s=np.maximum.accumulate(np.maximum(pair_s, 0.0)) / stages,
        pair_j=np.maximum.accumulate(np.maximum(pair_j, 0.0)) / stages,
        idle_w=(idle_w(device) * layout.devices + host_w(layout.devices)) * terms.pue,
        devices=layout.devices,
        kv_capacity_tokens=held.kv_capacity_tokens,
        kv_block_tokens=engine.kv_block_tokens,
        max_batch=engine.max_batch,
        chunk_tokens=engine.chunk_tokens,
        kv_bytes_per_token=held.token_bytes * layout.devices,
        swap_bytes_per_s=_rate(device.host) * layout.devices,
        transfer_bytes_per_s=_rate(device.scale_out) * layout.devices,
        usd_per_s=terms.usd_per_s,
        gco2e_per_j=terms.gco2e_per_j,
        context_tokens=context_tokens,
        footprint=footprint(held, longest, engine.kv_block_tokens),
        stages=layout.pp,
    )


def footprint(held: ReplicaMemory, longest_tokens: int, block_tokens: int) -> SequenceFootprint | None:
    """What a sequence takes of the cache of all ranks; None where every layer keeps whatever a sequence has.

    A window that no sequence reaches is no window.
    """
    windows = [window for window in held.windows if window.window_tokens < longest_tokens]
    if not windows and not held.state_bytes_per_sequence:
        return None
    unreached = sum(window.bytes_per_token for window in held.windows if window not in windows)
    parts = [(NO_WINDOW_BLOCKS, math.ceil((held.kv_bytes_per_token + unreached) * block_tokens))]
    for window in windows:
        parts.append((math.ceil(window.window_tokens / block_tokens), math.ceil(window.bytes_per_token * block_tokens)))
    block = sum(size for _, size in parts) or max(1, math.ceil(held.token_bytes * block_tokens))
    return SequenceFootprint(int(held.cache_bytes), block, math.ceil(held.state_bytes_per_sequence), tuple(parts))


@dataclass(frozen=True, slots=True)
class StepTableDeviation:
    """Relative error of a step table against the model it was made from: largest and mean, by kind of step."""

    decode_most: float
    decode_mean: float
    mixed_most: float
    mixed_mean: float


def table_error(ready: ReplicaTimer, table: StepTable, rng: np.random.Generator) -> StepTableDeviation:
    """Probe a table at random decode and mixed steps between its knots."""
    most = table.max_batch
    batch = rng.integers(1, most + 1, PROBES).astype(float)
    kv = np.minimum(batch * rng.uniform(16, 8192, PROBES), table.kv_capacity_tokens)
    exact = ready.step(ReplicaStep.decode(batch, kv)).total_s
    ours = np.array([table.decode_step_s(int(b), k) for b, k in zip(batch, kv, strict=True)])
    decode = np.abs(ours / exact - 1)
    prompt = rng.integers(64, table.chunk_tokens + 1, PROBES).astype(float)
    pairs = prompt * rng.uniform(0.5, 2.0, PROBES) * prompt / 2
    both = ready.step(ReplicaStep(batch, kv, prompt, pairs, np.ones(PROBES))).total_s
    mixed = exact + (both - exact) / table.stages
    columns = zip(prompt, pairs, batch, kv, strict=True)
    guess = np.array([table.mixed_step_s(int(p), a, int(b), k) for p, a, b, k in columns])
    off = np.abs(guess / mixed - 1)
    return StepTableDeviation(float(decode.max()), float(decode.mean()), float(off.max()), float(off.mean()))


SecondsJoules = tuple[Floats, Floats]
"""Of steps, the joules at the wall."""


@dataclass(frozen=True, slots=True)
class _Wall:
    """Seconds and wall joules of steps."""

    ready: ReplicaTimer
    devices: int
    pue: float

    def _of_time(self, ready: ReplicaTimer, time: StepTime) -> SecondsJoules:
        watts = device_w(ready, time) * self.devices + host_w(self.devices)
        return time.total_s, watts * self.pue * time.total_s

    def decode(self, batch: Floats, kv_tokens: Floats) -> tuple[SecondsJoules, SecondsJoules]:
        """A decode step, with drafts its verification; and the same with all that is drafted for it."""
        own = self._of_time(self.ready, self.ready.decode(batch, kv_tokens))
        drafting = self.ready.draft
        if drafting is None:
            return own, own
        count = self.ready.replica.engine.verify_tokens - 1
        draft = self._of_time(drafting, drafting.decode(batch, kv_tokens))
        return own, (own[0] + count * draft[0], own[1] + count * draft[1])

    def prompt(self, step: ReplicaStep) -> SecondsJoules:
        """A step of prompts, which the draft model reads too."""
        seconds, joules = self._of_time(self.ready, self.ready.step(step))
        if self.ready.draft is not None:
            more_s, more_j = self._of_time(self.ready.draft, self.ready.draft.step(step))
            return seconds + more_s, joules + more_j
        return seconds, joules

    def beside(self, batch: Floats, prompt_tokens: Floats) -> SecondsJoules:
        """What decoding sequences without cache take beside prompts, more than as many tokens of prompts."""
        width = float(self.ready.replica.engine.verify_tokens)
        mixed = ReplicaStep(batch * width, 0 * batch, prompt_tokens, 0 * batch, np.ones(len(batch)))
        both_s, both_j = self._of_time(self.ready, self.ready.step(mixed))
        if self.ready.draft is not None:
            draft = self._of_time(self.ready.draft, self.ready.draft.step(_prompt(prompt_tokens, 0 * batch)))
            both_s, both_j = both_s + draft[0], both_j + draft[1]
        alone_s, alone_j = self.prompt(_prompt(prompt_tokens + batch * width, 0 * batch))
        return both_s - alone_s, both_j - alone_j

    def between(self, step: ReplicaStep, without: ReplicaStep) -> SecondsJoules:
        """What one step of prompts takes more than another."""
        (more_s, more_j), (less_s, less_j) = self.prompt(step), self.prompt(without)
        return more_s - less_s, more_j - less_j


def _prompt(tokens: Floats, pairs: Floats) -> ReplicaStep:
    zero = np.zeros(len(tokens))
    return ReplicaStep(zero, zero, tokens, pairs, np.ones(len(tokens)))


def _rate(link: InterconnectLink | None) -> float:
    return link.one_way_bytes_per_s if link else UNKNOWN_LINK_BYTES_PER_S


def _knots(most: float, count: int) -> Floats:
    """0 and a geometric series from 1 to `most`, whole numbers, no repeats."""
    series = np.unique(np.rint(np.geomspace(1.0, max(most, 2.0), count)))
    return np.concatenate([[0.0], series])


def _rows(rows: Floats, base: Floats) -> Floats:
    """Rows of batches 0 .. max, with the part of each at entry 0 that a mixed step holds already; row 0 is a copy,
    never read."""
    based = rows.copy()
    based[:, 0] = np.clip(base, 1e-9, rows[:, 1])
    return np.concatenate([based[:1], based])
