"""Pictures of number formats: error by tensor, and what becomes of single numbers; PNG, or SVG inside a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from comptroller.errors import InputError
from comptroller.numerics.error import qsnr_db
from comptroller.numerics.grid import Floats
from comptroller.numerics.quantise import format_with_variants, round_trip
from comptroller.report.page import asset, document, section
from comptroller.report.sheet import ReportSheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1f5fbf", "#b4540a", "#2f7d4f", "#8a3f8f", "#7a6a00", "#5b6068")
SOFT = "#5b6068"


def picture(tensors: Mapping[str, Floats], names: Sequence[str], subject: str, kind: str = "png") -> bytes:
    """Error of every tensor by format, and numbers before against after in the largest tensor; PNG or SVG.

    Raises:
        InputError: matplotlib is not installed, or more formats than there are colours.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'comptroller[plot]'") from error
    if len(names) > len(COLOURS):
        raise InputError(f"a picture holds {len(COLOURS)} formats; {len(names)} were named")
    canvas = Figure(figsize=(11, 4.2), dpi=150, layout="constrained")
    canvas.suptitle(subject, fontsize=10, fontweight="bold", parse_math=False)
    left, right = canvas.subplots(1, 2, width_ratios=(3, 2))
    _errors(left, tensors, names)
    _steps(right, max(tensors.values(), key=lambda x: x.size), names)
    for place in (left, right):
        place.tick_params(colors=SOFT, labelsize=8)
        place.spines[["top", "right"]].set_visible(False)
        place.grid(axis="y", color="#e2e0d9", linewidth=0.8)
    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "comptroller"}):
        canvas.savefig(data, format=kind, metadata={"Software": None} if kind == "png" else {"Date": None})
    return data.getvalue()


def _errors(place: Axes, tensors: Mapping[str, Floats], names: Sequence[str]) -> None:
    """One mark per tensor, tensors in the order of the first format's error."""
    first = {name: qsnr_db(x, format_with_variants(names[0])) for name, x in tensors.items()}
    order = sorted(tensors, key=lambda name: first[name])
    for colour, name in zip(COLOURS, names, strict=False):
        values = [qsnr_db(tensors[tensor], format_with_variants(name)) for tensor in order]
        place.plot(values, "o-", color=colour, markersize=3.5, linewidth=0.9, label=name)
    place.set_ylabel("QSNR, dB", color=SOFT, fontsize=9)
    if len(order) <= 6:
        place.set_xticks(range(len(order)), order, fontsize=7)
    else:
        place.set_xlabel(f"{len(order)} tensors, from the one that {names[0]} hurts most", color=SOFT, fontsize=9)
    place.legend(fontsize=8, frameon=False)


def _steps(place: Axes, x: Floats, names: Sequence[str]) -> None:
    """Numbers of one row before and after, in units of the tensor's root mean square."""
    rows = x.reshape(-1, x.shape[-1])
    unit = float(np.sqrt(np.square(x, dtype=np.float64).mean()))
    row = min(len(rows) - 1, len(rows) // 2)
    for number, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        after = round_trip(x, format_with_variants(name)).reshape(rows.shape)[row, :256]
        before = rows[row, :256]
        place.plot(before / unit, (after - before) / unit + number * 1.2, ".", markersize=3, color=colour, label=name)
        place.axhline(number * 1.2, color=colour, linewidth=0.6)
    place.set_xlabel("number, in root mean squares of the tensor", color=SOFT, fontsize=9)
    place.set_ylabel("its error, formats one above the other", color=SOFT, fontsize=9)
    place.set_yticks([])


def page(tensors: Mapping[str, Floats], names: Sequence[str], sheet: ReportSheet, left_out: Sequence[str]) -> str:
    """A self-contained page: the picture and the table."""
    drawn = picture(tensors, names, sheet.title, "svg").decode("utf-8")
    drawn = drawn[drawn.index("<svg") :]
    missing = f"<footer><p>left out, blocks do not fit: {escape(', '.join(left_out))}</p></footer>" if left_out else ""
    body = (
        '<p class="eyebrow"><b>Comptroller</b> number formats</p>'
        f"<h1>{escape(', '.join(names))}</h1><p class='lede'>{escape(sheet.title)}</p>"
        f"<figure>{drawn}</figure>{section('Formats', sheet, 'dB of signal over quantisation noise')}{missing}"
    )
    return document(f"Formats: {', '.join(names)}", body, asset("page.js"))
