"""Readers of measured training steps: vTrain, Megatron-Bridge, llm-foundry, torchtitan; one record for all of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import PrecisionRecipe
from comptroller.costs.training_layout import ActivationRecompute, LayoutGrid, StateSharding, TrainingLayout
from comptroller.costs.training_time import StepIngredients, step_ingredients
from comptroller.costs.training_work import ForwardTable, TrainingJob
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import model
from comptroller.facts.model import DenseFeedForward, LayerBlock, Model, SoftmaxAttention
from comptroller.facts.training_recipe import training_recipe

Array = npt.NDArray[np.float64]
Row = Mapping[str, str]

GPT_WORDS, MPT_WORDS = 51_200, 50_368
"""Rows of the padded vocabularies of Megatron-LM's GPT (arXiv 2104.04473) and of llm-foundry's MPT."""

MPT_SHAPES = {
    "125m": (768, 12, 12),
    "350m": (1024, 24, 16),
    "760m": (1536, 24, 12),
    "1b": (2048, 24, 16),
    "3b": (2560, 32, 20),
    "7b": (4096, 32, 32),
    "13b": (5120, 40, 40),
    "30b": (7168, 48, 56),
    "70b": (8192, 80, 64),
}
"""Hidden size, layers, heads (llm-foundry, scripts/train/yamls/pretrain); their weights agree with the table's to 0.5 %
from 1b on, and with the positions learned beside them below."""

BRIDGE_MODELS = {
    "LLAMA3_8B": "llama_3_8b",
    "LLAMA3_70B": "llama_3_70b",
    "LLAMA3.1_405B": "llama_3_1_405b",
    "DeepSeekV3": "deepseek_v3",
    "GPT OSS 120B": "gpt_oss_120b",
    "Qwen3_30B_a3B": "qwen3_30b_a3b",
    "Qwen3_235B_a22B": "qwen3_235b_a22b",
    "Nemotron_3_Nano": "nemotron_3_nano_30b_a3b",
}
DEVICES = {
    "h100_80gb": "h100_sxm",
    "a100_80gb": "a100_80_sxm",
    "a100_40gb": "a100_40_sxm",
    "h100": "h100_sxm",
    "b200": "b200_sxm",
    "b300": "b300_sxm",
    "gb200": "gb200",
    "gb300": "gb300",
}
SHARDINGS = {"FULL_SHARD": StateSharding.FULL, "SHARD_GRAD_OP": StateSharding.GRADIENTS}


def _recipe(matrices: str) -> PrecisionRecipe:
    return PrecisionRecipe(matrices, matrices, matrices, "bf16")


RECIPES = {
    "BF16": PrecisionRecipe(),
    "amp_bf16": PrecisionRecipe(),
    "bf16": PrecisionRecipe(),
    "amp_fp8": _recipe("fp8_e4m3"),
    "FP8": _recipe("fp8_e4m3"),
    "FP8-CS": _recipe("fp8_e4m3"),
    "MXFP8": _recipe("mxfp8"),
    "FP8-MX": _recipe("mxfp8"),
    "NVFP4": _recipe("nvfp4"),
}


NARROW = {
    "amp_fp8": "fp8_delayed",
    "FP8": "fp8",
    "FP8-CS": "fp8",
    "MXFP8": "mxfp8",
    "FP8-MX": "mxfp8",
    "NVFP4": "nvfp4",
}
"""A page's word -> recipe of training, where products are narrow; Composer scales by history."""


@dataclass(frozen=True)
class MeasuredStep:
    """One measured training run: its job, layout, sequences of a step and seconds of it.

    group: what is left out together.  memory_bytes: of the fullest device, NaN where not stated.
    """

    job: TrainingJob
    layout: TrainingLayout
    global_batch: int
    seconds: float
    group: str
    memory_bytes: float = float("nan")
    note: str = ""

    @property
    def family(self) -> str:
        """Family of the accelerator."""
        return self.job.device.family

    @property
    def mfu(self) -> float:
        """Model FLOPs over the dense bf16 peak, in whatever arithmetic matrices are multiplied."""
        return model_flops_share(self, self.seconds)


