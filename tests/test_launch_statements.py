"""Launch lines read back: what a plan's command starts is what the line says, for every engine; the rest is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice, product
from pathlib import Path

import pytest
import yaml

from comptroller.cli import main
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout
from comptroller.errors import InputError, UnsupportedError
from comptroller.export import export, service_launches
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.reader import ids, real_ids
from comptroller.launch import command, engines, launchable, lines_of_manifest, spread, statement
from comptroller.planning.offer.deployments import RejectionTally, recipes
from comptroller.planning.offer.layouts import layouts
from comptroller.planning.reasons.current_fleet import CurrentService, deployment_of
from comptroller.planning.reasons.launch_fleet import LaunchPlace, fleet_of_lines
from export_plans import PLANS

MODELS = ("llama_3_1_8b", "deepseek_r1", "gpt_oss_120b", "qwen3_30b_a3b")
AT = "us_neocloud"


def devices() -> Iterator[str]:
    """A device of each family."""
    seen: set[str] = set()
    for name in real_ids("accelerators"):
        family = accelerator(name).family
        if family not in seen:
            seen.add(family)
            yield name


def planned(engine: str, name: str) -> Iterator[ModelReplica]:
    """Everything that the planner would offer of a model on an engine, and each engine's own settings."""
    who, facts = model(name), engine_facts(engine)
    settings = replace(EngineSettings.default(facts), max_batch=48, chunk_tokens=4096, memory_fraction=0.85)
    for on in map(accelerator, devices()):
        shapes = layouts(who, on)
        turn = cycle(shapes)
        for recipe in recipes(who, on, ids("formats"), RejectionTally()):
            try:
                found = launchable(settings, who, on, recipe)
            except UnsupportedError:
                continue
            yield ModelReplica(who, on, found, next(turn), settings)


def current(line: str, device: str) -> CurrentService:
    (service,) = fleet_of_lines([("", 1, "", line)], LaunchPlace(device, AT)).fleet.services
    return service


@pytest.mark.parametrize(("engine", "name"), [*product(engines(), MODELS)])
def test_what_a_command_starts_is_what_is_read_from_it(engine: str, name: str) -> None:
    read, offered = 0, 0
    for replica in planned(engine, name):
        offered += 1
        try:
            line = command(replica, 9000)
        except UnsupportedError:
            continue
        found = current(line, replica.device.id)
        layout = ParallelLayout(found.tp, found.pp, found.dp, found.ep)
        who, planned_model = model(found.model), replica.model
        assert found.engine == engine, line
        assert (who.layers, who.hidden, who.total_params) == (
            planned_model.layers, planned_model.hidden, planned_model.total_params
        ), line  # fmt: skip
        assert layout == replica.layout, line
        recipe = replica.recipe
        experts = recipe.experts if replica.model.is_moe else recipe.weights
        assert (found.weights, found.experts, found.kv) == (recipe.weights, experts, recipe.kv), line
        assert found.activations == recipe.activations, line
        assert (found.max_batch, found.chunk_tokens) == (48, 4096)
        assert found.memory_fraction == (None if engine == "llama_cpp" else 0.85)
        read += 1
    assert read or not offered


@pytest.mark.parametrize("target", ["kubernetes", "leader_worker_set"])
@pytest.mark.parametrize("name", PLANS)
def test_kubernetes_manifests_are_read_back(name: str, target: str) -> None:
    if target != "kubernetes" and not name.startswith("wide"):
        return  # no service of it spans nodes
    documents = [item for text in export(target, PLANS[name]).values() for item in yaml.safe_load_all(text)]
    found = lines_of_manifest(documents)
    reading = fleet_of_lines(found.lines, LaunchPlace("", AT))
    assert not found.remarks
    wanted: dict[tuple[str, int, int], int] = {}
    for run in service_launches(PLANS[name]):
        key = (run.pool.accelerator, run.pool.tp, run.pool.pp)
        wanted[key] = wanted.get(key, 0) + run.pool.replicas
    assert {(x.accelerator, x.tp, x.pp): x.replicas for x in reading.fleet.services} == wanted
    assert not [remark for remark in reading.remarks if "not read" in remark]


