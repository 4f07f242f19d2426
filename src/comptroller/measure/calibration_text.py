"""The text of calibration files, as `facts.serving` reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

from comptroller.facts.serving import (
    ANCHOR_COLUMNS,
    Band,
    PredictionErrorBands,
    ResidualAnchor,
    ResidualKernel,
    ServingFacts,
    ServingParameter,
)

HEADER = """\
# Fitted serving calibration. Each parameter: value with its log standard deviation after the fit (error), and the
# centre and log standard deviation before it (prior, prior_error). An error above 0.9 of the prior's means that the
# data do not identify the parameter. Kernel times stand relative to kernels.toml; equations: costs/timing.py,
# costs/serving_time.py. Bands: 10th and 90th percentile of held-out log errors.
"""

RESIDUAL_HEADER = """\
# Anchors of the learned residual: configurations (no measured value stands here) and fitted weights.
# x0..x5: log2 of clients, input tokens, output tokens, devices of a stage; 2 with data-parallel ranks; 1 with
# expert parallelism. Source, licence and command: serving.toml.
"""


def constants_text(facts: ServingFacts) -> str:
    """The text of `serving.toml`."""
    lines = [
        HEADER,
        f"date = {facts.date.isoformat()}",
        f"command = {_toml_string(facts.command)}",
        f"data = {_toml_string(facts.data)}",
        f"rows = {facts.rows}",
        "",
        "parameters = [",
        *(_parameter(p) for p in facts.parameters),
        "]",
        "",
        *_bands("tpot", facts.tpot),
        *_bands("ttft", facts.ttft),
        *_kernel("tpot_kernel", facts.tpot_kernel),
        *_kernel("ttft_kernel", facts.ttft_kernel),
    ]
    for name, source in facts.sources.items():
        lines += [
            f"[sources.{name}]",
            f"title = {_toml_string(source.title)}",
            f"url = {_toml_string(source.url)}",
            f"date = {source.date.isoformat()}",
            f"licence = {_toml_string(source.licence)}",
            "",
        ]
    return "\n".join(lines).rstrip("\n") + "\n"


def anchors_text(anchors: Sequence[ResidualAnchor]) -> str:
    """The text of `residual.csv`."""
    rows = [",".join(ANCHOR_COLUMNS)]
    for a in anchors:
        numbers = [f"{x:.4g}" for x in a.place] + [_weight(a.tpot_weight), _weight(a.ttft_weight)]
        rows.append(",".join((a.engine, a.architecture, a.formats, a.accelerator, a.run, *numbers)))
    return RESIDUAL_HEADER + "\n".join(rows) + "\n"


def _weight(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.5g}"


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parameter(p: ServingParameter) -> str:
    fields = (
        f'name = "{p.name}", engine = "{p.engine}", unit = "{p.unit}", value = {p.value:.4g}, error = {p.error:.3g}, '
        f"prior = {p.prior:.4g}, prior_error = {p.prior_error:.3g}"
    )
    return f"  {{ {fields} }},"


def _bands(name: str, bands: PredictionErrorBands) -> list[str]:
    known = {item.name: getattr(bands, item.name) for item in fields(bands) if item.name != "by_kind"}
    rows = [f"{key} = {_edges(band)}" for key, band in known.items() if band]
    kinds = ", ".join(f'"{key}" = {_edges(band)}' for key, band in bands.by_kind.items())
    return [f"[{name}]", *rows, *([f"by_kind = {{ {kinds} }}"] if kinds else []), ""]


def _edges(band: Band) -> str:
    return f"[{band[0]:.4g}, {band[1]:.4g}]"


def _kernel(name: str, kernel: ResidualKernel) -> list[str]:
    scalars = ("key", "run", "kin", "fine", "run_fine", "noise", "reach")
    rows = [f"{key} = {getattr(kernel, key)!r}" for key in scalars]
    return [f"[{name}]", *rows, f"scales = {list(kernel.scales)}", ""]
