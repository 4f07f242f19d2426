"""Fits the kernel priors of `facts/calibration/kernels.toml` from aiconfigurator-core's per-operation tables.

    python benchmarks/fit_kernels.py PATH      (the unpacked wheel or the installed package)

One row of the result: how long an operation of an engine in a format takes on a system, as

    t = floor_s + passes * pass + item_s * items + depth_s * depth
        + ((B / eff_bytes)^4 + (F / eff_flops)^4)^(1/4)

with B and F the seconds of its bytes and FLOPs at datasheet rates; for a collective of N devices

    t = floor_s + item_s * (N - 1) + (direct^-4 + ring^-4)^(-1/4),
    direct = all-to-all bytes / (eff_direct * link),  ring = setup_s + ring bytes / (eff_bytes * link)

Robust least squares on log time with log-normal priors; pools over engines, systems and families follow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from comptroller.facts.accelerator import accelerator
from comptroller.facts.calibration import ANY, COLLECTIVES, kin
from kernel_extras import imbalance, power
from kernel_report import Drift, Entry, Fit, Report, spread
from kernel_source import Source, root_of
from kernel_tables import QUANTISED, SYSTEMS, Rows, tables

Array = npt.NDArray[np.float64]

PRIOR: dict[str, tuple[float, float]] = {
    "floor_s": (8e-6, 1.2),
    "eff_bytes": (0.75, 0.5),
    "eff_flops": (0.5, 0.7),
    "passes": (2.0, 1.5),
    "item_s": (1e-8, 2.0),
    "depth_s": (1e-9, 2.0),
    "eff_direct": (0.4, 1.0),
    "setup_s": (2e-5, 1.5),
}
"""Centre and log standard deviation of the weak priors of the first pass."""

CEILING = {"eff_bytes": np.log(1.15), "eff_flops": np.log(1.1), "eff_direct": np.log(1.15)}
"""No efficiency above the datasheet, but for its rounding and the cache."""

SHAPE_ROWS = 3000
SPREAD = 0.15
FOLDS = 5
MISFIT = 0.05
"""Log error that the form of the equation adds to every parameter when tables are pooled."""


def parameters(op: str, fmt: str) -> tuple[str, ...]:
    """The parameters that an operation is fitted with."""
    if op in COLLECTIVES:
        return ("floor_s", "item_s", "eff_bytes", "eff_direct", "setup_s")
    extra = {
        "gemm": ("depth_s", "passes") if fmt in QUANTISED else ("depth_s",),
        "attention_decode": ("item_s",),
        "attention_prefill": ("item_s", "depth_s"),
        "mla_decode": ("item_s",),
        "mla_prefill": ("item_s", "depth_s"),
        "moe": ("passes",),
        "linear_attention_prefill": ("item_s", "depth_s"),
    }
    work = ("eff_bytes",) if op in {"elementwise", "linear_attention_decode"} else ("eff_bytes", "eff_flops")
    return ("floor_s", *work, *extra.get(op, ()))


def seconds(values: Mapping[str, float], rows: Rows) -> Array:
    """Predicted seconds of rows; see the module's docstring for the equation."""
    floor = values["floor_s"] + values.get("item_s", 0.0) * rows.items
    if rows.op in COLLECTIVES:
        direct = rows.direct_s / values["eff_direct"]
        ring = values["setup_s"] + rows.bytes_s / values["eff_bytes"]
        return np.asarray(floor + (direct**-4.0 + ring**-4.0) ** -0.25)
    busy = (rows.bytes_s / values["eff_bytes"]) ** 4
    if "eff_flops" in values:
        busy = busy + (rows.flops_s / values["eff_flops"]) ** 4
    serial = values.get("passes", 0.0) * rows.pass_s + values.get("depth_s", 0.0) * rows.depth
    return np.asarray(floor + serial + busy**0.25)


