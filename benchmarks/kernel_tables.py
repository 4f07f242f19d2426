"""Reads the per-operation kernel tables of aiconfigurator-core and states each row's ideal work.

Every row becomes the seconds that its bytes and FLOPs would take at the datasheet rates, plus the counts of
what a kernel pays besides: activation passes, work items, serial depth. The conventions are those of
`comptroller.costs.operations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.calibration import ANY, COLLECTIVES
from kernel_source import Frame, Source

Array = npt.NDArray[np.float64]

SYSTEMS = {
    "a100_sxm": "a100_80_sxm",
    "h100_sxm": "h100_sxm",
    "h200_sxm": "h200_sxm",
    "b200_sxm": "b200_sxm",
    "gb200": "gb200",
    "b300_sxm": "b300_sxm",
    "gb300": "gb300",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx_pro_6000",
}
"""Folder of the tables -> our accelerator."""

ENGINES = ("vllm", "sglang", "trtllm")
FORMATS = {
    "bfloat16": ("bf16", "bf16", 2.0),
    "float16": ("bf16", "bf16", 2.0),
    "fp8": ("fp8_e4m3", "fp8", 1.0),
    "fp8_block": ("fp8_block", "fp8", 1.0 + 4 / 128**2),
    "nvfp4": ("nvfp4", "fp4", 0.5625),
    "sq": ("int8", "int8", 1.0),
    "int8_wo": ("int8_wo", "bf16", 1.0),
    "int4_wo": ("int4_g128", "bf16", 0.515625),
    "w4a16_mxfp4": ("mxfp4", "bf16", 0.53125),
    "w4a8_mxfp4_mxfp8": ("mxfp4_mxfp8", "fp8", 0.53125),
}
"""Number format of the tables -> (our format, arithmetic, bytes per weight)."""

QUANTISED = {"fp8_e4m3", "fp8_block", "nvfp4", "int8"}
"""Formats whose activations are quantised in a pass of their own inside the measured GEMM."""

NONGATED = {(2688, 1856), (1024, 2688), (2048, 5120), (8192, 5120)}
"""Expert shapes (hidden, inner) that the TensorRT-LLM tables mark non-gated: two matrices, not three."""

HOST_BOUND_S = 3e-4
"""vLLM measures block-scaled FP8 GEMM outside a CUDA graph: rows whose ideal time is below this show only the
host's 60 to 370 us, so they are excluded by this rule on their shape."""

DOUBTFUL = {("moe", "vllm", "fp8", "0.24.0", system) for system in ("h100_sxm", "h200_sxm")}
"""Tables left out: per-tensor FP8 experts of vLLM 0.24.0 on Hopper take 3.7 times as long as under 0.19.0 on
the same shapes: a slow path of that version, not what its users would run."""

KV_BYTES = {"bfloat16": 2.0, "float16": 2.0, "fp8": 1.0}


@dataclass(frozen=True)
class Rows:
    """Measured rows of one operation, system, engine and format. Times in seconds.

    bytes_s, flops_s: ideal seconds at datasheet rates.  pass_s: one pass over the activations.
    items: independent units of work.  depth: length of the serial dimension.
    direct_s: a collective whose every device sends all of its message to every other.
    """

    op: str
    system: str
    engine: str
    format: str
    version: str
    time_s: Array
    bytes_s: Array
    flops_s: Array
    group: npt.NDArray[np.int64]
    pass_s: Array
    items: Array
    depth: Array
    direct_s: Array
    excluded: int = 0

    def __len__(self) -> int:
        return len(self.time_s)

    def take(self, index: npt.NDArray[np.bool_ | np.int64]) -> Rows:
        """Some of the rows."""
        arrays = ("time_s", "bytes_s", "flops_s", "group", "pass_s", "items", "depth", "direct_s")
        kept = {name: getattr(self, name)[index] for name in arrays}
        head = (self.op, self.system, self.engine, self.format, self.version)
        return Rows(*head, **kept, excluded=self.excluded)


@dataclass(frozen=True)
class Work:
    """What one row of a table asks for; broadcastable columns."""

    bytes: Array
    flops: Array
    group: list[str]
    pass_bytes: Array | float = 0.0
    items: Array | float = 0.0
    depth: Array | float = 0.0
    direct_bytes: Array | float = 0.0
    keep: Array | None = None


def _columns(frame: Frame, *names: str) -> list[Array]:
    return [frame[name].to_numpy(dtype=float) for name in names]


