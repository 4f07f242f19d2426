"""The strategies that ship, and their trained parts, as tables."""

from __future__ import annotations

import sys
from dataclasses import MISSING, fields

from comptroller.report.sheet import Cell, ReportSheet, left, right
from comptroller.strategies.routers import names as routers
from comptroller.strategies.routers import router
from comptroller.strategies.spelling import names, parse, rule, spell
from comptroller.strategies.success_prediction import names as parts
from comptroller.strategies.success_prediction import success_predictor
from comptroller.strategies.world_inputs import INPUTS, needs


def strategies() -> ReportSheet:
    """One row per strategy: what it does, its parameters with their defaults, what the planner varies, its inputs."""
    columns = (left("strategy"), left("does", "what it does"), left("parameters"), left("grid"), left("needs"))
    return ReportSheet("Strategies", columns, tuple(_row(name) for name in names()))


def _row(name: str) -> tuple[Cell, ...]:
    kind = rule(name)
    head = (sys.modules[kind.__module__].__doc__ or "").partition("\n")[0]
    given = ", ".join(f"{item.name}={_default(item)}" for item in fields(kind))
    grid = "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in kind.grid.items())
    return (name, head.partition(": ")[2] or head, given, grid, ", ".join(needs(parse(name))))


def world_inputs() -> ReportSheet:
    """One row per input of strategies: what it is and who supplies it, recorded and live."""
    columns = (left("input"), left("what"), left("recorded", "replay and simulation: supplied by"), left("live"))
    rows = ((name, item.what, item.recorded, item.live) for name, item in INPUTS.items())
    return ReportSheet("Inputs of strategies", columns, tuple(rows))


def _default(item: object) -> str:
    value = getattr(item, "default", MISSING)
    if value is MISSING:
        return "…"
    return spell(value) if hasattr(value, "solve") else repr(value)


def trained_parts() -> ReportSheet:
    """One row per trained part: its signals, what trained it, and its quality on folds that did not."""
    columns = (
        left("part"),
        left("signals"),
        left("data", "trained on"),
        right("rows"),
        right("base_rate", "base rate"),
        right("auc", "AUC"),
        right("log_loss", "log loss"),
        right("log_loss_of_base_rate", "of the base rate"),
        right("calibration_error", "calibration error"),
    )
    rows = []
    for name in parts():
        part = success_predictor(name)
        figures = tuple(part.measured.get(column.key) for column in columns[4:])
        rows.append((name, ", ".join(part.signals), str(part.about["data"]), int(part.measured["rows"]), *figures))
    return ReportSheet("Trained parts", columns, tuple(rows))


def trained_routers() -> ReportSheet:
    """One row per router: the models from the cheapest on, what trained it, and its quality on held-out questions."""
    columns = (
        left("router"),
        left("kind"),
        left("models", "models, cheapest first"),
        left("data", "trained on"),
        right("questions"),
        right("apgr", "APGR"),
        right("aiq", "AIQ"),
        right("cpt_50", "CPT(50 %)"),
        right("cpt_80", "CPT(80 %)"),
    )
    rows = []
    for name in routers():
        part = router(name)
        figures = tuple(part.measured.get(column.key) for column in columns[5:])
        description = (part.scorer.kind, " < ".join(part.models), str(part.about["data"]))
        rows.append((name, *description, int(part.measured["questions"]), *figures))
    return ReportSheet("Routers", columns, tuple(rows))


def rules() -> dict[str, str]:
    """The published rule of every strategy and its source, as its file states them."""
    return {name: (sys.modules[rule(name).__module__].__doc__ or "").strip() for name in names()}


def spelling_with_defaults(name: str) -> str:
    """A strategy as it is written with its defaults.

    >>> spelling_with_defaults("once")
    'once'
    """
    return spell(parse(name))
