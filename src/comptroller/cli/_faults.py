"""Options under which replicas and nodes fault, and copies of calls against it; what `simulate` prints of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from comptroller.cli._simulation_output import show_compared
from comptroller.cluster.job_faults import JobFaults
from comptroller.costs.fault_causes import PROBE_S, WATCHDOG_S, fault_device_s
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.fault_simulation import REPAIR_S, FaultConditions, simulate_faults
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.redundancy_simulation import RedundancyConditions, code_of, simulate_redundancy
from comptroller.planning.spot_simulation import SpotConditions
from comptroller.report.fault_tables import fault_records, faults_sheet
from comptroller.report.redundancy_tables import redundancy_records, redundancy_sheet
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, slots=True)
class ReplicaFaultOptions:
    """The conditions under which replicas fault; none where none does."""

    conditions: FaultConditions | None

    def show(
        self, plan: Plan, trace: RequestTrace, start_up: SpotConditions, priced: TimingCalibration, json: bool
    ) -> None:
        """The service without faults, then with them.

        start_up: conditions of the start-up, how fast and how often the trace is played.
        """
        if self.conditions is None:
            return
        how = replace(
            self.conditions, start_up_s=start_up.start_up_s, weights_from=start_up.weights_from,
            image_pulled=start_up.image_pulled, scale=start_up.scale, repeat=start_up.repeat,
        )  # fmt: skip
        found = simulate_faults(plan, trace, how, priced)
        show_compared(plan, "faults", lambda: fault_records(found), lambda: [faults_sheet(found)], json)


def fault_options(
    faults: Annotated[
        str,
        typer.Option(
            help="Let replicas fault: hours of a device between two faults, or `published`, the rate of a run of "
            "16,384 H100.",
            show_default=False,
        ),
    ] = "",
    detect: Annotated[
        list[float] | None,
        typer.Option(
            help="Faults: seconds until one is seen; again for others to compare.", show_default=f"{PROBE_S:g}"
        ),
    ] = None,
    repair_h: Annotated[float, typer.Option("--repair", help="Faults: hours until a broken node is back.")] = (
        REPAIR_S / 3600
    ),
    spares: Annotated[int, typer.Option(help="Faults: further replicas, off, that step in.")] = 0,
) -> ReplicaFaultOptions:
    """What the options say."""
    if not faults:
        return ReplicaFaultOptions(None)
    seen_s = tuple(dict.fromkeys(detect or [PROBE_S]))
    return ReplicaFaultOptions(FaultConditions(fault_device_s(faults), seen_s, repair_h * 3600, spares))


def node_fault_options(
    faults: Annotated[
        str,
        typer.Option(
            help="Let nodes fault: hours of a GPU between two faults, or `published`, that of a run of 16,384 H100.",
            show_default=False,
        ),
    ] = "",
    detect_s: Annotated[
        float, typer.Option("--detect", help="Faults: seconds until one is seen, its job hanging.")
    ] = WATCHDOG_S,
    repair_h: Annotated[float, typer.Option("--repair", help="Faults: hours until a broken node is back.")] = 24.0,
) -> JobFaults | None:
    """What the options say, none where no node faults."""
    return JobFaults(fault_device_s(faults), detect_s, repair_h * 3600) if faults else None


@dataclass(frozen=True, slots=True)
class CallCopyOptions:
    """Which copies of calls are compared."""

    conditions: RedundancyConditions

    def show(self, plan: Plan, trace: RequestTrace, scale: float, priced: TimingCalibration, json: bool) -> None:
        """The service without copies, then under each kind of redundancy."""
        found = simulate_redundancy(plan, trace, replace(self.conditions, scale=scale), priced)
        show_compared(plan, "redundancy", lambda: redundancy_records(found), lambda: [redundancy_sheet(found)], json)


def copy_options(
    hedge: Annotated[
        list[float] | None,
        typer.Option(
            help="Send a second copy to another replica so many seconds after a call without a first token; again for "
            "others to compare.",
            show_default=False,
        ),
    ] = None,
    hedge_share: Annotated[
        list[float] | None,
        typer.Option(
            help="The same by the gateway's rule: for this share of the calls, the slowest; again for others.",
            show_default=False,
        ),
    ] = None,
    coded: Annotated[
        list[str] | None,
        typer.Option(
            help="Send groups of calls as coded copies, of which as many as calls are enough, as 4of5; again for "
            "others. Replies of one token.",
            show_default=False,
        ),
    ] = None,
    slowed: Annotated[
        float, typer.Option(help="Copies: a neighbour makes the first replica so many times as slow.")
    ] = 1.0,
) -> CallCopyOptions:
    """What the options say."""
    codes = tuple(code_of(text) for text in dict.fromkeys(coded or []))
    delays_s, shares = tuple(dict.fromkeys(hedge or [])), tuple(dict.fromkeys(hedge_share or []))
    return CallCopyOptions(RedundancyConditions(delays_s, shares, codes, slowed))
