"""Rows within a power budget whose replicas come and go: watts by the sample, clocks and limits set by a policy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comptroller.errors import InputError
from comptroller.serving.elastic import ElasticEngine, ReplicaPhase
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import module
from comptroller.serving.power import LevelTables
from comptroller.serving.power_rows import PowerConditions, PowerRows


def fleet_with_levels(fleet: SimulatedFleet, conditions: PowerConditions, levels: LevelTables) -> SimulatedFleet:
    """The fleet whose replicas have a level for every setting of the policy.

    Raises:
        InputError: the policy tells tiers apart, which are services of their own and do not come and go.
    """
    if len(conditions.tiers) > 1:
        raise InputError(
            f"power policy {conditions.policy} gives the tiers {', '.join(conditions.tiers)} replicas of their own; "
            "where replicas come and go one without tiers is needed: clock_lock, none, static_cap"
        )
    (service,) = fleet.services
    leveled = levels.of(service.replicas[0], conditions.settings)
    return replace(fleet, services=(replace(service, replicas=(leveled,) * len(service.replicas)),))


class ElasticRows:
    """What is done every second of a fleet that comes and goes: settings come into force, samples are taken.

    Raises:
        InputError: a budget below what the rows draw idle with all replicas on.
    """

    def __init__(self, fleet: SimulatedFleet, conditions: PowerConditions) -> None:
        self.rows = PowerRows(fleet, conditions)
        self._starts = True

    @property
    def sample_s(self) -> float:
        """How often the engine is to sample."""
        return self.rows.every_s

    def __call__(self, engine: ElasticEngine) -> None:
        """At a second."""
        if self._starts:
            self.rows.begin(engine.engine)
            self._starts = False
        self.rows.see(engine.engine, np.array([phase != ReplicaPhase.OFF for phase in engine.phases]))

    @property
    def over_s(self) -> float:
        """Seconds that a row was above its budget, over all rows."""
        _, row_w, _ = self.rows.history()
        budget_w = self.rows.conditions.row_budget_w
        every_s = float(module("power", self.rows.conditions.policy).EVERY_S)
        return float((row_w > budget_w * (1 + 1e-9)).sum() * every_s)

    @property
    def peak_share(self) -> float:
        """The most that a row drew in a sample, as a share of its budget."""
        _, row_w, _ = self.rows.history()
        return float(row_w.max(initial=0.0) / self.rows.conditions.row_budget_w)
