"""Blocks outside the device, adapters in slots, turns of tenants, caches that are swapped: what must hold in any fleet.

That every tick agrees with the plain reference is tested in `test_serving_exact`; here are closed forms of single
requests, and what may not change when a store, a slot or a tenant is added.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptroller.errors import InputError
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import (
    BlockStore,
    ServingPolicies,
    SimulatedFleet,
    SimulatedReplica,
    SimulatedService,
    stores_of,
)
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import PoolRole
from comptroller.work.call import CallTable
from serving_reference import ReferenceCounters, reference
from serving_worlds import plain_fleets, plain_workloads, table

BLOCK = 8
ENDLESS = 1 << 30


def fleet_with(
    replica: SimulatedReplica, policies: ServingPolicies | None = None, count: int = 1, **fleet: object
) -> SimulatedFleet:
    """So many of a replica, with prefix blocks of 8 tokens."""
    service = SimulatedService("a", (replica,) * count)
    return SimulatedFleet((service,), policies or ServingPolicies(), prefix_block_tokens=BLOCK, **fleet)  # type: ignore[arg-type]


def conversations(count: int = 60, prompts: int = 6, seed: int = 0) -> CallTable:
    """Requests that repeat a few prompts of ten blocks, far apart, so that everything computed is there again."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, prompts, count)
    ids = (which[:, None] * 100 + np.arange(10)).ravel()
    return CallTable.of(
        None,
        (ids, np.arange(count + 1) * 10),
        arrival_s=np.arange(count) * 5.0,
        input_tokens=np.full(count, 85),
        output_tokens=np.full(count, 3),
    )


def small(**parts: object) -> SimulatedReplica:
    """A replica whose cache holds two of the prompts."""
    return SimulatedReplica(table(0, 4, 200, 4, 64), **parts)  # type: ignore[arg-type]


def reused(outcome: EngineOutcome) -> int:
    return int(outcome.requests.cached.sum())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_stores_of_no_size_change_nothing(data: st.DataObject) -> None:
    """Bit for bit, whatever their speed; nor does a shared one."""
    fleet = data.draw(plain_fleets())
    calls = data.draw(plain_workloads(fleet))
    bare, hollow = [
        replace(
            fleet,
            shared_store=shared,
            services=tuple(
                replace(s, replicas=tuple(replace(r, stores=stores) for r in s.replicas)) for s in fleet.services
            ),
        )
        for stores, shared in (((), None), ((BlockStore(0, 1e9), BlockStore(3, 1.0)), BlockStore(1, 1e3)))
    ]
    assert simulate(bare, calls).requests.tobytes() == simulate(hollow, calls).requests.tobytes()


@pytest.mark.parametrize("where", ["own", "next", "shared"])
def test_an_endless_store_reaches_the_bound_of_reuse(where: str) -> None:
    """Every whole block that was seen before is found again, of its own or of another replica."""
    calls, endless, nothing = conversations(), BlockStore(ENDLESS // 1000, 1e12), BlockStore(0, 1.0)
    stores = {"own": (endless,), "next": (nothing, BlockStore(16, 1e12), endless), "shared": ()}[where]
    count = 3 if where == "shared" else 1
    fleet = fleet_with(
        small(stores=stores), ServingPolicies("round_robin"), count, shared_store=endless if where == "shared" else None
    )
    found = simulate(fleet, calls)
    seen = calls.block_ids.size - np.unique(calls.block_ids).size
    assert reused(found) == seen * BLOCK
    assert 0 < reused(simulate(fleet_with(small(), ServingPolicies("round_robin"), count), calls)) < seen * BLOCK
    assert found.stores is not None and found.stores.loads.sum() * BLOCK == found.requests.loaded.sum()
    assert len(stores_of(fleet)) == found.stores.loads.size


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([0, 16, 40, 80, 160, 400, 800]), min_size=2, max_size=4, unique=True), st.integers(0, 99)
)
def test_a_larger_store_never_finds_less(sizes: list[int], seed: int) -> None:
    """One replica, requests one after the other: least recently used is a stack algorithm (Mattson et al., 1970)."""
    calls = conversations(seed=seed)
    found = [reused(simulate(fleet_with(small(stores=(BlockStore(n, 1e12),))), calls)) for n in sorted(sizes)]
    assert found == sorted(found)


