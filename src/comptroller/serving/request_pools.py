"""Pools of requests at work: each on replicas of one layout at one clock, which a policy changes while calls come.

A pool is a service of the fleet that has replicas of all its layouts, of which those of the layout in force take calls.
Another layout is a cold start of its replicas, and once all of them take calls the end of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.errors import InputError
from comptroller.serving.elastic import ElasticEngine, ElasticOutcome, ReplicaPhase
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.policies import decision, module
from comptroller.serving.policies.pool_view import Floats, LayoutProfile, PoolSetting, PoolView
from comptroller.serving.scaling import calls_by_service, drain_some
from comptroller.work.call import CallTable


@dataclass(frozen=True, eq=False)
class RequestPool:
    """A pool before it is played. replicas: one of each layout, with a level for every clock after the first.

    profiles: of the layouts.  expected_per_s: requests a second that are expected of it.  planned: as the plan has it.
    """

    name: str
    replicas: tuple[SimulatedReplica, ...]
    profiles: tuple[LayoutProfile, ...]
    expected_per_s: float
    planned: PoolSetting

    def __post_init__(self) -> None:
        if not 0 < len(self.replicas) == len(self.profiles):
            raise InputError(f"pool {self.name}: {len(self.replicas)} layouts and {len(self.profiles)} profiles")
        clocks = {len(one.per_s) for one in self.profiles} | {len(one.tables) for one in self.replicas}
        if len(clocks) > 1:
            raise InputError(f"pool {self.name}: its layouts have {sorted(clocks)} clocks; all have the same")

    @property
    def least_devices(self) -> int:
        """Of a replica of its smallest layout."""
        return min(one.devices for one in self.profiles)


@dataclass(frozen=True, slots=True)
class PoolDecision:
    """How a pool is to stand from a moment on."""

    at_s: float
    pool: int
    setting: PoolSetting


@dataclass(frozen=True, eq=False)
class PooledOutcome:
    """What came of calls on pools. decisions: where a setting was another than before, the first ones too.

    changes: where another layout came in force.  layouts: place of the layout of each replica.
    """

    elastic: ElasticOutcome
    pools: tuple[RequestPool, ...]
    decisions: tuple[PoolDecision, ...]
    changes: tuple[PoolDecision, ...]
    layouts: tuple[int, ...]

    @property
    def reshardings(self) -> int:
        """How often another layout of a pool came in force."""
        return len(self.changes)

    @property
    def device_hours(self) -> float:
        """Hours of devices that were paid for."""
        replicas = [one for _, one in self.elastic.outcome.fleet.replicas()]
        devices = np.array([one.table.devices for one in replicas])
        return float(devices @ self.elastic.paid_s / 3600)


class PoolState:
    """A pool while it is played: what is decided and which replicas of the fleet are its own.

    in_force: its layout whose replicas all took calls last.  is_settled: whether it stands as was decided, so that
    nothing is to be done until something else is.
    """

    def __init__(self, place: int, pool: RequestPool, arrivals: Floats, layout_of: dict[int, int]) -> None:
        self.place, self.pool, self.arrivals, self.layout_of = place, pool, arrivals, layout_of
        self.setting, self.in_force, self.is_settled = pool.planned, pool.planned.layout, False

    def devices_held(self, engine: ElasticEngine) -> int:
        """Devices of its replicas that are not off."""
        held = [r for r in self.layout_of if engine.phases[r] != ReplicaPhase.OFF]
        return sum(self.pool.profiles[self.layout_of[r]].devices for r in held)

    def view(self, second: int, queued: float, most_devices: int) -> PoolView:
        """What its policy sees."""
        pool = self.pool
        return PoolView(
            second, self.arrivals[:second], queued, pool.expected_per_s, pool.profiles, self.setting, most_devices
        )

    def set_clock(self, engine: ElasticEngine) -> None:
        """All its replicas at the clock in force, those that are off too."""
        for replica in self.layout_of:
            engine.engine.set_level(replica, self.setting.clock)

    def follow(self, engine: ElasticEngine, free_devices: int) -> None:
        """Start what is lacking where there are devices, end what is too much.

        Another layout is started only where all its replicas fit in the devices that are free or its own already, and
        is in force once all of them take calls; until then the pool stays as it is.
        """
        layout, wanted = self.setting.layout, self.setting.replicas
        there = self._there(engine, layout)
        lacking = wanted - len(there)
        idle = sorted(r for r in self._of_layout(layout) if engine.phases[r] == ReplicaPhase.OFF)
        room = min(free_devices // self.pool.profiles[layout].devices, len(idle))
        if layout != self.in_force and lacking > room:
            self._end_all_but(engine, {self.in_force})
            return
        for replica in idle[: max(min(lacking, room), 0)]:
            engine.start(replica, self.pool.profiles[layout].start_up_s)
        if lacking < 0:
            drain_some(engine, self.place, there, -lacking)
        if sum(engine.phases[r] == ReplicaPhase.OPEN for r in there) >= wanted:
            self.in_force = layout
        self._end_all_but(engine, {self.in_force, layout})
        self.is_settled = self.in_force == layout and len(self._there(engine, layout)) == wanted

    def _of_layout(self, layout: int) -> list[int]:
        return [r for r, own in self.layout_of.items() if own == layout]

    def _there(self, engine: ElasticEngine, layout: int) -> list[int]:
        """Its replicas of a layout that take calls or start."""
        phases = ReplicaPhase.OPEN, ReplicaPhase.STARTING
        return [r for r in self._of_layout(layout) if engine.phases[r] in phases]

    def _end_all_but(self, engine: ElasticEngine, kept: set[int]) -> None:
        for layout in set(self.layout_of.values()) - kept:
            others = self._there(engine, layout)
            drain_some(engine, self.place, others, len(others))


class RequestPoolFleet:
    """Pools that share devices, under a policy.

    devices: that all pools together may hold.

    Raises:
        InputError: fewer devices than one replica of the smallest layout of each pool takes.
    """

    def __init__(
        self, pools: Sequence[RequestPool], policy: str, devices: int, policies: ServingPolicies | None = None
    ) -> None:
        least = sum(pool.least_devices for pool in pools)
        if devices < least:
            raise InputError(f"{len(pools)} pools on {devices} devices: at least {least} are needed, one replica each")
        self.pools, self.policy, self.devices = tuple(pools), policy, devices
        self.policies = policies or ServingPolicies()
        self._choose = decision("pools", policy)
        self._decisions: list[PoolDecision] = []

    def play(self, calls: CallTable) -> PooledOutcome:
        """What comes of calls, each sent to the pool that its column `service` says.

        Once the last call has arrived nothing more is decided.

        Raises:
            InputError: the policy's first setting of a pool is none that it may have.
        """
        parted = calls_by_service(calls, len(self.pools))
        seconds = int(np.asarray(calls["arrival_s"], np.float64).max()) + 1
        counts = [np.bincount(np.asarray(one["arrival_s"], np.float64).astype(np.int64), minlength=seconds)
                  for one in parted]  # fmt: skip
        states = [PoolState(place, pool, counts[place].astype(np.float64), {}) for place, pool in enumerate(self.pools)]
        left = self.devices - sum(pool.least_devices for pool in self.pools)
        for state in states:
            self._decide(state, state.view(0, 0.0, left + state.pool.least_devices), 0.0)
            left -= self._devices_of(state) - state.pool.least_devices
        fleet, layouts = self._fleet(states)
        engine = ElasticEngine(fleet, calls, [state.setting.replicas for state in states])
        for state in states:
            state.in_force = state.setting.layout
            state.set_clock(engine)
        changes = self._run(engine, states, seconds)
        return PooledOutcome(engine.finish(), self.pools, tuple(self._decisions), tuple(changes), tuple(layouts))

    def _run(self, engine: ElasticEngine, states: Sequence[PoolState], seconds: int) -> list[PoolDecision]:
        """Play them; where another layout came in force."""
        changes = []
        every_s = int(module("pools", self.policy).EVERY_S)
        for second in range(1, seconds + 1):
            engine.advance(float(second))
            for state in states:
                if second % every_s == 0:
                    before = state.setting
                    others = sum(max(one.devices_held(engine), self._devices_of(one)) for one in states
                                 if one is not state)  # fmt: skip
                    view = state.view(second, engine.state(state.place)["queued"], self.devices - others)
                    self._decide(state, view, float(second))
                    state.is_settled = state.is_settled and before[:2] == state.setting[:2]
                    if state.setting.clock != before.clock:
                        state.set_clock(engine)
                last = state.in_force
                if not state.is_settled:
                    state.follow(engine, self.devices - sum(one.devices_held(engine) for one in states))
                if state.in_force != last:
                    changes.append(PoolDecision(float(second), state.place, state.setting))
        return changes

    def _devices_of(self, state: PoolState) -> int:
        """Devices of the replicas that are decided."""
        return state.setting.replicas * state.pool.profiles[state.setting.layout].devices

    def _decide(self, state: PoolState, view: PoolView, at_s: float) -> None:
        setting = PoolSetting(*self._choose(view))
        layouts = len(view.layouts)
        if not (0 <= setting.layout < layouts and setting.replicas >= 1 and 0 <= setting.clock < len(
                view.layouts[0].per_s)):  # fmt: skip
            raise InputError(
                f"policy of pools {self.policy}: {setting} for pool {state.pool.name}; allowed: layouts 0 to "
                f"{layouts - 1}, from 1 replica, clocks 0 to {len(view.layouts[0].per_s) - 1}"
            )
        if not self._decisions or setting != state.setting or at_s == 0:
            self._decisions.append(PoolDecision(at_s, state.place, setting))
        state.setting = setting

    def _fleet(self, states: Sequence[PoolState]) -> tuple[SimulatedFleet, list[int]]:
        """Replicas of all layouts of each pool, of each as many as the devices hold, those in force first."""
        services, layouts = [], list[int]()
        for state in states:
            first, pool = state.setting.layout, state.pool
            order = [first, *(place for place in range(len(pool.replicas)) if place != first)]
            own = [place for place in order for _ in range(self.devices // pool.profiles[place].devices)]
            state.layout_of = {len(layouts) + n: place for n, place in enumerate(own)}
            layouts += own
            services.append(SimulatedService(pool.name, tuple(pool.replicas[place] for place in own)))
        return replace(SimulatedFleet(tuple(services)), policies=self.policies), layouts
