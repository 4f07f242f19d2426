"""Exports that can be checked with light tools: Kubernetes' published schema, the shell, our own gateway's reader."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from comptroller.cli import main
from comptroller.errors import UnknownIdError, UnsupportedError
from comptroller.export import _yaml, export, service_launches, slug, targets
from comptroller.gateway.config import read
from comptroller.planning.ground.plan_document import Plan, load_plan
from export_plans import GOLDEN, OFFER, PLANS, WIDE, plan_of, served, split

VERSIONS = ("1.32.0", kubernetes_validate.latest_version())


def manifests(plan: Plan) -> list[dict[str, Any]]:
    return [item for text in export("kubernetes", plan).values() for item in yaml.safe_load_all(text)]


def pods(item: dict[str, Any]) -> int:
    return item["spec"]["replicas"] if item["kind"] != "Service" else 0


@pytest.mark.parametrize("name", PLANS)
def test_manifests_hold_to_the_published_schema(name: str) -> None:
    for item in manifests(PLANS[name]):
        for version in VERSIONS:
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("name", PLANS)
def test_manifests_ask_for_every_device_of_the_plan(name: str) -> None:
    asked: Counter[str] = Counter()
    for item in manifests(PLANS[name]):
        if item["kind"] != "Service":
            pod = item["spec"]["template"]["spec"]
            (limit,) = pod["containers"][0]["resources"]["limits"].values()
            asked[pod["nodeSelector"]["comptroller/accelerator"]] += int(limit) * pods(item)
    planned: Counter[str] = Counter()
    for service in PLANS[name].services:
        for pool in service.deployment.pools:
            planned[pool.accelerator] += pool.devices
    assert asked == planned


@pytest.mark.parametrize("name", PLANS)
def test_services_find_the_pods_that_listen(name: str) -> None:
    items = manifests(PLANS[name])
    labels = [
        item["spec"]["template"]["metadata"]["labels"] | {"apps.kubernetes.io/pod-index": str(number)}
        for item in items
        if item["kind"] != "Service"
        for number in range(pods(item) if item["kind"] == "StatefulSet" else 1)
    ]
    for item in (item for item in items if item["kind"] == "Service"):
        wanted = item["spec"]["selector"].items()
        assert any(wanted <= each.items() for each in labels), item["metadata"]["name"]
    names = [(item["kind"], item["metadata"]["name"]) for item in items]
    assert len(set(names)) == len(names) and all(len(label) <= 63 for _, label in names)


@pytest.mark.parametrize("engine", WIDE)
def test_ranks_reach_the_command_of_a_replica_over_nodes(engine: str, tmp_path: Path) -> None:
    """The script is run, with a program in the engine's place that prints its arguments."""
    (script,) = export("commands", plan_of(WIDE[engine])).values()
    program = tmp_path / {"vllm": "vllm", "sglang": "python"}[engine]
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def words(rank: str) -> list[str]:
        env = path | {"RANK": rank, "LEADER": "10.0.0.7"}
        run = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=True)
        return run.stdout.split()

    first, second = words("0"), words("1")
    assert first[first.index("--nnodes") + 1] == "2"
    assert (first[first.index("--node-rank") + 1], second[second.index("--node-rank") + 1]) == ("0", "1")
    assert any("10.0.0.7" in word for word in second)
    assert ("--headless" in second, "--headless" in first) == (engine == "vllm", False)
    missing = subprocess.run(["sh", "-c", script], env=path, capture_output=True, text=True, check=False)
    assert missing.returncode != 0 and "the number of this node" in missing.stderr


def test_a_command_is_the_plans_own() -> None:
    scripts = export("commands", GOLDEN)
    for run in service_launches(GOLDEN):
        line = scripts[f"{run.name}.sh"].splitlines()[-1]
        assert shlex.split(line)[1:] == [*shlex.split(run.service.launch), "--host", "0.0.0.0", "--port", "8000"]


@pytest.mark.parametrize("name", PLANS)
def test_the_gateway_reads_its_configuration(name: str, tmp_path: Path) -> None:
    plan = PLANS[name]
    for file, text in export("gateway", plan).items():
        (tmp_path / file).write_text(text)
    config = read(tmp_path / "gateway.toml")
    assert set(config.services) == {x.id for x in plan.services} | {x.id for x in plan.offers}
    assert load_plan(tmp_path / config.plan) == plan
    for run in service_launches(plan):
        replicas = range(run.pool.replicas)
        several = tuple(f"http://{run.name}-r{number}:8000/v1" for number in replicas)
        assert config.services[run.service.id].replicas == (
            several if len(replicas) > 1 else (f"http://{run.name}:8000/v1",)
        )
        assert config.services[run.service.id].model in run.words


