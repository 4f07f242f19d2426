"""Exports of training against the tools' own parsers: torchrun, torchtitan, DeepSpeed, axolotl, torchtune, llm-foundry.

The packages are heavy: `make test-export` installs them into an environment of its own. Elsewhere these tests skip.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from comptroller.costs.training_adapter import adapter_params
from comptroller.errors import UnsupportedError
from comptroller.export.runs import export_run
from comptroller.export.runs.torchtune import BUILDERS
from comptroller.facts.config import model
from comptroller.training.document import parse_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training
from engine_parsers import source

WHY = "is not installed; make test-export installs it beside"
HOPPER = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [32]}
ONE = {**HOPPER, "devices": [1]}
BLACKWELL = {**HOPPER, "accelerators": ["b200_sxm"]}


@lru_cache(maxsize=64)
def _of(told: str) -> TrainingPlan:
    return plan_training(parse_training({"name": "a run", "training": json.loads(told)}))


def planned(**changes: object) -> TrainingPlan:
    run = {"model": "llama_3_1_8b", "tokens": 1e11, "seq": 8192, "global_batch": 256, "allow": HOPPER, **changes}
    return _of(json.dumps(run, sort_keys=True))


def adapted(base: str, name: str = "llama_3_1_8b", **changes: object) -> TrainingPlan:
    return planned(
        program="llm_foundry", model=name, tokens=1e8, seq=2048, global_batch=64, adapter={"rank": 16, "base": base},
        allow={**HOPPER, "devices": [8]}, **changes,
    )  # fmt: skip


def words(text: str) -> list[str]:
    """Words of a script's command, with what the shell fills in."""
    told = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", text.replace("\\\n", " "))
    return shlex.split(told.splitlines()[-1])


MEGATRON = {"layout": {"tp": 2, "pp": 4, "chunks": 2, "micro_batch": 1}}


@pytest.mark.parametrize(
    ("target", "plan"),
    [("megatron", MEGATRON), ("torchtitan", {"program": "torchtitan"}), ("axolotl", {}), ("deepspeed", {})],
)
def test_torchrun_takes_every_launch(target: str, plan: dict[str, Any]) -> None:
    run = pytest.importorskip("torch.distributed.run", reason=f"torch {WHY}")
    if target == "deepspeed":
        made, text = planned(program="megatron_deepspeed"), export_run("slurm", planned(program="megatron_deepspeed"))
    elif target == "axolotl":
        made, text = adapted("nf4_dq"), export_run("axolotl", adapted("nf4_dq"))
    else:
        made, text = planned(**plan), export_run(target, planned(**plan))
    told = words(text["train.sh"])
    assert told[0] == "torchrun"
    known = run.get_args_parser().parse_args(told[1:])
    assert int(known.nnodes) * int(known.nproc_per_node) == made.run.devices
    assert known.training_script in {"pretrain_gpt.py", "torchtitan.train", "axolotl.cli.train"}


TITAN: list[dict[str, Any]] = [
    {}, {"layout": {"pp": 4, "tp": 2}}, {"layout": {"pp": 4, "tp": 2, "chunks": 2}, "compiled_loss": True},
    {"layout": {"cp": 2}}, {"layout": {"pp": 4}, "allow": {**HOPPER, "schedules": ["zb_v"]}},
    {"layout": {"pp": 4, "chunks": 2}, "allow": {**HOPPER, "schedules": ["zb_h1"]}},
    {"allow": {**HOPPER, "precisions": ["fp8"]}}, {"allow": {**BLACKWELL, "precisions": ["mxfp8"]}},
    {"model": "llama_3_1_405b", "layout": {"tp": 8, "pp": 8}, "allow": {**HOPPER, "devices": [512]}},
]  # fmt: skip


