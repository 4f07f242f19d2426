"""Prefill and decode apart: what llm-d's chart and Dynamo's operator take, for every engine and layout.

Keys are those of the published values.yaml of llm-d-modelservice and of Dynamo's published graphs.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from comptroller.errors import UnsupportedError
from comptroller.export import export
from comptroller.launch import statement
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import ServiceDocument
from export_plans import PLANS, WIDE, plan_of, routed, served, split

CHART = {
    "": {"fullnameOverride", "multinode", "accelerator", "modelArtifacts", "routing", "decode", "prefill"},
    "modelArtifacts": {"name", "uri", "size", "authSecretName", "labels"},
    "routing": {"servicePort", "proxy"},
    "role": {"create", "replicas", "parallelism", "extraConfig", "containers", "volumes"},
    "container": {
        *("name", "image", "modelCommand", "command", "args", "env", "ports", "mountModelVolume"),
        *("startupProbe", "readinessProbe", "volumeMounts"),
    },
}
WORKER = {
    *("componentType", "subComponentType", "replicas", "multinode", "envFromSecret", "resources", "sharedMemory"),
    "extraPodSpec",
}


def written(target: str, plan: Plan) -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for text in export(target, plan).values()]


def served_values(words: list[str]) -> dict[str, str]:
    """What a line starts, read back by the table of its engine."""
    return dict(statement(shlex.join(words)).values)


def test_llm_d_starts_the_planned_line_of_each_pool() -> None:
    service = split()
    (values,) = written("llm_d", plan_of(service))
    assert set(values) == CHART[""] and set(values["modelArtifacts"]) == CHART["modelArtifacts"]
    assert set(values["routing"]) == CHART["routing"]
    for role, command, pool in zip(
        ("prefill", "decode"), service.launch.splitlines(), service.deployment.pools, strict=True
    ):
        part = values[role]
        (container,) = part["containers"]
        assert set(part) == CHART["role"] and set(container) == CHART["container"]
        assert (part["replicas"], part["parallelism"]["tensor"] * part["replicas"]) == (pool.replicas, pool.devices)
        port = {"prefill": values["routing"]["servicePort"], "decode": values["routing"]["proxy"]["targetPort"]}[role]
        line = [*container["command"], *container["args"]]
        assert line == [*shlex.split(command), "--host", "0.0.0.0", "--port", str(port)]
        assert container["readinessProbe"]["httpGet"]["port"] == port
    assert values["modelArtifacts"]["uri"].removeprefix("hf://") in service.launch


@pytest.mark.parametrize("service", [split(), served("vllm", tp=4, replicas=3), served("vllm", accelerator="mi300x")])
def test_llm_d_writes_what_the_schema_of_its_chart_takes(service: ServiceDocument) -> None:
    schema = json.loads((Path(__file__).parent / "parsers" / "llm_d_values.json").read_text(encoding="utf-8"))
    (values,) = written("llm_d", plan_of(service))
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError, match="multiNode"):
        jsonschema.validate({**values, "multiNode": True}, schema)


def test_a_service_in_one_pool_needs_no_sidecar() -> None:
    (values,) = written("llm_d", plan_of(served("vllm", tp=4, replicas=3)))
    assert not values["prefill"]["create"] and not values["routing"]["proxy"]["enabled"]
    assert values["decode"]["containers"][0]["ports"][0]["containerPort"] == values["routing"]["servicePort"]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_dynamo_has_a_worker_for_each_pool(engine: str) -> None:
    service = routed(split(engine), "prefix_load")
    (graph,) = written("dynamo", plan_of(service))
    assert graph["spec"]["services"]["Frontend"]["envs"] == [{"name": "DYN_ROUTER_MODE", "value": "kv"}]
    workers = graph["spec"]["services"]
    assert list(workers) == ["Frontend", "PrefillWorker", "DecodeWorker"]
    for name, command, pool in zip(
        list(workers)[1:], service.launch.splitlines(), service.deployment.pools, strict=True
    ):
        worker = workers[name]
        assert set(worker) <= WORKER and worker["subComponentType"] == pool.phase
        assert int(worker["resources"]["limits"]["gpu"]) * worker["replicas"] == pool.devices
        args = worker["extraPodSpec"]["mainContainer"]["args"]
        start = {"vllm": ["vllm", "serve"], "sglang": ["python", "-m", "sglang.launch_server"]}[engine]
        planned = served_values(shlex.split(command))
        assert {key: value for key, value in served_values([*start, *args]).items() if key in planned} == planned
        assert "--port" not in args and "--kv-transfer-config" not in args
        if engine == "vllm":
            assert ("--is-prefill-worker" in args) == (pool.phase == "prefill")
        else:
            assert args[args.index("--disaggregation-mode") + 1] == pool.phase


@pytest.mark.parametrize("engine", WIDE)
def test_dynamo_gives_a_replica_its_nodes(engine: str) -> None:
    (graph,) = written("dynamo", plan_of(routed(WIDE[engine], "round_robin")))
    worker = graph["spec"]["services"]["Worker"]
    assert worker["multinode"] == {"nodeCount": 2} and worker["resources"]["limits"]["gpu"] == "8"


@pytest.mark.parametrize(
    ("target", "plan", "says"),
    [
        ("llm_d", plan_of(split("sglang")), "hands on caches of vllm, not of sglang"),
        ("llm_d", PLANS["wide_vllm"], "spans 2 nodes"),
        ("llm_d", plan_of(served("vllm", accelerator="ascend_910c")), "ascend_910c|vllm cannot hold"),
        ("dynamo", plan_of(split()), "3 replicas by least_request.*routing = prefix_load or round_robin under"),
        ("llm_d", plan_of(routed(split(), "weighted")), "3 replicas by weighted"),
        ("ray_serve", plan_of(served("vllm", tp=4, replicas=2)), "by least_request.*power_of_two.*kubernetes and gate"),
        ("skypilot", plan_of(routed(served("vllm", tp=4, replicas=2), "power_of_two")), "SkyServe does not choose"),
        ("dynamo", PLANS["trtllm"], "worker of trtllm does not take"),
        ("dynamo", plan_of(served("vllm", accelerator="mi300x", tp=4)), "for NVIDIA devices, not AMD's"),
    ],
)
def test_what_a_recipe_cannot_hold_is_refused(target: str, plan: Plan, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        export(target, plan)


def test_other_targets_say_where_pools_apart_go() -> None:
    with pytest.raises(UnsupportedError, match="llm_d or dynamo"):
        export("kubernetes", plan_of(split()))
