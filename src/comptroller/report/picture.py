"""The frontier of a plan as a PNG, by matplotlib (extra `plot`)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.report.chart import FrontierPanel, latency_ticks, most_cost, panels
from comptroller.report.figures import dollars, seconds
from comptroller.report.plan_tables import headline
from comptroller.report.scatter import drawing
from comptroller.report.solving import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE, MARK, SOFT = "#1f5fbf", "#b4540a", "#5b6068"


def picture(plan: Plan) -> bytes:
    """A PNG of cost against each latency objective, the chosen point marked.

    Raises:
        InputError: matplotlib is not installed, or the plan has no frontier.
    """
    if plan.quality is not None:
        return drawing(points(plan), "dollars per hour", f"{plan.name}: {headline(plan)}")
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'comptroller[plot]'") from error
    shown = panels(plan)
    if not shown:
        raise InputError(f"{plan.name}: no latency objective, so no frontier to draw")
    canvas = Canvas(figsize=(5.2 * len(shown), 3.8), dpi=160, layout="constrained")
    canvas.suptitle(f"{plan.name}: {headline(plan)}", fontsize=11, fontweight="bold")
    axes = canvas.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, place in zip(shown, axes, strict=True):
        _draw(panel, place, most_cost(shown))
    axes[0].set_ylabel("$ per hour", color=SOFT)
    data = io.BytesIO()
    canvas.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _draw(panel: FrontierPanel, place: Axes, most_usd: float) -> None:
    x = [point.value for point in panel.points]
    y = [point.usd_per_h for point in panel.points]
    place.step(x, y, where="post", color=LINE, linewidth=1.8)
    place.plot(x, y, "o", markersize=5, markerfacecolor="white", markeredgecolor=LINE, markeredgewidth=1.6)
    if panel.chosen is not None:
        at, cost = x[panel.chosen], y[panel.chosen]
        place.axvline(at, color=MARK, linestyle=(0, (3, 4)), linewidth=1)
        place.plot([at], [cost], "o", markersize=8, color=MARK)
        place.annotate(
            f"chosen: {dollars(cost)}/h", (at, cost), (8, 10), textcoords="offset points", color=MARK, fontweight="bold"
        )
    place.set_xscale("log")
    place.set_ylim(0, most_usd)
    ticks = latency_ticks(x[0] / 1.12, x[-1] * 1.12)
    place.set_xticks(ticks, [seconds(tick) for tick in ticks])
    place.minorticks_off()
    place.set_xlabel(f"{panel.name} objective", color=SOFT)
    place.tick_params(colors=SOFT, labelsize=9)
    place.spines[["top", "right"]].set_visible(False)
    place.spines[["left", "bottom"]].set_color(SOFT)
    place.grid(axis="y", color="#e2e0d9", linewidth=0.8)