def solve(rows: Rows, prior: Mapping[str, tuple[float, float]], start: Mapping[str, float]) -> tuple[Array, Array]:
    """Log parameters and their covariance, rows of one shape counting as four independent ones at most."""
    names = parameters(rows.op, rows.format)
    centre = np.array([np.log(prior[n][0]) for n in names])
    width = np.array([prior[n][1] for n in names])
    ceiling = np.array([CEILING.get(n, np.inf) for n in names])
    log_time, count = np.log(rows.time_s), len(rows)
    effective = min(count, 4 * len(np.unique(rows.group)))
    pull = np.sqrt(count / effective)

    def residual(x: Array) -> Array:
        predicted = seconds(dict(zip(names, np.exp(x), strict=True)), rows)
        return np.concatenate([(np.log(predicted) - log_time) / SPREAD, pull * (x - centre) / width])

    first = np.minimum(np.log([start[n] for n in names]), ceiling - 1e-3)
    found = least_squares(residual, first, loss="huber", bounds=(-np.inf, ceiling), x_scale=1.0, max_nfev=60)
    scale = max(1.0, float(np.median(np.abs(found.fun[:count])) * 1.4826))
    covariance = np.linalg.inv(found.jac.T @ found.jac) * scale**2 * count / effective
    return found.x, np.asarray(covariance)


def thin(rows: Rows, seed: int) -> Rows:
    """At most `SHAPE_ROWS` rows, drawn evenly at random."""
    if len(rows) <= SHAPE_ROWS:
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).choice(len(rows), SHAPE_ROWS, replace=False)))


def fit(rows: Rows, prior: Mapping[str, tuple[float, float]], start: Mapping[str, float], held_out: bool) -> Fit:
    """Fit a table; with `held_out`, every fold of shapes is also predicted from the others."""
    names = parameters(rows.op, rows.format)
    x, covariance = solve(rows, prior, start)
    values = {n: float(v) for n, v in zip(names, np.exp(x), strict=True)}
    errors = {n: float(e) for n, e in zip(names, np.sqrt(np.diag(covariance)), strict=True)}
    inside = np.log(seconds(values, rows) / rows.time_s)
    outside = inside.copy()
    fold = np.random.default_rng(7).permutation(rows.group.max() + 1)[rows.group] % FOLDS
    for k in range(FOLDS if held_out else 0):
        train, test = rows.take(fold != k), rows.take(fold == k)
        if len(train) >= 5 and len(test):
            part, _ = solve(train, prior, values)
            other = dict(zip(names, np.exp(part), strict=True))
            outside[fold == k] = np.log(seconds(other, test) / test.time_s)
    return Fit(values, errors, inside, outside, rows)


def pooled(fits: list[Fit]) -> dict[str, tuple[float, float]]:
    """Centre and predictive log standard deviation of each parameter over fits (DerSimonian-Laird)."""
    result = {}
    for name in fits[0].values:
        known = [f for f in fits if name in f.values]
        logs = np.array([np.log(f.values[name]) for f in known])
        variance = np.array([f.errors[name] ** 2 + MISFIT**2 for f in known])
        weight = 1 / variance
        gap = logs - (weight * logs).sum() / weight.sum()
        excess = float((weight * gap**2).sum()) - (len(logs) - 1)
        scale = float(weight.sum() - (weight**2).sum() / weight.sum())
        between = max(excess / scale, 0.0) if len(logs) > 1 else 0.0
        weight = 1 / (variance + between)
        centre = float((weight * logs).sum() / weight.sum())
        result[name] = (float(np.exp(centre)), float(np.sqrt(between + 1 / weight.sum())))
    return result


def pool_prior(fits: list[Fit]) -> dict[str, tuple[float, float]]:
    """The prior of the second pass: the pool of an operation and format, no tighter than 0.2."""
    return {name: (value, max(error, 0.2)) for name, (value, error) in pooled(fits).items()}


def fit_all(every: list[Rows]) -> list[Fit]:
    """Two passes: weak priors, then priors pooled over systems and engines."""
    first = [fit(rows, PRIOR, {n: PRIOR[n][0] for n in PRIOR}, held_out=False) for rows in every]
    result = []
    for one in first:
        alike = [f for f in first if f.key[0] == one.key[0] and f.key[3] == one.key[3]]
        alike = [f for f in alike if set(f.values) == set(one.values)]
        prior = pool_prior(alike) if len(alike) > 2 else PRIOR
        result.append(fit(one.rows, prior, one.values, held_out=True))
    return result


