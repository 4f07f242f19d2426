"""What a result of Python shows of itself: a page in a notebook, a data frame, a picture.

Results are made in rooms to the left of `report`, which draws them; so a result only knows that somebody draws it, and
`report.views` is found when the first one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from comptroller.errors import InputError

FRAME_PX = 640
"""Height of a page inside a notebook: a screen of a laptop holds it with the cell above. Twice as much does not fit."""


@dataclass(frozen=True, slots=True)
class ResultViewer:
    """How a kind of result is shown. rows: one table for each row of the frame."""

    page: Callable[[Any], str]
    rows: Callable[[Any], Sequence[Mapping[str, Any]]]
    svg: Callable[[Any], bytes]


class SvgPicture(str):
    """A picture as the text of an SVG, which a notebook shows.

    >>> SvgPicture("<svg></svg>")._repr_svg_()
    '<svg></svg>'
    """

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def save(self, path: Path | str) -> None:
        """Write it to a file."""
        Path(path).write_text(self, encoding="utf-8")


class ResultViews:
    """The views that every result has."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """The result's page, apart from the notebook's own style."""
        page = escape(_viewer(self).page(self), quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: {FRAME_PX}px; border: 0"></iframe>'

    def to_frame(self) -> Any:
        """A data frame of pandas, or of polars where that is what is installed. Values are in the units of the columns'
        names; unknown is missing.

        Raises:
            InputError: neither is installed.
        """
        rows = [dict(row) for row in _viewer(self).rows(self)]
        for package in ("pandas", "polars"):
            try:
                return import_module(package).DataFrame(rows)
            except ImportError:
                continue
        raise InputError("a data frame needs pandas or polars: pip install pandas")

    def plot(self) -> SvgPicture:
        """The result's pictures as one SVG.

        Raises:
            InputError: matplotlib is not installed, or there is nothing to draw.
        """
        return SvgPicture(_viewer(self).svg(self).decode("utf-8"))


def _viewer(result: ResultViews) -> ResultViewer:
    """What draws a result of its kind."""
    viewers: Mapping[type, ResultViewer] = import_module("comptroller.report.views").VIEWERS
    return viewers[type(result)]
