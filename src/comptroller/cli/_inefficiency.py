"""Inefficient patterns in the runs of a file, for the commands that read such files."""

from __future__ import annotations

from comptroller.books.inefficiency import patterns_of_runs
from comptroller.costs.inference_units import KINETICS_INTENSITY, ModelCostShape, prefill_gamma
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.report.inefficiency_report import inefficiency_sheet as inefficiency_sheet  # noqa: PLC0414 - of books too
from comptroller.report.sheet import ReportSheet
from comptroller.work.evidence import Evidence
from comptroller.work.trajectories import AgentTrajectories


def gamma_like(text: str) -> float:
    """Prefill tokens that reading one cached token costs, of a MODEL@ACCELERATOR.

    Raises:
        UnknownIdError: one of them is unknown.
    """
    name, _, device = text.partition("@")
    chip = accelerator(device)
    return prefill_gamma(ModelCostShape.of(model(name)), chip.peak("bf16") / chip.memory_bytes_per_s)


def sheet_of_runs(runs: AgentTrajectories, gamma: float) -> ReportSheet:
    """The patterns of recorded runs. gamma: prefill tokens that reading one cached token costs."""
    return inefficiency_sheet(patterns_of_runs(runs, gamma))


def inefficiency_of(evidence: Evidence, shape: ModelCostShape | None) -> ReportSheet | None:
    """The patterns in all runs of a table of agents' calls; None of other evidence, or without a model's shape."""
    if shape is None or evidence.calls is None:
        return None
    return sheet_of_runs(evidence.calls, prefill_gamma(shape, KINETICS_INTENSITY))