@pytest.mark.parametrize("changes", TITAN)
def test_torchtitan_parses_its_toml(changes: dict[str, Any], tmp_path: Path) -> None:
    config = pytest.importorskip("torchtitan.config", reason=f"torchtitan {WHY}")
    plan = planned(program="torchtitan", **changes)
    file = tmp_path / "train.toml"
    file.write_text(export_run("torchtitan", plan)["train.toml"], encoding="utf-8")
    job, layout = config.ConfigManager().parse_args(["--job.config_file", str(file)]), plan.run.layout
    degrees = job.parallelism
    assert (degrees.tensor_parallel_degree, degrees.context_parallel_degree) == (layout.tp, layout.cp)
    assert (degrees.pipeline_parallel_degree, degrees.data_parallel_shard_degree) == (layout.pp, layout.dp)
    assert (job.training.global_batch_size, job.training.steps) == (plan.global_batch, plan.run.steps)
    assert job.activation_checkpoint.mode == layout.recompute
    assert layout.recompute != "selective" or job.activation_checkpoint.selective_ac_option == "op"
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    if layout.pp > 1:
        assert schedules.get_schedule_class(degrees.pipeline_parallel_schedule)
    file.write_text(file.read_text(encoding="utf-8").replace("seq_len", "seq_length"), encoding="utf-8")
    with pytest.raises((ValueError, TypeError, SystemExit)):
        config.ConfigManager().parse_args(["--job.config_file", str(file)])


@pytest.mark.parametrize(("precision", "allow"), [("bf16", HOPPER), ("fp8", HOPPER), ("mxfp8", BLACKWELL)])
def test_torchtitan_converts_the_model_to_the_precision(precision: str, allow: dict[str, Any], tmp_path: Path) -> None:
    """A table of quantising without its converter is read and changes nothing."""
    config = pytest.importorskip("torchtitan.config", reason=f"torchtitan {WHY}")
    files = source("torchtitan", "components/quantization/*.py")
    calls = [node for tree in files for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call.args[1] for call in calls if getattr(call.func, "id", "") == "register_model_converter"]
    registered = {one.value for one in named if isinstance(one, ast.Constant)}
    text = export_run("torchtitan", planned(program="torchtitan", allow={**allow, "precisions": [precision]}))
    (tmp_path / "train.toml").write_text(text["train.toml"], encoding="utf-8")
    job = config.ConfigManager().parse_args(["--job.config_file", str(tmp_path / "train.toml")])
    kind = {"bf16": [], "fp8": ["quantize.linear.float8"], "mxfp8": ["quantize.linear.mx"]}[precision]
    assert job.model.converters == kind and set(kind) <= registered
    tables = {"fp8": job.quantize.linear.float8, "mxfp8": job.quantize.linear.mx}
    assert precision not in tables or tables[precision].filter_fqns == ["output"]


@pytest.fixture(scope="module")
def world() -> Iterator[type]:
    """DeepSpeed's configuration in a world of 32 ranks, by torch's backend that sends nothing."""
    ranks = pytest.importorskip("torch.distributed", reason=f"torch {WHY}")
    deepspeed = pytest.importorskip("deepspeed", reason=f"deepspeed {WHY}")
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    ranks.init_process_group("fake", store=fake.FakeStore(), rank=0, world_size=32)
    deepspeed.init_distributed(dist_backend="fake", auto_mpi_discovery=False, dist_init_required=False)
    yield pytest.importorskip("deepspeed.runtime.config").DeepSpeedConfig
    ranks.destroy_process_group()


@pytest.mark.parametrize("program", ["llm_foundry", "megatron_deepspeed"])
def test_deepspeed_reads_its_configuration(program: str, world: type) -> None:
    plan = planned(program=program, model="llama_3_2_1b", layout={"dp": 32})
    told = json.loads(export_run("deepspeed", plan)["ds_config.json"])
    known, layout = world(json.loads(json.dumps(told))), plan.run.layout
    assert known.gradient_accumulation_steps == layout.accumulation
    assert known.train_micro_batch_size_per_gpu == layout.micro_batch and known.train_batch_size == plan.global_batch
    assert known.zero_config.stage == told["zero_optimization"]["stage"] and known.bfloat16_config.enabled
    for wrong in ({"stage": 7}, {"stage": 3, "no_such_key": 1}):
        with pytest.raises(ValueError, match=r"stage|no_such_key"):
            world({**told, "zero_optimization": wrong})


