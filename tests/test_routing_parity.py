"""One routing: the gateway chooses what the simulator chooses, for every policy, and serves one's own."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.errors import ComptrollerError, InputError, UnknownIdError, UnsupportedError
from comptroller.gateway.config import config_from_document
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.replica_choice import (
    DEFAULT_POLICY,
    ReplicaRouter,
    ReplicaRoutingSettings,
    RoutedCall,
    RoutedLoad,
    RoutedPrompt,
    session_number,
)
from comptroller.gateway.runtime import GatewayRuntime
from comptroller.gateway.service import FAILURES, CircuitOpenError, UpstreamService
from comptroller.planning.ground.plan_document import load_plan
from comptroller.quantities import BYTES_PER_TOKEN
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.policies import decision, names, needs
from comptroller.serving.policies.view import BOUND, COLUMNS, MATCH, OVERLAP, RouterState
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from gateway_houses import rows, running

OWN = str(Path(__file__).with_name("own_routing.py"))
GOLDEN = Path(__file__).parent / "golden" / "two_services.json"
ESTIMATED = ("kv", "match", "tenant", "adapter")
"""The contents of a cache a gateway estimates, tenants it numbers by their names; adapters it does not know."""
COUNTED = [name for name in names("routing") if not any(needs("routing", name, what) for what in ESTIMATED)]
"""Policies that read only what a gateway counts as the simulator does."""
SERVED = [name for name in names("routing") if not needs("routing", name, "adapter")]
"""Policies that a gateway runs."""


def test_a_policy_that_reads_adapters_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="adapter_affinity needs 'adapter', which a gateway does not know"):
        ReplicaRouter("all", ReplicaRoutingSettings("adapter_affinity"), 2)


def test_keys_of_a_gateway_have_replicas_of_their_own() -> None:
    """Shuffle sharding: each key keeps to its own replicas, and different keys have different ones."""
    router = ReplicaRouter("all", ReplicaRoutingSettings("shuffle_shard"), 8)
    seen: dict[str, set[int]] = {f"key{number}": set() for number in range(6)}
    for _ in range(40):
        for key, ranks in seen.items():
            ranks.add(router.place(range(8), RoutedPrompt(100, 10, "", "", {}, key)).rank)
    assert all(1 < len(ranks) < 8 for ranks in seen.values())
    assert len({frozenset(ranks) for ranks in seen.values()}) > 1


@pytest.mark.parametrize("name", [*SERVED, OWN], ids=lambda name: Path(name).stem)
def test_the_same_view_gives_the_same_choice(name: str) -> None:
    """Requests in a row, some replicas unwell: at each the simulator's call of the policy is given the same view."""
    rng = np.random.default_rng(1)
    router = ReplicaRouter("all", ReplicaRoutingSettings(name, (1.0, 2.0, 3.0, 4.0), 10_000), 4)
    sent: list[list[str]] = [[], [], [], []]
    for turn in range(300):
        router.view[:, : MATCH - 2] = rng.integers(0, 6, (4, COLUMNS - 3))
        healthy = sorted(map(int, rng.choice(4, rng.integers(1, 5), replace=False)))
        text = "".join(f"{digit}" * 256 for digit in rng.integers(0, 2, 3))
        session = f"s{rng.integers(0, 9)}" if rng.random() < 0.5 else ""
        tenant = f"k{rng.integers(0, 3)}"
        prompt = RoutedPrompt(1000, 50, session, session or text[:9], {"prompt": text}, tenant)
        view = router.view.copy()
        load = router.place(healthy, prompt)
        if needs("routing", name, "match"):  # the blocks begin after the bytes of `[null,"`
            view[healthy, MATCH] = [max((_common(text, other) for other in sent[rank]), default=0) for rank in healthy]
        key = prompt.opening if needs("routing", name, "opening") else session
        call = RoutedCall(turn, 1000, 50, session_number(key), tenant=session_number(tenant))
        simulated = decision("routing", name)(view, np.array(healthy), call, RouterState(turn, 0, BOUND, OVERLAP))
        assert load.rank == simulated
        sent[load.rank].append(text)


def _common(text: str, other: str) -> int:
    """Tokens of the blocks that two prompts of 768 bytes have in common: three, of which the last is not whole."""
    same = next((place for place, (a, b) in enumerate(zip(text, other, strict=True)) if a != b), len(text))
    return (same + len('[null,"')) // (64 * BYTES_PER_TOKEN) * 64


@pytest.mark.parametrize("name", COUNTED)
def test_told_the_events_of_a_simulation_the_gateway_chooses_as_it_did(name: str) -> None:
    rng = np.random.default_rng(2)
    count, sessions = 600, rng.integers(0, 40, 600)
    weights = (1.0, 1.0, 2.0, 3.0)
    named = np.array([session_number(f"s{number}") for number in range(40)])[sessions]
    calls = CallTable.of(
        arrival_s=rng.exponential(1 / 60, count).cumsum(),
        input_tokens=rng.integers(10, 3000, count),
        output_tokens=rng.integers(1, 300, count),
        predicted_tokens=rng.integers(1, 300, count),
        session=np.where(sessions % 3 == 0, -1, named),
    )
    replicas = tuple(SimulatedReplica(linear(max_batch=8), weight=weight) for weight in weights)
    fleet = SimulatedFleet((SimulatedService("all", replicas),), ServingPolicies(routing=name))
    done = simulate(fleet, calls).requests
    router = ReplicaRouter("all", ReplicaRoutingSettings(name, weights), len(weights))
    loads: dict[int, RoutedLoad] = {}
    moments = [(done[what], order) for order, what in enumerate(("last", "first", "arrival"))]
    events = sorted((int(at), order, i) for times, order in moments for i, at in enumerate(times))
    for _, order, i in events:
        if order == 2:
            session = "" if sessions[i] % 3 == 0 else f"s{sessions[i]}"
            prompt = RoutedPrompt(
                int(calls["input_tokens"][i]), int(calls["predicted_tokens"][i]), session, session, {}
            )
            loads[i] = router.place(range(len(weights)), prompt)
            assert loads[i].rank == done["prompt_rank"][i]
        elif order == 1:
            loads[i].begin()
        else:
            loads[i].end()
    assert not router.view[:, :5].any(), "what ended is counted no more"
    assert len({load.rank for load in loads.values()}) == len(weights)


