"""Measured losses and kernels as tables and one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from comptroller.errors import InputError
from comptroller.measure.host import HostMeasurement
from comptroller.measure.kernels_run import GemmFit, GemmTiming
from comptroller.measure.quality import BootstrapMean, QuantisationLoss
from comptroller.measure.quality_mix import FormatAssignment, LayerPart
from comptroller.numerics.loss import fitted_constant, held_out_errors
from comptroller.report import drawing
from comptroller.report.chart import ChartAxis, ChartMark, LineSeries, MarkSeries, ReportChart
from comptroller.report.page import ReportPage, table_sections
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def losses(measured: Sequence[QuantisationLoss], subject: str) -> ReportSheet:
    """One row per recipe."""
    title = f"{subject}: weights/activations/cache against the weights as read; KL in nats, intervals 90 %"
    return ReportSheet.of(title, LOSSES, measured)


def _between(estimate: BootstrapMean, digits: int) -> str:
    return f"{estimate.low:.{digits}g} to {estimate.high:.{digits}g}"


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


LOSSES: SheetColumns[QuantisationLoss] = (
    left("formats", "recipe", lambda loss: str(loss.formats)),
    right("bits_per_element", "bits", lambda loss: None if math.isnan(loss.bits) else loss.bits),
    right("perplexity", "ppl", lambda loss: loss.perplexity.value),
    right("perplexity_ratio", "ratio", lambda loss: loss.ratio.value),
    right("perplexity_ratio_interval", "90 %", lambda loss: _between(loss.ratio, 3)),
    right("kl_nats", "KL", lambda loss: loss.kl.value),
    right("kl_interval", "90 %", lambda loss: _between(loss.kl, 2)),
    right("agreement", "top-1", lambda loss: loss.agreement.value),
    right("weight_db", "w dB", lambda loss: _finite_or_none(loss.weight_db)),
    right("output_db", "out dB", lambda loss: _finite_or_none(loss.output_db)),
)


def constant(measured: Sequence[QuantisationLoss]) -> ReportSheet | None:
    """The constant that maps QSNR to KL, and how far each format is from what the others predict; None below three."""
    own = [x for x in measured if str(x.formats) == x.formats.weights and math.isfinite(x.output_db) and x.kl.value > 0]
    if len(own) < 3:
        return None
    db, kl = [x.output_db for x in own], [x.kl.value for x in own]
    errors = held_out_errors(db, kl)
    columns = (left("formats", "weights"), right("kl_nats", "KL, nats"), right("error", "against the others"))
    rows = tuple((str(x.formats), x.kl.value, error) for x, error in zip(own, errors, strict=True))
    title = f"KL = {fitted_constant(db, kl):.3g} x 10^(-QSNR / 10); each format against the constant of the others"
    return ReportSheet(title, columns, rows)


PARTS: SheetColumns[LayerPart] = (
    left("part", None, lambda part: f"layer {part.layer} {part.name}"),
    right("params"),
    right("kl_nats", "KL alone, nats", lambda part: part.kl),
)


def parts(sensitivities: Sequence[LayerPart], probe: str) -> ReportSheet:
    """Sensitivity, the most sensitive first."""
    order = sorted(sensitivities, key=lambda part: -part.kl / part.params)
    title = f"Sensitivity: divergence with one part alone in {probe}, most per parameter first"
    return ReportSheet.of(title, PARTS, order)


def assignment(chosen: FormatAssignment, loss: QuantisationLoss) -> ReportSheet:
    """How many parts take each format, and what the whole was predicted and measured to cost."""
    columns = (left("format"), right("parts"), left("layers"))
    rows = []
    for name in dict.fromkeys(chosen.formats):
        own = [part for part, fmt in zip(chosen.parts, chosen.formats, strict=True) if fmt == name]
        rows.append((name, len(own), ", ".join(f"{part.layer} {part.name[:4]}" for part in own)))
    title = (
        f"Mixed precision: {chosen.bits:.3f} bits; KL predicted {chosen.predicted_kl:.3g}, "
        f"measured {loss.kl.value:.3g} ({_between(loss.kl, 3)})"
    )
    return ReportSheet(title, columns, tuple(rows))


TIMINGS: SheetColumns[GemmTiming] = (
    left("kernel"),
    left("format"),
    right("m", None, lambda timing: timing.shape.m),
    right("n", None, lambda timing: timing.shape.n),
    right("k", None, lambda timing: timing.shape.k),
    right("us", None, lambda timing: timing.seconds * 1e6),
    right("tflop_per_s", "Tflop/s", lambda timing: timing.shape.flops / timing.seconds / 1e12),
    right("least_us", "least", lambda timing: timing.least_s * 1e6),
    right("most_us", "most", lambda timing: timing.most_s * 1e6),
)

KERNEL_FITS: SheetColumns[GemmFit] = (
    left("kernel"),
    left("format"),
    right("floor_us", "floor us", lambda fit: fit.floor_s * 1e6),
    right("gb_per_s", "GB/s", lambda fit: _finite_or_none(fit.bytes_per_s / 1e9)),
    right("tflop_per_s", "Tflop/s", lambda fit: _finite_or_none(fit.flops_per_s / 1e12)),
    right("error", "median error"),
)


def timings(found: Sequence[GemmTiming], subject: str) -> ReportSheet:
    """One row per product timed."""
    return ReportSheet.of(f"Products timed on {subject}", TIMINGS, found)


def host(found: HostMeasurement) -> ReportSheet:
    """One core of a machine."""
    rates = ("memory, GB", found.memory_bytes / 1e9), ("reads, GB/s", found.bytes_per_s / 1e9)
    rows = (*rates, ("fp32, Gflop/s", found.flops_per_s / 1e9))
    return ReportSheet(f"One core of {found.name}", (left("what"), right("measured")), rows)


def kernel_fits(found: Sequence[GemmFit]) -> ReportSheet:
    """The law of every kernel."""
    return ReportSheet.of("Fitted: t = floor + bytes / rate + flops / rate", KERNEL_FITS, found)


def picture(measured: Sequence[QuantisationLoss], subject: str) -> drawing.ChartPicture:
    """Divergence against QSNR of the outputs with intervals and the fitted line.

    Raises:
        InputError: no recipe lost anything.
    """
    shown = [loss for loss in measured if math.isfinite(loss.output_db) and loss.kl.value > 0]
    if not shown:
        raise InputError("nothing to draw: no recipe changes the weights")
    marks = tuple(
        ChartMark(x.output_db, x.kl.value, x.kl.low, x.kl.high, str(x.formats), "", True, str(x.formats)) for x in shown
    )
    db = [loss.output_db for loss in shown]
    value = fitted_constant(db, [loss.kl.value for loss in shown]) if len(shown) > 1 else math.nan
    ends = [min(db), max(db)]
    line = LineSeries("", ends, [value * 10 ** (-end / 10) for end in ends], reference=True)
    chart = ReportChart(
        subject,
        ChartAxis("QSNR of what the matrices put out, dB"),
        ChartAxis("KL, nats per token", log=True),
        (line, MarkSeries(marks)),
    )
    return drawing.ChartPicture((chart,), subject)


def page(about: str, sheets: Sequence[ReportSheet]) -> str:
    """A self-contained page of what was measured. about: on what, in a sentence."""
    return ReportPage("Measured", "measured", lede=about, sections=table_sections(sheets)).html()
