"""Rows of replicas within a power budget: watts by the sample, and a policy that sets clocks and limits.

What is decided takes its time to come into force.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError
from comptroller.serving.engine import EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.outcome import RankSample
from comptroller.serving.policies import decision, module
from comptroller.serving.policies.power_view import PowerSetting, PowerView
from comptroller.serving.state import TICKS_PER_S, ticks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PowerConditions:
    """How rows are powered. policy: its id, the path of its file or its dotted path.  row_budget_w: of each row.

    rows: over which the replicas of each tier are spread evenly.  other_w: watts of a replica's servers that its step
    table does not count.  tpot_s: what a token may take.  tiers_as: policy whose tiers calls and replicas are split by,
    where not its own.
    """

    policy: str
    row_budget_w: float
    rows: int = 1
    other_w: float = 0.0
    tpot_s: float = np.inf
    tiers_as: str = ""

    def __post_init__(self) -> None:
        module("power", self.policy)
        if not (self.row_budget_w > 0 and self.rows >= 1 and self.other_w >= 0):
            raise InputError(
                f"power: a row budget of {self.row_budget_w:g} W, {self.rows} rows, {self.other_w:g} W beside steps; "
                "allowed: above 0 W, from 1 row, from 0 W"
            )

    @property
    def settings(self) -> tuple[PowerSetting, ...]:
        """What the policy may set; the first is how devices are delivered."""
        return tuple(module("power", self.policy).SETTINGS)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Names of the tiers, lowest first, that the policy tells apart."""
        return tuple(getattr(module("power", self.tiers_as or self.policy), "TIERS", ("all",)))


@dataclass(frozen=True, slots=True)
class PowerOrder:
    """A setting that was decided for a tier of a row, and when it comes into force."""

    at_s: float
    due_s: float
    row: int
    tier: int
    setting: int


_ROUNDING = 1e-9
"""Of the longest part of a step: what is shorter is the rounding of a difference, and says nothing of watts."""


def most_step_w(table: StepTable) -> float:
    """The most watts that any step of a replica draws, at its knots.

    The power of a step lies between those of its parts: of its tokens, of what cached tokens add to decodes, of pairs.

    >>> from comptroller.serving.ticks import linear
    >>> round(most_step_w(linear()))
    1000
    """
    added_s, added_j = (values[1:] - values[1:, :1] for values in (table.decode_s, table.decode_j))
    parts = [(table.decode_s[1:], table.decode_j[1:]), (table.mixed_s, table.mixed_j), (table.pair_s, table.pair_j)]
    parts.append((added_s, added_j))
    drawn = [float((joules[takes] / seconds[takes]).max(initial=0.0)) for seconds, joules in parts
             for takes in [seconds > _ROUNDING * seconds.max(initial=0.0)]]  # fmt: skip
    return max(table.idle_w, *drawn)


_SEEN = 512
"""Samples that a policy sees: 17 minutes at two seconds. Twice as many are copied at each sample."""


@dataclass(frozen=True, slots=True)
class _RowMeter:
    """What each replica has drawn, how long it has stepped and been on, up to a moment."""

    at_s: float
    step_j: Floats
    busy_s: Floats
    on_s: Floats


@dataclass(frozen=True, eq=False)
class RowRecord:
    """What rows drew and what was set in them.

    conditions: as they were.  at_s: the samples, shape (samples,).  row_w: mean watts of each row up to each of them,
    shape (samples, rows).  in_force: setting of each tier of each row then, shape (samples, rows, tiers).  orders: what
    was decided.
    """

    conditions: PowerConditions
    at_s: Floats
    row_w: Floats
    in_force: Ints
    orders: tuple[PowerOrder, ...]

    @property
    def peak_share(self) -> float:
        """The most that a row drew in a sample, as a share of its budget."""
        return float(self.row_w.max(initial=0.0) / self.conditions.row_budget_w)

    @property
    def over_s(self) -> float:
        """Seconds that a row was above its budget, over all rows."""
        every_s = float(module("power", self.conditions.policy).EVERY_S)
        # Sums of watts that are equal to the budget are not above it for their last digit.
        return float((self.row_w > self.conditions.row_budget_w * (1 + 1e-9)).sum() * every_s)

    @property
    def brakes(self) -> int:
        """How often a row was braked."""
        braked = {n for n, setting in enumerate(self.conditions.settings) if setting.brake}
        return len({(order.at_s, order.row) for order in self.orders if order.setting in braked})


