"""Writes the kernel calibration (TOML) and its report (Markdown, JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kernel_extras import Imbalance, PowerTable
from kernel_tables import HOST_BOUND_S, Rows

Array = npt.NDArray[np.float64]
Key = tuple[str, str, str, str]

HOME = Path(__file__).resolve().parents[1]
TOML = HOME / "src/comptroller/facts/calibration/kernels.toml"
RESULTS = HOME / "benchmarks/results"


@dataclass(frozen=True)
class Fit:
    """Fitted values and their log standard errors, with held-out residuals by shape."""

    values: dict[str, float]
    errors: dict[str, float]
    inside: Array
    outside: Array
    rows: Rows

    @property
    def error(self) -> float:
        """Robust log standard deviation of held-out shapes."""
        return spread(self.outside)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """(op, system, engine, format)."""
        return self.rows.op, self.rows.system, self.rows.engine, self.rows.format


def spread(residuals: Array) -> float:
    """1.4826 x the median absolute log residual: bias counts as error."""
    return float(1.4826 * np.median(np.abs(residuals)))


@dataclass(frozen=True)
class Entry:
    """One line of the table: where it holds, its parameters with errors, and the error of its predictions."""

    op: str
    level: str
    where: str
    engine: str
    format: str
    rows: int
    error: float
    values: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Drift:
    """How an older version of a table stands to the newest version's fit."""

    fit: Fit
    version: str
    rows: int
    ratio: float


HEADER = """\
# Fitted kernel priors: what share of the datasheet rates the kernels of the engines reach, by operation.
# Data: per-operation timings of aiconfigurator-core 0.12.0, https://github.com/ai-dynamo/aiconfigurator,
#   Copyright (c) 2025-2026 NVIDIA CORPORATION & AFFILIATES, licence Apache-2.0
#   (systems/data/*/*_perf.parquet; its silicon_sample.csv is not used).  Fitted values only, no rows.
# Command: python benchmarks/fit_kernels.py PATH_OF_THE_UNPACKED_WHEEL   Report: benchmarks/results/kernels.md
# t = floor_s + passes * pass + item_s * items + depth_s * depth
#     + ((bytes / (eff_bytes * memory rate))^4 + (flops / (eff_flops * peak))^4)^(1/4)
# collectives of N devices: t = floor_s + item_s * (N - 1) + (direct^-4 + ring^-4)^(-1/4),
#     direct = all-to-all bytes / (eff_direct * link), ring = setup_s + ring bytes / (eff_bytes * link)
# pass: seconds that one pass over the activations takes at the memory rate (gemm of a quantised format:
#   m k (2 + bytes per weight); moe: tokens x experts per token x hidden x 2 bytes).
# items: attention_decode sequences x KV heads; attention_prefill, mla_prefill sequences x heads;
#   mla_decode sequences; linear_attention_prefill sequences x value heads.
# depth: gemm the inner dimension k; prefill the new tokens of a sequence.
# direct bytes: all_reduce (N - 1) x message; the others (N - 1)/N x message. ring bytes: all_reduce
#   2 (N - 1)/N x message; the others (N - 1)/N x message; all_to_all of the engines: tokens x min(k, N)
#   (N - 1)/N x hidden x bytes, one phase (dispatch or combine).
# Every parameter is [value, log standard deviation]; `error` is the log standard deviation of a prediction
# for a shape (level system) or a system (pools) that the row was not fitted on; rows: what it was fitted on.
# Level family pools a family of accelerators; for collectives a link and its generation, pcie, or fabric.
# format: of the weights (gemm, moe) or of the cache (attention, mla); flops count against the peak of the
# arithmetic that multiplies it (weight-only formats: bf16).  engine "any": pooled over engines.
"""