def test_the_first_token_comes_later_by_the_load_and_sooner_by_what_was_saved() -> None:
    """A prompt that lies in a store against the same prompt in the device, and against the prompt computed."""
    calls = conversations(2, 1)
    rate, call_s = 1e10, 2e-4
    fill = CallTable.of(
        None,
        (np.r_[np.arange(10), np.arange(1000, 1024), np.arange(10)], [0, 10, 34, 44]),
        arrival_s=[0.0, 5.0, 10.0],
        input_tokens=[85, 195, 85],
        output_tokens=[3, 1, 3],
    )
    store = BlockStore(400, rate, call_s)
    loaded = simulate(fleet_with(small(stores=(store,))), fill)
    kept, computed = simulate(fleet_with(small()), calls), simulate(fleet_with(small(prefixes=False)), calls)
    blocks = loaded.requests.loaded[2] // BLOCK
    assert blocks == 10 and kept.requests.cached[1] == 80
    load_s = blocks * store.block_s(BLOCK * 1e5)
    assert loaded.ttft_s[2] - kept.ttft_s[1] == pytest.approx(load_s, abs=1e-9)
    assert loaded.ttft_s[2] < computed.ttft_s[1]


def written(store: BlockStore, gap_s: float) -> EngineOutcome:
    """A prompt, one that drives it out at 5 s, and the first again so much after that."""
    fill = CallTable.of(
        None,
        (np.r_[np.arange(10), np.arange(1000, 1024), np.arange(10)], [0, 10, 34, 44]),
        arrival_s=[0.0, 5.0, 5.0 + gap_s],
        input_tokens=[85, 195, 85],
        output_tokens=[3, 1, 3],
    )
    return simulate(fleet_with(small(stores=(store,))), fill)


def test_a_block_can_be_loaded_once_it_is_written() -> None:
    """Ten blocks go out at 5 s, one behind the other; who comes at once waits for the last, who comes late does not."""
    free, slow = BlockStore(400, 1e10), BlockStore(400, 1e10, write_bytes_per_s=1e6)
    write_s = slow.write_s(BLOCK * 1e5)
    assert write_s == pytest.approx(0.8) and free.write_s(BLOCK * 1e5) == 0.0
    soon, late, before = written(slow, 1.0), written(slow, 60.0), written(free, 60.0)
    for outcome in (soon, late, before):
        assert outcome.requests.loaded[2] == 80
    np.testing.assert_allclose(late.ttft_s, before.ttft_s, rtol=0, atol=1e-11)
    # The tail goes first: the prompt's first block is there after ten writes, and all ten are loaded after it.
    assert soon.ttft_s[2] - before.ttft_s[2] == pytest.approx(10 * write_s - 1.0, abs=1e-9)


def test_loads_wait_for_writes_where_the_link_has_one_direction() -> None:
    """At 100 s a prompt drives another out, which is written for seconds; a third that lies in the store is loaded."""
    first, second, third = np.arange(10), np.arange(500, 510), np.arange(1000, 1024)
    calls = CallTable.of(
        None,
        (np.concatenate([second, first, third, first, second]), [0, 10, 20, 44, 54, 64]),
        arrival_s=[0.0, 25.0, 50.0, 100.0, 100.5],
        input_tokens=[85, 85, 195, 85, 85],
        output_tokens=[3, 3, 1, 3, 1],
    )
    seen = {}
    for duplex in (True, False):
        fleet = fleet_with(small(stores=(BlockStore(4000, 1e10, write_bytes_per_s=1e6, duplex=duplex),)))
        found = simulate(fleet, calls)
        assert found.requests.loaded[3:].tolist() == [80, 80]
        np.testing.assert_array_equal(found.requests.first, reference(fleet, calls).requests.first)
        seen[duplex] = found.ttft_s
    np.testing.assert_allclose(seen[True][:4], seen[False][:4], rtol=0, atol=1e-12)
    assert seen[True][4] < 0.2 and seen[False][4] > 5.0


