"""Reader of the public end-to-end measurements that aiconfigurator-core 0.12.0 carries (`silicon_known.csv`).

Every exclusion is a rule on input columns, stated in `ExclusionRule`; rows are never dropped by their error.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory
from comptroller.errors import InputError, InsufficientMemoryError, RecordError, UnknownIdError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.model import LatentAttention, Model
from comptroller.measure.observations import ExclusionReport, RunObservation, groups, latency_problem
from comptroller.measure.run_observations import FactLookup
from comptroller_lab.launch_flags import DRAWN, LaunchFlags
from comptroller_lab.published import MX_FAMILIES

COLUMNS = (
    "backend",
    "backend_version",
    "model_path",
    "system",
    "precision",
    "mode",
    "isl",
    "osl",
    "gemm_quant_mode",
    "moe_quant_mode",
    "batch_size",
    "tp_size",
    "pp_size",
    "attention_dp_size",
    "moe_tp_size",
    "moe_ep_size",
    "prefill_batch_size",
    "prefill_num_workers",
    "decode_batch_size",
    "decode_num_workers",
    "ttft_ms",
    "tpot_ms",
    "measured",
    "config",
    "run",
)

FORMATS = {"": "bf16", "fp8": "fp8_e4m3", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int4_wo": "int4_g32"}
"""Quantisation mode of a matrix -> our format; an empty one is 16 bit."""

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExclusionRule:
    """A published exclusion: a predicate on input columns and the words that explain it."""

    words: str
    applies: Callable[[Row], bool]


RULES = (
    ExclusionRule(
        "disaggregated row without the batch sizes of its pools",
        lambda r: _is_disaggregated(r) and not _states_batch_sizes(r),
    ),
    ExclusionRule(
        "gb200 row labelled aggregated whose tp counts the devices of a disaggregated run",
        lambda r: not _is_disaggregated(r) and r["system"] == "gb200" and _number(r["tp_size"]) >= 12,
    ),
    ExclusionRule(
        "Qwen3-32B on gb200 under trtllm 1.3.0rc1: TPOT not monotone in load",
        lambda r: _is(r, "Qwen3-32B", "gb200", "1.3.0rc1"),
    ),
    ExclusionRule(
        "DeepSeek-R1-NVFP4 under trtllm 1.3.0rc1: TPOT of 85-92 ms at any load",
        lambda r: _is(r, "DeepSeek-R1-NVFP4", "", "1.3.0rc1"),
    ),
)

WARM_UP = ExclusionRule(
    "SGLang row without a version: its TTFT holds the warm-up",
    lambda r: r["backend"] == "sglang" and not r["backend_version"],
)
"""Rows whose TPOT counts and whose TTFT does not."""


def read_silicon(path: Path, lookup: FactLookup | None = None) -> tuple[list[RunObservation], ExclusionReport]:
    """The measurements that a prediction is asked for, and why the other rows are left out.

    Raises:
        RecordError: columns are missing.
        InputError: the file cannot be read.
    """
    rows = _table(path)
    report = ExclusionReport()
    lookup = lookup or FactLookup()
    kept: list[RunObservation] = []
    drafted: set[str] = set()
    flags = LaunchFlags.beside(path)
    named = groups([_links(row) for row in rows])
    for number, (row, group) in enumerate(zip(rows, named, strict=True), start=2):
        problem = _problem(row)
        if problem:
            report.add(number, problem)
            continue
        try:
            found = _observation(number, row, group, lookup, flags)
        except UnknownIdError as error:
            report.add(number, str(error).partition(";")[0])
            continue
        if _is_drafted(row, found, flags):
            drafted.add(group)
        kept.append(found)
    for found in (one for one in kept if one.group in drafted):
        report.add(found.number, DRAFTED)
    return [one for one in kept if one.group not in drafted], report


def _table(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RecordError(path.name, [(1, f"no column {name}") for name in missing[:3]], len(missing))
            return [{key: value or "" for key, value in row.items()} for row in reader]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _links(row: Row) -> tuple[str, ...]:
    """What makes two rows the same measurement: a run, a configuration, or a run printed with fewer digits."""
    rounded = f"{_number(row['ttft_ms']):.2f}/{_number(row['tpot_ms']):.2f}"
    return f"run {row['run']}", f"config {row['config']}", f"{row['system']} {row['backend']} {rounded}"


def _problem(row: Row) -> str | None:
    for rule in RULES:
        if rule.applies(row):
            return rule.words
    batch = "decode_batch_size" if _is_disaggregated(row) else "batch_size"
    for name in ("gemm_quant_mode", "moe_quant_mode"):
        if row[name] not in FORMATS and "mxfp4" not in row[name]:
            return f"{name} {row[name]} is not known"
    for name in ("isl", "osl", batch):
        if not _number(row[name]) >= 1:
            return f"{name} is not a number above 0"
    for name in ("ttft_ms", "tpot_ms"):
        if problem := latency_problem(name, _number(row[name]) / 1e3):
            return problem
    return None


def _observation(number: int, row: Row, group: str, lookup: FactLookup, flags: LaunchFlags) -> RunObservation:
    prefix = "decode_" if _is_disaggregated(row) else ""
    whole, device = lookup.model(row["model_path"]), lookup.accelerator(row["system"])
    cut = _LayoutColumns.of(row, prefix)
    when = date.fromisoformat(row["measured"]) if row["measured"] else None
    engine = EngineSettings.at_version(lookup.engine(row["backend"]), row["backend_version"])
    engine = replace(engine, poll_steps=_poll_steps(flags, row, whole, when, _number(row[prefix + "batch_size"])))
    drawn = DRAWN if _is_inferencex(row, whole, when) else 1.0
    replica = _with_operator_flags(
        ModelReplica(whole, device, _recipe(row, whole, device), cut.layout(whole), engine), row
    )
    apart = replace(replica, layout=_LayoutColumns.of(row, "prefill_").layout(whole)) if prefix else None
    return RunObservation(
        number=number,
        replica=replica,
        input_tokens=drawn * _number(row["isl"]),
        output_tokens=drawn * _number(row["osl"]),
        concurrency=_number(row[prefix + "batch_size"]) * cut.ranks,
        ttft_s=math.nan if WARM_UP.applies(row) else _number(row["ttft_ms"]) / 1e3,
        tpot_s=_number(row["tpot_ms"]) / 1e3,
        source="silicon, dated" if row["measured"] else "silicon, undated",
        group=group,
        version=row["backend_version"],
        measured=when,
        prefill=apart,
        pools=(_count(row["prefill_num_workers"]), _count(row["decode_num_workers"])),
    )


STEMS = ("DeepSeek-R1", "DeepSeek-V3", "Llama-3", "gpt-oss", "Qwen3.5", "GLM-5", "Kimi-K2.5", "MiniMax-M2.5")
"""Stems of the models' names that the launch scripts know; V3 stands for R1, whose architecture it has."""


