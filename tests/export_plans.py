"""Plans to export: a plan of two services, kept as a file, and what may become of it."""

from __future__ import annotations

from pathlib import Path

from comptroller.export import nodes_of
from comptroller.facts.accelerator import accelerator
from comptroller.facts.engine import engine_facts
from comptroller.facts.library import SHIPPED
from comptroller.launch import ServingPhase, line
from comptroller.planning.ground.plan_document import OfferService, Plan, load_plan
from comptroller.planning.ground.service_document import RecipeDocument, ServiceDocument
from comptroller.planning.prove.simulated_fleet import replica_of_pool as priced

GOLDEN = load_plan(Path(__file__).parent / "golden" / "two_services.json")

OFFER = OfferService(
    id="api.gpt-5-mini.high", model="gpt-5-mini high", usd_per_h=1.0, calls_per_s=2.0, input_tokens_per_s=100.0,
    output_tokens_per_s=900.0, usd_per_million=(0.25, 2.0), source="dollars as recorded in drawn evidence",
)  # fmt: skip


SIXTEEN_BIT = RecipeDocument(weights="bf16", experts="bf16", activations="bf16", kv="bf16")
"""What every engine can launch."""


def served(engine: str, **pool: int | str) -> ServiceDocument:
    """The golden plan's first service on another engine and pool, with the command that starts it."""
    base = GOLDEN.services[0]
    pools = (base.deployment.pools[0].model_copy(update=pool),)
    engine_ = base.deployment.engine.model_copy(update={"id": engine, "version": engine_facts(engine).version})
    deployment = base.deployment.model_copy(update={"pools": pools, "engine": engine_, "recipe": SIXTEEN_BIT})
    command = line(priced(deployment, pools[0], SHIPPED), 15050)
    name = f"{engine}.tp{pools[0].tp}"
    return base.model_copy(update={"id": name, "deployment": deployment, "launch": command})


def plan_of(*services: ServiceDocument, offers: tuple[OfferService, ...] = ()) -> Plan:
    """The golden plan with other services."""
    return GOLDEN.model_copy(update={"services": services, "offers": offers})


def routed(service: ServiceDocument, policy: str) -> ServiceDocument:
    """The service whose replicas are chosen among by another policy."""
    chosen = {**dict(service.deployment.policies), "routing": policy}
    return service.model_copy(
        update={"deployment": service.deployment.model_copy(update={"policies": tuple(chosen.items())})}
    )


def split(engine: str = "vllm", tp: int = 4) -> ServiceDocument:
    """A service whose prefill and decode run apart: three replicas that compute prompts, two that go on."""
    base = served(engine, tp=tp)
    (pool,) = base.deployment.pools
    prompts = pool.model_copy(update={"phase": "prefill", "replicas": 3})
    deployment = base.deployment.model_copy(
        update={"pools": (prompts, pool.model_copy(update={"phase": "decode", "replicas": 2}))}
    )
    commands = [line(priced(deployment, each, SHIPPED), 15050, ServingPhase(each.phase)) for each in deployment.pools]
    return base.model_copy(update={"deployment": deployment, "launch": "\n".join(commands)})


WIDE = {engine: served(engine, tp=8, pp=2, replicas=2) for engine in ("vllm", "sglang")}
"""Two replicas of sixteen H100 each, over two nodes."""

PLANS = {
    "golden": GOLDEN,
    "bought_too": plan_of(*GOLDEN.services, offers=(OFFER,)),
    "wide_vllm": plan_of(WIDE["vllm"]),
    "wide_sglang": plan_of(WIDE["sglang"], GOLDEN.services[1]),
    "twice": plan_of(served("vllm", tp=4, replicas=3), served("vllm", tp=8, replicas=1)),
    "trtllm": plan_of(served("trtllm", tp=4)),
}
assert nodes_of(WIDE["vllm"].deployment.pools[0], accelerator("h100_sxm")) == 2
