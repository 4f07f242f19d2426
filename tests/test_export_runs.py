"""Exports of a plan of training: what each tool reads, and what is refused."""

from __future__ import annotations

import json
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from comptroller.errors import UnknownIdError, UnsupportedError
from comptroller.export.runs import RUN_TARGETS, export_run
from comptroller.training.document import parse_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training


def planned(**changes: object) -> TrainingPlan:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [32]}
    run = {"model": "llama_3_1_8b", "tokens": 1e11, "seq": 8192, "global_batch": 256, "allow": allow, **changes}
    return plan_training(parse_training({"name": "a run", "training": run}))


@pytest.fixture(scope="module")
def megatron() -> TrainingPlan:
    return planned(layout={"tp": 2, "pp": 4, "chunks": 2, "micro_batch": 1})


@pytest.fixture(scope="module")
def titan() -> TrainingPlan:
    return planned(program="torchtitan")


KEYS = json.loads((Path(__file__).parent / "data" / "training_keys.json").read_text(encoding="utf-8"))
"""Names that tools define, by benchmarks/training_keys.py from their packages' source."""

LAUNCHER = {"nnodes", "nproc_per_node", "node_rank", "master_addr", "master_port"}
"""Options of torchrun before those of a script."""

SCRIPT = {
    "max_position_embeddings", "untie_embeddings_and_output_weights", "disable_bias_linear", "data_path",
    "num_virtual_stages_per_pipeline_rank",
}  # fmt: skip
"""Options of megatron/training/arguments.py, which is in the repository of Megatron-LM and in no package."""


def names(tool: str) -> set[str]:
    return set(KEYS[tool]["names"])


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_megatron_gets_the_degrees_of_the_plan(megatron: TrainingPlan, tmp_path: Path) -> None:
    text = export_run("megatron", megatron)["train.sh"]
    (tmp_path / "train.sh").write_text(text, encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(tmp_path / "train.sh")], check=False).returncode == 0
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    layout = megatron.run.layout
    assert int(option(words, "--tensor-model-parallel-size")) == layout.tp == 2
    assert int(option(words, "--pipeline-model-parallel-size")) == layout.pp
    assert int(option(words, "--global-batch-size")) == layout.dp * layout.micro_batch * layout.accumulation
    assert int(option(words, "--train-iters")) == megatron.run.steps
    assert {"--nnodes=4", "--nproc-per-node=8", "--sequence-parallel", "--use-distributed-optimizer"} <= set(words)
    assert (option(words, "--num-query-groups"), option(words, "--num-layers")) == ("8", "32")


def test_torchtitan_reads_its_toml(titan: TrainingPlan) -> None:
    config = tomllib.loads(export_run("torchtitan", titan)["train.toml"])
    degrees, layout = config["parallelism"], titan.run.layout
    assert degrees["data_parallel_shard_degree"] == layout.dp
    assert config["training"]["steps"] == titan.run.steps and config["model"] == {"name": "llama3", "flavor": "8B"}
    assert config["activation_checkpoint"]["mode"] == layout.recompute


def test_deepspeed_and_llm_foundry_agree_with_the_batch() -> None:
    plan = planned(program="llm_foundry")
    config = json.loads(export_run("deepspeed", plan)["ds_config.json"])
    each = config["train_micro_batch_size_per_gpu"] * config["gradient_accumulation_steps"] * plan.run.layout.dp
    assert each == config["train_batch_size"] == 256
    read = yaml.safe_load(export_run("llm_foundry", plan)["train.yaml"])
    assert read["global_train_batch_size"] == 256 and read["max_duration"] == f"{plan.run.steps}ba"


@pytest.mark.parametrize("target", ["slurm", "skypilot", "kubernetes"])
def test_jobs_ask_for_the_nodes_of_the_plan(target: str, megatron: TrainingPlan) -> None:
    files = export_run(target, megatron)
    assert "train.sh" in files
    if target == "slurm":
        assert "#SBATCH --nodes=4" in files["job.sbatch"] and "--gpus-per-node=8" in files["job.sbatch"]
        return
    job = yaml.safe_load(files["job.yaml"])
    if target == "skypilot":
        assert job["num_nodes"] == 4 and job["resources"]["accelerators"]["H100"] == 8
    else:
        groups = job["spec"]["pytorchReplicaSpecs"]
        assert groups["Master"]["replicas"] + groups["Worker"]["replicas"] == 4


def test_what_a_tool_cannot_run_is_refused(megatron: TrainingPlan) -> None:
    with pytest.raises(UnsupportedError, match="FSDP alone"):
        export_run("llm_foundry", megatron)
    with pytest.raises(UnsupportedError, match="shares out weights"):
        export_run("torchtitan", megatron)
    with pytest.raises(UnknownIdError, match="slurm"):
        export_run("slurn", megatron)
    assert len(RUN_TARGETS) == 9


MOE = {"model": "qwen3_30b_a3b", "seq": 4096, "layout": {"ep": 8}}


@pytest.mark.parametrize("changes", [{"layout": {"tp": 2, "pp": 4, "chunks": 2}}, MOE, {"layout": {"cp": 2}}])
def test_every_option_of_megatron_is_one_that_it_defines(changes: dict[str, object]) -> None:
    words = shlex.split(export_run("megatron", planned(**changes))["train.sh"].replace("\\\n", " "), comments=True)
    written = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    assert "micro_batch_size" in written
    assert written - names("megatron") - LAUNCHER - SCRIPT == set()