PAIRS = frozenset({("1024", "1024"), ("1024", "8192"), ("8192", "1024")})
"""Lengths of prompts and replies of InferenceX."""


def _is_inferencex(row: Row, whole: Model, when: date | None) -> bool:
    """Whether a row is of InferenceX, whose lengths are drawn: all dated rows are, and others with its models and
    lengths."""
    stated = (f"{_number(row['isl']):.0f}", f"{_number(row['osl']):.0f}")
    return when is not None or (stated in PAIRS and bool(_stem(row, whole)))


DRAFTED = "speculative decoding, by the launch script of its day"
"""Such rows have no label, and half the time per token; runs printed twice share a group."""


def _is_drafted(row: Row, found: RunObservation, flags: LaunchFlags) -> bool:
    """Whether the launch script that made a dated row drafts tokens."""
    stem, layout = _stem(row, found.replica.model), found.replica.layout
    if found.measured is None or not stem:
        return False
    cut, where = (layout.stage_devices, layout.ep), (row["backend"], row["system"])
    return flags.drafted(stem, _is_four_bit(row), where, cut, found.measured, row["backend_version"])


def _stem(row: Row, whole: Model) -> str:
    named = f"{row['model_path']} {whole.id}".lower().replace("_", "-")
    stem = next((stem for stem in STEMS if stem.lower() in named), "")
    return "DeepSeek-R1" if stem == "DeepSeek-V3" else stem


def _is_four_bit(row: Row) -> bool:
    return row["precision"] in {"fp4", "nvfp4", "int4"} or row["moe_quant_mode"] == "nvfp4"


def _poll_steps(flags: LaunchFlags, row: Row, whole: Model, when: date | None, clients: float) -> int:
    stem = _stem(row, whole)
    four = row["precision"] in {"fp4", "nvfp4"} or row["moe_quant_mode"] == "nvfp4"
    return flags.poll_steps(stem, four, (row["backend"], row["system"]), when, clients) if stem else 1


