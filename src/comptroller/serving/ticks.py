"""A step table in whole ticks, as the kernel reads it."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from comptroller.costs.steptable import StepTable
from comptroller.serving.state import TICKS_PER_S

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PiecewiseCurve:
    """Seconds and joules over one variable, in segments."""

    knots: Floats
    seconds: Floats
    joules: Floats

    def packed(self) -> Floats:
        """Knots, then value and slope of seconds, then value and slope of joules."""
        parts = [self.knots]
        for values in (self.seconds, self.joules):
            slopes = np.diff(values) / np.diff(self.knots)
            parts += [values, np.append(slopes, slopes[-1])]
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class TickTable:
    """Decode steps in ticks: `value` at each knot, `slope` per token; joules as intercept and slope.

    Slopes are rounded to whole ticks per token, an error of at most 2e-12 s per token past a knot.
    """

    knots: Ints
    value: Ints
    slope: Ints
    intercept_j: Floats
    slope_j: Floats
    mixed: PiecewiseCurve
    pairs: PiecewiseCurve

    @classmethod
    def of(cls, table: StepTable) -> TickTable:
        """The same table in ticks, made once: the draws of a fleet share its tables."""
        if table not in _KNOWN:
            _KNOWN[table] = cls._made(table)
        return _KNOWN[table]

    @classmethod
    def _made(cls, table: StepTable) -> TickTable:
        knots = np.rint(table.kv_knots_tokens).astype(np.int64)
        gaps = np.diff(table.kv_knots_tokens)
        seconds = np.where(np.arange(table.max_batch + 1)[:, None] > 0, table.decode_s, 0.0)
        joules = np.where(np.arange(table.max_batch + 1)[:, None] > 0, table.decode_j, 0.0)
        slope_s, slope_j = np.diff(seconds) / gaps, np.diff(joules) / gaps
        slope_s, slope_j = (np.concatenate([item, item[:, -1:]], axis=1) for item in (slope_s, slope_j))
        return cls(
            knots,
            np.rint(seconds * TICKS_PER_S).astype(np.int64),
            np.rint(slope_s * TICKS_PER_S).astype(np.int64),
            joules - slope_j * table.kv_knots_tokens,
            slope_j,
            PiecewiseCurve(table.token_knots, table.mixed_s, table.mixed_j),
            PiecewiseCurve(table.pair_knots, table.pair_s, table.pair_j),
        )


_KNOWN: WeakKeyDictionary[StepTable, TickTable] = WeakKeyDictionary()
"""Tables in ticks, for as long as the tables live."""


def linear(
    base_s: float = 6e-3,
    token_s: float = 22e-6,
    sequence_s: float = 60e-6,
    kv_token_s: float = 0.0,
    max_batch: int = 128,
) -> StepTable:
    """A step table of straight lines: a step takes base + per prompt token + per sequence + per cached token.

    Power is 1 kW in a step, 200 W beside it. For tests and for measuring the engine's own speed.

    >>> table = linear()
    >>> round(table.decode_step_s(100, 0), 6), round(table.mixed_step_s(1000, 0.0, 100), 6)
    (0.012, 0.0302)
    """
    batches = np.arange(max_batch + 1)[:, None]
    knots = np.array([0.0, 1e6])
    decode_s = base_s + sequence_s * batches + kv_token_s * knots
    # A sequence that decodes beside prompts is counted as one prompt token by the mixed table.
    tokens = np.array([0.0, 1e6])
    mixed_s = base_s + token_s * tokens
    pairs = np.array([0.0, 1e12])
    return StepTable(
        kv_knots_tokens=knots,
        decode_s=decode_s,
        decode_j=decode_s * 1e3,
        token_knots=tokens,
        mixed_s=mixed_s,
        mixed_j=mixed_s * 1e3,
        pair_knots=pairs,
        pair_s=np.zeros(2),
        pair_j=np.zeros(2),
        idle_w=200.0,
        devices=1,
        kv_capacity_tokens=1 << 22,
        kv_block_tokens=16,
        max_batch=max_batch,
        chunk_tokens=4096,
        kv_bytes_per_token=131072.0,
        swap_bytes_per_s=50e9,
        transfer_bytes_per_s=200e9,
        usd_per_s=1e-3,
        gco2e_per_j=1e-4,
    )
