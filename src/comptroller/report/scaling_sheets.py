"""Tables of laws of the loss: parameters with errors, hold-out, and how compute is split."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.report.figures import number
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.work.scaling_findings import ComputeSplit, ParameterEstimate, ScalingReport


def scaling_sheets(reports: Sequence[ScalingReport]) -> list[ReportSheet]:
    """Every table: of each family its parameters and splits, then hold-outs of all."""
    found = [family_sheet(reports)]
    for one in reports:
        if len(reports) == 1:
            found.append(_parameters(one))
        found.append(_splits(one))
    refused = tuple((text,) for one in reports for text in one.refused)
    return [*found, ReportSheet("Not supported", (left("why"),), refused)]


def family_sheet(reports: Sequence[ScalingReport]) -> ReportSheet:
    """A line for each family: its law, and how it predicts the runs of most compute from the others."""
    columns: SheetColumns[ScalingReport] = (
        left("family"),
        right("runs"),
        right("floor", "E", lambda one: one.fit.law.floor),
        right("a", "A", lambda one: one.fit.law.a),
        right("b", "B", lambda one: one.fit.law.b),
        right("alpha", "alpha", lambda one: one.fit.law.alpha),
        right("beta", "beta", lambda one: one.fit.law.beta),
        right("outliers", "outliers", lambda one: len(one.fit.outliers)),
        left("condition", "condition", lambda one: f"{one.fit.condition:.1e}"),
        right("held_out_pct", "held out, %", lambda one: 100 * one.held_out.mean),
        right("worst_pct", "worst, %", lambda one: 100 * one.held_out.worst),
        right("ratio", "times the compute", lambda one: one.held_out.ratio),
        left("reach", "supported to, FLOP", lambda one: f"{one.reach:.2e}"),
    )
    return ReportSheet.of("L = E + A / N^alpha + B / D^beta, the runs of most compute left out", columns, reports)


def _parameters(one: ScalingReport) -> ReportSheet:
    columns: SheetColumns[ParameterEstimate] = (
        left("name", "parameter"),
        right("value"),
        right("error", "standard error"),
        right("low"),
        right("high"),
    )
    return ReportSheet.of(f"Parameters of {one.family}, resampled runs", columns, (*one.parameters, one.exponent))


def _splits(one: ScalingReport) -> ReportSheet:
    columns: SheetColumns[ComputeSplit] = (
        left("flops", "FLOP", lambda split: f"{split.flops:.3g}"),
        right("params_b", "parameters, B", lambda split: split.params[0] / 1e9),
        left("params_between", "interval", lambda split: _between(split.params, 1e9)),
        right("tokens_b", "tokens, B", lambda split: split.tokens[0] / 1e9),
        left("tokens_between", "interval", lambda split: _between(split.tokens, 1e9)),
        right("per_param", "tokens a parameter", lambda split: split.tokens[0] / split.params[0]),
        right("loss", "loss", lambda split: split.loss[0]),
        left("loss_between", "interval", lambda split: _between(split.loss, 1.0)),
    )
    return ReportSheet.of(f"What compute buys, {one.family}", columns, one.splits)


def _between(three: tuple[float, float, float], scale: float) -> str:
    return f"{number(three[1] / scale)} to {number(three[2] / scale)}"