def model_flops_share(step: MeasuredStep, seconds: float) -> float:
    """MFU of a step that takes so many seconds, against the dense bf16 peak."""
    flops = step.job.flops_per_token() * step.job.seq * step.global_batch
    return float(flops / seconds / step.layout.devices / step.job.device.peak("bf16"))


@lru_cache(maxsize=256)
def gpt(hidden: int, heads: int, layers: int, words: int = GPT_WORDS) -> Model:
    """A GPT of four times its hidden size in the feed-forward part, embedding and head tied."""
    mixer = SoftmaxAttention(heads, heads, hidden // heads)
    block = LayerBlock(layers, mixer, DenseFeedForward(4 * hidden, gated=False))
    return Model(f"gpt_{hidden}x{layers}", "GPT", "gpt", hidden, words, 2048, (block,), tied_embedding=True)


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _job(shape: Model, device: Accelerator, seq: int, word: str) -> TrainingJob:
    """A job in what a page calls its precision."""
    narrow = training_recipe(NARROW[word]) if word in NARROW else None
    return TrainingJob(shape, device, seq, RECIPES[word], narrow=narrow)


def _vtrain(row: Row, group: str, recompute: ActivationRecompute) -> MeasuredStep:
    number = {key: int(value) for key, value in row.items() if key not in {"params_b", "iteration_ms"}}
    job = TrainingJob(
        gpt(number["hidden"], number["heads"], number["layers"]), accelerator("a100_80_sxm"), number["seq"]
    )
    layout = TrainingLayout(
        number["dp"], number["tp"], number["pp"], micro_batch=number["micro_batch"], recompute=recompute
    )
    return MeasuredStep(job, layout, number["global_batch"], float(row["iteration_ms"]) / 1e3, group)


def vtrain_multi(folder: Path) -> list[MeasuredStep]:
    """vTrain's clusters; grouped by model size. The number format and recomputation are not stated: taken as 16 bit
    with full recomputation, as Megatron-LM trained the same models (arXiv 2104.04473)."""
    rows = _rows(folder / "vtrain_multi.csv")
    return [_vtrain(row, row["params_b"], ActivationRecompute.FULL) for row in rows]


def vtrain_single(folder: Path) -> list[MeasuredStep]:
    """vTrain's node; grouped by devices, batch and shape."""
    keys = ("gpus", "global_batch", "hidden", "heads", "layers")
    rows = _rows(folder / "vtrain_single.csv")
    return [_vtrain(row, "-".join(row[key] for key in keys), ActivationRecompute.NONE) for row in rows]


def megatron_bridge(folder: Path) -> list[MeasuredStep]:
    """Megatron-Bridge's performance summaries; grouped by model. Of the first release, which states no precision, the
    second number of a cell is MXFP8 where the model is dense and the layouts are alike, else FP8."""
    return [_bridge(row) for row in _rows(folder / "megatron_bridge.csv") if row["tokens_s_gpu"]]


def _bridge(row: Row) -> MeasuredStep:
    name = row["model"].partition(" (")[0]
    gpus, seq, batch = (int(row[key]) for key in ("gpus", "seq", "global_batch"))
    tp, pp, cp, ep, chunks = (int(row[key]) for key in ("tp", "pp", "cp", "ep", "vp"))
    layout = TrainingLayout(
        gpus // (tp * pp * cp), tp, pp, cp, ep, chunks, int(row["micro_batch"]),
        StateSharding.FULL if int(row["fsdp"]) > 1 else StateSharding.OPTIMIZER,
    )  # fmt: skip
    device = accelerator(DEVICES[row["system"]])
    job = _job(model(BRIDGE_MODELS[name]), device, seq, _bridge_precision(row, name))
    seconds = batch * seq / (float(row["tokens_s_gpu"]) * gpus)
    return MeasuredStep(job, layout, batch, seconds, name, note=f"{row['release']} {row['precision']}")


def _bridge_precision(row: Row, name: str) -> str:
    if row["precision"] != "not stated":
        return row["precision"]
    same_layout = name == "LLAMA3_8B" or (name.startswith("LLAMA") and row["system"] == "b200")
    return "MXFP8" if row["variant"] == "second" and same_layout and row["system"] != "h100" else "FP8"


def llm_foundry(folder: Path) -> list[MeasuredStep]:
    """llm-foundry's table of MPT; grouped by model."""
    return [_foundry(row) for row in _rows(folder / "llm_foundry.csv")]


def _foundry(row: Row) -> MeasuredStep:
    hidden, layers, heads = MPT_SHAPES[row["model"]]
    shape = gpt(hidden, heads, layers, MPT_WORDS)
    gpus, seq, micro = int(row["gpus"]), int(row["seq"]), int(row["micro_batch"])
    batch = gpus * micro * int(row["grad_accumulation"])
    positions = replace(shape, side_elements=max(0, int(float(row["params"]) - shape.total_params)))
    job = _job(positions, accelerator(DEVICES[row["gpu"]]), seq, row["precision"])
    again = ActivationRecompute.FULL if row["recompute"] == "True" else ActivationRecompute.NONE
    layout = TrainingLayout(gpus, micro_batch=micro, sharding=SHARDINGS[row["sharding"]], recompute=again)
    return MeasuredStep(job, layout, batch, batch * seq / float(row["tokens_s"]), row["model"])


@lru_cache(maxsize=1)
def narrow_h100() -> Accelerator:
    """The H100 of torchtitan's pages: 96 GB of HBM2e at 2.4 TB/s, 500 W."""
    return replace(accelerator("h100_sxm"), memory_bytes=96e9, memory_bytes_per_s=2.4e12, tdp_w=500.0)


def torchtitan(folder: Path) -> list[MeasuredStep]:
    """torchtitan's benchmark pages; grouped by page."""
    return [_titan(row) for row in _rows(folder / "torchtitan.csv")]


def _titan(row: Row) -> MeasuredStep:
    gpus, seq, batch = (int(row[key]) for key in ("gpus", "seq", "global_batch"))
    device = narrow_h100() if row["gpu"].startswith("H100") else accelerator("h200_sxm")
    word = "FP8" if row["precision"].startswith("float8") else "BF16"
    job = _job(model("llama_3_1_8b" if "8B" in row["model"] else "llama_3_1_70b"), device, seq, word)
    again = ActivationRecompute.FULL if row["recompute"] == "full" else ActivationRecompute.SELECTIVE
    layout = TrainingLayout(
        int(row["fsdp"]), int(row["tp"]), int(row["pp"]), int(row["cp"]), micro_batch=int(row["local_batch"]),
        sharding=StateSharding.FULL, recompute=again,
    )  # fmt: skip
    seconds = batch * seq / (float(row["tokens_s_gpu"]) * gpus)
    memory = float(row["memory_gib"]) * 2.0**30 if row["memory_gib"] else float("nan")
    return MeasuredStep(job, layout, batch, seconds, row["page"], memory, row["precision"])


READERS: Mapping[str, Callable[[Path], list[MeasuredStep]]] = {
    "megatron_deepspeed": vtrain_multi,
    "megatron_deepspeed_node": vtrain_single,
    "megatron_bridge": megatron_bridge,
    "llm_foundry": llm_foundry,
    "torchtitan": torchtitan,
}
"""Program -> the reader of its rows."""


def ingredients(steps: Sequence[MeasuredStep]) -> StepIngredients:
    """What the measured steps are made of, a point for each."""
    return StepIngredients.side_by_side(
        [step_ingredients(ForwardTable(step.job), LayoutGrid.of([step.layout]), step.global_batch) for step in steps]
    )
