"""What a plan predicted beside what happened, live and from the books."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from comptroller.costs.own_calibration import OwnCalibration
from comptroller.facts.digests import facts_digest
from comptroller.gateway.config import GatewayConfig
from comptroller.planning.ground.plan_calibration import plan_remarks, under_own_calibration
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.strategies.part_notes import parts_of

if TYPE_CHECKING:
    from comptroller.gateway.attempt import CallAttempt

ENOUGH, LAST = 30, 1000
"""Requests before a prediction is held against them, and how many are looked at:
the mean of thirty is within a fifth of its spread, and a thousand forget a drift that is over."""


PLAN_AGAIN = "plan again (comptroller plan WORKLOAD --from-books BOOKS --served PLAN)"
"""What to do about a drift: the command takes last month's calls, scores and times in place of what was assumed."""


@dataclass(frozen=True)
class MonitoredPrediction:
    """A figure of the plan: of the mean of requests, or of a quantile of their latency."""

    name: str
    quantile: float | None
    figure: PredictedFigure


def served_plan(config: GatewayConfig) -> Plan:
    """The plan that a gateway serves, its latencies as the own calibration predicts them where one is named.

    Raises:
        FactError: the plan or the calibration is not readable.
        InputError: the calibration speaks of no service of the plan, or the plan was made under another one.
    """
    plan = load_plan(Path(config.plan))
    if not config.calibration:
        return plan
    return under_own_calibration(plan, OwnCalibration.of_folder(Path(config.calibration)), facts_digest()[1])


def planned_notes(config: GatewayConfig) -> list[str]:
    """What to know of the plan that is served: what the trained parts of its strategies were trained on, and the
    services that the own calibration does not speak of. None without a plan."""
    if not config.plan:
        return []
    plan, folder = load_plan(Path(config.plan)), config.calibration
    remarks = plan_remarks(plan, OwnCalibration.of_folder(Path(folder))) if folder else []
    return [*parts_of(one.strategy for one in plan.classes), *remarks]


class PlanDriftMonitor:
    """What happened beside what was predicted, over the last requests of the plan; over all where `most` is None."""

    def __init__(self, plan: Plan, most: int | None = LAST) -> None:
        self.predictions = [
            MonitoredPrediction("usd", None, plan.totals.usd_per_request),
            MonitoredPrediction("j", None, plan.totals.j_per_request),
            *(MonitoredPrediction(item.quantity, item.quantile, item.predicted_s) for item in plan.latency),
        ]
        self._seen = {item.name: deque[float](maxlen=most) for item in self.predictions}
        self.requests = 0

    def add(self, **values: float) -> None:
        """A request that ended; what is unknown (NaN) is left out."""
        self.requests += 1
        for name, value in values.items():
            if name in self._seen and not isnan(value):
                self._seen[name].append(value)

    def figure(self, item: MonitoredPrediction) -> float:
        """What came of a prediction so far; NaN where nothing did."""
        seen = self._seen[item.name]
        if not seen:
            return nan
        return fmean(seen) if item.quantile is None else float(np.quantile(seen, item.quantile))

    def outside(self, item: MonitoredPrediction) -> bool:
        """Whether what came of a prediction lies outside its interval, from thirty requests on."""
        figure, count = item.figure, len(self._seen[item.name])
        if count < ENOUGH or figure.low is None or figure.high is None:
            return False
        return not figure.low <= self.figure(item) <= figure.high

    def drifted(self) -> list[str]:
        """What lies outside its predicted interval, in words."""
        lines = []
        for item in filter(self.outside, self.predictions):
            figure, count = item.figure, len(self._seen[item.name])
            what = f"{item.name} per request" if item.quantile is None else f"{item.name} p{item.quantile * 100:g}"
            interval = f"predicted {figure.value:.4g} ({figure.low:.4g} to {figure.high:.4g})"
            lines.append(f"{what} is {self.figure(item):.4g} over {count} requests, {interval}: {PLAN_AGAIN}")
        return lines

    def document(self) -> dict[str, Any]:
        """Predictions beside what happened, for /comptroller/plan."""
        rows = [
            {"figure": item.name, "quantile": item.quantile, "predicted": item.figure.model_dump(),
             "happened": None if isnan(self.figure(item)) else self.figure(item)}
            for item in self.predictions
        ]  # fmt: skip
        return {"requests": self.requests, "figures": rows, "drift": self.drifted()}


def digest_of(plan: Plan) -> str:
    """What calls of a plan carry in the books."""
    return hashlib.sha256(plan.to_json().encode()).hexdigest()[:16]


def from_books(plan: Plan, rows: Iterable[Mapping[str, Any]]) -> PlanDriftMonitor:
    """What the rows of a plan's calls tell, request by request."""
    monitor = PlanDriftMonitor(plan, None)
    requests: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        requests.setdefault(row["request"], []).append(row)
    for calls in requests.values():
        monitor.add(**_request(calls))
    return monitor


def _request(calls: list[Mapping[str, Any]]) -> dict[str, float]:
    """The figures of one request; NaN where a call's are unknown."""

    def read(name: str) -> list[float]:
        return [nan if row[name] is None else float(row[name]) for row in calls]

    arrival_s, last = min(read("arrival_s")), calls[-1]
    made = (last["output_tokens"] or 0) - 1
    going_s = read("last_s")[-1] - read("first_s")[-1]
    return {
        "usd": sum(read("pusd")) / 1e12,
        "j": sum(read("j_prefill")) + sum(read("j_decode")),
        "ttft_s": min(read("first_s")) - arrival_s,
        "tpot_s": going_s / made if made > 0 and going_s > 0 else nan,
        "e2e_s": max(read("last_s")) - arrival_s,
    }


def request_latencies(arrival_s: float, attempts: Sequence[CallAttempt]) -> dict[str, float]:
    """Seconds of a request to its first event, between tokens of its last call, to its end; those that are known."""
    heard = [item for item in attempts if not isnan(item.first_s)]
    ends = {"e2e_s": time.time() - arrival_s}
    if not heard:
        return ends
    last = heard[-1]
    made = 0 if last.usage is None else last.usage.output_tokens
    ends["ttft_s"] = min(item.first_s for item in heard) - arrival_s
    return ends | ({"tpot_s": (last.call.last_s - last.first_s) / (made - 1)} if made > 1 and last.order.stream else {})
