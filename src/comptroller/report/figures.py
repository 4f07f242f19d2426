"""How numbers are printed: three significant digits, in the unit a reader expects."""

from __future__ import annotations

import math

from comptroller.planning.ground.service_document import PredictedFigure

_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))

OBJECTIVES = {"usd": "dollars", "j": "energy", "gco2e": "emissions"}
"""An objective in words."""


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits without an exponent, thousands separated; a dash where it is unknown.

    >>> number(1234.56), number(0.012345), number(None), number(20.0)
    ('1,235', '0.0123', '–', '20')
    """
    if value is None or math.isnan(value):
        return "–"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_prefix(value: float, unit: str) -> str:
    """A value with the metric prefix that leaves it readable; a dash where unknown, or without end.

    >>> with_prefix(0.035, "s"), with_prefix(4742, "W"), with_prefix(0, "W"), with_prefix(float("inf"), "J")
    ('35 ms', '4.74 kW', '0 W', '–')
    """
    if not math.isfinite(value):
        return "–"
    factor, prefix = next(((f, p) for f, p in _STEPS if abs(value) >= f * 0.9995), (1.0, ""))
    return f"{number(value / factor)} {prefix}{unit}"


_LARGE = ((1e12, "T"), (1e9, "B"), (1e6, "M"))


def tokens_text(tokens: float) -> str:
    """A number of tokens in trillions, billions or millions, whichever leaves a digit before the point.

    >>> tokens_text(2e12), tokens_text(2e10), tokens_text(5e7), tokens_text(12345)
    ('2 T tokens', '20 B tokens', '50 M tokens', '12,345 tokens')
    """
    factor, letter = next(((f, f" {name}") for f, name in _LARGE if tokens >= f * 0.9995), (1.0, ""))
    return f"{number(tokens / factor)}{letter} tokens"


def dollars(value: float) -> str:
    """Dollars with cents, or three significant digits below ten cents; a dash where unknown, or without end.

    >>> dollars(9.56), dollars(0.000132778), dollars(1234.5), dollars(float("nan")), dollars(float("inf"))
    ('$9.56', '$0.000133', '$1,234.50', '–', '–')
    """
    if not math.isfinite(value):
        return "–"
    return f"${value:,.2f}" if abs(value) >= 0.1 else f"${number(value)}"


def seconds(value: float) -> str:
    """A duration; milliseconds below a second, seconds however long.

    >>> seconds(0.0347), seconds(2.5), seconds(1236.1)
    ('34.7 ms', '2.5 s', '1,236 s')
    """
    return with_prefix(value, "s") if abs(value) < 1000 else f"{number(value)} s"


def interval(figure: PredictedFigure, unit: str = "") -> str:
    """The 80 % interval of a figure in brackets, or nothing where it has none.

    >>> interval(PredictedFigure(value=0.035, low=0.03, high=0.041), "s")
    '[30 ms to 41 ms]'
    """
    if figure.low is None or figure.high is None or math.isnan(figure.low) or math.isnan(figure.high):
        return ""
    show = dollars if unit == "$" else (lambda x: with_prefix(x, unit))
    return f"[{show(figure.low)} to {show(figure.high)}]"
