"""Every lever of a plan is in every export, or the export is refused by name; for every engine and target as they are.

Levers are the fields of a deployment's document, read off its classes: a field that is added and that no export
handles fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import pytest
from pydantic import BaseModel

from comptroller.errors import UnsupportedError
from comptroller.export import export, targets
from comptroller.facts.engine import engine_facts
from comptroller.launch import engines, line, with_policies
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import (
    AdapterDocument,
    CacheTierDocument,
    DeploymentDocument,
    ServiceDocument,
    SpeculationDocument,
)
from export_plans import GOLDEN, SIXTEEN_BIT, plan_of

OTHER: dict[str, tuple[Any, ...]] = {
    "model": ("llama_3_1_8b",),
    "recipe.weights": ("fp8_e4m3",),
    "recipe.experts": ("fp8_e4m3",),
    "recipe.activations": ("fp16",),
    "recipe.kv": ("fp8_e4m3", "q8_0"),
    "engine.id": (),
    "engine.version": ("99.0", "0.13"),
    "engine.max_batch": (77,),
    "engine.chunk_tokens": (3333,),
    "engine.memory_fraction": (0.77,),
    "engine.context_tokens": (7777,),
    "engine.speculation.tokens": (3,),
    "engine.speculation.draft": ("qwen3_0_6b",),
    "engine.speculation.acceptance": (),
    "engine.adapters.count": (99,),
    "engine.adapters.rank": (64,),
    "engine.adapters.resident": (3,),
    "engine.adapters.skew": (),
    "engine.offload_gib": (11.0,),
    "engine.eager": (True,),
    "engine.poll_steps": (10,),
    "engine.stream_interval": (20,),
    "pools.phase": ("prefill",),
    "pools.accelerator": ("a100_80_sxm",),
    "pools.tp": (4,),
    "pools.pp": (2,),
    "pools.dp": (2,),
    "pools.ep": (2,),
    "pools.replicas": (2,),
    "pools.usd_per_device_h": (),
    "pools.clock_mhz": (1200.0,),
    "pools.power_limit_w": (400.0,),
    "policies": (
        {"routing": "round_robin"},
        {"routing": "prefix_load"},
        {"scheduling": "priority"},
        {"scheduling": "shortest_job"},
        {"batching": "prefill_first"},
    ),
    "cache_tiers.tier": ("host_memory",),
    "cache_tiers.gb": (256.0,),
    "site": (),
}
"""Field -> values unlike the base's; what changes no replica has none, for the reason below."""

NO_LEVER = {
    "engine.id": "an engine is a column of this suite",
    "engine.speculation.acceptance": "what is expected of drafts",
    "engine.adapters.skew": "what is expected of requests",
    "pools.usd_per_device_h": "what is paid",
    "site": "where it runs, which the reader of an export chooses",
}

ROUTED = {"dynamo": "round_robin", "ray_serve": "power_of_two"}
"""How a target routes, where it does not by the default of plans."""

UNSET = {("llama_cpp", "engine.memory_fraction"): "it takes what it needs, and leaves a margin that no flag sets"}
"""(engine, field) that no plan varies: the planner keeps the engine's own value."""