def test_deepspeed_reads_what_lies_outside(world: type) -> None:
    for rates, device in (({}, "cpu"), ({"read_gb_per_s": 28.0, "write_gb_per_s": 17.0}, "nvme")):
        place = {"host_gb_per_s": 200.0, "overlapped": False, **rates}
        told = json.loads(export_run("deepspeed", planned(program="llm_foundry", offload=place))["ds_config.json"])
        zero = world(told).zero_config
        assert zero.offload_optimizer.device == zero.offload_param.device == device
        assert not zero.offload_optimizer.pipeline_read


@pytest.mark.parametrize("base", ["bf16", "nf4_dq"])
def test_axolotl_validates_its_yaml(base: str) -> None:
    config = pytest.importorskip("axolotl.utils.config", reason=f"axolotl {WHY}")
    kept = pytest.importorskip("axolotl.utils.dict").DictDefault
    plan = adapted(base)
    yours = {"datasets": [{"path": "DATA", "type": "alpaca"}], "learning_rate": 2e-4}
    told = {**yaml.safe_load(export_run("axolotl", plan)["axolotl.yaml"]), **yours}
    known = config.validate_config(kept(dict(told)))
    assert (known.adapter, known.lora_r) == ("qlora" if base == "nf4_dq" else "lora", 16)
    assert known.gradient_accumulation_steps == plan.run.layout.accumulation and known.max_steps == plan.run.steps
    with pytest.raises(ValueError, match="lora_r"):
        config.validate_config(kept({**told, "lora_r": "many"}))


def test_tune_takes_the_launch() -> None:
    cli = pytest.importorskip("torchtune._cli.tune", reason=f"torchtune {WHY}")
    recipes = {one.name for one in pytest.importorskip("torchtune._recipe_registry").get_all_recipes()}
    for plan in (adapted("nf4_dq"), planned(program="llm_foundry", model="llama_3_2_1b", seq=2048, tokens=1e8,
                                            adapter={"rank": 16}, allow=ONE)):  # fmt: skip
        told = words(export_run("torchtune", plan)["train.sh"])
        assert told[0] == "tune"
        known = cli.TuneCLIParser()._parser.parse_args(told[1:])
        assert known.recipe in recipes and known.recipe_args == ["--config", "torchtune.yaml"]
        assert plan.run.devices == 1 or int(known.nnodes) * int(known.nproc_per_node) == plan.run.devices


@pytest.mark.parametrize("base", ["bf16", "nf4_dq"])
def test_torchtune_validates_its_yaml(base: str) -> None:
    config = pytest.importorskip("torchtune.config", reason=f"torchtune {WHY}")
    omega = pytest.importorskip("omegaconf").OmegaConf
    told = yaml.safe_load(export_run("torchtune", adapted(base))["torchtune.yaml"])
    config.validate(omega.create(told))
    assert told["model"]["quantize_base"] == (base == "nf4_dq")
    told["model"]["rank"] = 16
    with pytest.raises(config._errors.ConfigError, match="rank"):
        config.validate(omega.create(told))


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_torchtune_trains_the_weights_that_the_plan_counts(name: str) -> None:
    """The adapters of torchtune's own model, built without memory, have as many weights as the plan's."""
    config = pytest.importorskip("torchtune.config", reason=f"torchtune {WHY}")
    torch, omega = pytest.importorskip("torch"), pytest.importorskip("omegaconf").OmegaConf
    told = yaml.safe_load(export_run("torchtune", any_layout(name))["torchtune.yaml"])["model"]
    with torch.device("meta"):
        made = config.instantiate(omega.create(told))
    found = sum(one.numel() for key, one in made.named_parameters() if "lora_" in key)
    here = model(name)
    assert found == adapter_params(here, 16)
    assert sum(one.numel() for one in made.parameters()) - found == pytest.approx(here.total_params, rel=2e-3)


