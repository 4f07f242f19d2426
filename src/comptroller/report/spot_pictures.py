"""A picture of time of a fleet on spot: replicas, what waits, latencies, dollars, and when replicas are taken back."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.planning.spot_simulation import SpotSimulation
from comptroller.report.drawing import ChartPicture
from comptroller.report.fleet_timeline import timeline_charts, timeline_of_spot
from comptroller.report.scaling_pictures import timeline_page
from comptroller.report.spot_tables import spot_sheets


def spot_picture(simulations: Sequence[SpotSimulation]) -> ChartPicture:
    """The charts as a file."""
    title = f"{simulations[0].plan.name}: {spot_sheets(simulations)[0].title}"
    return ChartPicture(timeline_charts([timeline_of_spot(one) for one in simulations]), title)


def spot_page(simulations: Sequence[SpotSimulation]) -> str:
    """The charts and the tables as a page."""
    words = f"{len(simulations[0].trace):,} requests under {len(simulations)} spot policies"
    return timeline_page("spot", words, [timeline_of_spot(one) for one in simulations], spot_sheets(simulations))
