"""Exports against the tools' own parsers: SkyPilot's task, Ray Serve's schema, arguments of engines.

The packages are heavy: `make test-export` installs them into an environment of its own. Elsewhere these tests skip.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from itertools import product

import pytest
import yaml

import engine_parsers
from comptroller.costs.deployment import AdapterSet, EngineSettings, ModelReplica, ParallelLayout, SpeculativeDecoding
from comptroller.errors import UnsupportedError
from comptroller.export import export
from comptroller.export.ray_serve import ACCELERATORS as RAY
from comptroller.export.runs import export_run
from comptroller.export.skypilot import ACCELERATORS as SKY
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.model import Model
from comptroller.facts.reader import ids, real_ids
from comptroller.launch import WHAT_IF, ServingPhase, command, engines, launchable, listening, spread, with_policies
from comptroller.launch import line as launch_line
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.deployments import RejectionTally, recipes
from comptroller.training.document import parse_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training
from export_plans import PLANS, plan_of, routed, split

WHY = "is not installed; make test-export installs it beside"


def exported(target: str, plan: Plan) -> Iterator[dict]:
    for text in export(target, plan).values():
        yield yaml.safe_load(text)


@pytest.mark.parametrize("name", PLANS)
def test_skypilot_reads_every_task(name: str) -> None:
    sky = pytest.importorskip("sky", reason=f"skypilot {WHY}")
    services = {run.id: run for run in PLANS[name].services}
    tasks = [sky.Task.from_yaml_config(item) for item in exported("skypilot", PLANS[name])]
    assert len(tasks) == len(services)
    for task, service in zip(tasks, PLANS[name].services, strict=True):
        (pool,) = service.deployment.pools
        assert task.service.min_replicas == pool.replicas and task.num_nodes * pool.replicas <= pool.devices
        for resources in task.resources:
            ((device, count),) = resources.accelerators.items()
            assert device in SKY[pool.accelerator] and count * task.num_nodes * pool.replicas == pool.devices


@pytest.mark.parametrize("program", ["megatron_bridge", "torchtitan", "llm_foundry"])
def test_skypilot_reads_a_job_of_training(program: str) -> None:
    sky = pytest.importorskip("sky", reason=f"skypilot {WHY}")
    plan = plan_of_training(program)
    task = sky.Task.from_yaml_config(yaml.safe_load(export_run("skypilot", plan)["job.yaml"]))
    ((device, count),) = next(iter(task.resources)).accelerators.items()
    assert task.num_nodes * count == plan.run.devices == 32 and device in SKY["h100_sxm"]


@pytest.mark.parametrize("program", ["megatron_bridge", "llm_foundry"])
def test_kubeflow_keeps_every_key_of_a_job_of_training(program: str) -> None:
    """Its client drops keys that its model of a PyTorchJob has not: read and written again, nothing is lost."""
    models = pytest.importorskip("kubeflow.training.models", reason=f"kubeflow-training {WHY}")
    client = pytest.importorskip("kubernetes.client", reason=f"kubernetes {WHY}").ApiClient()
    job = yaml.safe_load(export_run("kubernetes", plan_of_training(program))["job.yaml"])

    def read_and_written(told: dict) -> dict:
        spec = told["spec"]["pytorchReplicaSpecs"]
        pods = {
            name: client._ApiClient__deserialize(one["template"], "V1PodTemplateSpec") for name, one in spec.items()
        }
        replicas = {
            name: models.KubeflowOrgV1ReplicaSpec(
                replicas=one["replicas"], restart_policy=one["restartPolicy"], template=pods[name]
            )
            for name, one in spec.items()
        }
        policy = told["spec"]["runPolicy"]["activeDeadlineSeconds"]
        made = models.KubeflowOrgV1PyTorchJob(
            api_version=told["apiVersion"], kind=told["kind"], metadata=told["metadata"],
            spec=models.KubeflowOrgV1PyTorchJobSpec(
                pytorch_replica_specs=replicas, run_policy=models.KubeflowOrgV1RunPolicy(active_deadline_seconds=policy)
            ),
        )  # fmt: skip
        return client.sanitize_for_serialization(made)

    assert set(paths(read_and_written(job))) == set(paths(job))
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["comand"] = ["bash"]
    assert set(paths(read_and_written(job))) < set(paths(job))


def paths(tree: object) -> Iterator[str]:
    """Keys of nested tables and lists, each with those that it lies in; numbers may be written as texts."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        yield str(key)
        yield from (f"{key}/{below}" for below in paths(inner))


def plan_of_training(program: str) -> TrainingPlan:
    """32 devices, cheapest layout."""
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [32]}
    run = {
        "model": "llama_3_1_8b",
        "tokens": 1e11,
        "seq": 8192,
        "global_batch": 256,
        "allow": allow,
        "program": program,
    }
    return plan_training(parse_training({"name": "a run", "training": run}))


def test_skypilot_names_are_those_that_it_tells_apart() -> None:
    names = pytest.importorskip("sky.utils.gpu_names", reason=f"skypilot {WHY}").CANONICAL_GPU_NAMES
    for device in set(SKY) - {"mi300x"}:
        assert SKY[device][0] in names, device


@pytest.mark.parametrize("name", ["twice", "mi300x", "wide_vllm"])
def test_ray_serve_reads_the_config(name: str) -> None:
    schema = pytest.importorskip("ray.serve.schema", reason=f"ray[serve] {WHY}")
    configs = pytest.importorskip("ray.llm._internal.serve.core.configs.llm_config", reason=f"ray[serve] {WHY}")
    services = PLANS[name].services if name in PLANS else PLANS["golden"].services[1:]
    plan = plan_of(*(routed(service, "power_of_two") for service in services))
    (document,) = exported("ray_serve", plan)
    (application,) = schema.ServeDeploySchema.model_validate(document).applications
    for given, service in zip(application.args["llm_configs"], plan.services, strict=True):
        known = configs.LLMConfig.model_validate(given)
        (pool,) = service.deployment.pools
        assert known.deployment_config["num_replicas"] == pool.replicas
        assert known.engine_kwargs["tensor_parallel_size"] == pool.tp


