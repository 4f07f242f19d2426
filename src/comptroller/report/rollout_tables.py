"""Tables of controllers of reinforcement learning: rollouts by rule, prompts by weight."""

from __future__ import annotations

from comptroller.report.figures import number
from comptroller.report.sheet import UNKNOWN, ReportSheet, SheetColumns, left, right
from comptroller.training.rollout_findings import PromptFinding, RolloutFindings, RuleFinding
from comptroller.training.rollout_replay import UNIFORM


def rollout_sheets(found: RolloutFindings) -> tuple[ReportSheet, ReportSheet]:
    """Both tables."""
    return rules_sheet(found), prompts_sheet(found)


def _between(three: tuple[float, float, float], scale: float = 1.0) -> str:
    return f"{number(scale * three[0])} ({number(scale * three[1])} to {number(scale * three[2])})"


def _groups(values: tuple[float | None, ...], digits: int = 1) -> str:
    return " ".join(f"{value:.{digits}f}" if value is not None else UNKNOWN for value in values)


def rules_sheet(found: RolloutFindings) -> ReportSheet:
    """What rules of rollouts give on samples left out, at one mean."""
    columns: SheetColumns[RuleFinding] = (
        left("model"),
        left("rule"),
        right("mean", "rollouts", lambda one: one.mean),
        left("variance", "variance / uniform", lambda one: _between(one.variance)),
        left("coverage_points", "coverage, points", lambda one: _between(one.coverage, 100.0)),
        left("mixed_points", "mixed groups, points", lambda one: _between(one.mixed, 100.0)),
        left("by_group", "rollouts, hardest group first", lambda one: _groups(one.by_group)),
    )
    title = (
        f"Rollouts by rule against {found.mean} for each, {found.questions:,} prompts: on samples left out, "
        f"{100 * found.level:.0f} % of {found.replays} replays"
    )
    return ReportSheet.of(title, columns, [one for one in found.rules if one.rule != UNIFORM])


def prompts_sheet(found: RolloutFindings) -> ReportSheet:
    """What weights of prompts draw."""
    columns: SheetColumns[PromptFinding] = (
        left("model"),
        left("present", "share of prompts, hardest first", lambda one: _groups((*one.present,), 2)),
        left("drawn", "drawn", lambda one: _groups((*one.drawn,), 2)),
        left("loss_points", "loss drawn, points", lambda one: _between(one.loss, 100.0)),
        left("mixed_points", "mixed groups, points", lambda one: _between(one.mixed, 100.0)),
        left("price", "price / exact price", lambda one: _between(one.price)),
    )
    return ReportSheet.of("Prompts by multiplicative weights, against all prompts alike", columns, found.prompts)
