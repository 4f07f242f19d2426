"""What requests will cost, by what their like cost lately."""

from __future__ import annotations

from collections import deque
from statistics import quantiles
from typing import Any

from comptroller.gateway.admission import Recent
from comptroller.gateway.shapes import known
from comptroller.quantities import Cost

Json = dict[str, Any]

ENOUGH, KEPT = 20, 200
"""Costs of a model id before an interval is made of them, and how many are looked at."""


class Forecast:
    """What requests of a model id cost lately: the 80 % interval of their dollars and joules."""

    def __init__(self) -> None:
        self._seen: Recent[deque[tuple[float | None, float | None]]] = Recent(1000)

    def add(self, model: str, cost: Cost) -> None:
        """A request that ended."""
        seen = self._seen.get(model) or self._seen.put(model, deque(maxlen=KEPT))
        usd, j = float(cost.usd), float(cost.j)
        seen.append((known(usd), known(j)))

    def of(self, model: str) -> Json:
        """Low, middle and high of each; empty where too few were seen."""
        seen = self._seen.get(model)
        if seen is None or len(seen) < ENOUGH:
            return {}
        made: Json = {}
        for name, column in zip(("usd", "j"), zip(*seen, strict=True), strict=True):
            if len(values := [value for value in column if value is not None]) >= ENOUGH:
                tenths = quantiles(values, n=10)
                made[name] = {"low": tenths[0], "value": tenths[4], "high": tenths[8], "source": "recent"}
        return made
