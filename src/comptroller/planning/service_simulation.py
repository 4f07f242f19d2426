"""What simulations of a plan's one service share: a trace made ready, and which calls were within the objectives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from comptroller.planning.ground.plan_document import Plan
from comptroller.work.trace import RequestTrace

Floats = npt.NDArray[np.float64]


class ServedCalls(Protocol):
    """What came of calls, whatever was lost, copied or sent again between."""

    def latency_s(self, name: str) -> Floats:
        """`ttft_s`, `tpot_s` or `e2e_s` of each call; NaN where it has none."""
        ...


class ServiceSimulation(ABC):
    """A base of results: the share of the calls within all the objectives of a plan."""

    plan: Plan

    @property
    @abstractmethod
    def served(self) -> ServedCalls:
        """What came of the calls."""

    @cached_property
    def within(self) -> npt.NDArray[np.bool_]:
        """Which calls were done within all the objectives."""
        return calls_within(self.plan, self.served)

    @property
    def attainment(self) -> float:
        """Share of the calls within all the objectives."""
        return float(self.within.mean())


def calls_within(plan: Plan, served: ServedCalls) -> npt.NDArray[np.bool_]:
    """Which calls were done within all the objectives of a plan."""
    held = np.isfinite(served.latency_s("e2e_s"))
    for entry in plan.latency:
        values = served.latency_s(entry.quantity)
        alone = ~np.isfinite(values) & (entry.quantity == "tpot_s")  # one token has no time for each further one
        held &= (values <= entry.most_s) | alone
    return np.asarray(held)


def replayed_trace(trace: RequestTrace, scale: float, repeat: int = 1) -> RequestTrace:
    """A trace so many times as fast, so many times in a row."""
    faster = trace.scaled(scale) if scale != 1 else trace
    return faster.repeated(repeat) if repeat != 1 else faster
