"""Every policy chooses what it says, compiled or not, shipped or a user's own; and what some of them are for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import InputError, UnknownIdError
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import (
    RouterTelemetry,
    ServingPolicies,
    SimulatedFleet,
    SimulatedReplica,
    SimulatedService,
)
from comptroller.serving.jit import COMPILED
from comptroller.serving.policies import KINDS, decision, module, names
from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import CAPACITY, COLUMNS, WEIGHT, RouterState
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from routing_properties import PROPERTIES, Call
from serving_uncompiled import EngineTurn, UncompiledEngine, played

numba = pytest.importorskip("numba")
importlib.import_module("comptroller.serving.kernel")  # where compiled code gets its form of the draws


CALL = st.builds(
    Call,
    id=st.integers(0, 1000),
    prompt=st.integers(1, 5000),
    predicted=st.integers(0, 5000),
    session=st.integers(-1, 20),
    priority=st.integers(-3, 3).map(float),
    fair_start=st.floats(0, 1e6),
    tenant=st.integers(0, 40),
    adapter=st.integers(0, 40),
    counter=st.floats(0, 1e6),
    epoch=st.integers(0, 1000),
)
ROUTING = [*names("routing"), str(Path(__file__).with_name("own_routing.py"))]
"""Those that ship and one of a user's own: the suite is the same."""


@lru_cache(maxsize=64)
def compiled(kind: str, name: str) -> Any:
    """A policy as the engine has it, compiled so that it can be called from here."""
    return numba.njit(decision(kind, name))


DECISIONS = {kind: function for kind, function in KINDS.items() if kind in ("routing", "batching", "scheduling")}
"""Policies of the kernel; the others decide between its events, each with a test file of its own."""


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ROUTING, ids=lambda name: Path(name).stem)
def test_routing(name: str, check: Callable[[Any], None]) -> None:
    check(module("routing", name))


FAULTY = {
    "chooses_what_it_may": "return len(view)",
    "looks_at_nothing_else": "return int(ranks[view[ranks, MATCH].argmax()])",
    "needs_what_it_declares": "return int(ranks[0])",
    "does_not_go_by_numbers": "return int(ranks[0])",
    "prefers_the_better": "return int(ranks[view[ranks, ACTIVE].argmax()])",
    "starves_nobody": "return int(ranks[0])",
    "bounds_what_begins_alike": "return int(ranks[call.session % len(ranks)])",
}
"""A policy for each check that must not pass it."""


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_the_suite_finds_out_a_policy_that_breaks_a_property(check: Callable[[Any], None], tmp_path: Path) -> None:
    path = tmp_path / "faulty.py"
    needs = ("opening", *(["match"] if check.__name__ == "needs_what_it_declares" else []))
    head = f"from comptroller.serving.policies.view import ACTIVE, MATCH\nNEEDS = {needs}\n"
    path.write_text(f"{head}\ndef choose(view, ranks, call, router):\n    {FAULTY[check.__name__]}\n")
    with pytest.raises(AssertionError):
        check(module("routing", str(path)))


@pytest.mark.parametrize("name", ROUTING, ids=lambda name: Path(name).stem)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_routing_is_the_same_compiled(name: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    cells = st.lists(st.integers(0, 6), min_size=COLUMNS, max_size=COLUMNS)
    view = np.array(data.draw(st.lists(cells, min_size=count, max_size=count)), np.float64)
    view[:, [CAPACITY, WEIGHT]] += 1  # never 0
    ranks = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))))
    router = RouterState(data.draw(st.integers(0, 50)), data.draw(st.integers(0, 9)), 1.25, 0.5)
    asked = view, ranks, data.draw(CALL), router
    assert compiled("routing", name)(*asked) == decision("routing", name)(*asked)


