"""Gates as tables: what they were trained on and how well they tell, and what each threshold lets pass."""

from __future__ import annotations

from comptroller.report.sheet import UNKNOWN, ReportSheet, left, right
from comptroller.strategies.gate_training import GATES, TrainedGate

FIGURES = ("rows", "groups", "base_rate", "auc", "log_loss", "log_loss_of_base_rate", "calibration_error")
HEADINGS = ("rows", "questions", "base rate", "AUC", "log loss", "of the base rate", "calibration error")


def gate_sheet(gate: TrainedGate) -> ReportSheet:
    """Quality on held-out questions, one row."""
    figures = tuple(gate.part.measured.get(name) for name in FIGURES)
    columns = (left("gate", "gate"), *(right(heading, heading) for heading in HEADINGS))
    return ReportSheet(f"Gate by {gate.kind}, held out", columns, ((gate.kind, *figures),))


def threshold_sheet(gate: TrainedGate) -> ReportSheet:
    """What every threshold of the strategy's grid lets pass, and how much of that is right."""
    columns = (right("threshold", "threshold"), right("passed", "lets pass"), right("right", "right of those"))
    rows = tuple(
        (f"{one.threshold:g}", f"{one.passed:.1%}", f"{one.right:.1%}" if one.passed else UNKNOWN)
        for one in gate.thresholds
    )
    return ReportSheet(f"{GATES[gate.kind].strategy}, by threshold", columns, rows)
