"""Kernel priors: the share of datasheet rates that an engine's kernels reach, fitted apart from the facts.

The table is `calibration/kernels.toml`, written by `benchmarks/fit_kernels.py`; its header states the
equation and what bytes, FLOPs, passes, items and depth count. A prior is found at the closest level that has
data: the system itself, its family (for a collective: its kind of link), all systems; there in the engine and
format asked for, then in any engine, at last in any format. `source_level` and `error` say so.
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
from comptroller.facts.accelerator import accelerator
from comptroller.facts.reader import FactSource, build, folder, parse_toml

_STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]
Estimate = tuple[Positive, Annotated[float, Field(ge=0)]]
"""A value and its log standard deviation."""

ANY = "any"
PARAMETERS = ("floor_s", "eff_bytes", "eff_flops", "passes", "item_s", "depth_s", "eff_direct", "setup_s")


@strict(frozen=True, config=_STRICT)
class _Row:
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
    """Time of routed experts under power-law routing over balanced routing.

    exponent: of the power law.  least: routed tokens per expert from which it holds.
    ratio: the median and its log spread.  rows: pairs it was taken from.
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
    """Measured power of kernels on one system: least watts seen with clocks up, limit, kinds of kernel."""

    system: str
    engine: str
    idle_w: Positive
    limit_w: Positive
    attention_prefill: KernelPower
    attention_decode: KernelPower
    moe: KernelPower


@strict(frozen=True, config=_STRICT)
class _Document:
    date: date
    imbalance: tuple[ExpertImbalance, ...]
    kernels: tuple[_Row, ...]
    units: Mapping[str, str]
    sources: Mapping[str, FactSource]
    power: KernelPowerTable


@dataclass(frozen=True, slots=True)
class OpPrior:
    """Fitted parameters of one kind of operation; those that its equation lacks are 0 (times) or 1 (shares).

    eff_flops, eff_bytes: share of the peak and of the memory rate (of the link, for a collective).
    floor_s: least seconds of a call.  passes: extra passes over the activations.
    item_s: seconds per independent item (per peer device, for a collective).  depth_s: seconds per element of
    the serial dimension.  eff_direct, setup_s: direct exchange and ring set-up of a collective.
    error: log standard deviation of a prediction.  errors: of each parameter.  rows: measurements behind it.
    source_level: "system", "family" or "overall".  source: where in words, such as "hopper, vllm, bf16".
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
"""Arithmetic or format -> the measured format whose kernels stand in for it."""

COLLECTIVES = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"})

OP_ALIASES: Mapping[str, str] = {"norm": "elementwise", "linear_attention": "linear_attention_decode"}


@lru_cache(maxsize=1)
def _document() -> _Document:
    path = folder("calibration") / "kernels.toml"
    return build(_Document, parse_toml(path), path.name)


@lru_cache(maxsize=1)
def _index() -> Mapping[tuple[str, str, str, str, str], _Row]:
    return {(r.op, r.level, r.where, r.engine, r.format): r for r in _document().kernels}


def operations_known() -> tuple[str, ...]:
    """The kinds of operation that have priors, sorted."""
    return tuple(sorted({row.op for row in _document().kernels}))


@lru_cache(maxsize=4096)
def kernel_prior(op: str, accelerator_id: str, family: str, engine: str, arithmetic: str) -> OpPrior:
    """The prior of an operation on an accelerator under an engine.

    arithmetic: a number format of the weights (gemm, moe) or of the cache (attention), or an arithmetic.

    Raises:
        UnknownIdError: no such kind of operation, or accelerator of a collective; lists the nearest.

    >>> prior = kernel_prior("gemm", "h100_sxm", "hopper", "vllm", "bf16")
    >>> prior.source_level, 0.7 < prior.eff_bytes < 1.0
    ('system', True)
    >>> kernel_prior("gemm", "mi300x", "cdna3", "vllm", "bf16").source_level
    'overall'
    """
    name = OP_ALIASES.get(op, op)
    if name not in operations_known():
        raise UnknownIdError("operation", op, (*operations_known(), *OP_ALIASES))
    fmt = FORMAT_ALIASES.get(arithmetic, arithmetic)
    pools = [("family", where) for where in kin(name, accelerator_id, family)]
    places = [("system", accelerator_id), *pools, ("overall", "overall")]
    keys = [(level, where, one, fmt) for level, where in places for one in (engine, ANY)]
    for level, where, one, form in (*keys, ("overall", "overall", ANY, ANY)):
        row = _index().get((name, level, where, one, form))
        if row:
            return _whole(op, row, _prior(op, row))
    raise UnknownIdError("operation", op, operations_known())


def kin(op: str, accelerator_id: str, family: str) -> tuple[str, ...]:
    """What the accelerator's tables are pooled by, nearest first: its family; for a collective, its links.

    Links are known by technology and generation, then as `pcie` or a `fabric` of their own.

    >>> kin("gemm", "h100_sxm", "hopper"), kin("all_reduce", "h100_sxm", "hopper")
    (('hopper',), ('nvlink 4', 'fabric'))
    """
    if op not in COLLECTIVES:
        return (family,)
    link = accelerator(accelerator_id).scale_up
    if link is None:
        return ("pcie",)
    generation = " ".join(link.name.lower().replace(",", "").split()[:2])
    return (generation, "pcie" if generation.startswith("pcie") else "fabric")


def _prior(op: str, row: _Row) -> OpPrior:
    found: dict[str, Estimate] = {n: v for n in PARAMETERS if (v := getattr(row, n)) is not None}
    value = {n: found[n][0] if n in found else float(n.startswith("eff_")) for n in PARAMETERS}
    where = ", ".join(part for part in (row.where, row.engine, row.format) if part != ANY)
    return OpPrior(
        op=op,
        **value,
        error=row.error,
        rows=row.rows,
        source_level=row.level,
        source=where,
        errors={n: v[1] for n, v in found.items()},
    )


def _whole(op: str, row: _Row, prior: OpPrior) -> OpPrior:
    """Linear attention as one operation: memory and floor of its decode, matrix rate of its prefill."""
    if op != "linear_attention":
        return prior
    chunk = _index().get(("linear_attention_prefill", row.level, row.where, row.engine, row.format))
    if chunk is None or chunk.eff_flops is None:
        return prior
    errors = {**prior.errors, "eff_flops": chunk.eff_flops[1]}
    return _replace(prior, eff_flops=chunk.eff_flops[0], errors=errors)


def expert_imbalance(engine: str, exponent: float, tokens_per_expert: float) -> ExpertImbalance:
    """What skewed routing costs at a load; the nearest measured exponent, the engine or else the first.

    >>> expert_imbalance("vllm", 1.2, 500).ratio[0] > 1
    True
    """
    rows = [row for row in _document().imbalance if row.engine == engine] or list(_document().imbalance)
    nearest = min(rows, key=lambda row: abs(row.exponent - exponent)).exponent
    fits = [row for row in rows if row.exponent == nearest and row.least <= max(tokens_per_expert, 0.0)]
    return max(fits, key=lambda row: row.least)


def kernel_power() -> KernelPowerTable:
    """Measured watts of attention and expert kernels.

    >>> kernel_power().system
    'b200_sxm'
    """
    return _document().power