@pytest.mark.parametrize("name", names("batching"))
@settings(deadline=None)
@given(decoding=st.integers(0, 600), chunk=st.integers(1, 8192))
def test_batching_is_the_same_compiled_and_never_stalls(name: str, decoding: int, chunk: int) -> None:
    tokens, mixes = decision("batching", name)(decoding, chunk)
    assert compiled("batching", name)(decoding, chunk) == (tokens, mixes)
    assert 0 <= tokens <= chunk
    assert tokens or decoding, "with nothing decoding, prompts must go on"


@pytest.mark.parametrize("name", names("scheduling"))
@settings(deadline=None)
@given(call=CALL)
def test_scheduling_is_the_same_compiled(name: str, call: Any) -> None:
    assert compiled("scheduling", name)(call) == decision("scheduling", name)(call)


@pytest.mark.parametrize("kind", DECISIONS)
def test_folder_is_the_registry(kind: str) -> None:
    for name in names(kind):
        assert module(kind, name).__doc__
    with pytest.raises(UnknownIdError, match="nearest: .*" + names(kind)[0]):
        module(kind, names(kind)[0] + "x")
    with pytest.raises(UnknownIdError):
        ServingPolicies(**{kind: "no_such_policy"})


@numba.njit
def drawn(seed: int, name: int, turn: int) -> int:
    return draw(seed, name, turn)


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(-1, 2**62), st.integers(0, 100))
def test_draws_are_the_same_compiled_and_plain(seed: int, name: int, turn: int) -> None:
    assert drawn(seed, name, turn) == draw(seed, name, turn)


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[UncompiledEngine]:
    engine = UncompiledEngine()
    yield engine
    engine.close()