def any_layout(name: str) -> TrainingPlan:
    """A plan of adapters whose model alone is another: what torchtune builds does not depend on the layout."""
    return adapted("bf16").model_copy(update={"model": name})


def test_what_torchtune_cannot_run_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="written for adapters alone"):
        export_run("torchtune", planned(program="llm_foundry"))
    with pytest.raises(UnsupportedError, match=r"freezes no weights in int4_g128; it has bf16, nf4_dq"):
        export_run("torchtune", adapted("int4_g128"))
    with pytest.raises(UnsupportedError, match="no builder is known for qwen3_8b"):
        export_run("torchtune", adapted("bf16", "qwen3_8b"))
    with pytest.raises(UnsupportedError, match="FSDP alone"):
        export_run("torchtune", planned(adapter={"rank": 16}, layout={"tp": 2}))


FOUNDRY = ("TrainConfig", "forbid_config_key", "to_dict_container", "to_container", "make_dataclass_and_log_config",
           "apply_transforms_to_config")  # fmt: skip


def foundry() -> dict[str, Any]:
    """llm-foundry's own configuration and its reader, cut from their file: the package imports CUDA's kernels."""
    omega = pytest.importorskip("omegaconf", reason=f"omegaconf {WHY}")
    (tree,) = source("llmfoundry", "utils/config_utils.py")
    wanted = [one for one in tree.body if getattr(one, "name", "") in FOUNDRY]
    assert {one.name for one in wanted if isinstance(one, ast.ClassDef | ast.FunctionDef)} == set(FOUNDRY)
    imports = (
        "import copy\nfrom dataclasses import dataclass, field, fields\n"
        "from typing import Any, Callable, Optional, TypeVar, Union\nT = TypeVar('T')\n"
    )
    made = ModuleType("llm_foundry_config")
    sys.modules[made.__name__] = made  # where omegaconf looks up the types of fields
    space = made.__dict__
    space |= {"om": omega.OmegaConf, "MissingMandatoryValue": omega.MissingMandatoryValue}
    space |= {name: getattr(omega, name) for name in ("MISSING", "DictConfig", "ListConfig")}
    exec(imports, space)
    exec(compile(ast.Module(wanted, []), "config_utils.py", "exec"), space)
    return space


@pytest.mark.parametrize("adapter", [None, {"rank": 16, "base": "bf16"}])
def test_llm_foundry_reads_its_yaml(adapter: dict[str, Any] | None) -> None:
    """Sizes of a device's batch are what its `update_batch_size_info` puts there on so many ranks."""
    space = foundry()
    plan = planned(program="llm_foundry", **({} if adapter is None else {"adapter": adapter}))
    layout = plan.run.layout
    told = yaml.safe_load(export_run("llm_foundry", plan)["train.yaml"])
    yours = {key: {"name": "yours"} for key in ("train_loader", "optimizer", "scheduler")}
    each = told["global_train_batch_size"] // plan.run.devices
    filled = {"n_gpus": plan.run.devices, "device_train_batch_size": each}
    filled["device_train_grad_accum"] = -(-each // told["device_train_microbatch_size"])
    names = set(space["TrainConfig"].__dataclass_fields__)

    def read(config: dict[str, Any]) -> Any:
        made = space["om"].create({**config, **yours, **filled})
        return space["make_dataclass_and_log_config"](made, space["TrainConfig"], names)[1]

    known = read(told)
    assert known.device_train_grad_accum == layout.accumulation and known.max_duration == f"{plan.run.steps}ba"
    (parallel,) = source("composer", "utils/parallelism.py")
    (fsdp,) = (one for one in parallel.body if isinstance(one, ast.ClassDef) and one.name == "FSDPConfig")
    fields = {one.target.id for one in fsdp.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    assert set(known.fsdp_config) <= fields
    with pytest.raises(ValueError, match="no_such_key"):
        read({**told, "no_such_key": 1})
    with pytest.raises(space["MissingMandatoryValue"]):
        read({key: value for key, value in told.items() if key != "max_duration"})
