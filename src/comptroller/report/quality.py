"""Measured losses and kernels as tables and one picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from comptroller.errors import InputError
from comptroller.measure.kernels_run import GemmFit, GemmTiming
from comptroller.measure.quality import BootstrapMean, QuantisationLoss
from comptroller.measure.quality_mix import FormatAssignment, LayerPart
from comptroller.numerics.loss import fitted_constant, held_out_errors
from comptroller.report.sheet import Cell, ReportSheet, SheetColumn, right

COLUMNS = (
    SheetColumn("formats", "recipe"),
    right("bits_per_element", "bits"),
    right("perplexity", "ppl"),
    right("perplexity_ratio", "ratio"),
    SheetColumn("perplexity_ratio_interval", "90 %", "right"),
    right("kl_nats", "KL"),
    SheetColumn("kl_interval", "90 %", "right"),
    right("agreement", "top-1"),
    right("weight_db", "w dB"),
    right("output_db", "out dB"),
)


def losses(found: Sequence[QuantisationLoss], subject: str) -> ReportSheet:
    """One row per recipe."""
    return ReportSheet(
        f"{subject}: weights/activations/cache against the weights as read; KL in nats, intervals 90 %",
        COLUMNS,
        tuple(map(_row, found)),
    )


def _row(loss: QuantisationLoss) -> tuple[Cell, ...]:
    return (
        str(loss.formats),
        None if math.isnan(loss.bits) else loss.bits,
        loss.perplexity.value,
        loss.ratio.value,
        _between(loss.ratio, 3),
        loss.kl.value,
        _between(loss.kl, 2),
        loss.agreement.value,
        _finite_or_none(loss.weight_db),
        _finite_or_none(loss.output_db),
    )


def _between(estimate: BootstrapMean, digits: int) -> str:
    return f"{estimate.low:.{digits}g} to {estimate.high:.{digits}g}"


def constant(found: Sequence[QuantisationLoss]) -> ReportSheet | None:
    """The constant that maps QSNR to KL, and how far each format is from what the others predict; None below three."""
    own = [x for x in found if str(x.formats) == x.formats.weights and math.isfinite(x.output_db) and x.kl.value > 0]
    if len(own) < 3:
        return None
    db, kl = [x.output_db for x in own], [x.kl.value for x in own]
    errors = held_out_errors(db, kl)
    columns = (SheetColumn("formats", "weights"), right("kl_nats", "KL, nats"), right("error", "against the others"))
    rows = tuple((str(x.formats), x.kl.value, error) for x, error in zip(own, errors, strict=True))
    title = f"KL = {fitted_constant(db, kl):.3g} x 10^(-QSNR / 10); each format against the constant of the others"
    return ReportSheet(title, columns, rows)


def parts(found: Sequence[LayerPart], probe: str) -> ReportSheet:
    """Sensitivity, the most sensitive first."""
    columns = (SheetColumn("part", "part"), right("params", "params"), right("kl_nats", "KL alone, nats"))
    order = sorted(found, key=lambda part: -part.kl / part.params)
    rows = tuple((f"layer {part.layer} {part.name}", part.params, part.kl) for part in order)
    return ReportSheet(
        f"Sensitivity: divergence with one part alone in {probe}, most per parameter first", columns, rows
    )


def assignment(chosen: FormatAssignment, loss: QuantisationLoss) -> ReportSheet:
    """How many parts take each format, and what the whole was predicted and measured to cost."""
    columns = (SheetColumn("format", "format"), right("parts", "parts"), SheetColumn("layers", "layers"))
    rows = []
    for name in dict.fromkeys(chosen.formats):
        own = [part for part, fmt in zip(chosen.parts, chosen.formats, strict=True) if fmt == name]
        rows.append((name, len(own), ", ".join(f"{part.layer} {part.name[:4]}" for part in own)))
    title = (
        f"Mixed precision: {chosen.bits:.3f} bits; KL predicted {chosen.predicted_kl:.3g}, "
        f"measured {loss.kl.value:.3g} ({_between(loss.kl, 3)})"
    )
    return ReportSheet(title, columns, tuple(rows))


def timings(found: Sequence[GemmTiming], subject: str) -> ReportSheet:
    """One row per product timed."""
    columns = (
        SheetColumn("kernel", "kernel"),
        SheetColumn("format", "format"),
        *(right(name, name) for name in "mnk"),
        right("us", "us"),
        right("tflop_per_s", "Tflop/s"),
        right("least_us", "least"),
        right("most_us", "most"),
    )
    rows = tuple(
        (
            t.kernel,
            t.format,
            t.shape.m,
            t.shape.n,
            t.shape.k,
            t.seconds * 1e6,
            t.shape.flops / t.seconds / 1e12,
            t.least_s * 1e6,
            t.most_s * 1e6,
        )
        for t in found
    )
    return ReportSheet(f"Products timed on {subject}", columns, rows)


def kernel_fits(found: Sequence[GemmFit]) -> ReportSheet:
    """The law of every kernel."""
    columns = (
        SheetColumn("kernel", "kernel"),
        SheetColumn("format", "format"),
        right("floor_us", "floor us"),
        right("gb_per_s", "GB/s"),
        right("tflop_per_s", "Tflop/s"),
        right("error", "median error"),
    )
    rows = tuple(
        (
            f.kernel,
            f.format,
            f.floor_s * 1e6,
            _finite_or_none(f.bytes_per_s / 1e9),
            _finite_or_none(f.flops_per_s / 1e12),
            f.error,
        )
        for f in found
    )
    return ReportSheet("Fitted: t = floor + bytes / rate + flops / rate", columns, rows)


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def picture(found: Sequence[QuantisationLoss], subject: str) -> bytes:
    """Divergence against QSNR of the outputs, both logarithmic, with intervals and the fitted line; a PNG.

    Raises:
        InputError: matplotlib is not installed, or no recipe lost anything.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'comptroller[plot]'") from error
    shown = [x for x in found if math.isfinite(x.output_db) and x.kl.value > 0]
    if not shown:
        raise InputError("nothing to draw: no recipe changes the weights")
    canvas = Figure(figsize=(6.4, 4.2), dpi=160, layout="constrained")
    axes = canvas.subplots()
    for x in shown:
        axes.plot([x.output_db] * 2, [x.kl.low, x.kl.high], color="#b4540a", linewidth=1)
        axes.plot([x.output_db], [x.kl.value], "o", color="#1f5fbf", markersize=4)
        axes.annotate(str(x.formats), (x.output_db, x.kl.value), (4, 3), textcoords="offset points", fontsize=6)
    if len(shown) > 1:
        db = [x.output_db for x in shown]
        value = fitted_constant(db, [x.kl.value for x in shown])
        ends = [min(db), max(db)]
        axes.plot(ends, [value * 10 ** (-end / 10) for end in ends], color="#5b6068", linewidth=0.8, linestyle="--")
    axes.set_yscale("log")
    axes.set_xlabel("QSNR of what the matrices put out, dB")
    axes.set_ylabel("KL, nats per token")
    axes.set_title(subject, fontsize=9, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    canvas.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