def test_every_key_of_torchtitan_is_one_that_it_defines(titan: TrainingPlan) -> None:
    config = tomllib.loads(export_run("torchtitan", titan)["train.toml"])
    assert set(config) | {key for table in config.values() for key in table} <= names("torchtitan")


@pytest.mark.parametrize("program", ["llm_foundry", "megatron_deepspeed"])
def test_every_key_of_deepspeed_and_llm_foundry_is_one_that_they_define(program: str) -> None:
    plan = planned(program=program)
    config = json.loads(export_run("deepspeed", plan)["ds_config.json"])
    inner = {key for value in config.values() if isinstance(value, dict) for key in value}
    assert set(config) | inner <= names("deepspeed")
    if program == "llm_foundry":
        assert set(yaml.safe_load(export_run("llm_foundry", plan)["train.yaml"])) <= names("llm_foundry")


def adapted(base: str, **changes: object) -> TrainingPlan:
    return planned(program="llm_foundry", adapter={"rank": 16, "base": base}, **changes)


def test_adapters_go_to_axolotl_and_its_keys_are_those_that_it_defines() -> None:
    plan = adapted("nf4_dq")
    files = export_run("axolotl", plan)
    config = yaml.safe_load(files["axolotl.yaml"])
    assert set(config) <= names("axolotl")
    assert (config["adapter"], config["load_in_4bit"], config["lora_r"]) == ("qlora", True, 16)
    layout = plan.run.layout
    assert config["micro_batch_size"] * config["gradient_accumulation_steps"] * layout.dp == plan.global_batch
    batch = json.loads(files["ds_config.json"])["train_batch_size"]
    assert batch == plan.global_batch and "axolotl.cli.train" in files["train.sh"]
    assert "load_in_4bit" not in yaml.safe_load(export_run("axolotl", adapted("bf16"))["axolotl.yaml"])
    assert "axolotl.yaml" in export_run("slurm", plan)


def test_llm_foundry_freezes_weights_of_16_bits_alone() -> None:
    model = yaml.safe_load(export_run("llm_foundry", adapted("bf16"))["train.yaml"])["model"]
    assert model["pretrained"] is True and set(model["peft_config"]) <= names("peft")
    assert len(model["peft_config"]["target_modules"]) == 7
    with pytest.raises(UnsupportedError, match="export to axolotl"):
        export_run("llm_foundry", adapted("nf4_dq"))


def test_adapters_that_no_target_can_train_are_refused(megatron: TrainingPlan) -> None:
    with pytest.raises(UnsupportedError, match=r"freezes no weights in int4_g128; it has bf16, fp16, nf4_dq"):
        export_run("axolotl", adapted("int4_g128"))
    with pytest.raises(UnsupportedError, match="written for adapters alone"):
        export_run("axolotl", megatron)
    with pytest.raises(UnsupportedError, match="shares out states alone"):
        export_run("axolotl", planned(adapter={"rank": 16}, layout={"tp": 2}))
    with pytest.raises(UnsupportedError, match="torchtitan: adapters are written for axolotl"):
        export_run("torchtitan", adapted("bf16"))


def test_deepspeed_says_what_lies_outside_of_devices() -> None:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [1]}
    host = {"host_gb_per_s": 200.0, "overlapped": False}
    drives = {**host, "read_gb_per_s": 28.0, "write_gb_per_s": 17.0}
    for place, device in ((host, "cpu"), (drives, "nvme")):
        plan = planned(program="llm_foundry", offload=place, allow=allow)
        zero = json.loads(export_run("deepspeed", plan)["ds_config.json"])["zero_optimization"]
        assert zero["stage"] == 3 and zero["offload_optimizer"]["device"] == zero["offload_param"]["device"] == device
        inner = {key for value in zero.values() if isinstance(value, dict) for key in value}
        assert set(zero) | inner <= names("deepspeed")
    pooled = planned(program="llm_foundry", offload={"pool": "rdma_pool"}, allow=allow)
    with pytest.raises(UnsupportedError, match="cannot say"):
        export_run("deepspeed", pooled)
    beside = planned(program="llm_foundry", offload={"host_gb_per_s": 200.0}, allow=allow)
    with pytest.raises(UnsupportedError, match="overlapped = false"):
        export_run("deepspeed", beside)
    with pytest.raises(UnsupportedError, match="outside of devices is written for"):
        export_run("llm_foundry", pooled)


@pytest.mark.parametrize("program", ["megatron_bridge", "torchtitan", "llm_foundry"])
def test_a_pod_gets_every_file_and_a_rank_of_its_own(program: str, tmp_path: Path) -> None:
    files = export_run("kubernetes", planned(program=program))
    for name in set(files) - {"job.yaml"}:
        assert f"--from-file={name}" in files["job.yaml"]
    groups = yaml.safe_load(files["job.yaml"])["spec"]["pytorchReplicaSpecs"]
    for group in groups.values():
        (pod,) = group["template"]["spec"]["containers"]
        assert "NODE_RANK=$RANK" in pod["command"][-1] and "env" not in pod
    (tmp_path / "train.sh").write_text(files["train.sh"], encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(tmp_path / "train.sh")], check=False).returncode == 0


def test_composer_is_told_its_ranks() -> None:
    script = export_run("slurm", planned(program="llm_foundry"))["train.sh"]
    told = shlex.split(script.splitlines()[-1].replace("$((8 * NODE_RANK))", "8"))
    assert (option(told, "--nproc"), option(told, "--world_size"), option(told, "--base_rank")) == ("8", "32", "8")
