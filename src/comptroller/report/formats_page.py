"""Number formats as a page and a picture: error by tensor, and what becomes of single numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from comptroller.errors import InputError
from comptroller.numerics.error import qsnr_db
from comptroller.numerics.grid import Floats
from comptroller.numerics.quantise import format_with_variants, round_trip
from comptroller.report import drawing
from comptroller.report.chart import ChartAxis, LineSeries, ReportChart
from comptroller.report.page import PageSection, ReportPage
from comptroller.report.sheet import ReportSheet

NUMBERS = 256
"""Numbers of a row whose errors are drawn: the steps of a format show; more would fill the band."""

APART = 1.2
"""Between the bands of two formats, in root mean squares: errors of 4-bit formats stay below half of it."""

NAMED = 3
"""Tensors up to which each is named below its mark: the width of a panel holds no more names."""


def charts(tensors: Mapping[str, Floats], names: Sequence[str]) -> tuple[ReportChart, ...]:
    """Error of every tensor by format, and errors of the numbers of the largest tensor.

    Raises:
        InputError: more formats than there are colours.
    """
    most = len(drawing.INKS)
    if len(names) > most:
        raise InputError(f"a picture holds {most} formats; {len(names)} were named")
    return _errors(tensors, names), _steps(max(tensors.values(), key=lambda x: x.size), names)


def _errors(tensors: Mapping[str, Floats], names: Sequence[str]) -> ReportChart:
    """One mark per tensor, tensors in the order of the first format's error."""
    db = {name: {key: qsnr_db(x, format_with_variants(name)) for key, x in tensors.items()} for name in names}
    order = sorted(tensors, key=lambda key: db[names[0]][key])
    label = "" if len(order) <= NAMED else f"{len(order)} tensors, from the one that {names[0]} hurts most"
    ticks = tuple(enumerate(order)) if len(order) <= NAMED else ()
    lines = (LineSeries(name, range(len(order)), [db[name][key] for key in order], dotted=True) for name in names)
    return ReportChart("Error by tensor", ChartAxis(label, ticks=ticks), ChartAxis("QSNR, dB"), tuple(lines))


def _steps(x: Floats, names: Sequence[str]) -> ReportChart:
    """Numbers of one row before and after, in units of the tensor's root mean square, a band for each format."""
    rows = x.reshape(-1, x.shape[-1])
    unit = float(np.sqrt(np.square(x, dtype=np.float64).mean()))
    row = min(len(rows) - 1, len(rows) // 2)
    before = rows[row, :NUMBERS]
    after = (round_trip(x, format_with_variants(name)).reshape(rows.shape)[row, :NUMBERS] for name in names)
    return ReportChart(
        "Error of single numbers of the largest tensor",
        ChartAxis("number, in root mean squares of the tensor"),
        ChartAxis("error, in the same unit", ticks=tuple((place * APART, name) for place, name in enumerate(names))),
        tuple(
            LineSeries(
                "", (before / unit).tolist(), ((values - before) / unit + place * APART).tolist(), False, dotted=True
            )
            for place, values in enumerate(after)
        ),
    )


def picture(tensors: Mapping[str, Floats], names: Sequence[str], subject: str) -> drawing.ChartPicture:
    """Both charts.

    Raises:
        InputError: more formats than there are colours.
    """
    return drawing.ChartPicture(charts(tensors, names), subject)


def page(tensors: Mapping[str, Floats], names: Sequence[str], sheet: ReportSheet, left_out: Sequence[str]) -> str:
    """A self-contained page: the charts and the table."""
    missing = (f"left out, blocks do not fit: {', '.join(left_out)}",) if left_out else ()
    return ReportPage(
        title=f"Formats: {', '.join(names)}",
        subject="number formats",
        headline=", ".join(names),
        lede=sheet.title,
        sections=(
            PageSection("At a glance", charts=charts(tensors, names)),
            PageSection("Formats", "dB of signal over quantisation noise", sheets=(sheet,)),
        ),
        footer=missing,
    ).html()