def test_ray_knows_every_name_of_a_device() -> None:
    known = pytest.importorskip("ray.util.accelerators.accelerators", reason=f"ray {WHY}")
    assert set(RAY.values()) <= {value for value in vars(known).values() if isinstance(value, str)}


PARSERS = [name for name in engines() if hasattr(engine_parsers, name)]
"""Engines whose parser can be read from a package without a GPU: each a function of `engine_parsers`, by its name."""


def families(engine: str) -> Iterator[Accelerator]:
    """A device of each family that an engine serves on."""
    seen: set[str] = set()
    for device in map(accelerator, real_ids("accelerators")):
        if device.family not in seen and device.vendor in engine_facts(engine).vendors:
            seen.add(device.family)
            yield device


@lru_cache(maxsize=8)
def lines(engine: str) -> frozenset[str]:
    """Commands of every format of the catalogue on every family, on several layouts, with every lever of an engine."""
    models = ("llama_3_1_70b", "deepseek_r1", "gpt_oss_120b")
    return frozenset(
        line for device, who in product(families(engine), map(model, models)) for line in on_device(engine, device, who)
    )


def on_device(engine: str, device: Accelerator, who: Model) -> Iterator[str]:
    layouts = (
        ParallelLayout(tp=4),
        ParallelLayout(tp=8, pp=2),
        ParallelLayout(tp=8, ep=8),
        ParallelLayout(tp=1, dp=8, ep=8),
    )
    plain = EngineSettings.default(engine_facts(engine))
    drafts = SpeculativeDecoding(tokens=3, acceptance=0.7, draft=None)
    levers = (plain, replace(plain, speculation=drafts), replace(plain, adapters=AdapterSet(8, 16, 4, 0.0)))
    address = shlex.join(listening(engine, "0.0.0.0", 8000))
    for recipe in recipes(who, device, ids("formats"), RejectionTally()):
        try:
            planned = launchable(plain, who, device, recipe)
        except UnsupportedError:
            continue  # the planner does not offer it either
        for layout, settings in product(layouts, levers):
            try:
                line = command(ModelReplica(who, device, planned, layout, settings), 9000)
            except UnsupportedError:
                continue
            yield f"{line} {address}"
        yield from (f"{line} {address}" for line in rare_levers(ModelReplica(who, device, planned, layouts[0], plain)))


def rare_levers(replica: ModelReplica) -> Iterator[str]:
    """Commands of pools apart, of a draft model and of priorities, where an engine has them."""
    drafts = SpeculativeDecoding(tokens=3, acceptance=0.7, draft=model("llama_3_2_1b"))
    drafting = replace(replica, engine=replace(replica.engine, speculation=drafts))
    apart = (launch_line(replica, 9000, phase) for phase in (ServingPhase.PREFILL, ServingPhase.DECODE))
    ranked = with_policies(launch_line(replica, 9000), {"scheduling": "priority"})
    yield from (made for made in (*apart, launch_line(drafting, 9000), ranked) if not made.startswith(WHAT_IF))


def arguments(engine: str, line: str) -> list[str]:
    """The words of a line after the program that it starts."""
    words = shlex.split(line)
    start = next(s for s in import_module(f"comptroller.launch.{engine}").FLAGS.start if list(s) == words[: len(s)])
    return words[len(start) :]


@pytest.mark.parametrize(
    "plan", [plan_of(routed(split(), "prefix_load")), plan_of(routed(PLANS["wide_vllm"].services[0], "round_robin"))]
)
def test_a_worker_of_dynamo_takes_every_argument(plan: Plan) -> None:
    """Its worker of vLLM reads flags of its own and those of vLLM's engine; a model has a flag there."""
    own = engine_parsers.source("dynamo", "vllm/args.py")
    known = {flag for tree in own for flag in engine_parsers.added_flags(tree)} | engine_parsers.vllm_engine_flags()
    (graph,) = exported("dynamo", plan)
    workers = [part for part in graph["spec"]["services"].values() if part["componentType"] == "worker"]
    for worker in workers:
        words = worker["extraPodSpec"]["mainContainer"]["args"]
        assert words[0] == "--model" and {word for word in words if word.startswith("--")} <= known | {"--model"}


@pytest.mark.parametrize("engine", PARSERS)
def test_an_engine_takes_every_command(engine: str) -> None:
    parser = getattr(engine_parsers, engine)()
    distinct = lines(engine)
    assert len(distinct) >= 8, "an engine with one layout and no levers has a line for each of its formats"
    for line in distinct:
        parser.parse_args(arguments(engine, line))
    if getattr(import_module(f"comptroller.launch.{engine}"), "SPREAD", None):
        several = spread(engine, 2).replace('$([ "$RANK" = 0 ] || echo --headless)', "--headless")
        parser.parse_args(arguments(engine, f"{min(distinct)} {several}"))


@pytest.mark.parametrize("engine", PARSERS)
def test_the_parsers_that_were_read_refuse_what_is_wrong(engine: str) -> None:
    parser, line = getattr(engine_parsers, engine)(), min(lines(engine))
    for wrong in ("--no-such-flag 1", "--dtype fp9"):
        with pytest.raises((argparse.ArgumentError, SystemExit)):
            parser.parse_args([*arguments(engine, line), *shlex.split(wrong)])
