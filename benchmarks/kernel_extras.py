"""Two side results of the kernel tables: what uneven routing costs, and what kernels draw in watts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

import kernel_tables as kt
from comptroller.facts.accelerator import accelerator
from kernel_source import Frame, Source, load

BANDS = ((0.0, 1.0), (1.0, 16.0), (16.0, 256.0), (256.0, np.inf))
"""Routed tokens per local expert."""


@dataclass(frozen=True)
class Imbalance:
    """Time under skewed routing over time under balanced routing, same shape."""

    engine: str
    skew: float
    least: float
    most: float
    pairs: int
    ratio: float
    spread: float


def imbalance(source: Source) -> list[Imbalance]:
    """Median ratio and log spread by engine, power-law exponent and routed tokens per local expert."""
    result = []
    for engine in kt.ENGINES:
        parts = [_ratios(source, folder, engine) for folder in kt.SYSTEMS]
        skew, load, ratio = (np.concatenate(column) for column in zip(*parts, strict=True))
        for exponent in (1.01, 1.2):
            for least, most in BANDS:
                logs = np.log(ratio[(skew == exponent) & (load >= least) & (load < most)])
                if len(logs) > 30:
                    wide = 1.4826 * np.median(np.abs(logs - np.median(logs)))
                    middle = float(np.exp(np.median(logs)))
                    result.append(Imbalance(engine, exponent, least, most, len(logs), middle, float(wide)))
    return result


def _ratios(source: Source, folder: str, engine: str) -> tuple[kt.Array, kt.Array, kt.Array]:
    key = ["num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"]
    columns: list[tuple[kt.Array, kt.Array, kt.Array]] = []
    for _, _, frame in source.by_format(f"{folder}/moe/{engine}", "moe", "moe_dtype"):
        best = frame.groupby([*key, "distribution"], as_index=False)["latency"].min()
        even = best[best.distribution == "balanced"].set_index(key).latency
        for exponent in (1.01, 1.2):
            uneven = best[best.distribution == f"power_law_{exponent}"].set_index(key).latency
            both = uneven.to_frame("uneven").join(even.to_frame("even"), how="inner").reset_index()
            tokens, chosen, experts = (both[c].to_numpy(float) for c in ("num_tokens", "topk", "num_experts"))
            ratio = (both.uneven / both.even).to_numpy(float)
            columns.append((np.full(len(both), exponent), tokens * chosen / experts, ratio))
    if not columns:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    skew, load, ratio = (np.concatenate(column) for column in zip(*columns, strict=True))
    return skew, load, ratio


POWER_SYSTEM, POWER_VERSION = "b200_sxm", "0.22.0"
SETTLED_S = 4e-4
"""The sampled watts of shorter kernels still show their neighbours in the sweep: successive rows agree
whatever they do. Rows below this are left out by rule."""


@dataclass(frozen=True)
class Power:
    """Watts of a kind of kernel: idle + (limit - idle) (1 - exp(-(memory u_b + compute u_f)))."""

    op: str
    rows: int
    memory: float
    compute: float
    memory_error: float
    compute_error: float
    error: float
    median_w: float


@dataclass(frozen=True)
class PowerTable:
    """Power of one system and engine version: lowest watts seen, limit, and a row per kind of kernel."""

    system: str
    version: str
    idle_w: float
    limit_w: float
    kinds: tuple[Power, ...]


def power(source: Source) -> PowerTable:
    """Fits of the power column that one version of the tables carries."""
    device = kt.Device(POWER_SYSTEM, accelerator(kt.SYSTEMS[POWER_SYSTEM]))
    frames = list(_powered(source))
    idle = min(float(frame.power.min()) for _, frame, *_ in frames)
    limit = float(frames[0][1].power_limit.iloc[0])
    kinds = []
    for op in ("attention_prefill", "attention_decode", "moe"):
        parts = [_utilisation(device, frame, *rest) for name, frame, *rest in frames if name == op]
        memory, compute, watts = (np.concatenate(column) for column in zip(*parts, strict=True))
        kinds.append(_fit_power(op, (memory, compute, watts), idle, limit))
    return PowerTable(device.facts.id, POWER_VERSION, idle, limit, tuple(kinds))


def _powered(source: Source) -> list[tuple[str, Frame, kt.Work, kt.Array, str]]:
    result = []
    attention = ("attention", "kv_cache_dtype")
    for op, folder, name, column in (
        ("attention_decode", attention[0], "generation_attention", attention[1]),
        ("attention_prefill", attention[0], "context_attention", attention[1]),
        ("moe", "moe", "moe", "moe_dtype"),
    ):
        paths = source.versions(f"{POWER_SYSTEM}/{folder}/vllm", name)
        path = next(p for p in paths if p.parent.name == POWER_VERSION)
        whole = load(path)
        for dtype, frame in whole.groupby(column):
            _, arithmetic, weight = kt.FORMATS[str(dtype)]
            if op == "moe":
                work, ms = kt.moe_work(frame, weight)
            else:
                work, ms = kt.attention_work(op, frame, kt.KV_BYTES[str(dtype)])
            result.append((op, frame, work, ms, arithmetic if op == "moe" else "bf16"))
    return result


def _utilisation(
    device: kt.Device, frame: Frame, work: kt.Work, ms: kt.Array, arithmetic: str
) -> tuple[kt.Array, kt.Array, kt.Array]:
    seconds = ms * 1e-3
    memory = work.bytes / device.facts.memory_bytes_per_s / seconds
    compute = work.flops / device.facts.peak(arithmetic) / seconds
    settled = seconds >= SETTLED_S
    return memory[settled], compute[settled], frame.power.to_numpy(float)[settled]


def _fit_power(op: str, columns: tuple[kt.Array, kt.Array, kt.Array], idle: float, limit: float) -> Power:
    memory, compute, watts = columns

    def predicted(x: kt.Array) -> kt.Array:
        a, b = np.exp(x)
        return np.asarray(idle + (limit - idle) * -np.expm1(-(a * memory + b * compute)))

    def residual(x: kt.Array) -> kt.Array:
        return np.asarray(np.concatenate([np.log(predicted(x) / watts) / 0.1, (x - np.log([1.0, 3.0])) / 2.0]))

    found = least_squares(residual, np.log([1.0, 3.0]), loss="huber")
    gap = np.log(predicted(found.x) / watts)
    error = float(1.4826 * np.median(np.abs(gap)))
    width = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac))) * max(1.0, error / 0.1)
    a, b = (float(v) for v in np.exp(found.x))
    return Power(op, len(watts), a, b, float(width[0]), float(width[1]), error, float(np.median(watts)))
