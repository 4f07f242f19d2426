"""Evidence and the laws fitted to it, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isinf, isnan

from comptroller.quantities import round_significant
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.work.evidence_readers import packaged_evidence, readers
from comptroller.work.evidence_summary import EvidenceSummary, RecordedModelSummary, StepTreeSummary
from comptroller.work.laws import EvidenceLaw, LawFinding

ARMS: SheetColumns[RecordedModelSummary] = (
    left("arm", "model, format, effort", lambda one: str(one.arm)),
    right("questions", "asked"),
    right("samples", "each", lambda one: _samples_text(*one.samples)),
    right("score", None, lambda one: _number(one.score)),
    right("greedy", None, lambda one: _number(one.greedy)),
    right("input_tokens", "in", lambda one: _number(one.input_tokens)),
    right("made_tokens", "out", lambda one: _number(one.made_tokens)),
    right("usd", "$", lambda one: _number(one.usd)),
    right("usd_per_solved", "$/solved", lambda one: _number(one.usd_per_solved)),
    right("truncated", "cut", lambda one: _number(one.truncated)),
    right("missing"),
)
TREES: SheetColumns[StepTreeSummary] = (
    left("task"),
    left("arm", "model, format, effort", lambda tree: str(tree.arm)),
    right("questions"),
    right("steps"),
    right("solutions"),
    right("right", "solutions right", lambda tree: _number(tree.right)),
)
EXTRAS = (left("arm", "model, format, effort"), left("what", "to know"))


def formats() -> ReportSheet:
    """Formats that evidence is read from, and the evidence that ships with the package."""
    shipped = tuple((name, "ships with the package: a model sampled on the CPU") for name in packaged_evidence())
    rows = tuple((reader.name, reader.looks_like) for reader in readers())
    return ReportSheet("Evidence", (left("name"), left("looks_like", "what it is")), shipped + rows)


def headline(summary: EvidenceSummary) -> str:
    """What the evidence holds, in one line."""
    unit = "samples, counts only" if summary.counts_only else "replies"
    return f"{summary.source}: {summary.questions:,} questions, {len(summary.arms)} models, {summary.replies:,} {unit}"


def summary_sheets(summary: EvidenceSummary) -> tuple[ReportSheet, ...]:
    """Arms, tasks, and what to know before relying on them."""
    arms = ReportSheet.of("Arms", ARMS, summary.arms)
    notes = tuple((str(arm.arm), note) for arm in summary.arms for note in _notes(arm))
    trees = ReportSheet.of("Steps of solutions", TREES, summary.trees)
    sheets = [arms, trees, ReportSheet("To know", EXTRAS, notes)]
    scored = any(isfinite(score) for task in summary.tasks for score in task.scores)
    if len(summary.tasks) > 1 and (scored or not summary.trees):
        sheets.insert(1, _by_task(summary))
    return tuple(sheet for sheet in sheets if sheet.rows)


def _by_task(summary: EvidenceSummary) -> ReportSheet:
    """Mean score of arms on tasks; the more numerous of both stand below one another."""
    if len(summary.tasks) < len(summary.arms):
        heads = [right(task.task, task.task) for task in summary.tasks]
        rows = [
            (str(arm.arm), *(_number(task.scores[number]) for task in summary.tasks))
            for number, arm in enumerate(summary.arms)
        ]
        return ReportSheet("Mean score by task", (left("arm", "model, format, effort"), *heads), tuple(rows))
    heads = [right(str(arm.arm), str(arm.arm)) for arm in summary.arms]
    columns = (left("task"), right("questions"), *heads)
    return ReportSheet(
        "Mean score by task",
        columns,
        tuple((task.task, task.questions, *map(_number, task.scores)) for task in summary.tasks),
    )


def _samples_text(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _notes(arm: RecordedModelSummary) -> list[str]:
    notes = []
    if arm.cap:
        notes.append(
            f"{arm.cap.hits:,} of {arm.cap.outputs:,} replies end at {arm.cap.tokens:,} tokens: a suspected cap"
        )
    if arm.missing and (arm.questions or not (arm.steps or arm.verdicts)):
        named = ", ".join(arm.gaps) + (", ..." if arm.missing > len(arm.gaps) else "")
        notes.append(f"no reply to {arm.missing:,} questions: {named}")
    counted = (
        (arm.failed, "failed requests"),
        (arm.unscored, "replies without a score"),
        (arm.uncounted, "replies without tokens"),
        (arm.unpriced, "replies without dollars"),
    )
    notes += [f"{count:,} {what}" for count, what in counted if count]
    recorded = ((arm.steps, "steps"), (arm.verdicts, "verdicts"), (arm.revisions, "revisions"))
    return notes + [f"{count:,} {what} recorded" for count, what in recorded if count]


def _number(value: float) -> float | None:
    return None if isnan(value) or isinf(value) else round_significant(value)


FINDINGS: SheetColumns[LawFinding] = (
    left("subject", "of"),
    left("quantity"),
    right("value", None, lambda one: _number(one.value)),
    right("low", None, lambda one: _number(one.low)),
    right("high", None, lambda one: _number(one.high)),
    left("note"),
)


def findings_sheet(law: EvidenceLaw, found: Sequence[LawFinding]) -> ReportSheet:
    """What a law found; an interval that does not exist is unknown."""
    return ReportSheet.of(f"{law.name}: {law.says}", FINDINGS, found)


def all_findings(found: Sequence[LawFinding]) -> ReportSheet:
    """All findings in one table, the law in the first column."""
    return ReportSheet.of("Laws", (left("law"), *FINDINGS), found)
