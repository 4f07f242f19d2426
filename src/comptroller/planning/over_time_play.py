"""The stage of a fleet over time: one choice on one part of a trace, with zones of spot or rows of power if it has any.

What a choice is told apart by: who scales and how full, what share is spot under which policy, which policy sets clocks
and limits in the rows. All choices see the same calls of a part and the same hours of the zones' record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.facts.grid import GridOnClock
from comptroller.planning.over_time_surroundings import RowsOfPlan, SpotMarket, SpotShare
from comptroller.planning.scaled_simulation import ScaledSimulation, ScalingStage, fleet_of_size
from comptroller.serving.elastic import ElasticEngine
from comptroller.serving.elastic_energy import emitted_gco2e, replica_j
from comptroller.serving.elastic_rows import scale_in_rows
from comptroller.serving.power_rows import PowerConditions, RowRecord
from comptroller.serving.spot import SpotOutcome, SpotSettings, serve_on_spot
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace

Floats = npt.NDArray[np.float64]

FIXED = "none"
"""The policy of a fleet as it is."""

ROOM = 2
"""Times the replicas that there may be which may stand at once where some are spot: those that serve, and those that
replace them."""


class PartFigures(NamedTuple):
    """What a choice came to on a part. share: of the calls within all objectives.  over_s: of rows above budget."""

    share: float
    usd: float
    j: float
    gco2e: float
    replica_h: float
    over_s: float = 0.0


@dataclass(frozen=True, eq=False)
class TracePart:
    """A part of a trace: its requests from second 0, their calls, and where in the trace it begins."""

    trace: RequestTrace
    calls: CallTable
    from_s: float


@dataclass(frozen=True, eq=False)
class PlayedPart:
    """A choice on a part: its figures, and what came of the calls; spot where some replicas were, the grid from the
    part's second 0 on where its hours are known."""

    figures: PartFigures
    simulation: ScaledSimulation
    spot: SpotOutcome | None = None
    rows: RowRecord | None = None
    grid: GridOnClock | None = None


@dataclass(frozen=True, eq=False)
class OverTimeStage:
    """Where choices are played: the service of a plan, and the zones and rows where there are some. grid: from the
    trace's second 0 on; None for the mean of the plan's site."""

    scaled: ScalingStage
    market: SpotMarket | None = None
    rows: RowsOfPlan | None = None
    grid: GridOnClock | None = None

    def play(self, choice: tuple[str, float, int], spot: SpotShare | None, power: str, part: TracePart) -> PlayedPart:
        """A choice (policy, fill, replicas at the start) on a part."""
        if spot is not None:
            return self._on_spot(choice, spot, part)
        if self.rows is not None:
            return self._in_rows(choice, power or FIXED, part, self.rows)
        settings = self.scaled.settings(*choice)
        if settings.policy != FIXED:
            found = self.scaled.play(part.trace, part.calls, settings)
        else:  # nobody need look at it every second
            ran = ElasticEngine(fleet_of_size(self.scaled.fleet, settings.first), part.calls, settings.first).finish()
            found = ScaledSimulation(self.scaled.plan, part.trace, settings, ran, self.scaled.start_up)
        return self._played(part, found, found.outcome.usd)

    def _on_spot(self, choice: tuple[str, float, int], spot: SpotShare, part: TracePart) -> PlayedPart:
        market = self.market
        if market is None:
            raise InputError("a share of spot needs a record of the zones' capacity")
        scaling, how = self.scaled.settings(*choice), market.conditions
        settings = SpotSettings(
            spot.policy, scaling.first, scaling.start_up_s, spot.extra, how.zone_replicas, how.notice_s, how.work, None,
            market.prices.ratio, how.from_s + part.from_s, how.seed, how.drain_s, spot.share,
        )  # fmt: skip
        fleet = fleet_of_size(self.scaled.fleet, ROOM * (self.scaled.most + spot.extra))
        moved = scaling if scaling.policy != FIXED else None
        ran = serve_on_spot(fleet, part.calls, market.record, settings, moved)
        found = ScaledSimulation(self.scaled.plan, part.trace, scaling, ran.elastic, self.scaled.start_up)
        usd = ran.usd(market.prices.on_demand_usd_per_h, market.prices.spot_usd_per_h)
        return self._played(part, found, usd, spot=ran)

    def _in_rows(self, choice: tuple[str, float, int], power: str, part: TracePart, rows: RowsOfPlan) -> PlayedPart:
        scaling = self.scaled.settings(*choice)
        stand = scaling.first if scaling.policy == FIXED else self.scaled.most
        how = rows.conditions
        conditions = PowerConditions(power, how.row_budget_w, how.rows, how.other_w, rows.tpot_s, tiers_as=power)
        played = scale_in_rows(fleet_of_size(self.scaled.fleet, stand), part.calls, scaling, conditions, rows.levels)
        ran = played.elastic
        found = ScaledSimulation(self.scaled.plan, part.trace, scaling, ran, self.scaled.start_up)
        return self._played(part, found, ran.usd, rows=played.rows)

    def _played(
        self,
        part: TracePart,
        found: ScaledSimulation,
        usd: float,
        spot: SpotOutcome | None = None,
        rows: RowRecord | None = None,
    ) -> PlayedPart:
        ran, grid = found.outcome, self.grid.later(part.from_s) if self.grid else None
        figures = PartFigures(
            found.attainment, usd, float(replica_j(ran).sum()), emitted_gco2e(ran, grid), ran.replica_hours,
            rows.over_s if rows else 0.0,
        )  # fmt: skip
        return PlayedPart(figures, found, spot, rows, grid)