def test_loads_do_not_hold_up_the_steps_of_others() -> None:
    """A slow load beside a request that decodes: the latter's tokens come as if nobody loaded."""
    fill = CallTable.of(
        None,
        (np.r_[np.arange(10), np.arange(1000, 1024), np.arange(10)], [0, 10, 34, 44, 44]),
        arrival_s=[0.0, 5.0, 10.0, 9.9],
        input_tokens=[85, 195, 85, 16],
        output_tokens=[3, 1, 3, 40],
    )
    slow = simulate(fleet_with(small(stores=(BlockStore(400, 1e6),))), fill)
    without = simulate(fleet_with(small(stores=(BlockStore(400, 1e6),))), fill.take([0, 1, 3]))
    assert slow.requests.loaded[2] > 0 and slow.ttft_s[2] > 5.0
    assert slow.e2e_s[3] == pytest.approx(without.e2e_s[2], abs=1e-9)


def test_adapters_wait_for_a_slot_and_for_their_load() -> None:
    """One slot: each change of adapter waits for the load, the same adapter again does not, none never does."""
    names = {"adapter": ("", "red", "blue")}
    calls = CallTable.of(
        names,
        None,
        arrival_s=np.arange(6) * 2.0,
        input_tokens=np.full(6, 20),
        output_tokens=np.full(6, 2),
        adapter=[1, 1, 2, 0, 2, 1],
    )
    one = SimulatedReplica(table(0, 4, 200, 4, 64), adapter_slots=1, adapter_load_s=0.25)
    found = simulate(fleet_with(one), calls)
    np.testing.assert_array_equal(found.requests.adapter_loads, [1, 0, 1, 0, 0, 1])
    np.testing.assert_allclose(found.ttft_s - found.ttft_s[3], np.array([1, 0, 1, 0, 0, 1]) * 0.25, atol=1e-9)
    assert found.meters.adapter_loads.sum() == 3
    plenty = simulate(fleet_with(replace(one, adapter_slots=2)), calls)
    np.testing.assert_array_equal(plenty.requests.adapter_loads, [1, 0, 1, 0, 0, 0])


def test_a_second_adapter_waits_until_the_slot_is_free() -> None:
    calls = CallTable.of(
        {"adapter": ("", "red", "blue")},
        None,
        arrival_s=[0.0, 0.01],
        input_tokens=[20, 20],
        output_tokens=[30, 2],
        adapter=[1, 2],
    )
    one = SimulatedReplica(table(0, 4, 200, 4, 64), adapter_slots=1, adapter_load_s=0.1)
    found = simulate(fleet_with(one), calls)
    assert found.requests.started[1] >= found.requests.last[0]


def backlog(count: int = 120, seed: int = 0) -> CallTable:
    """Two tenants with a backlog from the start, one of long prompts, one of long replies."""
    rng = np.random.default_rng(seed)
    key = rng.integers(0, 2, count)
    return CallTable.of(
        {"key": ("writer", "reader", "third")},
        None,
        arrival_s=np.zeros(count),
        input_tokens=np.where(key == 0, rng.integers(1, 10, count), rng.integers(20, 80, count)),
        output_tokens=np.where(key == 0, rng.integers(20, 60, count), rng.integers(1, 5, count)),
        key=key,
    )