def kin_of(op: str, system: str) -> tuple[str, ...]:
    """What an accelerator is pooled by, nearest first: its family, or for a collective its links."""
    return kin(op, accelerator(system))


def entries(fits: list[Fit]) -> list[Entry]:
    """System rows first, then the pools over engines, families, systems and formats."""
    result = [Entry(f.key[0], "system", f.key[1], f.key[2], f.key[3], len(f.rows), f.error, _own(f)) for f in fits]
    for level, engine, fmt in (
        ("system", ANY, "own"),
        ("family", "own", "own"),
        ("family", ANY, "own"),
        ("overall", "own", "own"),
        ("overall", ANY, "own"),
        ("overall", ANY, ANY),
    ):
        groups: dict[tuple[str, str, str, str], list[Fit]] = {}
        for f in fits:
            op, system, own, form = f.key
            if own == ANY and (engine == "own" or level == "system"):
                continue
            places = {"system": (system,), "family": kin_of(op, system), "overall": ("overall",)}[level]
            for where in places:
                key = (op, where, own if engine == "own" else ANY, form if fmt == "own" else ANY)
                groups.setdefault(key, []).append(f)
        for (op, where, e, x), members in groups.items():
            count = sum(len(m.rows) for m in members)
            result.append(Entry(op, level, where, e, x, count, leave_out(members, fits), pooled(members)))
    return result


def _own(f: Fit) -> dict[str, tuple[float, float]]:
    return {name: (value, f.errors[name]) for name, value in f.values.items()}


def leave_out(members: list[Fit], fits: list[Fit]) -> float:
    """Log error of a pool on a member that it was not built from.

    A pool of one member is judged on it by the rest of its operation and format, or by itself alone.
    """
    if len(members) == 1:
        one = members[0]
        others = [f for f in fits if f.key[0] == one.key[0] and f.key[3] == one.key[3] and f is not one]
        return max(one.error, spread(_residuals(others, one))) if others else max(one.error, 0.5)
    gaps = [spread(_residuals([m for m in members if m is not one], one)) for one in members]
    return float(np.sqrt(np.mean(np.square(gaps))))


def _residuals(others: Iterable[Fit], one: Fit) -> Array:
    same = [f for f in others if set(one.values) <= set(f.values)] or list(others)
    pool = {name: value for name, (value, _) in pooled(same).items()}
    return np.log(seconds({**one.values, **pool}, one.rows) / one.rows.time_s)


def unseen(one: Fit, fits: list[Fit]) -> tuple[str, Array]:
    """Residuals of a system predicted from all others: its family and engine, its family, else any system."""
    op, system, engine, fmt = one.key
    alike = [f for f in fits if f.key[0] == op and f.key[3] == fmt and f.key[1] != system]
    for where in (*kin_of(op, system), "overall"):
        near = [f for f in alike if where == "overall" or where in kin_of(op, f.key[1])]
        for others in ([f for f in near if f.key[2] == engine], near):
            if others:
                return where, _residuals(others, one)
    return "none", np.zeros(0)


def drift(source: Source, fits: list[Fit]) -> list[Drift]:
    """The same operations one version back, under the newest version's parameters."""
    newest = {f.key: f for f in fits}
    result = []
    for folder in SYSTEMS:
        for rows in tables(Source(source.root, age=1), folder):
            one = newest.get((rows.op, rows.system, rows.engine, rows.format))
            if one and one.rows.version != rows.version:
                ratio = rows.time_s / seconds(one.values, rows)
                result.append(Drift(one, rows.version, len(rows), float(np.median(ratio))))
    return result


def main(given: str) -> None:
    """Fit everything under the given path and write the calibration and its report."""
    source = Source(root_of(Path(given)))
    every = [thin(rows, seed=11) for folder in SYSTEMS for rows in tables(source, folder)]
    fits = fit_all(every)
    report = Report(
        fits=fits,
        entries=entries(fits),
        unseen={f.key: unseen(f, fits) for f in fits},
        drift=drift(source, fits),
        imbalance=imbalance(source),
        power=power(source),
    )
    report.write()


if __name__ == "__main__":
    main(sys.argv[1])