def test_what_is_not_known_is_named_and_the_rest_is_read() -> None:
    line = "CUDA_VISIBLE_DEVICES=0,1 vllm serve meta-llama/Llama-3.1-8B -tp 2 --swap-space 4 --enforce-eager --port 1"
    reading = fleet_of_lines([("", 3, "", line)], LaunchPlace("h100_sxm", AT))
    (service,) = reading.fleet.services
    assert (service.model, service.tp, service.replicas) == ("llama_3_1_8b", 2, 3)
    assert [r for r in reading.remarks if "not read" in r] == ["not read: --swap-space 4", "not read: --enforce-eager"]
    assert deployment_of(service, reading.fleet.library).replica.layout == ParallelLayout(2)


@pytest.mark.parametrize(
    ("line", "unread"),
    [
        ("cd /x && vllm serve MODEL --tensor-parallel-size 2 > log 2>&1 &", ["cd /x"]),
        ("VLLM_USE_V1=0 HF_TOKEN=x vllm serve MODEL \\\n  -tp 2 --swap-space 4", ["--swap-space 4", "VLLM_USE_V1=0"]),
        ("export NCCL_ALGO=Ring; exec vllm serve MODEL -tp 2 | tee log", ["NCCL_ALGO=Ring", "tee log"]),
        ("docker run --gpus all -e VLLM_USE_V1=0 vllm/vllm-openai:v0.12.0 --model MODEL -tp 2", ["VLLM_USE_V1=0"]),
        ("vllm serve MODEL -tp 2 --api-key '' 2> /dev/null", []),
        ("docker run --gpus all lmsysorg/sglang:v0.5.18 python3 -m sglang.launch_server --model MODEL --tp 2", []),
        ("vllm serve MODEL -tp 2 --speculative-config '{\"num\": 2}'", ['--speculative-config {"num": 2}']),
    ],
)  # fmt: skip
def test_what_stands_around_a_command_is_named(line: str, unread: list[str]) -> None:
    line = line.replace("MODEL", "meta-llama/Llama-3.1-8B")
    reading = fleet_of_lines([("", 1, "", line)], LaunchPlace("h100_sxm", AT))
    (service,) = reading.fleet.services
    assert (service.model, service.tp) == ("llama_3_1_8b", 2)
    assert [r.removeprefix("not read: ") for r in reading.remarks if r.startswith("not read")] == unread


def test_layers_that_stay_on_the_host_and_lengths_are_named() -> None:
    line = "llama-server -m /models/Llama-3.1-8B-Q4_K_M.gguf -c 8192 -np 4 -ngl 10"
    remarks = fleet_of_lines([("", 1, "", line)], LaunchPlace("rtx_4090", AT)).remarks
    assert any("-ngl 10; all 32 layers and the output" in said for said in remarks) and any(
        "-c 8192 limits" in x for x in remarks
    )


def deployment(kind: str, replicas: object, *containers: dict[str, object]) -> dict[str, object]:
    template = {"spec": {"containers": list(containers)}}
    return {"kind": kind, "metadata": {"name": "x"}, "spec": {"replicas": replicas, "template": template}}


VLLM = ["vllm", "serve", "meta-llama/Llama-3.1-8B"]


def test_an_image_that_starts_its_engine_needs_no_command() -> None:
    engine = {"image": "vllm/vllm-openai:v0.12.0", "args": ["--model", "meta-llama/Llama-3.1-8B"], "name": "a",
              "env": [{"name": "VLLM_USE_V1", "value": "0"}]}  # fmt: skip
    side = {"image": "nginx", "command": ["nginx"], "name": "proxy"}
    found = lines_of_manifest([deployment("Deployment", 3, engine, side), {"kind": "Job", "metadata": {"name": "j"}}])
    assert found.remarks == ("not read: container proxy of Deployment x: 'nginx'",
                             "not read: Job j; read are Deployment, StatefulSet, LeaderWorkerSet")  # fmt: skip
    reading = fleet_of_lines(found.lines, LaunchPlace("h100_sxm", AT))
    assert reading.fleet.services[0].replicas == 3 and "x: not read: VLLM_USE_V1=0" in reading.remarks


