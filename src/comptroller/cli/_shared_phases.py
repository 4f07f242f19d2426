"""Options of `comptroller simulate` about two engines on the same devices, one for prompts and one for tokens."""

from __future__ import annotations

import json as documents
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.shared_phases import SharedPhaseConditions, simulate_shared_phases
from comptroller.report.shared_phase_tables import shared_phase_records, shared_phase_sheet
from comptroller.report.terminal import console, print_sheet
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, slots=True)
class SharedPhaseOptions:
    """Which shares of devices are compared."""

    conditions: SharedPhaseConditions

    def show(self, plan: Plan, trace: RequestTrace, scale: float, priced: TimingCalibration, json: bool) -> None:
        """The service as it is, then with each share."""
        found = simulate_shared_phases(plan, trace, replace(self.conditions, scale=scale), priced)
        if json:
            typer.echo(documents.dumps({"name": plan.name, "shared_phases": shared_phase_records(found)}, indent=2))
        else:
            print_sheet(shared_phase_sheet(found), console())


def shared_phase_options(
    shared_phases: Annotated[
        list[float] | None,
        typer.Option(
            help="Prompts and tokens in two engines on the same devices (semi-PD): share of the multiprocessors for "
            "prompts; again for others to compare.",
            show_default=False,
        ),
    ] = None,
    bandwidth_full_at: Annotated[
        float | None,
        typer.Option(
            help="Shared phases: share of the multiprocessors from which on the memory bandwidth is full.",
            show_default=False,
        ),
    ] = None,
) -> SharedPhaseOptions:
    """What the options say."""
    return SharedPhaseOptions(SharedPhaseConditions(tuple(dict.fromkeys(shared_phases or [])), bandwidth_full_at))
