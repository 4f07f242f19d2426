"""Options of `comptroller simulate` that let policies scale a plan's service, and what they print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._output import write_all
from comptroller.cli._pools import AS_IT_IS, RequestPoolOptions
from comptroller.cli._simulation_output import show_compared
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.start_up import WEIGHT_SOURCES
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.scaled_simulation import ScalingConditions, simulate_scaling
from comptroller.planning.spot_simulation import SpotConditions
from comptroller.report.scaling_pictures import scaling_page, scaling_picture
from comptroller.report.scaling_tables import scaling_records, scaling_sheet
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, slots=True)
class ReplicaScalingOptions:
    """Policies that scale, none where nothing does, and their conditions."""

    policies: tuple[str, ...]
    start_up_s: float | None
    most: int
    weights_from: str
    image_pulled: bool
    fill: float
    shifts: int
    share: float
    pools: RequestPoolOptions

    def start_up(self, scale: float) -> SpotConditions:
        """How a replica starts, and how fast the trace is replayed, for replicas that are spot."""
        return SpotConditions(
            self.start_up_s, weights_from=self.weights_from, image_pulled=self.image_pulled, scale=scale
        )

    def conditions(self, scale: float) -> ScalingConditions:
        """How the policies scale a trace that is replayed so many times as fast."""
        return ScalingConditions(
            self.start_up_s,
            self.most,
            scale,
            self.weights_from,
            self.image_pulled,
            self.fill,
            self.shifts,
            share=self.share,
        )

    @property
    def compared(self) -> tuple[str, ...]:
        """The policies, after the one that leaves a fleet as it is."""
        return (AS_IT_IS, *(name for name in dict.fromkeys(self.policies) if name != AS_IT_IS))

    def show(
        self, plan: Plan, trace: RequestTrace, scale: float, priced: TimingCalibration, json: bool,
        paths: Mapping[str, Path | None],
    ) -> None:  # fmt: skip
        """The policies, or those of pools, side by side, after the fleet as it is; `html` and `png` are written."""
        if self.pools.policies:
            return self.pools.show(plan, trace, self.start_up(scale), priced, json, paths)
        found = simulate_scaling(plan, trace, self.compared, self.conditions(scale), priced)
        write_all(paths, {"html": lambda: scaling_page(found), "png": lambda: scaling_picture(found)})
        show_compared(plan, "scaling", lambda: scaling_records(found), lambda: [scaling_sheet(found)], json)


def scaling_options(
    scaling: Annotated[
        list[str] | None,
        typer.Option(
            help="Let a policy start and drain replicas, by its id, its file or its dotted path; again for others to "
            "compare. Ids: apa, dynamo, forecast, harmony, hpa, keda, kpa, none, ray_serve, sky_serve.",
            show_default=False,
        ),
    ] = None,
    start_up_s: Annotated[
        float | None,
        typer.Option(
            "--start-up",
            help="Seconds until a started replica takes calls.",
            show_default="of the machine, the weights and the engine's warm-up",
        ),
    ] = None,
    weights_from: Annotated[
        str, typer.Option(help=f"Where a started replica has its weights from: {', '.join(WEIGHT_SOURCES)}.")
    ] = "object_store",
    image_pulled: Annotated[
        bool, typer.Option("--pull-image", help="A started replica pulls the engine's image first.")
    ] = False,
    most_replicas: Annotated[
        int, typer.Option(help="Scaling: replicas that there may be.", show_default="twice the plan's")
    ] = 0,
    fill: Annotated[float, typer.Option(help="Scaling: share of what a replica can take that policies fill.")] = 1.0,
    shifts: Annotated[
        int, typer.Option(help="Scaling: play the trace so often, begun at other moments, for intervals.", min=1)
    ] = 1,
    share: Annotated[float, typer.Option(help="Scaling: share of the calls that forecast and harmony hold.")] = 0.95,
    pools: Annotated[
        list[str] | None,
        typer.Option(
            help="Part the requests by their size into pools, each with a layout, replicas and a clock that a policy "
            "sets, by its id, its file or its dotted path; again for others to compare. Ids: dynamo_llm, none.",
            show_default=False,
        ),
    ] = None,
    tp: Annotated[
        list[int] | None,
        typer.Option(
            help="Pools: a degree of tensor parallelism that they may have; again for others.",
            show_default="all in a node that hold the model",
        ),
    ] = None,
    most_devices: Annotated[
        int, typer.Option(help="Pools: devices that they may hold together.", show_default="twice the plan's")
    ] = 0,
) -> ReplicaScalingOptions:
    """What the options say."""
    names = tuple(scaling or ())
    parted = RequestPoolOptions(tuple(pools or ()), tuple(tp or ()), most_devices)
    return ReplicaScalingOptions(
        names, start_up_s, most_replicas, weights_from, image_pulled, fill, shifts, share, parted
    )