def _with_operator_flags(replica: ModelReplica, row: Row) -> ModelReplica:
    """The replica with the flags its operator must have given it: room for one request and for all clients."""
    tokens = _number(row["isl"]) + _number(row["osl"])
    clients = _number(row["batch_size"] or row["decode_batch_size"]) * max(replica.layout.dp, 1)
    most = max(replica.engine.max_batch, int(clients))
    for fraction in (replica.engine.memory_fraction, 0.95, 0.98):
        engine = replace(replica.engine, memory_fraction=fraction, max_batch=most)
        try:
            if memory(replace(replica, engine=engine)).kv_capacity_tokens >= tokens:
                break
        except InsufficientMemoryError:
            continue
    return replace(replica, engine=engine)


def _recipe(row: Row, whole: Model, device: Accelerator) -> PrecisionRecipe:
    """Formats of the row; an empty mode is 16 bit.

    Public NVFP4 checkpoints of mixtures of experts spare the attention and keep the cache in fp8; integer ones
    quantise the experts only. The width of the cache is not recorded: fp8 is taken where the checkpoint or the
    engine's path says so (NVFP4; TensorRT-LLM with fp8 weights; SGLang's latent attention on Blackwell), which the
    loads that overflow in the data confirm. A checkpoint with MXFP4 experts (gpt-oss) has them whatever the row
    calls its four bits: by MXFP8 with an fp8 cache on Blackwell, where the launch scripts ask for it
    (VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8, TensorRT-LLM's own expert kernels), widened to 16 bit by Marlin elsewhere.
    """
    if whole.experts == "mxfp4":
        widened = device.family not in MX_FAMILIES
        return PrecisionRecipe("bf16", "mxfp4", *(("bf16", "bf16") if widened else ("mxfp8", "fp8_e4m3")))
    weights, experts = FORMATS[row["gemm_quant_mode"]], FORMATS[row["moe_quant_mode"]]
    if "fp8_block" in {whole.weights, experts}:
        weights, experts = (name.replace("fp8_e4m3", "fp8_block") for name in (weights, experts))
    if not whole.is_moe:
        experts = weights
    elif experts in {"nvfp4", "int4_g32"}:
        weights = "bf16"
    activations = "bf16" if experts == "int4_g32" else experts
    latent = any(isinstance(block.mixer, LatentAttention) for block in whole.blocks)
    eight = (
        experts == "nvfp4"
        or (row["backend"] == "trtllm" and experts.startswith("fp8"))
        or (row["backend"] == "sglang" and latent and device.family == "blackwell")
    )
    return PrecisionRecipe(weights, experts, activations, "fp8_e4m3" if eight else "bf16")


@dataclass(frozen=True, slots=True)
class _LayoutColumns:
    """The layout columns of a pool as written; 0 where a column is empty."""

    tp: int
    pp: int
    dp: int
    moe_tp: int
    moe_ep: int

    @classmethod
    def of(cls, row: Row, prefix: str) -> _LayoutColumns:
        names = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
        return cls(*(_count(row[prefix + name]) for name in names))

    @property
    def ranks(self) -> int:
        """What the batch is multiplied by: it is written per rank where ranks are written."""
        return max(self.dp, 1)

    def layout(self, whole: Model) -> ParallelLayout:
        """The layout meant.

        moe_tp == moe_ep with tp or dp equal to their product counts every device twice over; so does
        moe_ep == tp * dp with tp == dp. Rows without ranks keep tp, the devices of the experts say the ranks.
        """
        tp, dp, moe_tp, moe_ep = (max(x, 1) for x in (self.tp, self.dp, self.moe_tp, self.moe_ep))
        pp = max(self.pp, 1)
        if not whole.is_moe:
            return ParallelLayout(tp, pp, dp)
        if self.dp and moe_tp == moe_ep > 1 and moe_tp * moe_ep == tp * dp:
            return ParallelLayout(1, pp, moe_ep, moe_ep) if dp > tp else ParallelLayout(moe_ep, pp, 1, moe_ep)
        if tp == dp > 1 and moe_ep == tp * dp:
            return ParallelLayout(tp, pp, 1, tp)
        devices = max(tp * dp, moe_tp * moe_ep)
        return ParallelLayout(tp, pp, devices // tp, moe_ep)


def _is_disaggregated(row: Row) -> bool:
    return row["mode"] == "disagg"


def _states_batch_sizes(row: Row) -> bool:
    return _number(row["decode_batch_size"]) >= 1 and _number(row["prefill_batch_size"]) >= 1


def _is(row: Row, name: str, system: str, version: str) -> bool:
    same = row["model_path"].endswith("/" + name) and row["backend_version"] == version
    return same and (not system or row["system"] == system)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str) -> int:
    value = _number(text)
    return int(value) if value >= 1 else 0
