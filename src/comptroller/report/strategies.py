"""The strategies that ship, and their trained parts, as tables."""

from __future__ import annotations

import sys
from dataclasses import MISSING, fields

from comptroller.report.sheet import Cell, Column, Sheet, right
from comptroller.strategies.learned import learned
from comptroller.strategies.learned import names as parts
from comptroller.strategies.routers import names as routers
from comptroller.strategies.routers import router
from comptroller.strategies.spelling import names, parse, rule, spell


def strategies() -> Sheet:
    """One row per strategy: what it does, its parameters with their defaults, what the planner varies."""
    columns = (
        Column("strategy", "strategy"),
        Column("does", "what it does"),
        Column("parameters", "parameters"),
        Column("grid", "grid"),
    )
    return Sheet("Strategies", columns, tuple(_row(name) for name in names()))


def _row(name: str) -> tuple[Cell, ...]:
    kind = rule(name)
    head = (sys.modules[kind.__module__].__doc__ or "").partition("\n")[0]
    given = ", ".join(f"{item.name}={_default(item)}" for item in fields(kind))
    grid = "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in kind.grid.items())
    return (name, head.partition(": ")[2] or head, given, grid)


def _default(item: object) -> str:
    value = getattr(item, "default", MISSING)
    if value is MISSING:
        return "…"
    return spell(value) if hasattr(value, "solve") else repr(value)


def trained() -> Sheet:
    """One row per trained part: its signals, what trained it, and its quality on folds that did not."""
    columns = (
        Column("part", "part"),
        Column("signals", "signals"),
        Column("data", "trained on"),
        right("rows", "rows"),
        right("base_rate", "base rate"),
        right("auc", "AUC"),
        right("log_loss", "log loss"),
        right("log_loss_of_base_rate", "of the base rate"),
        right("calibration_error", "calibration error"),
    )
    rows = []
    for name in parts():
        part = learned(name)
        figures = tuple(part.measured.get(column.key) for column in columns[4:])
        rows.append(
            (name, ", ".join(part.signals), str(part.about["data"]), int(part.measured["rows"]), *figures)
        )
    return Sheet("Trained parts", columns, tuple(rows))


def trained_routers() -> Sheet:
    """One row per router: the models from the cheapest on, what trained it, and its quality on held-out questions."""
    columns = (
        Column("router", "router"),
        Column("kind", "kind"),
        Column("models", "models, cheapest first"),
        Column("data", "trained on"),
        right("questions", "questions"),
        right("apgr", "APGR"),
        right("aiq", "AIQ"),
        right("cpt_50", "CPT(50 %)"),
        right("cpt_80", "CPT(80 %)"),
    )
    rows = []
    for name in routers():
        part = router(name)
        figures = tuple(part.measured.get(column.key) for column in columns[5:])
        told = (part.scorer.kind, " < ".join(part.models), str(part.about["data"]))
        rows.append((name, *told, int(part.measured["questions"]), *figures))
    return Sheet("Routers", columns, tuple(rows))


def rules() -> dict[str, str]:
    """The published rule of every strategy and its source, as its file states them."""
    return {name: (sys.modules[rule(name).__module__].__doc__ or "").strip() for name in names()}


def spelled(name: str) -> str:
    """A strategy as it is written with its defaults.

    >>> spelled("once")
    'once'
    """
    return spell(parse(name))
