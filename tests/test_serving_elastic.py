"""Replicas that come and go: exact against the plain reference, nothing lost unseen, policies by their own rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comptroller.errors import InputError
from comptroller.serving.elastic import ElasticEngine, ElasticOutcome, ReplicaPhase
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import decision, module, names
from comptroller.serving.policies.scaling_view import ScalingView
from comptroller.serving.scaling import ScalingSettings, scale
from comptroller.serving.state import TICKS_PER_S, RequestState
from comptroller.serving.ticks import linear
from comptroller.serving.work_after_loss import CachePath, WorkAfterLoss
from comptroller.work.call import CallTable
from elastic_reference import ElasticReference, ScriptEvent
from serving_reference import reference
from serving_worlds import table


def load(count: int, span_s: float, seed: int = 0) -> CallTable:
    rng = np.random.default_rng(seed)
    return CallTable.of(
        arrival_s=np.sort(rng.uniform(0, span_s, count)),
        input_tokens=rng.integers(5, 60, count),
        output_tokens=rng.integers(1, 25, count),
    )


def fleet(replicas: int, seed: int = 0) -> SimulatedFleet:
    return SimulatedFleet.uniform(table(seed, capacity=2000, chunk=64), replicas)


# the engine


def test_a_fleet_that_never_changes_is_simulated_as_before() -> None:
    calls = load(120, 2.0)
    plain, elastic = simulate(fleet(3), calls), ElasticEngine(fleet(3), calls, 3)
    for second in range(1, 4):
        elastic.advance(float(second))
    found = elastic.finish()
    for name in plain.requests.dtype.names:
        np.testing.assert_array_equal(found.outcome.requests[name], plain.requests[name], err_msg=name)
    assert found.paid_s.tolist() == [found.outcome.horizon_s] * 3
    np.testing.assert_array_equal(found.latency_s("ttft_s"), plain.ttft_s)


@pytest.mark.parametrize("seed", range(4))
def test_starts_and_drains_are_those_of_the_reference(seed: int) -> None:
    """Random moments at which replicas are started or drained; the reference asks at each arrival who takes calls."""
    rng = np.random.default_rng(seed)
    calls, span_s, start_up_s = load(150, 3.0, seed), 3.0, 0.35
    engine = ElasticEngine(fleet(4, seed), calls, 2)
    openings: list[tuple[float, frozenset[int]]] = [(0.0, frozenset({0, 1}))]
    for moment in np.sort(rng.uniform(0, span_s, 8)):
        engine.advance(float(moment))
        if rng.random() < 0.5 and (idle := engine.of(ReplicaPhase.OFF)):
            engine.start(idle[0], start_up_s)
        elif len(opened := engine.of(ReplicaPhase.OPEN)) > 1:
            engine.drain(opened[int(rng.integers(len(opened)))])
    found = engine.finish()
    taking = {0, 1}
    for event in found.events:
        if event.phase == ReplicaPhase.OPEN:
            taking |= {event.replica}
        elif event.phase in (ReplicaPhase.DRAINING, ReplicaPhase.OFF):
            taking -= {event.replica}
        openings.append((event.at_s, frozenset(taking)))

    def who(tick: int) -> list[int]:
        return sorted([open_ for at_s, open_ in openings if at_s * TICKS_PER_S < tick][-1])

    known = reference(fleet(4, seed), calls, who)
    for name in ("started", "first", "last", "prompt_rank", "generated", "computed", "preemptions", "steps"):
        np.testing.assert_array_equal(found.outcome.requests[name], known.requests[name], err_msg=name)


def test_a_replica_is_paid_for_from_its_start_until_its_last_call() -> None:
    calls = CallTable.of(arrival_s=[0.0, 5.0], input_tokens=[10, 10], output_tokens=[5, 5])
    engine = ElasticEngine(SimulatedFleet.uniform(linear(), 2), calls, 1)
    engine.start(1, 2.0)
    engine.advance(1.0)
    assert engine.of(ReplicaPhase.STARTING) == [1]
    engine.advance(3.0)
    engine.drain(1)
    engine.advance(4.0)
    found = engine.finish()
    assert [(event.at_s, event.phase.name) for event in found.events if event.replica == 1] == [
        (0.0, "STARTING"), (2.0, "OPEN"), (3.0, "DRAINING"), (4.0, "OFF"),
    ]  # fmt: skip
    assert found.paid_s[1] == pytest.approx(4.0) and found.paid_s[0] == found.outcome.horizon_s
    assert (found.outcome.requests["prompt_rank"] == 0).all()


def lost(work: WorkAfterLoss) -> ElasticOutcome:
    engine = ElasticEngine(SimulatedFleet.uniform(linear(), 2), load(60, 1.0), 2)
    engine.advance(0.5)
    engine.lose(1, work)
    return engine.finish()


@pytest.mark.parametrize("work", (WorkAfterLoss.RESTART, WorkAfterLoss.RESUME))
def test_calls_on_a_replica_that_is_gone_end_elsewhere_once(work: WorkAfterLoss) -> None:
    found = lost(work)
    outcome, calls = found.outcome, 60
    moved = found.origin[calls:]
    assert moved.size and len(set(moved.tolist())) == moved.size
    done = np.zeros(calls)
    np.add.at(done, found.origin[outcome.done], 1)
    assert (done == 1).all(), "every call is done once"
    assert outcome.counts()["cancelled"] == moved.size
    assert (outcome.requests["prompt_rank"][calls:] == 0).all() and outcome.arrival_s[calls:].min() >= 0.5
    assert np.isfinite(found.latency_s("e2e_s")).all()
    assert (found.latency_s("e2e_s")[moved] > 0.5 - outcome.arrival_s[moved]).all()


def test_what_is_resumed_makes_no_token_twice() -> None:
    again, resumed = lost(WorkAfterLoss.RESTART).outcome, lost(WorkAfterLoss.RESUME).outcome
    tokens = load(60, 1.0)["output_tokens"].sum()
    lost_steps = resumed.counts()["cancelled"]
    assert tokens <= resumed.meters.output_tokens.sum() <= tokens + lost_steps < again.meters.output_tokens.sum()


def test_the_last_replica_is_not_taken_away() -> None:
    engine = ElasticEngine(fleet(2), load(5, 1.0), 1)
    with pytest.raises(InputError, match="replica 0 is the only one that takes calls; start another first"):
        engine.drain(0)
    with pytest.raises(InputError, match="replica 0 is open; only one that is off starts"):
        engine.start(0, 1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prefix_block_tokens": 4}, "no kept prefixes"),
        ({"services": fleet(1).services * 2}, "so many at the start for each of 2 services"),
    ],
)
def test_fleets_that_cannot_come_and_go_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ElasticEngine(replace(fleet(1), **change), load(5, 1.0), 1)


ALIKE = ("started", "first", "last", "prompt_rank", "generated", "cached", "computed", "preemptions", "steps")


@pytest.mark.parametrize("seed", range(16))
def test_losses_notices_and_moves_are_those_of_the_reference(seed: int) -> None:
    """Random moments at which a replica starts, drains, is gone, or gets a notice; at times nobody takes calls."""
    rng = np.random.default_rng(seed)
    calls, fleet_ = load(120, 3.0, seed), fleet(4, seed)
    engine, script = ElasticEngine(fleet_, calls, 2), list[ScriptEvent]()
    path = CachePath(*rng.choice([2e6, 2e7, 2e9], 2))
    for moment in np.sort(rng.uniform(0, 3.0, 10)):
        engine.advance(float(moment))
        at_s, act, work = engine.now_s, rng.integers(4), WorkAfterLoss(int(rng.integers(3)))
        idle, opened = engine.of(ReplicaPhase.OFF), engine.of(ReplicaPhase.OPEN)
        if act == 0 and idle:
            engine.start(idle[0], 0.35)
            script.append(ScriptEvent(at_s + 0.35, "open", idle[0]))
        elif act == 1 and len(opened) > 1:
            engine.drain(opened[0])
            script.append(ScriptEvent(at_s, "close", opened[0]))
        elif act == 2 and opened:
            engine.lose(opened[-1], work)
            script.append(ScriptEvent(at_s, "lose", opened[-1], work))
        elif act == 3 and opened:
            notice_s = float(rng.choice([0.0, 0.05, 0.2]))
            engine.notice(opened[0], notice_s, work, path)
            move = work == WorkAfterLoss.MOVE
            script.append(ScriptEvent(at_s, "move" if move else "close", opened[0], work, notice_s, path))
            script.append(ScriptEvent(at_s + notice_s, "lose", opened[0], work))
    last_s = engine.now_s
    for replica in engine.of(ReplicaPhase.OFF)[:1]:
        engine.start(replica, 0.35)
        script.append(ScriptEvent(last_s + 0.35, "open", replica))
    engine.advance(5.0)
    found = engine.finish().outcome
    known = ElasticReference(fleet_, calls, script, {0, 1}).play()
    assert len(known) == len(found)
    ended = np.array([row.state == RequestState.DONE for row in known])
    np.testing.assert_array_equal(found.done, ended)
    for name in ALIKE:
        values = np.array([getattr(row, name) for row in known])
        np.testing.assert_array_equal(found.requests[name][ended], values[ended], err_msg=name)


def noticed(notice_s: float, work: WorkAfterLoss, path: CachePath | None = None) -> ElasticOutcome:
    """Sixty calls on two replicas, of which one is told at half a second that it will be gone."""
    engine = ElasticEngine(SimulatedFleet.uniform(linear(), 2), load(60, 1.0), 2)
    engine.advance(0.5)
    engine.notice(1, notice_s, work, path)
    engine.advance(20.0)
    return engine.finish()


def test_a_longer_notice_loses_no_more() -> None:
    """Tokens that are in caches are computed again, or not; time may go either way, for prompts share steps."""
    path = CachePath(20e6)
    for work, way in ((WorkAfterLoss.RESUME, None), (WorkAfterLoss.MOVE, path)):
        found = [noticed(notice_s, work, way) for notice_s in (0.0, 0.1, 0.5, 2.0, 30.0)]
        lost = [sum(loss.tokens_lost for loss in one.losses) for one in found]
        assert lost == sorted(lost, reverse=True) and lost[0] > lost[-1] == 0
        computed = [int(one.outcome.meters.prompt_tokens.sum()) for one in found]
        assert computed == sorted(computed, reverse=True)


def test_a_fast_link_computes_nothing_again_and_a_drain_moves_nothing() -> None:
    moved, drained = noticed(1.0, WorkAfterLoss.MOVE, CachePath(1e15)), noticed(1e3, WorkAfterLoss.RESUME)
    resumed = noticed(0.0, WorkAfterLoss.RESUME)
    assert sum(loss.moved for loss in moved.losses) > 0 and not drained.losses
    prompts = load(60, 1.0)["input_tokens"].sum()
    assert drained.outcome.meters.prompt_tokens.sum() == prompts
    again = [one.outcome.meters.prompt_tokens.sum() - prompts for one in (moved, resumed)]
    assert 0 < again[0] <= len(moved.outcome) - 60 < again[1], "of each that moved its last token alone"
    assert moved.outcome.counts()["stop"] == drained.outcome.counts()["stop"] == 60


def test_while_nobody_takes_calls_they_wait() -> None:
    engine = ElasticEngine(SimulatedFleet.uniform(linear(), 2), load(60, 1.0), 1)
    engine.advance(0.5)
    engine.lose(0, WorkAfterLoss.RESUME)
    engine.start(1, 2.0)
    engine.advance(4.0)
    found = engine.finish()
    assert found.outcome.counts()["stop"] == 60 and np.isfinite(found.latency_s("e2e_s")).all()
    calls = load(60, 1.0)
    waited = (calls["arrival_s"] > 0.5) & (calls["arrival_s"] < 2.5)
    assert (found.latency_s("ttft_s")[waited] >= 2.5 - calls["arrival_s"][waited]).all()


def test_a_path_of_caches_without_a_rate_is_refused() -> None:
    with pytest.raises(InputError, match="0 bytes/s out"):
        CachePath(0.0)


# policies

POLICIES = names("scaling")


def view(in_flight: list[float], current: int = 4, **more: object) -> ScalingView:
    """A service whose calls in flight were these, second by second; a replica is to have 10, and to take 5 a second."""
    calls = np.array(in_flight, float)
    known = {
        "arrivals": calls / 2, "queued": np.zeros(calls.size), "cache": np.zeros(calls.size),
        "ready": np.full(calls.size, float(current)), "target_calls": 10.0, "target_per_s": 5.0,
        "capacity_per_s": 5.0, "start_up_s": 60.0, "least": 1, "most": 100,
    }  # fmt: skip
    return ScalingView(in_flight=calls, current=current, **(known | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_keeps_what_fits_and_says_how_often_it_is_asked(name: str) -> None:
    assert module("scaling", name).EVERY_S >= 1
    steady = view([40.0] * 900, queued=np.full(900, 120.0), cache=np.full(900, 0.6))
    least = {"kpa": 6, "forecast": 5, "harmony": 5}.get(
        name, 4
    )  # one fills 70 % of its target, two clear what waits as well
    assert decision("scaling", name)(steady) == least


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "none"])
def test_more_load_never_wants_fewer_replicas(name: str) -> None:
    wants = [
        decision("scaling", name)(view([calls] * 900, queued=np.full(900, 3 * calls), cache=np.full(900, 0.5)))
        for calls in (5.0, 20.0, 40.0, 80.0, 400.0)
    ]
    assert wants == sorted(wants) and wants[0] < wants[-1]


@pytest.mark.parametrize(
    ("name", "seen", "wanted"),
    [
        ("hpa", view([43.0]), 4),  # within 10 %
        ("hpa", view([60.0]), 6),
        ("hpa", view([400.0]), 8),  # by 100 % or four pods
        ("hpa", view([38.0] * 200 + [5.0] * 100), 4),  # the window remembers five minutes
        ("hpa", view([38.0] * 200 + [5.0] * 300), 1),
        ("kpa", view([28.0] * 60), 4),
        ("kpa", view([28.0] * 54 + [84.0] * 6), 12),  # panic: the six seconds want 12, twice and more the ready
        ("kpa", view([28.0] * 40 + [84.0] * 6 + [7.0] * 30), 4),  # within a minute of the alarm: no fewer
        ("kpa", view([1.0] * 60), 2),  # at most halved
        ("ray_serve", view([80.0] * 29), 4),  # the wish has not lasted
        ("ray_serve", view([80.0] * 30), 8),
        ("ray_serve", view([10.0] * 599), 4),
        ("ray_serve", view([10.0] * 600), 1),
        ("apa", view([400.0] * 60), 8),
        ("apa", view([10.0] * 60), 2),
        ("sky_serve", view([84.0] * 60), 9),
        ("keda", view([40.0], queued=np.array([130.0])), 5),
        ("keda", view([40.0], cache=np.array([0.9])), 6),
        ("dynamo", view([41.0]), 5),
        ("dynamo", view([25.0]), 4),  # three would have more than 80 %
        ("dynamo", view([23.0]), 3),
        ("forecast", view([0.0] * 100 + [40.0] * 30 + [0.0] * 300), 4),  # a rise ahead of a quarter of the seconds
        ("forecast", view([0.0] * 100 + [40.0] * 30 + [0.0] * 2000), 0),  # of one in twenty
    ],
)
def test_a_policy_follows_its_published_rule(name: str, seen: ScalingView, wanted: int) -> None:
    assert decision("scaling", name)(seen) == wanted


def test_a_forecast_reckons_with_rises_that_it_has_seen() -> None:
    calm, bursty = [20.0] * 600, ([20.0] * 60 + [80.0] * 60) * 5
    policy = decision("scaling", "forecast")
    assert policy(view(calm)) == 2
    assert policy(view([*bursty, *[20.0] * 40])) > policy(view(calm))


# at work


def settings(policy: str, **more: float) -> ScalingSettings:
    known = {"target_calls": 6.0, "target_per_s": 6.0, "first": 4, "start_up_s": 3.0} | more
    return ScalingSettings(policy, **known)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def burst() -> CallTable:
    """Quiet, a burst, quiet."""
    rng = np.random.default_rng(3)
    arrivals = np.concatenate([rng.uniform(0, 90, 180), rng.uniform(30, 50, 500)])
    count = arrivals.size
    return CallTable.of(
        arrival_s=np.sort(arrivals), input_tokens=rng.integers(50, 400, count), output_tokens=rng.integers(5, 60, count)
    )


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_serves_every_call(name: str, burst: CallTable) -> None:
    found = scale(SimulatedFleet.uniform(linear(max_batch=8), 8), burst, settings(name))
    assert found.outcome.counts()["stop"] == len(burst) and len(found.outcome) == len(burst)
    assert (found.paid_s <= found.outcome.horizon_s + 1e-9).all()
    assert found.replica_hours <= 8 * found.outcome.horizon_s / 3600


def test_a_start_that_takes_no_time_is_no_worse_than_one_that_does(burst: CallTable) -> None:
    fleet_ = SimulatedFleet.uniform(linear(max_batch=8), 8)
    late = [scale(fleet_, burst, settings("hpa", first=1, start_up_s=s)).latency_s("ttft_s") for s in (0.0, 20.0)]
    assert np.quantile(late[0], 0.95) <= np.quantile(late[1], 0.95)


def test_an_unknown_policy_and_impossible_settings_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="kpaa"):
        settings("kpaa")
    with pytest.raises(InputError, match="0 calls in flight"):
        settings("kpa", target_calls=0)
    with pytest.raises(InputError, match="start-up -1 s"):
        settings("kpa", start_up_s=-1)
