"""Options of `comptroller simulate` that put a plan's service in rows within a power budget, and what they print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._output import write_all
from comptroller.cli._simulation_output import show_compared
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.planning.capped_scaling import simulate_capped_scaling
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.power_simulation import RowConditions, simulate_power
from comptroller.planning.scaled_simulation import ScalingConditions
from comptroller.report.capped_scaling import (
    capped_scaling_page,
    capped_scaling_picture,
    capped_scaling_records,
    capped_scaling_sheet,
)
from comptroller.report.power_tables import power_page, power_picture, power_records, power_sheets
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, slots=True)
class RowPowerOptions:
    """Policies that set clocks and limits, none where nothing does, and the rows."""

    policies: tuple[str, ...]
    row_budget_w: float
    rows: int
    replicas: int
    other_w: float
    low_share: float | None

    def conditions(self, scale: float) -> RowConditions:
        """The rows of a trace that is replayed so many times as fast.

        Raises:
            InputError: no budget is stated.
        """
        if not self.row_budget_w > 0:
            raise InputError("--power needs --row-budget, the watts that a row may draw")
        return RowConditions(self.row_budget_w, self.rows, self.replicas, self.other_w, self.low_share, scale)

    def show(
        self,
        plan: Plan,
        trace: RequestTrace,
        scale: float,
        priced: TimingCalibration,
        json: bool,
        paths: Mapping[str, Path | None],
        scaling: tuple[Sequence[str], ScalingConditions] | None = None,
    ) -> None:
        """The policies side by side, each beside the same rows uncapped; under each of some scaling policies.

        Raises:
            InputError: no budget is stated, or an option is of power or of scaling alone.
        """
        if scaling is not None:
            return self._show_scaled(plan, trace, scaling, priced, json, paths)
        found = simulate_power(plan, trace, tuple(dict.fromkeys(self.policies)), self.conditions(scale), priced)
        write_all(paths, {"html": lambda: power_page(found), "png": lambda: power_picture(found)})
        show_compared(plan, "power", lambda: power_records(found), lambda: power_sheets(found), json)

    def _show_scaled(
        self,
        plan: Plan,
        trace: RequestTrace,
        scaling: tuple[Sequence[str], ScalingConditions],
        priced: TimingCalibration,
        json: bool,
        paths: Mapping[str, Path | None],
    ) -> None:
        names, how = scaling
        powers = tuple(dict.fromkeys(self.policies))
        found = simulate_capped_scaling(plan, trace, (names, powers), (how, self.conditions(how.scale)), priced)
        write_all(paths, {"html": lambda: capped_scaling_page(found), "png": lambda: capped_scaling_picture(found)})
        show_compared(
            plan, "scaled_rows", lambda: capped_scaling_records(found), lambda: [capped_scaling_sheet(found)], json
        )


def power_options(
    power: Annotated[
        list[str] | None,
        typer.Option(
            help="Stand the plan's service in rows within a power budget and let a policy set clocks and limits, by "
            "its id, its file or its dotted path; again for others to compare; also with --scaling. Ids: clock_lock, "
            "none, polca, request_pools, static_cap.",
            show_default=False,
        ),
    ] = None,
    row_budget_w: Annotated[
        float, typer.Option("--row-budget", help="Power: watts that a row may draw.", show_default=False)
    ] = 0.0,
    rows: Annotated[int, typer.Option(help="Power: rows that the replicas are spread over.")] = 1,
    replicas: Annotated[int, typer.Option(help="Power: replicas of the service.", show_default="the plan's")] = 0,
    other_w: Annotated[
        float, typer.Option("--other-watts", help="Power: watts of a replica's servers beside what the plan prices.")
    ] = 0.0,
    low_share: Annotated[
        float | None,
        typer.Option(
            help="Power: share of the calls that are of low priority, drawn, for a trace without priorities.",
            show_default=False,
        ),
    ] = None,
) -> RowPowerOptions:
    """What the options say."""
    return RowPowerOptions(tuple(power or ()), row_budget_w, rows, replicas, other_w, low_share)
