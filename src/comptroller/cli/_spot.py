"""Options of `comptroller simulate` that let policies rent a plan's replicas as spot, and what they print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._output import write_all
from comptroller.cli._simulation_output import show_compared
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.spot_simulation import REFERENCE, SpotConditions, simulate_spot
from comptroller.report.spot_pictures import spot_page, spot_picture
from comptroller.report.spot_tables import spot_records, spot_sheets
from comptroller.serving.policies import names
from comptroller.serving.spot import NOTICE_S
from comptroller.serving.work_after_loss import WorkAfterLoss
from comptroller.work.trace import RequestTrace
from comptroller.work.zone_record import choose_record, read_zone_records

WORK = {work.name.lower(): work for work in WorkAfterLoss}


@dataclass(frozen=True, slots=True)
class ReplicaSpotOptions:
    """Policies that rent, none where nothing is spot, the record, and the conditions."""

    policies: tuple[str, ...]
    availability: Path | None
    record: str
    conditions: SpotConditions

    def show(
        self,
        plan: Plan,
        trace: RequestTrace,
        start_up: SpotConditions,
        priced: TimingCalibration,
        json: bool,
        paths: Mapping[str, Path | None],
    ) -> None:
        """The policies side by side, after the fleet on demand; `html` and `png` of the paths are written.

        start_up: conditions of the start-up, and how fast the trace is replayed.
        """
        if self.availability is None:
            raise InputError("--spot takes --availability FILE, a record of the zones' capacity (docs/spot.md)")
        chosen = choose_record(read_zone_records(self.availability), self.record)
        wanted = [REFERENCE, *(name for name in dict.fromkeys(self.policies) if name != REFERENCE)]
        how = replace(
            self.conditions, start_up_s=start_up.start_up_s, weights_from=start_up.weights_from,
            image_pulled=start_up.image_pulled, scale=start_up.scale,
        )  # fmt: skip
        found = simulate_spot(plan, trace, chosen, wanted, how, priced)
        write_all(paths, {"html": lambda: spot_page(found), "png": lambda: spot_picture(found)})
        show_compared(plan, "spot", lambda: spot_records(found), lambda: spot_sheets(found), json)


def spot_options(
    spot: Annotated[
        list[str] | None,
        typer.Option(
            help="Let a policy rent replicas as spot in zones, by its id, its file or its dotted path; again for "
            f"others to compare. Ids: {', '.join(names('spot'))}.",
            show_default=False,
        ),
    ] = None,
    availability: Annotated[
        Path | None, typer.Option(help="Spot: a record of the zones' capacity, .csv.", show_default=False)
    ] = None,
    record: Annotated[
        str, typer.Option(help="Spot: the record of a file with several, by its start.", show_default=False)
    ] = "",
    record_from_h: Annotated[float, typer.Option(help="Spot: hour of the record at which the trace begins.")] = 0.0,
    repeat: Annotated[int, typer.Option(help="Spot, faults: play the trace so often, one after the other.")] = 1,
    extra_replicas: Annotated[int, typer.Option(help="Spot: replicas beyond the plan's that a policy may keep.")] = 1,
    zone_replicas: Annotated[
        int, typer.Option(help="Spot: replicas that a zone has room for.", show_default="the nodes recorded")
    ] = 0,
    notice_s: Annotated[float, typer.Option("--notice", help="Spot: seconds before a replica is gone.")] = NOTICE_S,
    drain_s: Annotated[
        float,
        typer.Option(
            "--drain", help="Spot: seconds before it is gone that a replica takes no more calls.",
            show_default="the notice",
        ),
    ] = float("inf"),
    spot_share: Annotated[
        float, typer.Option(help="Spot: share of the replicas that may be spot; the rest is on demand.")
    ] = 1.0,
    after_loss: Annotated[
        str, typer.Option(help=f"Spot: calls on a replica that is taken back: {', '.join(WORK)}.")
    ] = "resume",
    move_gb_per_s: Annotated[
        float, typer.Option(help="Spot: link that caches move over.", show_default="the replica's own")
    ] = 0.0,
    spot_price: Annotated[
        float | None, typer.Option(help="Spot: dollars per device and hour.", show_default="the site's")
    ] = None,
) -> ReplicaSpotOptions:  # fmt: skip
    """What the options say.

    Raises:
        InputError: what becomes of calls is spelled otherwise, or a number is out of its range.
    """
    faults = [] if after_loss in WORK else [f"--after-loss {after_loss}: allowed: {', '.join(WORK)}"]
    faults += [] if repeat >= 1 else [f"--repeat {repeat}: allowed: from 1"]
    faults += [] if move_gb_per_s >= 0 else [f"--move-gb-per-s {move_gb_per_s:g}: allowed: from 0"]
    if faults:
        raise InputError("; ".join(faults))
    conditions = SpotConditions(
        extra=extra_replicas, zone_replicas=zone_replicas, notice_s=notice_s, work=WORK[after_loss],
        move_bytes_per_s=move_gb_per_s * 1e9, spot_usd_per_device_h=spot_price, from_s=record_from_h * 3600,
        repeat=repeat, drain_s=drain_s, share=spot_share,
    )  # fmt: skip
    return ReplicaSpotOptions(tuple(spot or ()), availability, record, conditions)