@dataclass(frozen=True)
class Report:
    """All results of a fit."""

    fits: list[Fit]
    entries: list[Entry]
    unseen: dict[Key, tuple[str, Array]]
    drift: list[Drift]
    imbalance: list[Imbalance]
    power: PowerTable

    def write(self) -> None:
        """Write the three files."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        TOML.write_text(self.toml(), encoding="utf-8")
        (RESULTS / "kernels.md").write_text("\n".join(self.markdown()) + "\n", encoding="utf-8")
        text = json.dumps(self.summary(), indent=1, sort_keys=True)
        (RESULTS / "kernels.json").write_text(text + "\n", encoding="utf-8")

    def toml(self) -> str:
        """The calibration file."""
        today = date.today().isoformat()
        ordered = sorted(self.entries, key=lambda e: (e.op, _LEVEL[e.level], e.where, e.format, e.engine))
        lines = [HEADER, f"date = {today}", "", *self._imbalance_toml(), "kernels = ["]
        lines += [*(_line(entry) for entry in ordered), "]", "", "[units]"]
        lines += [f'{name} = "s"' for name in ("floor_s", "item_s", "depth_s", "setup_s")]
        lines += [f'{name} = "1"' for name in ("eff_bytes", "eff_flops", "eff_direct", "passes")]
        lines += ["", "[sources.aiconfigurator]", 'title = "aiconfigurator-core 0.12.0, per-operation tables"']
        lines += ['url = "https://github.com/ai-dynamo/aiconfigurator"', f"date = {today}"]
        lines += ['licence = "Apache-2.0"', "", *self._power_toml()]
        return "\n".join(lines).rstrip() + "\n"

    def _power_toml(self) -> Iterator[str]:
        table = self.power
        yield "# Watts of a kernel: idle + (limit - idle) (1 - exp(-(memory u_b + compute u_f))), u the"
        yield "# achieved share of the memory rate and of the peak; error is log; idle is the least seen."
        yield "[power]"
        yield f'system = "{table.system}"'
        yield f'engine = "vllm {table.version}"'
        yield f"idle_w = {table.idle_w:.4g}"
        yield f"limit_w = {table.limit_w:.4g}"
        for kind in table.kinds:
            memory, compute = _pair(kind.memory, kind.memory_error), _pair(kind.compute, kind.compute_error)
            yield (
                f"{kind.op} = {{ memory = {memory}, compute = {compute}, error = {kind.error:.2f}, "
                f"rows = {kind.rows}, median_w = {kind.median_w:.0f} }}"
            )
        yield ""

    def _imbalance_toml(self) -> Iterator[str]:
        yield "# Time of routed experts under power-law over balanced routing, [ratio, log spread], by"
        yield "# routed tokens per expert from `least` on."
        yield "imbalance = ["
        for row in self.imbalance:
            pair = _pair(row.ratio, row.spread)
            yield (
                f'  {{ engine = "{row.engine}", exponent = {row.skew}, least = {row.least:g}, '
                f"ratio = {pair}, rows = {row.pairs} }},"
            )
        yield "]"
        yield ""

    def summary(self) -> dict[str, object]:
        """The figures of the report, for machines."""
        systems = [
            {
                "op": f.rows.op,
                "system": f.rows.system,
                "engine": f.rows.engine,
                "format": f.rows.format,
                "version": f.rows.version,
                "rows": len(f.rows),
                "excluded": f.rows.excluded,
                "fitted": _quantiles(f.inside),
                "unseen_shapes": _quantiles(f.outside),
                "unseen_system": _quantiles(self.unseen[f.key][1]),
                "unseen_from": self.unseen[f.key][0],
            }
            for f in self.fits
        ]
        drift = [
            {**dict(zip(("op", "system", "engine", "format"), d.fit.key, strict=True)), "version": d.version}
            | {"newest": d.fit.rows.version, "rows": d.rows, "older_over_newest": round(d.ratio, 3)}
            for d in self.drift
        ]
        return {"tables": systems, "older_versions": drift}

    def markdown(self) -> Iterator[str]:
        """The report."""
        yield "# Kernel priors"
        yield ""
        yield "Written by `python benchmarks/fit_kernels.py PATH` from the per-operation tables of"
        yield "aiconfigurator-core 0.12.0 (Apache-2.0). Absolute percentage errors, median / 90th percentile:"
        yield "fitted; shapes held out (five folds of shapes within a table); the whole system held out"
        yield "(predicted from other systems: its family and engine, its family, else all)."
        yield ""
        yield "| operation | tables | rows | fitted | unseen shapes | unseen system |"
        yield "|---|---|---|---|---|---|"
        for op in sorted({f.rows.op for f in self.fits}):
            yield self._row(op, [f for f in self.fits if f.rows.op == op])
        yield ""
        yield "## By engine and format"
        yield ""
        yield "| operation, engine, format | tables | rows | fitted | unseen shapes | unseen system |"
        yield "|---|---|---|---|---|---|"
        for key in sorted({(f.rows.op, f.rows.engine, f.rows.format) for f in self.fits}):
            members = [f for f in self.fits if (f.rows.op, f.rows.engine, f.rows.format) == key]
            yield self._row(" ".join(key), members)
        yield from self._pools()
        yield from self._rules()
        yield from self._older()
        yield from self._power_text()

    def _row(self, name: str, members: list[Fit]) -> str:
        unseen = [self.unseen[f.key][1] for f in members]
        cells = [
            name,
            str(len(members)),
            str(sum(len(f.rows) for f in members)),
            _percent(np.concatenate([f.inside for f in members])),
            _percent(np.concatenate([f.outside for f in members])),
            _percent(np.concatenate(unseen)),
        ]
        return "| " + " | ".join(cells) + " |"

    def _pools(self) -> Iterator[str]:
        yield ""
        yield "## Pooled over all systems and engines, bf16 (value, log spread between tables)"
        yield ""
        for entry in self.entries:
            if entry.level == "overall" and entry.engine == "any" and entry.format == "bf16":
                values = ", ".join(f"{n} {v:.3g} ({e:.2f})" for n, (v, e) in entry.values.items())
                yield f"- {entry.op}: {values}; error on an unseen system {entry.error:.2f}"

    def _rules(self) -> Iterator[str]:
        left = [(f.key, f.rows.excluded) for f in self.fits if f.rows.excluded]
        yield ""
        yield "## Exclusions"
        yield ""
        yield f"- vLLM block-scaled FP8 GEMM below {HOST_BOUND_S * 1e3:g} ms of ideal time: the harness"
        yield "  measures it outside a CUDA graph, and small shapes show the host's 60 to 370 us."
        yield "- Eager all-reduce rows where a graph-captured twin exists; attention computed in FP8."
        yield "- Duplicate MoE and dispatch rows of several kernels: the fastest, as the engines choose."
        yield "- Per-tensor FP8 experts of vLLM 0.24.0 on Hopper: 3.7 times as long as under 0.19.0 on"
        yield "  the same shapes, a slow path of that version."
        yield f"- Excluded by the first rule: {sum(n for _, n in left)} rows of {len(left)} tables."

    def _older(self) -> Iterator[str]:
        yield ""
        yield "## One version back, under the newest version's parameters (median older time / predicted)"
        yield ""
        yield "| operation, system, engine, format | older -> newest | rows | ratio |"
        yield "|---|---|---|---|"
        for d in self.drift:
            versions = f"{d.version} -> {d.fit.rows.version}"
            yield f"| {' '.join(d.fit.key)} | {versions} | {d.rows} | {d.ratio:.2f} |"

    def _power_text(self) -> Iterator[str]:
        yield ""
        where = f"{self.power.system}, vLLM {self.power.version}, limit {self.power.limit_w:g} W"
        yield f"## Power of kernels on {where}"
        yield ""
        yield f"Lowest seen {self.power.idle_w:.0f} W. Kernels shorter than 0.4 ms are left out: their"
        yield "sampled watts show the neighbours in the sweep."
        yield ""
        yield "| kind | rows | median W | memory | compute | log error |"
        yield "|---|---|---|---|---|---|"
        for k in self.power.kinds:
            yield (
                f"| {k.op} | {k.rows} | {k.median_w:.0f} | {k.memory:.2f} ({k.memory_error:.2f}) | "
                f"{k.compute:.2f} ({k.compute_error:.2f}) | {k.error:.2f} |"
            )


_LEVEL = {"system": 0, "family": 1, "overall": 2}


def _pair(value: float, error: float) -> str:
    return f"[{value:.4g}, {error:.2g}]"


def _line(entry: Entry) -> str:
    head = f'op = "{entry.op}", level = "{entry.level}", where = "{entry.where}"'
    head += f', engine = "{entry.engine}", format = "{entry.format}"'
    values = ", ".join(f"{name} = {_pair(*pair)}" for name, pair in entry.values.items())
    return f"  {{ {head}, rows = {entry.rows}, error = {entry.error:.3f}, {values} }},"


def _quantiles(residuals: Array) -> dict[str, float] | None:
    if not len(residuals):
        return None
    gap = np.abs(np.expm1(residuals))
    return {"median": round(float(np.median(gap)), 4), "p90": round(float(np.quantile(gap, 0.9)), 4)}


def _percent(residuals: Array) -> str:
    found = _quantiles(residuals)
    return "-" if found is None else f"{found['median'] * 100:.1f} / {found['p90'] * 100:.0f} %"