def fields(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Names of the leaves of a document."""
    for name, info in kind.model_fields.items():
        inner = [x for x in (info.annotation, *getattr(info.annotation, "__args__", ())) if isinstance(x, type)]
        nested = next((x for x in inner if issubclass(x, BaseModel)), None)
        yield from fields(nested, f"{prefix}{name}.") if nested else (f"{prefix}{name}",)


LEVERS = [name for name in fields(DeploymentDocument) if name not in NO_LEVER]


def test_every_field_of_a_deployment_is_varied_or_said_to_be_no_lever() -> None:
    assert set(fields(DeploymentDocument)) == set(OTHER), "a new field of a plan: which export carries it?"
    assert all(OTHER[name] for name in LEVERS) and set(NO_LEVER) <= set(OTHER)


def with_value(document: DeploymentDocument, name: str, value: Any) -> DeploymentDocument:
    part, _, leaf = name.rpartition(".")
    if part == "pools":
        return document.model_copy(update={"pools": tuple(x.model_copy(update={leaf: value}) for x in document.pools)})
    if part == "cache_tiers":
        tier = CacheTierDocument(tier="nvme_pcie5", gb=128.0).model_copy(update={leaf: value})
        return document.model_copy(update={"cache_tiers": (tier,)})
    if name == "policies":
        chosen = {**dict(document.policies), **value}
        pools = tuple(pool.model_copy(update={"replicas": 2}) for pool in document.pools)
        return document.model_copy(update={"policies": tuple(chosen.items()), "pools": pools})
    if not part:
        return document.model_copy(update={leaf: value})
    inner = {
        "engine.speculation": SpeculationDocument(tokens=2, acceptance=0.7),
        "engine.adapters": AdapterDocument(count=8, rank=16, resident=4, skew=0.0),
    }
    if whole := inner.get(part):
        changed = {part.removeprefix("engine."): whole.model_copy(update={leaf: value})}
        return document.model_copy(update={"engine": document.engine.model_copy(update=changed)})
    update = {leaf: value}
    if leaf in {"weights", "experts"}:
        update |= {"weights": value, "experts": value, "activations": value}
    return document.model_copy(update={part: getattr(document, part).model_copy(update=update)})


def launched(document: DeploymentDocument) -> Plan:
    """A plan of a deployment with the command that starts it."""
    tokens = document.engine.context_tokens or 0
    command = line(replica_of_pool(document, document.pools[0], GOLDEN.library), tokens)
    command = with_policies(command, dict(document.policies))
    return plan_of(GOLDEN.services[0].model_copy(update={"deployment": document, "launch": command}))


@lru_cache(maxsize=16)
def base(engine: str) -> DeploymentDocument:
    service: ServiceDocument = GOLDEN.services[0]
    facts = engine_facts(engine)
    pool = service.deployment.pools[0].model_copy(update={"tp": 2, "pp": 1, "dp": 1, "ep": 1, "replicas": 1})
    settings = {"id": engine, "version": facts.version, "max_batch": 64, "context_tokens": 9000}
    return service.deployment.model_copy(
        update={
            "model": "qwen3_30b_a3b", "recipe": SIXTEEN_BIT, "pools": (pool,),
            "engine": service.deployment.engine.model_copy(update=settings),
        }
    )  # fmt: skip


def without_plan(files: dict[str, str]) -> dict[str, str]:
    """The files that a tool reads. The gateway's copy of the plan would differ in any case."""
    return {name: text for name, text in files.items() if not name.endswith(".json")}


def exported(target: str, document: DeploymentDocument) -> dict[str, str] | str:
    """The files of a target, or why there are none."""
    try:
        return without_plan(export(target, launched(document)))
    except UnsupportedError as error:
        return str(error)


@pytest.mark.parametrize(("target", "engine"), [*product([x for x in targets() if x != "gateway"], engines())])
def test_every_lever_is_in_an_export_or_refused(target: str, engine: str) -> None:
    plain = exported(target, base(engine))
    if isinstance(plain, str):
        assert plain, "a refusal says why"
        return
    for name in LEVERS:
        own = {"routing": ROUTED.get(target, "least_request")} if name == "policies" else None
        if own:
            plain = exported(target, with_value(base(engine), name, own))
        for value in OTHER[name]:
            if (engine, name) in UNSET or (own and {**own, **value} == own):
                continue
            try:
                found = exported(target, with_value(base(engine), name, {**own, **value} if own else value))
            except UnsupportedError as error:
                found = str(error)
            assert found and found != plain, f"{target} of {engine} drops {name} = {value!r}"


@pytest.mark.parametrize("engine", engines())
def test_the_gateway_gets_the_plan_itself(engine: str) -> None:
    plan = launched(base(engine))
    if not plan.services[0].launch.startswith("#"):
        assert export("gateway", plan)["plan.json"] == plan.to_json()


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("chosen", [{"scheduling": "shortest_job"}, {"batching": "decode_first"}])
def test_a_policy_that_no_engine_follows_makes_a_what_if(engine: str, chosen: dict[str, str]) -> None:
    plan = launched(with_value(base(engine), "policies", chosen))
    (name,) = chosen.values()
    assert plan.services[0].launch.startswith("# what-if: ")
    with pytest.raises(UnsupportedError, match=f"{engine} is not known to follow|{name}"):
        export("commands", plan)


def test_a_line_without_the_policies_of_its_plan_is_refused() -> None:
    document = with_value(base("vllm"), "policies", {"scheduling": "priority"})
    told = launched(document).services[0]
    assert "--scheduling-policy priority" in told.launch
    stale = told.model_copy(update={"launch": told.launch.replace("--scheduling-policy priority", "")})
    with pytest.raises(UnsupportedError, match="its line lacks --scheduling-policy priority of its policies"):
        export("commands", plan_of(stale))