@pytest.mark.parametrize("seed", range(4))
def test_tenants_with_a_backlog_are_served_within_the_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theorem 4.4 of Sheng et al.: of two clients with a backlog neither is ahead by more than 2 max(w_p L, w_q M).

    Served: prompt tokens and twice the output tokens. L: longest prompt.  M: most tokens of a batch. First come, first
    served breaks the bound.
    """
    one = SimulatedReplica(table(0, 6, 200, 4, 64))
    calls, worst = backlog(seed=seed), [0.0]

    def watch(self: ReferenceCounters, request: object) -> None:
        made(self, request)
        waiting = {each.tenant for each in self.rank.queue}
        if {0, 1} <= waiting:
            worst[0] = max(worst[0], abs(self.had[0] - self.had[1]))

    made = ReferenceCounters.made
    monkeypatch.setattr(ReferenceCounters, "made", watch)
    reference(fleet_with(one, ServingPolicies(scheduling="vtc"), tenants=3), calls)
    bound = 2 * max(int(calls["input_tokens"].max()), 2 * one.table.kv_capacity_tokens)
    assert 0 < worst[0] <= bound


def test_a_tenant_that_was_away_brings_no_credit() -> None:
    """One tenant works alone for long; when the other comes, both get alike from then on."""
    count = 200
    key = np.r_[np.zeros(count, int), np.ones(40, int)]
    calls = CallTable.of(
        {"key": ("first", "late")},
        None,
        arrival_s=np.r_[np.zeros(count), np.full(40, 5.0)],
        input_tokens=np.full(count + 40, 20),
        output_tokens=np.full(count + 40, 20),
        key=key,
    )
    one = SimulatedReplica(table(0, 4, 200, 4, 64))
    found = simulate(fleet_with(one, ServingPolicies(scheduling="vtc"), tenants=2), calls)
    start = found.requests.started / 2.0**38
    window = (start > 5.0) & (start < np.quantile(start[key == 1], 0.8))
    share = float((key[window] == 1).mean())
    assert 0.4 < share < 0.6


def test_preemption_by_priority_is_a_policy() -> None:
    """The urgent call sets a running one aside and starts at once; under plain priority it waits for a seat."""
    calls = CallTable.of(
        arrival_s=[0.0, 0.0, 0.1], input_tokens=[20] * 3, output_tokens=[60, 60, 2], priority=[0.0, 0.0, 5.0]
    )
    one = SimulatedReplica(table(0, 2, 200, 4, 64))
    waits, sets = (
        simulate(fleet_with(one, ServingPolicies(scheduling=name)), calls)
        for name in ("priority", "priority_preemptive")
    )
    assert waits.requests.preemptions.sum() == 0 and sets.requests.preemptions.sum() == 1
    assert sets.ttft_s[2] < 0.2 * waits.ttft_s[2]


def test_priorities_that_change_swap_contexts_and_every_request_ends() -> None:
    calls = CallTable.of(
        arrival_s=np.zeros(12), input_tokens=np.full(12, 30), output_tokens=np.full(12, 60), session=np.arange(12)
    )
    one = SimulatedReplica(table(0, 3, 400, 4, 64), swap_tokens=100_000)
    policies = ServingPolicies(scheduling="rotating_priority")
    plain = simulate(fleet_with(one, policies), calls)
    calls_too = simulate(fleet_with(replace(one, swap_chunk_tokens=4, swap_chunk_s=1e-3), policies), calls)
    beside = simulate(
        fleet_with(replace(one, swap_chunk_tokens=4, swap_chunk_s=1e-3, swap_beside=True), policies), calls
    )
    for found in (plain, calls_too, beside):
        assert found.counts()["stop"] == 12 and found.requests.preemptions.sum() > 10
        assert found.requests.recomputed.sum() == 0
    assert plain.horizon_s < calls_too.horizon_s and beside.horizon_s < calls_too.horizon_s


def test_a_swap_takes_its_bytes_and_its_calls() -> None:
    """One request set aside once by a short urgent one: what its end is later by, against a link of no cost."""
    calls = CallTable.of(arrival_s=[0.0, 0.1], input_tokens=[20, 20], output_tokens=[60, 2], priority=[0.0, 5.0])
    free = SimulatedReplica(table(0, 1, 400, 4, 64), swap_tokens=10_000)
    free = replace(free, table=replace(free.table, swap_bytes_per_s=1e18))
    dear = replace(free, table=replace(free.table, swap_bytes_per_s=2e9), swap_chunk_tokens=4, swap_chunk_s=1e-3)
    policies = ServingPolicies(scheduling="priority_preemptive")
    first, second = (simulate(fleet_with(one, policies), calls) for one in (free, dear))
    assert first.requests.preemptions.tolist() == [1, 0] == second.requests.preemptions.tolist()
    later = second.e2e_s[0] - first.e2e_s[0]
    tokens = np.arange(20, 80)
    swap_s = tokens * 1e5 / 2e9 + np.ceil(tokens / 4) * 1e-3
    assert np.isclose(2 * swap_s, later, rtol=1e-6).any()


def test_what_is_not_modelled_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="slots of adapters beside swapping"):
        SimulatedReplica(table(), adapter_slots=2, swap_tokens=100)
    with pytest.raises(InputError, match="store 'store'"):
        BlockStore(-1, 1e9)
    apart = SimulatedReplica(table(), pool=PoolRole.PROMPT), SimulatedReplica(table(), pool=PoolRole.TOKEN)
    with pytest.raises(InputError, match="vtc counts what tenants are served"):
        SimulatedFleet((SimulatedService("a", apart),), ServingPolicies(scheduling="vtc"))