@pytest.mark.parametrize(("more", "replicas"), [([], 4), (["--nnodes", "4"], 1)])
def test_pods_of_a_stateful_set_are_replicas_unless_one_spans_them(more: list[str], replicas: int) -> None:
    (line,) = lines_of_manifest([deployment("StatefulSet", 4, {"command": [*VLLM, *more]})]).lines
    assert line[1] == replicas


def test_a_manifest_without_an_engine_says_what_it_has() -> None:
    with pytest.raises(InputError, match=r"starts a known engine\..*container a of Deployment x"):
        lines_of_manifest([deployment("Deployment", 1, {"name": "a", "command": ["sleep", "1"]})])
    with pytest.raises(InputError, match=r"spec\.replicas is 'two'"):
        lines_of_manifest([deployment("Deployment", "two", {"command": VLLM})])


def test_ranks_of_a_dense_model_are_replicas_side_by_side() -> None:
    line = "vllm serve meta-llama/Llama-3.1-8B --data-parallel-size 4"
    (service,) = fleet_of_lines([("", 2, "", line)], LaunchPlace("h100_sxm", AT)).fleet.services
    assert (service.dp, service.replicas) == (1, 8)
    apart = "python3 -m sglang.launch_server --model meta-llama/Llama-3.1-8B --tp 2 --dp 3"
    assert fleet_of_lines([("", 1, "", apart)], LaunchPlace("h100_sxm", AT)).fleet.services[0].replicas == 3


def test_a_published_gguf_is_read_as_its_main_type() -> None:
    line = "llama-server -m /models/Llama-3.1-8B-Q4_K_M.gguf -c 8192 -np 4 -ngl 99"
    reading = fleet_of_lines([("", 1, "", line)], LaunchPlace("rtx_4090", AT))
    assert reading.fleet.services[0].weights == "q4_k" and any("main one" in remark for remark in reading.remarks)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("vllm serve", "the line names no model"),
        (
            "vllm serve m --tensor-parallel-size",
            "--tensor-parallel-size has no value; known flags: --data-parallel-size",
        ),
        ("vllm serve 'm", "No closing quotation"),
        ("ollama serve", "starts no engine that is known; known: llama-server"),
        ("vllm serve meta-llama/Llama-3.1-8B -tp two", "-tp takes a whole number above 0, and has 'two'"),
        ("lmdeploy serve api_server meta-llama/Llama-3.1-8B --tp 0", "--tp takes a whole number above 0, and has '0'"),
        ("vllm serve meta-llama/Llama-3.1-8B --dtype float64", "--dtype float64; known: bfloat16"),
        ("vllm serve meta-llama/Llama-3.1-8B --kv-cache-dtype q5", "cache type q5; known: auto, fp8"),
        ("vllm serve meta-llama/Llama-3.1-8B --gpu-memory-utilization 90", "share of memory 90: a number above 0"),
    ],
)
def test_a_line_that_cannot_be_read_says_what_is_known(line: str, says: str) -> None:
    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        current(line, "h100_sxm")


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_words_of_a_node_are_passed_over(engine: str) -> None:
    replica = next(islice(planned(engine, "llama_3_1_8b"), 1))
    line = f"{command(replica, 9000)} {spread(engine, 2)}"
    assert statement(line).values == statement(command(replica, 9000)).values and not statement(line).unread


def test_a_line_that_cannot_be_read_ends_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat = str(Path(__file__).parents[1] / "examples" / "chat.toml")
    for words, says in (
        (["--from-launch", "vllm serve meta-llama/Llama-3.1-8B -tp", "--launch-on", "h100_sxm"], "-tp has no value"),
        (["--from-launch", "vllm serve meta-llama/Llama-3.1-8B"], "--launch-on ACCELERATOR"),
        (["--from-launch", str(tmp_path / "none.yaml")], "none.yaml"),
        (["--from-launch", "vllm serve m", "--against", str(tmp_path / "x.toml")], "name one"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["plan", chat, "--launch-at", AT, *words])
        assert ended.value.code == 2 and says in " ".join(capsys.readouterr().err.split())