def test_what_is_bought_is_configured_at_its_recorded_price(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(export("gateway", plan_of(offers=(OFFER,)))["gateway.toml"])
    price = read(tmp_path / "gateway.toml").services[OFFER.id].price
    assert price is not None and not isinstance(price, str)
    assert (price.input, price.output, price.source) == ("0.25", "2", OFFER.source)


@pytest.mark.parametrize("target", [name for name in targets() if name != "gateway"])
def test_nothing_to_start_is_said(target: str) -> None:
    with pytest.raises(UnsupportedError, match="bought from APIs"):
        export(target, plan_of(offers=(OFFER,)))


@pytest.mark.parametrize("target", sorted({*targets()} - {"dynamo", "llm_d"}))
def test_pools_of_their_own_are_refused_by_name(target: str) -> None:
    with pytest.raises(UnsupportedError, match=r"vllm\.tp4: prefill and decode run"):
        export(target, plan_of(split()))


@pytest.mark.parametrize(
    ("target", "service", "says"),
    [
        ("kubernetes", served("llama_cpp"), "no container image of llama_cpp"),
        ("kubernetes", served("vllm", accelerator="gaudi3"), "no container image of vllm is known for gaudi3"),
        ("commands", served("trtllm", tp=8, pp=2), "trtllm: how a replica spans 2 nodes"),
        ("skypilot", served("vllm", accelerator="rtx_pro_6000"), "SkyPilot's name of rtx_pro_6000"),
        ("ray_serve", served("sglang"), "runs vllm, not sglang"),
        ("ray_serve", served("vllm", tp=1, dp=8), "8 data-parallel ranks"),
    ],
)
def test_what_a_tool_cannot_run_is_refused(target: str, service: Any, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        export(target, plan_of(service))


@pytest.mark.parametrize("target", [name for name in targets() if name != "gateway"])
def test_a_what_if_is_exported_nowhere(target: str) -> None:
    planned = GOLDEN.services[0].model_copy(update={"launch": "# what-if: vllm cannot hold weights in int5"})
    with pytest.raises(UnsupportedError, match="what-if: vllm cannot hold weights in int5"):
        export(target, plan_of(planned))


def test_weights_that_have_to_be_made_are_made_by_the_script_and_refused_elsewhere() -> None:
    plan = plan_of(served("llama_cpp", accelerator="h100_sxm", tp=1))
    (script,) = export("commands", plan).values()
    assert "convert_hf_to_gguf.py" in script and "GB of disk" in script
    subprocess.run(["sh", "-n", "-c", script], check=True)


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(UnknownIdError, match="kubernetes"):
        export("kubernets", GOLDEN)


def test_the_command_line_exports_a_saved_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "plan.json"
    saved.write_text(GOLDEN.to_json())
    wanted = [word for target in ("kubernetes", "skypilot") for word in ("--export", f"{target}={tmp_path / target}")]
    with pytest.raises(SystemExit) as left:
        main(["show", "plan", str(saved), "--json", *wanted])
    assert left.value.code in (0, None)
    assert json.loads(capsys.readouterr().out)["name"] == "chat"
    for target in ("kubernetes", "skypilot"):
        assert sorted(x.name for x in (tmp_path / target).iterdir()) == sorted(export(target, GOLDEN))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["show", "plan", "plan.json", "--export", "helm=out"],
            "targets? of commands, compose, dynamo, gateway, kubernetes",
        ),
        (["show", "plan", "plan.json", "--export", "kubernetes"], "TARGET=FOLDER"),
        (["show", "models", "--export", "kubernetes=out"], "show plan FILE"),
    ],
)
def test_a_wrong_wish_ends_at_once(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    found = " ".join(capsys.readouterr().err.split())
    assert re.search(says, found)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C"]) | st.just("\n"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}/[a-z]", fullmatch=True), PLAIN))
def test_yaml_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    assert yaml.safe_load(_yaml.document(value, ["a comment"])) == value


def test_names_are_labels() -> None:
    assert slug("3B model") == "s-3b-model" and len(slug("x" * 99)) == 40


@pytest.mark.parametrize("engine", WIDE)
def test_a_leader_worker_set_is_a_group_of_pods_for_each_replica(engine: str) -> None:
    plan = plan_of(WIDE[engine])
    (text,) = export("leader_worker_set", plan).values()
    address, *each, group = yaml.safe_load_all(text)
    (pool,) = plan.services[0].deployment.pools
    template = group["spec"]["leaderWorkerTemplate"]
    pod = template["workerTemplate"]["spec"]
    (container,) = pod["containers"]
    (limit,) = container["resources"]["limits"].values()
    assert group["spec"]["replicas"] == pool.replicas
    assert int(limit) * template["size"] * pool.replicas == pool.devices
    named = {item["name"]: item.get("value") for item in container["env"]}
    assert (named["RANK"], named["LEADER"]) == ("$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)")
    assert "$RANK" in container["command"][-1] and address["kind"] == "Service"
    assert len(each) == pool.replicas and group["metadata"]["name"] != address["metadata"]["name"]
    index = [item["spec"]["selector"]["leaderworkerset.sigs.k8s.io/group-index"] for item in each]
    assert index == ["0", "1"] and group["metadata"]["annotations"]["comptroller/routing"] == "least_request"
    kubernetes_validate.validate(address, VERSIONS[0], strict=True)
    bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
    kubernetes_validate.validate(bare, VERSIONS[0], strict=True)


def test_a_plan_inside_nodes_needs_no_leader_worker_set() -> None:
    with pytest.raises(UnsupportedError, match="no replica spans nodes"):
        export("leader_worker_set", plan_of(served("vllm", tp=4, replicas=1)))


def test_compose_gives_each_replica_devices_of_its_own() -> None:
    (text,) = export("compose", plan_of(served("vllm", tp=4, replicas=2))).values()
    services = yaml.safe_load(text)["services"].values()
    kept = [each["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for each in services]
    assert kept == [["0", "1", "2", "3"], ["4", "5", "6", "7"]]
    assert sorted(port for each in services for port in each["ports"]) == ["8000:8000", "8001:8000"]
    with pytest.raises(UnsupportedError, match="more than the 8 of a machine"):
        export("compose", plan_of(served("vllm", tp=4, replicas=3)))
    with pytest.raises(UnsupportedError, match="a replica spans 2"):
        export("compose", plan_of(WIDE["vllm"]))