def _keys(*columns: Array) -> list[str]:
    return ["_".join(f"{value:g}" for value in row) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Device:
    """A system of the tables and the datasheet it is held against."""

    folder: str
    facts: Accelerator

    @property
    def link_bytes_per_s(self) -> float:
        """One-way bytes per second of the scale-up link."""
        if self.facts.scale_up is None:
            raise ValueError(f"{self.facts.id} has no scale_up link")
        return self.facts.scale_up.one_way_bytes_per_s

    def rows(self, head: tuple[str, str, str, str], work: Work, time_s: Array, arithmetic: str = "bf16") -> Rows:
        """Rows of (op, engine, format, version) with ideal seconds at this device's rates."""
        op, engine, name, version = head
        collective = op in COLLECTIVES
        rate = self.link_bytes_per_s if collective else self.facts.memory_bytes_per_s
        peak = 1.0 if collective else self.facts.peak(arithmetic)
        full = np.broadcast_to
        _, group = np.unique(np.array(work.group), return_inverse=True)
        rows = Rows(
            op,
            self.facts.id,
            engine,
            name,
            version,
            time_s,
            work.bytes / rate,
            work.flops / peak,
            group,
            full(work.pass_bytes / rate, time_s.shape),
            full(np.asarray(work.items, float), time_s.shape),
            full(np.asarray(work.depth, float), time_s.shape),
            full(work.direct_bytes / rate, time_s.shape),
        )
        sound = np.isfinite(time_s) & (time_s > 0)
        if work.keep is not None:
            sound &= work.keep.astype(bool)
        kept = rows.take(sound)
        return Rows(**{**kept.__dict__, "excluded": int((~sound).sum())})


def gemm(source: Source, device: Device) -> Iterator[Rows]:
    """Dense projections: y[m, n] = x[m, k] w[k, n]."""
    for engine in ENGINES:
        for dtype, version, frame in source.by_format(f"{device.folder}/gemm/{engine}", "gemm", "gemm_dtype"):
            name, arithmetic, weight = FORMATS[dtype]
            m, n, k, ms = _columns(frame, "m", "n", "k", "latency")
            moved = weight if name in QUANTISED else 2.0
            size = n * k * weight + m * k * moved + m * n * 2
            flops = 2 * m * n * k
            keep = None
            if engine == "vllm" and name == "fp8_block":
                ideal = size / device.facts.memory_bytes_per_s + flops / device.facts.peak(arithmetic)
                keep = ideal > HOST_BOUND_S
            passes = m * k * (2 + weight) if name in QUANTISED else 0.0
            work = Work(size, flops, _keys(n, k), passes, depth=k, keep=keep)
            yield device.rows(("gemm", engine, name, version), work, ms * 1e-3, arithmetic)


def attention(source: Source, device: Device) -> Iterator[Rows]:
    """Grouped-query attention: decode over a cache, and causal prefill, by the format of the cache."""
    for engine in ENGINES:
        for op, name in (("attention_decode", "generation_attention"), ("attention_prefill", "context_attention")):
            for dtype, version, every in source.by_format(
                f"{device.folder}/attention/{engine}", name, "kv_cache_dtype"
            ):
                frame = every[every.attn_dtype != "fp8"] if "attn_dtype" in every else every
                work, ms = attention_work(op, frame, KV_BYTES[dtype])
                yield device.rows((op, engine, FORMATS[dtype][0], version), work, ms * 1e-3)


def attention_work(op: str, frame: Frame, kv_bytes: float) -> tuple[Work, Array]:
    """Work of rows of an attention table with so many bytes per cached element, and their milliseconds."""
    names = ("batch_size", "num_heads", "num_key_value_heads", "head_dim", "window_size", "isl", "step", "latency")
    frame = frame if "window_size" in frame else frame.assign(window_size=0)
    batch, heads, kv_heads, width, window, new, past, ms = _columns(frame, *names)
    kv_heads = np.where(kv_heads == 0, heads, kv_heads)
    group = _keys(heads, kv_heads, width, window)
    if op == "attention_decode":
        length = past + 1
        length = np.where(window > 0, np.minimum(length, window), length)
        size = batch * (length * kv_heads * 2 * width * kv_bytes + 2 * heads * width * 2)
        return Work(size, 4 * batch * heads * width * length, group, items=batch * kv_heads), ms
    reach = np.where(window > 0, np.minimum(window, new), new)
    pairs = reach * (reach + 1) / 2 + (new - reach) * reach + new * past
    size = batch * new * (2 * heads * width * 2 + kv_heads * 2 * width * kv_bytes)
    flops = 4 * batch * heads * width * pairs
    return Work(size, flops, group, items=batch * heads, depth=new), ms


LATENT, ROPE, NOPE, VALUE = 512, 64, 128, 128
"""Widths of DeepSeek-V3's latent attention, on which the tables were measured (its config.json)."""


def latent_attention(source: Source, device: Device) -> Iterator[Rows]:
    """Multi-head latent attention, decode absorbed into the latent and prefill unfolded."""
    for engine in ENGINES:
        for op, name in (("mla_decode", "generation_mla"), ("mla_prefill", "context_mla")):
            for dtype, version, frame in source.by_format(f"{device.folder}/mla/{engine}", name, "kv_cache_dtype"):
                batch, heads, new, past, ms = _columns(frame, "batch_size", "num_heads", "isl", "step", "latency")
                latent = LATENT + ROPE
                if op == "mla_decode":
                    length = past + 1
                    size = batch * (length * latent * KV_BYTES[dtype] + heads * (latent + LATENT) * 2)
                    flops = 2 * batch * heads * (latent + LATENT) * length
                    work = Work(size, flops, _keys(heads), items=batch)
                else:
                    pairs = new * (new + 1) / 2 + new * past
                    size = batch * new * heads * 2 * (NOPE + ROPE + VALUE) * 2
                    flops = 2 * batch * heads * (NOPE + ROPE + VALUE) * pairs
                    work = Work(size, flops, _keys(heads), items=batch * heads, depth=new)
                yield device.rows((op, engine, FORMATS[dtype][0], version), work, ms * 1e-3)


def moe(source: Source, device: Device) -> Iterator[Rows]:
    """Routed experts of one device: all tokens enter, `moe_ep_size` cuts experts, `moe_tp_size` the inner."""
    key = ["num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"]
    for engine in ENGINES:
        for dtype, version, frame in source.by_format(f"{device.folder}/moe/{engine}", "moe", "moe_dtype"):
            doubtful = ("moe", engine, dtype, version, device.folder) in DOUBTFUL
            if dtype not in FORMATS or len(frame) < 300 or doubtful:
                continue
            name, arithmetic, weight = FORMATS[dtype]
            best = frame.groupby([*key, "distribution"], as_index=False)["latency"].min()
            work, ms = moe_work(best, weight)
            yield device.rows(("moe", engine, name, version), work, ms * 1e-3, arithmetic)


def moe_work(frame: Frame, weight: float) -> tuple[Work, Array]:
    """Work of rows of a MoE table with so many bytes per weight, and their milliseconds."""
    names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size", "latency")
    tokens, hidden, inner, chosen, experts, tp, ep, ms = _columns(frame, *names)
    gated = np.array([(h, i) not in NONGATED for h, i in zip(hidden, inner, strict=True)])
    matrix = np.where(gated, 3, 2) * hidden * inner / tp
    share = np.minimum(chosen / experts, 1 - 1e-12)
    touched = experts / ep * -np.expm1(tokens * np.log1p(-share))
    routed = tokens * chosen / ep
    size = touched * matrix * weight + routed * 3 * hidden * 2
    passes = tokens * chosen * hidden * 2
    return Work(size, 2 * routed * matrix, _keys(hidden, inner, chosen, experts), passes), ms


def linear_attention(source: Source, device: Device) -> Iterator[Rows]:
    """Gated delta net: the recurrence with its short convolution, decode and prefill."""
    for engine in ENGINES:
        found = next(source.one(f"{device.folder}/linear_attention/{engine}", "gdn"), None)
        if found is None:
            continue
        version, frame = found
        shape = ["phase", "batch_size", "seq_len", "num_k_heads", "num_v_heads", "d_model"]
        both = frame.groupby([*shape, "kernel_source"], as_index=False)["latency"].min()
        whole = both.groupby(shape, as_index=False).agg(latency=("latency", "sum"), parts=("latency", "size"))
        for phase, op in (("generation", "linear_attention_decode"), ("context", "linear_attention_prefill")):
            part = whole[(whole.phase == phase) & (whole.parts == 2)]
            batch, new, keys, values, ms = _columns(
                part, "batch_size", "seq_len", "num_k_heads", "num_v_heads", "latency"
            )
            tokens = batch * new if phase == "context" else batch
            state = values * 128 * 128
            size = 2 * batch * state * 4
            items, depth = batch * values, new if phase == "context" else 0.0
            work = Work(size, 6 * tokens * state, _keys(keys, values), items=items, depth=depth)
            yield device.rows((op, engine, "bf16", version), work, ms * 1e-3)


def elementwise(source: Source, device: Device) -> Iterator[Rows]:
    """A memory-bound pass: quantising an m x k activation from 16 to 8 bits."""
    for engine in ENGINES:
        for dtype, version, frame in source.by_format(
            f"{device.folder}/quantize/{engine}", "scale_matrix", "quant_dtype"
        ):
            if dtype == "fp8":
                m, k, ms = _columns(frame, "m", "k", "latency")
                work = Work(m * k * 3, np.zeros_like(m), _keys(k))
                yield device.rows(("elementwise", engine, "bf16", version), work, ms * 1e-3)


def all_reduce(source: Source, device: Device) -> Iterator[Rows]:
    """The engines' own all-reduce kernels, captured in a CUDA graph; messages counted in 16-bit elements."""
    for engine in ENGINES:
        for version, every in source.one(f"{device.folder}/comm/{engine}", "custom_allreduce", least=60):
            frame = every[~every.kernel_source.str.contains("eager")]
            frame = frame.groupby(["num_gpus", "message_size"], as_index=False)["latency"].min()
            yield _collective(device, ("all_reduce", engine, "bf16", version), frame)


def nccl(source: Source, device: Device) -> Iterator[Rows]:
    """NCCL's collectives, which every engine calls; `send` is its all-to-all between two devices."""
    for version, every in source.one(f"{device.folder}/comm/nccl", "nccl"):
        frame = every[every.nccl_dtype == "half"]
        yield _collective(device, ("all_reduce", "nccl", "bf16", version), frame[frame.op_name == "all_reduce"])
        for name in ("all_gather", "reduce_scatter"):
            yield _collective(device, (name, ANY, "bf16", version), frame[frame.op_name == name])
        pair = frame[(frame.op_name == "alltoall") & (frame.num_gpus == 2)]
        yield _collective(device, ("send", ANY, "bf16", version), pair)
        yield _collective(device, ("all_to_all", "nccl", "bf16", version), frame[frame.op_name == "alltoall"])


def _collective(device: Device, head: tuple[str, str, str, str], frame: Frame) -> Rows:
    devices, elements, ms = _columns(frame, "num_gpus", "message_size", "latency")
    message = elements * 2
    share = (devices - 1) / devices * (2.0 if head[0] == "all_reduce" else 1.0)
    direct = message * (devices - 1) if head[0] == "all_reduce" else message * share
    work = Work(message * share, 0 * message, _keys(elements), items=devices - 1, direct_bytes=direct)
    return device.rows(head, work, ms * 1e-3)


def dispatch(source: Source, device: Device) -> Iterator[Rows]:
    """Expert dispatch and combine (DeepEP and the like), each phase one row, the faster kernel per shape."""
    wire = {"default": 2.0, "bfloat16": 2.0, "fp8": 1.0, "nvfp4": 0.5625, "fp4": 0.5625}
    key = ["phase", "comm_dtype", "ep_size", "hidden_size", "topk", "num_experts", "num_tokens"]
    for engine in ENGINES:
        for version, every in source.one(f"{device.folder}/comm/{engine}", "moe_a2a"):
            frame = every.groupby(key, as_index=False)["latency"].min()
            size = frame.comm_dtype.map(wire).to_numpy(dtype=float)
            columns = ("ep_size", "hidden_size", "topk", "num_tokens", "latency")
            devices, hidden, chosen, tokens, us = _columns(frame, *columns)
            sent = tokens * np.minimum(chosen, devices) * (devices - 1) / devices * hidden * size
            work = Work(sent, 0 * sent, _keys(tokens), items=devices - 1, direct_bytes=sent)
            yield device.rows(("all_to_all", engine, "bf16", version), work, us * 1e-6)


READERS = (gemm, attention, latent_attention, moe, linear_attention, elementwise, all_reduce, nccl, dispatch)


def tables(source: Source, folder: str) -> Iterator[Rows]:
    """All tables of a system that hold at least ten usable rows."""
    device = Device(folder, accelerator(SYSTEMS[folder]))
    for reader in READERS:
        for rows in reader(source, device):
            if len(rows) >= 10:
                yield rows