LENGTHS = """
def choose(view, ranks, call, router):
    return ranks[-1] if call.prompt > 500 else ranks[0]
"""


def test_a_policy_of_one_s_own_is_served(tmp_path: Path) -> None:
    """Long prompts to the last replica, over loopback: two gateways with an echo, and one that routes to them."""
    policy = tmp_path / "lengths.py"
    policy.write_text(LENGTHS)
    books = [tmp_path / f"{name}.sqlite" for name in ("first", "last")]
    echo = {"services": {"echo": {"backend": "echo"}}, "port": 0}

    async def work() -> None:
        async with running(echo | {"books": str(books[0])}) as first, running(echo | {"books": str(books[1])}) as last:
            urls = [f"{first.url}/v1", f"{last.url}/v1"]
            service = {"urls": urls, "routing": str(policy)}
            async with running({"services": {"echo": service}, "books": "", "port": 0}) as house:
                for words in (3, 900, 4, 5, 800):
                    ask: Any = [{"role": "user", "content": "word " * words}]
                    stream = await house.client().chat.completions.create(model="echo", messages=ask, stream=True)
                    said = [piece.choices[0].delta.content or "" async for piece in stream if piece.choices]
                    assert "".join(said).split() == ["word"] * words
                assert not house.gateway.services["echo"].router.view[:, :5].any()

    asyncio.run(work())
    assert [len(rows(file)) for file in books] == [3, 2]


def test_the_plan_names_the_policy_and_the_configuration_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = load_plan(GOLDEN)
    services = []
    for service, policy in zip(plan.services, ("round_robin", "least_kv"), strict=False):
        deployment = service.deployment.model_copy(update={"policies": (("routing", policy),)})
        services.append(service.model_copy(update={"deployment": deployment}))
    file = tmp_path / "plan.json"
    file.write_text(plan.model_copy(update={"services": tuple(services)}).model_dump_json())
    configured: dict[str, Any] = {service.id: {"backend": "echo", "urls": ["a", "b"]} for service in services}
    document = {"services": configured | {"other": {"backend": "echo"}}, "plan": str(file), "books": ""}
    made = GatewayRuntime(config_from_document(document)).services
    first, second = (made[service.id].router for service in services)
    assert (first.policy, second.policy, made["other"].router.policy) == ("round_robin", "least_kv", DEFAULT_POLICY)
    assert set(second.view[:, 5]) == {services[1].kv_capacity_tokens}, "the plan knows how large its caches are"
    configured[services[0].id]["routing"] = "weighted"
    with caplog.at_level(logging.WARNING):
        made = GatewayRuntime(config_from_document(document)).services
    assert made[services[0].id].router.policy == "weighted"
    assert "is routed by weighted, as configured; the plan was made for round_robin" in caplog.text


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (None, UnknownIdError, "unknown routing policy 'least_requests'; nearest: least_request"),
        ("from comptroller.serving.policies.view import CAPACITY" + LENGTHS, InputError, "set kv_tokens"),
        ('NEEDS = ("match", "temperature")' + LENGTHS, UnsupportedError, "needs 'temperature'.*knows kv, match"),
        (LENGTHS.replace("choose", "pick"), InputError, "no function `choose`"),
        (LENGTHS.replace("ranks[0]", "99"), InputError, "not among those it was given"),
    ],
)
def test_a_policy_that_cannot_be_run_is_refused_at_the_start(
    text: str | None, kind: type[ComptrollerError], words: str, tmp_path: Path
) -> None:
    policy = tmp_path / "own.py"
    policy.write_text(text or "")
    service = {"backend": "echo", "routing": str(policy) if text else "least_requests"}
    with pytest.raises(kind, match=words):
        GatewayRuntime(config_from_document({"services": {"a": service}, "books": ""}))


def test_only_replicas_that_are_well_are_chosen_among(tmp_path: Path) -> None:
    policy = tmp_path / "own.py"
    policy.write_text("def choose(view, ranks, call, router):\n    return 0 if call.prompt == 1 else ranks[0]\n")
    config = config_from_document({"services": {"a": {"backend": "echo", "urls": ["x", "y", "z"]}}}).services["a"]
    service = UpstreamService("a", config, ReplicaRoutingSettings(str(policy)))
    prompt = RoutedPrompt(9, None, "", "", {})
    for well in range(3):
        replica, load = service.place(prompt)
        assert replica is service.replicas[well] and load is not None and load.rank == well
        for request in range(FAILURES):
            service.failed(replica, "shop", request)
        if well == 0:
            with pytest.raises(GatewayError, match="not among those it was given"):
                service.place(prompt._replace(tokens=1))
    with pytest.raises(CircuitOpenError, match="a failed 5 times in a row"):
        service.place(prompt)
    for replica in service.replicas:
        replica.breaker.succeeded()
    assert service.place(prompt)[0] is service.replicas[0]


def test_weights_are_as_many_as_replicas() -> None:
    with pytest.raises(InputError, match=r"services.a.weights: 1 for 2 urls"):
        config_from_document({"services": {"a": {"urls": ["http://x", "http://y"], "weights": [1.0]}}})