SHIPPED = [(kind, name) for kind in DECISIONS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_a_policy_of_one_s_own_is_its_shipped_copy(
    kind: str, name: str, tmp_path: Path, uncompiled: UncompiledEngine
) -> None:
    """The same file, named by its path: called by its address from the compiled kernel, as it is without numba."""
    own = tmp_path / f"my_{name}.py"
    own.write_text(Path(str(module(kind, name).__file__)).read_text())
    calls = traffic(60, 60.0, session=np.arange(60) % 7, priority=np.arange(60) % 3)
    fleets = [
        SimulatedFleet.uniform(linear(max_batch=4), 3, ServingPolicies(**{kind: policy})) for policy in (name, str(own))
    ]
    shipped, compiled_own = (played(fleet, [EngineTurn(calls)])[1] for fleet in fleets)
    assert shipped == compiled_own == uncompiled.played(fleets[1], [EngineTurn(calls)])


IMPORTS = "    import json\n"
"""Numba compiles no function that imports."""


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_what_cannot_be_compiled_runs_as_python(
    kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The compiled kernel calls it back: the outcome is that of the same policy compiled."""
    path = tmp_path / f"plain_{name}.py"
    head, sign, body = Path(str(module(kind, name).__file__)).read_text().rpartition(") -> ")
    first, rest = body.split("\n", 1)
    path.write_text(f"{head}{sign}{first}\n{IMPORTS}{rest}")
    calls = traffic(60, 60.0, session=np.arange(60) % 7, priority=np.arange(60) % 3)
    shipped, called_back = (
        simulate(SimulatedFleet.uniform(linear(max_batch=4), 3, ServingPolicies(**{kind: policy})), calls)
        for policy in (name, str(path))
    )
    assert shipped.requests.tobytes() == called_back.requests.tobytes()
    assert (
        not COMPILED or f"{kind} policy {path} cannot be compiled and runs as plain Python" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("kind", "function"), DECISIONS.items())
def test_an_error_of_a_policy_called_back_is_raised(kind: str, function: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken_{kind}.py"
    path.write_text(f"def {function}(*given):\n{IMPORTS}    return json.loads('nothing')\n")
    with pytest.raises(ValueError, match="Expecting value"):
        simulate(SimulatedFleet.uniform(linear(), 2, ServingPolicies(**{kind: str(path)})), traffic(5, 20.0))
    simulate(SimulatedFleet.uniform(linear(), 2), traffic(5, 20.0))


@pytest.mark.parametrize("first", ["", IMPORTS], ids=["compiled", "called back"])
def test_a_policy_that_chooses_what_it_may_not_is_found_out(first: str, tmp_path: Path) -> None:
    path = tmp_path / "astray.py"
    path.write_text(f"def choose(view, ranks, call, router):\n{first}    return 99\n")
    with pytest.raises(InputError, match="not among those it was given"):
        simulate(SimulatedFleet.uniform(linear(), 2, ServingPolicies(routing=str(path))), traffic(5, 20.0))


def test_a_dotted_path_names_a_policy_too() -> None:
    dotted = ServingPolicies(scheduling="comptroller.serving.policies.scheduling.shortest_job")
    calls = traffic(500, 25.0)
    found = [
        simulate(SimulatedFleet.uniform(linear(max_batch=8), 1, policies), calls).e2e_s
        for policies in (dotted, ServingPolicies(scheduling="shortest_job"))
    ]
    np.testing.assert_array_equal(*found)
    with pytest.raises(InputError, match="no function `rank`"):
        ServingPolicies(scheduling="comptroller.serving.policies.routing.weighted")


def traffic(count: int, rate: float, **columns: Any) -> CallTable:
    rng = np.random.default_rng(1)
    return CallTable.of(
        arrival_s=rng.exponential(1 / rate, count).cumsum(),
        input_tokens=np.clip(rng.lognormal(6, 0.8, count), 1, 4000).astype(int),
        output_tokens=np.clip(rng.lognormal(5, 0.8, count), 1, 1000).astype(int),
        **columns,
    )


def test_stale_telemetry_herds() -> None:
    """With a current view least request balances; with an old one all calls run to the same replica."""
    calls = traffic(8000, 130.0)
    waits = {}
    for routing in ("least_request", "power_of_two", "round_robin"):
        for period_s in (0.0, 0.5, 3.0):
            fleet = SimulatedFleet(
                (SimulatedService("all", (SimulatedReplica(linear()),) * 8),),
                ServingPolicies(routing=routing),
                RouterTelemetry(period_s, period_s),
            )
            waits[routing, period_s] = simulate(fleet, calls).percentile("ttft_s", 99)
    assert waits["least_request", 0.0] < waits["power_of_two", 0.0], "a full view beats two draws"
    assert waits["least_request", 0.5] > 5 * waits["least_request", 0.0]
    assert waits["least_request", 3.0] > 50 * waits["least_request", 0.0]
    assert waits["power_of_two", 3.0] < 1.5 * waits["power_of_two", 0.0], "two choices herd far less"
    assert waits["round_robin", 3.0] == waits["round_robin", 0.0], "it does not look"


def test_prefix_routing_finds_what_others_cached() -> None:
    """Sessions with a prefix each: routing by match caches more than round robin, which is blind."""
    rng = np.random.default_rng(2)
    count, blocks = 600, 16
    session = rng.integers(0, 40, count)
    ids = (session[:, None] * 100 + np.arange(blocks)).ravel()
    calls = CallTable.of(
        None,
        (ids, np.arange(count + 1) * blocks),
        arrival_s=rng.exponential(0.05, count).cumsum(),
        input_tokens=np.full(count, blocks * 64 + 10),
        output_tokens=np.full(count, 20),
        session=session,
    )
    cached = {}
    for routing in ("round_robin", "prefix_match", "prefix_load", "session_affinity"):
        fleet = SimulatedFleet(
            (SimulatedService("all", (SimulatedReplica(linear()),) * 4),),
            ServingPolicies(routing=routing),
            prefix_block_tokens=64,
        )
        outcome = simulate(fleet, calls)
        cached[routing] = outcome.requests.cached.sum() / calls["input_tokens"].sum()
    bound = 1 - 40 / count
    assert cached["round_robin"] < cached["prefix_load"] <= bound
    for routing in ("prefix_match", "session_affinity"):
        assert cached[routing] > 0.9


def test_weights_split_the_traffic() -> None:
    replicas = tuple(SimulatedReplica(linear(), weight=weight) for weight in (1.0, 3.0))
    outcome = simulate(
        SimulatedFleet((SimulatedService("all", replicas),), ServingPolicies(routing="weighted")), traffic(4000, 20.0)
    )
    assert np.mean(outcome.requests.prompt_rank == 1) == pytest.approx(0.75, abs=0.02)


def test_bounded_hash_keeps_sessions_together_until_the_bound() -> None:
    session = np.random.default_rng(3).integers(0, 30, 3000)
    calls = traffic(3000, 40.0, session=session)
    places = {}
    for routing in ("session_affinity", "bounded_hash"):
        outcome = simulate(SimulatedFleet.uniform(linear(), 4, ServingPolicies(routing=routing, bound=1.25)), calls)
        homes = np.array([np.bincount(outcome.requests.prompt_rank[session == s], minlength=4) for s in range(30)])
        places[routing] = homes.max(axis=1).sum() / 3000, homes.sum(axis=0).max() / 3000
    assert places["session_affinity"][0] == 1.0
    assert places["bounded_hash"][0] > 0.5
    assert places["bounded_hash"][1] < places["session_affinity"][1], "the fullest replica is less full"


def test_batching_trades_first_token_for_the_next() -> None:
    """Prompts first: early first tokens; decodes first: even ones; chunks: in between on both."""
    calls = traffic(1500, 14.0)
    found = {
        name: simulate(SimulatedFleet.uniform(linear(), 1, ServingPolicies(batching=name)), calls)
        for name in names("batching")
    }
    ttft = {name: outcome.percentile("ttft_s", 50) for name, outcome in found.items()}
    tpot = {name: outcome.percentile("tpot_s", 50) for name, outcome in found.items()}
    assert ttft["decode_first"] > 10 * ttft["phase_exclusive"]
    assert tpot["decode_first"] < tpot["chunked"] <= tpot["prefill_first"]


def test_shortest_job_first_shortens_the_mean() -> None:
    calls = traffic(3000, 25.0)
    mean = {}
    for scheduling in ("fcfs", "shortest_job"):
        fleet = SimulatedFleet.uniform(linear(max_batch=32), 1, ServingPolicies(scheduling=scheduling))
        mean[scheduling] = np.nanmean(simulate(fleet, calls).e2e_s)
    assert mean["shortest_job"] < 0.7 * mean["fcfs"]


def test_priority_goes_first() -> None:
    priority = np.random.default_rng(4).integers(0, 2, 3000)
    calls = traffic(3000, 22.0, priority=priority)
    outcome = simulate(SimulatedFleet.uniform(linear(max_batch=32), 1, ServingPolicies(scheduling="priority")), calls)
    assert np.median(outcome.queue_s[priority == 1]) < 0.1 * np.median(outcome.queue_s[priority == 0])


def test_fair_share_shields_the_modest_tenant() -> None:
    """One tenant floods; under fair share the other hardly waits, under FCFS it waits like the rest."""
    flood, modest = traffic(3000, 60.0), traffic(150, 3.0)
    columns = {
        name: np.concatenate([flood[name], modest[name]]) for name in ("arrival_s", "input_tokens", "output_tokens")
    }
    key = np.repeat([0, 1], [3000, 150])
    calls = CallTable.of({"key": ("flood", "modest")}, None, key=key, **columns)
    waits = {}
    for scheduling in ("fcfs", "fair_share"):
        service = SimulatedService("all", (SimulatedReplica(linear(max_batch=32)),))
        outcome = simulate(SimulatedFleet((service,), ServingPolicies(scheduling=scheduling), tenants=2), calls)
        waits[scheduling] = np.median(outcome.queue_s[key == 1])
    assert waits["fair_share"] < 0.1 * waits["fcfs"]