class PowerRows:
    """The rows of a fleet as a policy powers them, between events of an engine.

    Raises:
        InputError: a budget below what the row draws idle.
    """

    def __init__(self, fleet: SimulatedFleet, conditions: PowerConditions) -> None:
        self.conditions, self.every_s = conditions, float(module("power", conditions.policy).EVERY_S)
        placed = fleet.replicas()
        self.replicas = [one for _, one in placed]
        self.tier = np.array([fleet.services.index(service) for service, _ in placed])
        place = np.concatenate([np.arange(len(service.replicas)) for service in fleet.services])
        self.row = place % conditions.rows
        self._first = np.concatenate([[0], np.cumsum([one.ranks for one in self.replicas])])[:-1]
        self._idle_w = np.array([one.table.idle_w * one.ranks for one in self.replicas])
        self._decide = decision("power", conditions.policy)
        self.decided = [(0,) * len(fleet.services)] * conditions.rows
        self.in_force = np.zeros((conditions.rows, len(fleet.services)), np.int64)
        self.orders: list[PowerOrder] = []
        self._waiting: list[PowerOrder] = []
        self.at_s: list[float] = []
        self._row_w: list[Floats] = []
        self._in_force: list[Ints] = []
        self._before = _RowMeter(0.0, *[np.zeros(len(placed))] * 3)
        self._check_budget()
        self._drawn_at_most_w = self._most_of_replicas()
        self._on = np.ones(len(placed), bool)

    def next_s(self) -> float:
        """When the next sample or setting is due."""
        sample_s = (len(self.at_s) + 1) * ticks(self.every_s) / TICKS_PER_S
        return min([sample_s, *(order.due_s for order in self._waiting)])

    def begin(self, engine: EventEngine, on: npt.NDArray[np.bool_] | None = None) -> None:
        """Decide before the first call, all replicas that are on being idle; all are where not given."""
        self._on = np.ones(len(self.replicas), bool) if on is None else on
        idle = self._by_row(self._on * (self._idle_w + self.conditions.other_w))
        self._follow(engine, 0.0, [idle], np.zeros((self.in_force.shape[1], len(self.conditions.settings))), None)

    def see(self, engine: EventEngine, on_s: Floats | None = None, on: npt.NDArray[np.bool_] | None = None) -> None:
        """What is due now: settings that come into force, and a sample with what the policy decides by it.

        on_s: how long each replica was on up to now, (replicas,); all the time where not given.  on: which are, as
        `begin` had it where not given.
        """
        now_s = engine.now_s
        self._on = self._on if on is None else on
        for order in [one for one in self._waiting if one.due_s <= now_s]:
            self._enforce(engine, order)
        if engine.series and len(engine.series) > len(self.at_s):
            sample = engine.series[-1]
            self._row_w.append(self._watts(sample, np.full(len(self.replicas), sample.at_s) if on_s is None else on_s))
            self.at_s.append(sample.at_s)
            self._in_force.append(self.in_force.copy())
            self._follow(engine, now_s, self._row_w, self._steps(sample), sample)

    def record(self) -> RowRecord:
        """What came of it so far."""
        rows, count = self.in_force.shape
        watts = np.array(self._row_w).reshape(-1, rows)
        in_force = np.array(self._in_force, np.int64).reshape(-1, rows, count)
        return RowRecord(self.conditions, np.array(self.at_s), watts, in_force, tuple(self.orders))

    def _by_row(self, values: Floats) -> Floats:
        """Sums over the replicas of each row."""
        return np.asarray(np.bincount(self.row, values, minlength=self.conditions.rows), np.float64)

    def of_replicas(self, values: npt.NDArray[Any]) -> Floats:
        """Sums over the ranks of each replica."""
        return np.asarray(np.add.reduceat(values, self._first), np.float64)

    def _watts(self, sample: RankSample, on_s: Floats) -> Floats:
        """Mean watts of the rows since the sample before: of steps, and of what waits or stands beside while on."""
        drawn = _RowMeter(sample.at_s, self.of_replicas(sample.step_j), self.of_replicas(sample.busy_s), on_s)
        last, self._before = self._before, drawn
        ranks, lit_s = np.array([one.ranks for one in self.replicas]), on_s - last.on_s
        waits_s = np.maximum(lit_s - (drawn.busy_s - last.busy_s) / ranks, 0.0)
        joules = drawn.step_j - last.step_j + self._idle_w * waits_s + self.conditions.other_w * lit_s
        return self._by_row(joules / (drawn.at_s - last.at_s))

    def _follow(
        self, engine: EventEngine, now_s: float, row_w: Sequence[Floats], steps: Floats, sample: RankSample | None
    ) -> None:
        """Ask the policy of every row, and give the orders for what it decides otherwise than before."""
        for row in range(self.conditions.rows):
            view = PowerView(
                np.array([watts[row] for watts in row_w[-_SEEN:]]), self.conditions.row_budget_w, self.decided[row],
                self._most_w(row), steps, self._queued(sample, row), self.conditions.tpot_s,
            )  # fmt: skip
            wished = tuple(int(one) for one in self._decide(view))
            for tier, setting in enumerate(wished):
                if setting != self.decided[row][tier]:
                    delay_s = self.conditions.settings[setting].delay_s
                    order = PowerOrder(now_s, now_s + delay_s, row, tier, setting)
                    self.orders.append(order)
                    self._waiting.append(order)
                    if delay_s == 0:
                        self._enforce(engine, order)
            self.decided[row] = wished

    def _enforce(self, engine: EventEngine, order: PowerOrder) -> None:
        """A setting comes into force; what was decided before it for the same tier no longer does."""
        if order not in self._waiting:
            return
        place = self._waiting.index(order)
        same = [n for n, one in enumerate(self._waiting) if (one.row, one.tier) == (order.row, order.tier)]
        self._waiting = [one for n, one in enumerate(self._waiting) if n > place or n not in same]
        self.in_force[order.row, order.tier] = order.setting
        for replica in np.flatnonzero((self.row == order.row) & (self.tier == order.tier)).tolist():
            engine.set_level(replica, order.setting)

    def _steps(self, sample: RankSample) -> Floats:
        """Seconds of a decode step of each tier's mean batch at each setting."""
        found = np.zeros((self.in_force.shape[1], len(self.conditions.settings)))
        for tier in range(found.shape[0]):
            members = np.flatnonzero(self.tier == tier)
            running = sample.running[self._first[members]]
            batch = round(float(running.mean()))
            if batch:
                kv_tokens = float(sample.kv_tokens[self._first[members]].mean())
                tables = self.replicas[int(members[0])].tables
                found[tier] = [table.decode_step_s(min(batch, table.max_batch), kv_tokens) for table in tables]
        return found

    def _queued(self, sample: RankSample | None, row: int) -> tuple[float, ...]:
        if sample is None:
            return (0.0,) * self.in_force.shape[1]
        here = np.bincount(self.tier, (self.row == row) * self.of_replicas(sample.queued))
        return tuple(here.tolist())

    def _most_w(self, row: int) -> tuple[float, ...]:
        """What a row may draw at most at each setting until it is asked again: what is on at any load, what is off
        idle, for it may be started and takes no call before that."""
        off_w = (self._idle_w + self.conditions.other_w)[:, None]
        most = np.where(self._on[:, None], self._drawn_at_most_w, off_w)
        return tuple(most[self.row == row].sum(axis=0).tolist())

    def _most_of_replicas(self) -> Floats:
        """What each replica may draw at most at each setting, (replicas, settings)."""
        known: dict[int, list[float]] = {}
        for one in self.replicas:
            known.setdefault(id(one), [most_step_w(table) * one.ranks for table in one.tables])
        return np.array([known[id(one)] for one in self.replicas]) + self.conditions.other_w

    def _check_budget(self) -> None:
        idle_w = self._by_row(self._idle_w + self.conditions.other_w)
        worst = int(np.argmax(idle_w))
        if self.conditions.row_budget_w < idle_w[worst]:
            count = int((self.row == worst).sum())
            fit = int(self.conditions.row_budget_w // (idle_w[worst] / count))
            raise InputError(
                f"row budget of {self.conditions.row_budget_w:,.0f} W is below what {count} replicas draw idle, "
                f"{idle_w[worst]:,.0f} W; at least as much is needed, or at most {fit} replicas in a row"
            )
