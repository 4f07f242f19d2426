"""Kernel priors: the shares of datasheet rates that an engine's kernels reach, fitted and kept apart from the facts.

The table is `calibration/kernels.toml`, written by `benchmarks/fit_kernels.py`. Its header states the equation and how
bytes, FLOPs, passes, items and depth are counted. A prior is taken from the closest level with data: the system, its
family (for a collective its kind of link), all systems. At each level the row of the engine and format comes first,
then that of any engine; any format is the last resort. `source_level` and `error` of a prior state the level and its
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as _replace
from datetime import date
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as strict

from comptroller.errors import UnknownIdError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.reader import FactSource, build, folder, parse_toml

_STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]
Estimate = tuple[Positive, Annotated[float, Field(ge=0)]]
"""A value and its log standard deviation."""

ANY = "any"
"""Engine or format of a row that pools all of them."""

PARAMETERS = ("floor_s", "eff_bytes", "eff_flops", "passes", "item_s", "depth_s", "eff_direct", "setup_s")
"""Parameters of a row; `OpPrior` explains them."""


@strict(frozen=True, config=_STRICT)
class _KernelRow:
    op: str
    level: Literal["system", "family", "overall"]
    where: str
    engine: str
    format: str
    rows: int
    error: Positive
    floor_s: Estimate
    eff_bytes: Estimate
    eff_flops: Estimate | None = None
    passes: Estimate | None = None
    item_s: Estimate | None = None
    depth_s: Estimate | None = None
    eff_direct: Estimate | None = None
    setup_s: Estimate | None = None


@strict(frozen=True, config=_STRICT)
class ExpertImbalance:
    """Time of routed experts under power-law routing, as a ratio to balanced routing.

    exponent: of the power law.  least: least routed tokens per expert to which the ratio applies.
    ratio: median and log standard deviation.  rows: pairs of measurements behind it.
    """

    engine: str
    exponent: float
    least: float
    ratio: Estimate
    rows: int


@strict(frozen=True, config=_STRICT)
class KernelPower:
    """Watts of a kind of kernel, as idle + (limit - idle) (1 - exp(-(memory u_b + compute u_f))).

    u_b, u_f: achieved share of the memory rate and of the peak.  error: log standard deviation.
    """

    memory: Estimate
    compute: Estimate
    error: Positive
    rows: int
    median_w: Positive


@strict(frozen=True, config=_STRICT)
class KernelPowerTable:
    """Measured power of kernels on one system.

    idle_w: least watts measured with clocks up.  limit_w: power limit.
    """

    system: str
    engine: str
    idle_w: Positive
    limit_w: Positive
    attention_prefill: KernelPower
    attention_decode: KernelPower
    moe: KernelPower


@strict(frozen=True, config=_STRICT)
class _KernelTable:
    date: date
    imbalance: tuple[ExpertImbalance, ...]
    kernels: tuple[_KernelRow, ...]
    units: Mapping[str, str]
    sources: Mapping[str, FactSource]
    power: KernelPowerTable


@dataclass(frozen=True, slots=True)
class OpPrior:
    """Fitted parameters of one kind of operation; those that its equation does not use are 0 (times) or 1 (shares).

    eff_flops, eff_bytes: share of the peak, and of the memory rate (of the link's, for a collective).
    floor_s: least seconds of a call.  passes: extra passes over the activations.
    item_s: seconds per independent item (per peer device, for a collective).  depth_s: seconds per element of
    the serial dimension.  eff_direct, setup_s: direct exchange and ring set-up of a collective.
    error: log standard deviation of a predicted time.  errors: of each parameter.  rows: measurements in the fit.
    source_level: "system", "family" or "overall".  source: the row that was taken, such as "hopper, vllm, bf16".
    """

    op: str
    eff_flops: float
    eff_bytes: float
    floor_s: float
    passes: float
    item_s: float
    depth_s: float
    eff_direct: float
    setup_s: float
    error: float
    rows: int
    source_level: str
    source: str
    errors: Mapping[str, float]


FORMAT_ALIASES: Mapping[str, str] = {
    **dict.fromkeys(("fp16", "tf32", "fp32"), "bf16"),
    **dict.fromkeys(("fp8", "fp8_e5m2", "mxfp8", "mxfp8_e5m2"), "fp8_e4m3"),
    **dict.fromkeys(("fp4",), "nvfp4"),
    **dict.fromkeys(("int4", "int4_g64", "int4_g32", "int4_awq_g128"), "int4_g128"),
    **dict.fromkeys(("int8_g32", "int8_g128"), "int8_wo"),
}
"""Arithmetic or format without measured kernels -> the measured format that is used in its place."""

COLLECTIVES = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"})
"""Operations between devices, whose tables are by link."""

OP_ALIASES: Mapping[str, str] = {"norm": "elementwise", "linear_attention": "linear_attention_decode"}
"""Operation without measured kernels -> the measured one that is used in its place."""


@lru_cache(maxsize=1)
def _kernel_table() -> _KernelTable:
    path = folder("calibration") / "kernels.toml"
    return build(_KernelTable, parse_toml(path), path.name)


@lru_cache(maxsize=1)
def _kernel_rows() -> Mapping[tuple[str, str, str, str, str], _KernelRow]:
    """Rows by operation, level, place, engine and format."""
    return {(r.op, r.level, r.where, r.engine, r.format): r for r in _kernel_table().kernels}


@lru_cache(maxsize=1)
def operations_known() -> tuple[str, ...]:
    """The kinds of operation that have priors, sorted."""
    return tuple(sorted({row.op for row in _kernel_table().kernels}))


@lru_cache(maxsize=1)
def families_timed() -> frozenset[str]:
    """Families of accelerators whose matrix kernels were timed one by one.

    >>> "hopper" in families_timed(), "cdna3" in families_timed()
    (True, False)
    """
    return frozenset(row.where for row in _kernel_table().kernels if row.level == "family" and row.op == "gemm")


@lru_cache(maxsize=1)
def engines_timed() -> frozenset[str]:
    """Engines whose matrix kernels were timed one by one.

    >>> sorted(engines_timed())
    ['sglang', 'trtllm', 'vllm']
    """
    return frozenset(row.engine for row in _kernel_table().kernels if row.engine != ANY and row.op == "gemm")


@lru_cache(maxsize=8)
def formats_timed(op: str) -> frozenset[str]:
    """Formats that have timed kernels of an operation, and those that share them.

    >>> "nvfp4" in formats_timed("gemm"), "int5" in formats_timed("gemm")
    (True, False)
    """
    own = {row.format for row in _kernel_table().kernels if row.op == op and row.format != ANY}
    return frozenset(own | {name for name, shared in FORMAT_ALIASES.items() if shared in own})


@lru_cache(maxsize=64)
def systems_timed(op: str, arithmetic: str) -> tuple[str, ...]:
    """Accelerators on which kernels of an operation were timed in a format, by id.

    >>> systems_timed("gemm", "bf16")[:2]
    ('a100_80_sxm', 'b200_sxm')
    """
    fmt = FORMAT_ALIASES.get(arithmetic, arithmetic)
    rows = (row for row in _kernel_table().kernels if row.op == op and row.format == fmt and row.level == "system")
    return tuple(sorted({row.where for row in rows}))


PRIORS_KEPT = 4096
"""Priors in the cache. A plan of the examples asks 1,247 times for 92 of them; twice as many would help a process that
uses more than 4,096 combinations of operation, accelerator, engine and format."""


def kernel_prior(op: str, device: Accelerator, engine: str, arithmetic: str) -> OpPrior:
    """The prior of an operation on an accelerator under an engine.

    op: kind of operation.  arithmetic: the number format of the weights (gemm, moe) or of the cache (attention), or an
    arithmetic.

    Raises:
        UnknownIdError: no such kind of operation; lists the nearest.

    >>> from comptroller.facts.accelerator import accelerator
    >>> prior = kernel_prior("gemm", accelerator("h100_sxm"), "vllm", "bf16")
    >>> prior.source_level, 0.7 < prior.eff_bytes < 1.0
    ('system', True)
    >>> kernel_prior("gemm", accelerator("mi300x"), "vllm", "bf16").source_level
    'overall'
    """
    return _prior(op, device.timed_as, kin(OP_ALIASES.get(op, op), device), engine, arithmetic)


@lru_cache(maxsize=PRIORS_KEPT)
def _prior(op: str, system: str, pools: tuple[str, ...], engine: str, arithmetic: str) -> OpPrior:
    name = OP_ALIASES.get(op, op)
    if name not in operations_known():
        raise UnknownIdError("operation", op, (*operations_known(), *OP_ALIASES))
    fmt = FORMAT_ALIASES.get(arithmetic, arithmetic)
    places = [("system", system), *(("family", place) for place in pools), ("overall", "overall")]
    keys = [(level, place, row_engine, fmt) for level, place in places for row_engine in (engine, ANY)]
    for level, place, row_engine, row_format in (*keys, ("overall", "overall", ANY, ANY)):
        row = _kernel_rows().get((name, level, place, row_engine, row_format))
        if row:
            return _with_prefill_rate(op, row, _prior_of_row(op, row))
    raise UnknownIdError("operation", op, operations_known())


def kin(op: str, device: Accelerator) -> tuple[str, ...]:
    """Names of the pools of measurements that apply to an accelerator, the nearest first.

    For a collective these are its link by technology and generation, then `pcie` or `fabric`; else its family.

    >>> from comptroller.facts.accelerator import accelerator
    >>> h100 = accelerator("h100_sxm")
    >>> kin("gemm", h100), kin("all_reduce", h100)
    (('hopper',), ('nvlink 4', 'fabric'))
    """
    if op not in COLLECTIVES:
        return (device.family,)
    link = device.scale_up
    if link is None:
        return ("pcie",)
    generation = " ".join(link.name.lower().replace(",", "").split()[:2])
    return (generation, "pcie" if generation.startswith("pcie") else "fabric")


def _prior_of_row(op: str, row: _KernelRow) -> OpPrior:
    estimates: dict[str, Estimate] = {n: v for n in PARAMETERS if (v := getattr(row, n)) is not None}
    value = {n: estimates[n][0] if n in estimates else float(n.startswith("eff_")) for n in PARAMETERS}
    source = ", ".join(part for part in (row.where, row.engine, row.format) if part != ANY)
    return OpPrior(
        op=op,
        **value,
        error=row.error,
        rows=row.rows,
        source_level=row.level,
        source=source,
        errors={n: v[1] for n, v in estimates.items()},
    )


def _with_prefill_rate(op: str, row: _KernelRow, prior: OpPrior) -> OpPrior:
    """For linear attention as one operation: memory rate and floor of its decode, matrix rate of its prefill."""
    if op != "linear_attention":
        return prior
    prefill = _kernel_rows().get(("linear_attention_prefill", row.level, row.where, row.engine, row.format))
    if prefill is None or prefill.eff_flops is None:
        return prior
    errors = {**prior.errors, "eff_flops": prefill.eff_flops[1]}
    return _replace(prior, eff_flops=prefill.eff_flops[0], errors=errors)


def expert_imbalance(engine: str, exponent: float, tokens_per_expert: float) -> ExpertImbalance:
    """Slow-down of routed experts by skewed routing, at a load.

    exponent: of the power law of routing; the nearest measured one is taken. An engine without measurements gets those
    of all engines.

    >>> expert_imbalance("vllm", 1.2, 500).ratio[0] > 1
    True
    """
    rows = [row for row in _kernel_table().imbalance if row.engine == engine] or list(_kernel_table().imbalance)
    nearest = min(rows, key=lambda row: abs(row.exponent - exponent)).exponent
    applicable = [row for row in rows if row.exponent == nearest and row.least <= max(tokens_per_expert, 0.0)]
    return max(applicable, key=lambda row: row.least)


def kernel_power() -> KernelPowerTable:
    """Measured watts of attention and expert kernels.

    >>> kernel_power().system
    'b200_sxm'
    """
    return _kernel_table().power
