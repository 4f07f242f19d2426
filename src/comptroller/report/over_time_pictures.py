"""A picture of time of a fleet chosen over time beside the best fixed fleets, on the part that none was chosen on."""

from __future__ import annotations

from comptroller.planning.over_time import FleetOverTime
from comptroller.report.drawing import ChartPicture
from comptroller.report.fleet_timeline import FleetTimeline, timeline_charts, timeline_of_played
from comptroller.report.over_time_tables import over_time_sheets
from comptroller.report.scaling_pictures import timeline_page


def over_time_lines(found: FleetOverTime) -> list[FleetTimeline]:
    """The choice, and the best fixed fleets, on the unseen part."""
    return [timeline_of_played(name, one, found.prices) for name, one in found.drawn]


def over_time_picture(found: FleetOverTime) -> ChartPicture:
    """The charts as a file."""
    return ChartPicture(
        timeline_charts(over_time_lines(found)), f"{found.plan.name}: {over_time_sheets(found)[0].title}"
    )


def over_time_page(found: FleetOverTime) -> str:
    """The charts and the tables as a page."""
    calls = len(found.drawn[0][1].simulation.trace)
    words = f"{found.winner.name} on the {calls:,} requests of the part that it was not chosen on"
    return timeline_page("fleet over time", words, over_time_lines(found), over_time_sheets(found))
