"""Replicas in zones: a zone's room is never passed, nothing is lost unseen, and each policy keeps its rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comptroller.errors import InputError
from comptroller.serving.elastic import ReplicaPhase
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import decision, module, names
from comptroller.serving.policies.spot_view import NEVER_S, SpotView
from comptroller.serving.scaling import ScalingSettings, scale
from comptroller.serving.spot import ON_DEMAND, SpotOutcome, SpotSettings, serve_on_spot
from comptroller.serving.ticks import linear
from comptroller.serving.work_after_loss import CachePath, WorkAfterLoss
from comptroller.work.call import CallTable
from comptroller.work.zone_record import ZoneRecord
from spot_worlds import drawn_zones, zones

POLICIES = names("spot")
SPAN_S = 3600.0
FLEET = SimulatedFleet.uniform(linear(max_batch=8), 14)


def load(count: int = 900, seed: int = 0, span_s: float = SPAN_S) -> CallTable:
    rng = np.random.default_rng(seed)
    return CallTable.of(
        arrival_s=np.sort(rng.uniform(0, span_s, count)),
        input_tokens=rng.integers(50, 400, count),
        output_tokens=rng.integers(5, 60, count),
    )


def settings(policy: str, **more: object) -> SpotSettings:
    known: dict[str, object] = {"target": 4, "start_up_s": 60.0, "zone_replicas": 4, "notice_s": 30.0}
    return SpotSettings(policy, **(known | more))  # type: ignore[arg-type]


def room_is_kept(found: SpotOutcome, record: ZoneRecord, room: int) -> bool:
    """Whether no zone ever held more than it had room for."""
    for zone, capacity in enumerate(record.zones):
        held = [one for one, at in zip(found.elastic.leases, found.places, strict=True) if at == zone]
        for at_s in [one.since_s + 1e-6 for one in held] + [float(at) + 1e-6 for at in capacity.starts_s]:
            here = sum(one.since_s <= at_s < one.until_s for one in held)
            if at_s < SPAN_S - 10 and here > int(capacity.share(at_s) * room + 1e-9):
                return False
    return True


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(3))
def test_on_drawn_zones_every_call_ends_and_no_zone_is_overfull(policy: str, seed: int) -> None:
    record = drawn_zones(np.random.default_rng(seed), 3, SPAN_S)
    calls = load(seed=seed)
    found = serve_on_spot(FLEET, calls, record, settings(policy))
    done = np.isfinite(found.elastic.latency_s("e2e_s"))
    assert done.all() or policy == "spot_only"
    assert room_is_kept(found, record, 4)
    assert len(found.places) == len(found.elastic.leases) and 0 <= found.availability <= 1
    paid = found.hours(on_demand=True) + found.hours(on_demand=False)
    assert paid == pytest.approx(found.elastic.replica_hours)
    again = serve_on_spot(FLEET, calls, record, settings(policy))
    assert again.elastic.events == found.elastic.events, "the same seed, the same run"


def test_without_interruptions_spot_is_as_good_as_on_demand_and_costs_less() -> None:
    """Zones that have all for ever: after the first start-up what serves is spot, and no call is worse off."""
    record, calls = zones([(0.0, 4)], [(0.0, 4)]), load()
    firm = serve_on_spot(FLEET, calls, record, settings("on_demand"))
    plain = simulate(SimulatedFleet.uniform(linear(max_batch=8), 4), calls)
    np.testing.assert_array_equal(firm.elastic.latency_s("ttft_s"), plain.ttft_s)
    assert firm.availability == 1.0 and not firm.interruptions and firm.hours(on_demand=False) == 0
    for policy in ("spot_hedge", "spread_cover"):
        found = serve_on_spot(FLEET, calls, record, settings(policy))
        assert not found.interruptions and found.availability == 1.0 and found.refusals == 0
        assert found.usd(1.0, 0.3) < 0.5 * firm.usd(1.0, 0.3)
        assert np.quantile(found.elastic.latency_s("e2e_s"), 0.99) <= np.quantile(plain.e2e_s, 0.99) * 1.05


@pytest.mark.parametrize("policy", ["spot_hedge", "spread_cover", "static_mix"])
def test_no_spot_at_all_leaves_what_is_on_demand(policy: str) -> None:
    found = serve_on_spot(FLEET, load(), zones([(0.0, 0)], [(0.0, 0)]), settings(policy))
    assert found.hours(on_demand=False) == 0 and found.refusals > 0
    assert found.availability == (0.0 if policy == "static_mix" else 1.0) or policy == "static_mix"


@pytest.mark.parametrize("seed", range(4))
def test_more_capacity_and_a_longer_notice_leave_the_target_ready_no_less(seed: int) -> None:
    """Of every zone all nodes where there were some: availability of spread_cover does not fall."""
    record = drawn_zones(np.random.default_rng(seed), 3, SPAN_S)
    ample = ZoneRecord("ample", tuple(replace(zone, nodes=np.full(zone.nodes.size, 4.0)) for zone in record.zones))
    scarce, full = (serve_on_spot(FLEET, load(), one, settings("spread_cover")) for one in (record, ample))
    assert full.availability == 1.0 >= scarce.availability
    within = [float((one.elastic.latency_s("ttft_s") <= 5.0).mean()) for one in (scarce, full)]
    assert within[0] <= within[1]
    noticed = (serve_on_spot(FLEET, load(), record, settings("spot_only", notice_s=s)) for s in (0.0, 120.0))
    lost = [sum(loss.tokens_lost for loss in one.elastic.losses) for one in noticed]
    assert lost[1] <= lost[0]


@pytest.mark.parametrize("work", WorkAfterLoss)
def test_a_zone_that_goes_takes_its_replicas_and_their_calls_go_on(work: WorkAfterLoss) -> None:
    record, calls = zones([(0.0, 4), (1800.0, 0)], [(0.0, 4)]), load(3000)
    path = CachePath(25e9) if work == WorkAfterLoss.MOVE else None
    found = serve_on_spot(FLEET, calls, record, settings("spot_hedge", work=work, path=path))
    assert {event.zone for event in found.interruptions} == {"z0"}
    told_s = [event.at_s for event in found.interruptions]
    assert told_s[0] == pytest.approx(1770.0), "a notice before; what is launched since then hears of it at the end"
    assert max(told_s) <= 1800.0 + 1e-6
    ended = [one.until_s for one, zone in zip(found.elastic.leases, found.places, strict=True) if zone == 0]
    assert max(ended) <= 1800.0 + 1e-6
    assert np.isfinite(found.elastic.latency_s("e2e_s")).all()


def view(**more: object) -> SpotView:
    known: dict[str, object] = {
        "now_s": 1000.0, "target": 4, "extra": 1, "start_up_s": 180.0, "price_ratio": 0.3, "ready": (2, 2, 1),
        "starting": (0, 0, 0), "on_demand_ready": 0, "on_demand_starting": 0, "lost_s": (NEVER_S,) * 3,
        "refused_s": (NEVER_S,) * 3, "granted_s": (0.0,) * 3, "memory": {},
    }  # fmt: skip
    return SpotView(**(known | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_asks_for_whole_replicas_and_repeats_itself(policy: str) -> None:
    place = decision("spot", policy)
    assert module("spot", policy).EVERY_S >= 1
    for seen in (view(), view(ready=(0, 0, 0), starting=(3, 0, 0)), view(on_demand_ready=4, ready=(0, 0, 0))):
        wish = place(seen)
        assert len(wish.spot) == 3 and min(wish.spot) >= 0 and 0 <= wish.on_demand <= 4
        assert place(seen._replace(memory={})) == wish


def test_spot_hedge_keeps_its_published_rule() -> None:
    place = decision("spot", "spot_hedge")
    assert place(view()) == ((2, 2, 1), 0)
    assert place(view(ready=(2, 1, 0))).on_demand == 2, "target and extra less ready spot"
    lost = view(ready=(0, 2, 1), lost_s=(990.0, NEVER_S, NEVER_S))
    assert place(lost) == ((0, 3, 2), 2), "not where it was just lost"
    two = view(ready=(0, 0, 1), lost_s=(990.0, 990.0, NEVER_S))
    assert sum(place(two).spot[:2]) > 0, "fewer than two active: all are again"


def test_spread_cover_rests_a_zone_and_stands_in_on_demand() -> None:
    place, memory = decision("spot", "spread_cover"), dict[str, object]()
    lost = view(ready=(0, 2, 1), lost_s=(990.0, NEVER_S, NEVER_S), memory=memory)
    assert place(lost).spot == (0, 3, 2) and place(lost).on_demand == 1
    later = view(now_s=990.0 + 601, ready=(0, 2, 2), lost_s=(990.0, NEVER_S, NEVER_S), memory=memory)
    assert place(later).spot == (1, 2, 2)
    start = view(ready=(0, 0, 0), starting=(2, 2, 1), on_demand_ready=4)
    assert place(start).on_demand == 4, "kept until spot is ready"
    coming = view(ready=(1, 1, 1), starting=(1, 1, 0))
    assert place(coming).on_demand == 0, "no sooner than the spot replica that starts"


def test_what_cannot_be_is_refused_with_all_its_faults() -> None:
    with pytest.raises(InputError, match=r"0 replicas to take calls; at least 1; a notice of -1 s; not below 0"):
        settings("spot_hedge", target=0, notice_s=-1.0)
    with pytest.raises(InputError, match="spot_hege"):
        settings("spot_hege")
    with pytest.raises(InputError, match=r"record drawn ends after 0\.5 h"):
        serve_on_spot(FLEET, load(), zones([(0.0, 4)], end_s=1800.0), settings("spot_hedge"))
    with pytest.raises(InputError, match="a fleet of 14 replicas, of which 15"):
        serve_on_spot(FLEET, load(), zones([(0.0, 4)]), settings("spot_hedge", target=15))


def test_leases_on_demand_are_told_from_spot() -> None:
    found = serve_on_spot(FLEET, load(), zones([(0.0, 4)], [(0.0, 4)]), settings("static_mix"))
    kinds = {zone == ON_DEMAND for zone in found.places}
    assert kinds == {True, False}
    assert sum(event.phase == ReplicaPhase.STARTING for event in found.elastic.events) == 3


def test_a_told_replica_takes_calls_until_it_drains_and_no_longer() -> None:
    """One zone goes: drained late, more is served; what is there at the end is the same."""
    record, calls = zones([(0.0, 4), (1800.0, 0)]), load(3000)
    late, early = (
        serve_on_spot(FLEET, calls, record, settings("spot_hedge", notice_s=120.0, drain_s=drain_s))
        for drain_s in (10.0, np.inf)
    )
    ready = [[e.at_s for e in one.elastic.events if e.phase == ReplicaPhase.DRAINING] for one in (late, early)]
    assert any(abs(at_s - 1790.0) < 1 for at_s in ready[0]) and any(abs(at_s - 1680.0) < 1 for at_s in ready[1])
    for one in (late, early):
        assert room_is_kept(one, record, 4) and np.isfinite(one.elastic.latency_s("e2e_s")).all()
        assert min(event.at_s for event in one.interruptions) == 1680.0, "told when the notice is, either way"
    within = [float((one.elastic.latency_s("ttft_s") <= 5.0).mean()) for one in (late, early)]
    assert late.availability >= early.availability and within[0] >= within[1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_of_the_target_only_a_share_is_spot(share: float) -> None:
    record, calls = zones([(0.0, 4)], [(0.0, 4)]), load()
    found = serve_on_spot(FLEET, calls, record, settings("spread_cover", extra=0, share=share))
    firm = serve_on_spot(FLEET, calls, record, settings("on_demand"))
    assert found.hours(on_demand=False) == pytest.approx(share * 4, rel=0.1, abs=0.01)
    if not share:
        np.testing.assert_array_equal(found.elastic.latency_s("ttft_s"), firm.elastic.latency_s("ttft_s"))
    assert found.availability == 1.0
    with pytest.raises(InputError, match=r"a share of 1\.5 of the target on spot"):
        settings("spread_cover", share=1.5)


def test_a_scaling_policy_moves_the_target_that_a_spot_policy_places() -> None:
    """Quiet, then busy: replicas rise with the load; all on demand it is what scaling alone does, but for the seconds
    between decisions."""
    rng = np.random.default_rng(0)
    arrival_s = np.sort(np.concatenate([rng.uniform(0, 1800, 300), rng.uniform(1800, 3600, 2400)]))
    calls = CallTable.of(
        arrival_s=arrival_s, input_tokens=np.full(arrival_s.size, 300), output_tokens=np.full(arrival_s.size, 60)
    )
    how = ScalingSettings("forecast", target_calls=6.0, target_per_s=0.4, first=2, most=5, start_up_s=60.0)
    record = zones([(0.0, 6)], [(0.0, 6)])
    spot = settings("spread_cover", target=2, extra=0, zone_replicas=6)
    found = serve_on_spot(FLEET, calls, record, spot, how)
    plain = scale(SimulatedFleet.uniform(linear(max_batch=8), 5), calls, how)
    opened = [
        sum(one.since_s <= at_s < one.until_s for one in found.elastic.leases) for at_s in (1700.0, 3500.0)
    ]  # fmt: skip
    assert opened[0] < opened[1] and np.isfinite(found.elastic.latency_s("e2e_s")).all()
    firm = serve_on_spot(FLEET, calls, record, replace(spot, policy="on_demand"), how)
    assert firm.elastic.replica_hours == pytest.approx(plain.replica_hours, rel=0.1)
    assert found.usd(1.0, 0.3) < 0.6 * firm.usd(1.0, 0.3)
    assert 0.9 <= firm.availability <= 1.0
