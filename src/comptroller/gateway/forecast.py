"""What requests will cost, by what their like cost lately."""

from __future__ import annotations

from collections import deque
from math import isnan
from statistics import quantiles
from typing import Any

from comptroller.gateway.admission import GatewayLruCache
from comptroller.quantities import Cost

Json = dict[str, Any]

ENOUGH, KEPT = 20, 200
"""Costs of a model id before an interval is made of them, and between two; how many are looked at.
An 80 % interval of 20 leaves two on either side; at twice 200 it takes twice as many requests until other traffic
shows."""


class ModelCostHistory:
    """Costs of one model id, and the intervals that were made of them last."""

    def __init__(self) -> None:
        self.usd, self.j = deque[float](maxlen=KEPT), deque[float](maxlen=KEPT)
        self.since, self.made = ENOUGH, dict[str, Json]()

    def intervals(self) -> dict[str, Json]:
        """The 80 % interval of each, made anew after some requests."""
        if self.since >= ENOUGH:
            self.since = 0
            for name, seen in (("usd", self.usd), ("j", self.j)):
                if len(seen) >= ENOUGH:
                    tenths = quantiles(seen, n=10)
                    about = {"low": tenths[0], "value": tenths[4], "high": tenths[8], "source": "recent"}
                    self.made[name] = about
        return self.made


class RequestCostForecast:
    """What requests of a model id cost lately: the 80 % interval of their dollars and joules."""

    def __init__(self) -> None:
        self._models: GatewayLruCache[ModelCostHistory] = GatewayLruCache(1000)

    def add(self, model: str, cost: Cost) -> None:
        """A request that ended; what is unknown is left out."""
        mine = self._models.get(model) or self._models.put(model, ModelCostHistory())
        mine.since += 1
        for seen, value in ((mine.usd, float(cost.usd)), (mine.j, float(cost.j))):
            if not isnan(value):
                seen.append(value)

    def of(self, model: str) -> dict[str, Json]:
        """Low, middle and high of each; empty where too few were seen."""
        mine = self._models.get(model)
        return {} if mine is None else mine.intervals()
