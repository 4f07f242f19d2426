"""Evidence and the laws fitted to it, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf, isnan

from comptroller.quantities import round_significant
from comptroller.report.sheet import Cell, Column, Sheet, right
from comptroller.work.evidence_readers import packaged, readers
from comptroller.work.evidence_summary import ArmSummary, Summary
from comptroller.work.laws import Finding, Law

ARMS = (
    Column("arm", "model, format, effort"),
    right("questions", "asked"),
    Column("samples", "each", "right"),
    right("score", "score"),
    right("greedy", "greedy"),
    right("input_tokens", "in"),
    right("made_tokens", "out"),
    right("usd", "$"),
    right("usd_per_solved", "$/solved"),
    right("truncated", "cut"),
    right("missing", "missing"),
)
EXTRAS = (
    Column("arm", "model, format, effort"),
    Column("what", "to know"),
)


def formats() -> Sheet:
    """Formats that evidence is read from, and the evidence that ships with the package."""
    shipped = tuple((name, "ships with the package: a model sampled on the CPU") for name in packaged())
    rows = tuple((reader.name, reader.looks_like) for reader in readers())
    return Sheet("Evidence", (Column("name", "name"), Column("looks_like", "what it is")), shipped + rows)


def headline(summary: Summary) -> str:
    """What the evidence holds, in one line."""
    unit = "samples, counts only" if summary.counts_only else "replies"
    return (
        f"{summary.source}: {summary.questions:,} questions, {len(summary.arms)} models, "
        f"{summary.replies:,} {unit}"
    )


def summary_sheets(summary: Summary) -> tuple[Sheet, ...]:
    """Arms, tasks, and what to know before relying on them."""
    arms = Sheet("Arms", ARMS, tuple(_arm(arm) for arm in summary.arms))
    notes = tuple((str(arm.arm), note) for arm in summary.arms for note in _notes(arm))
    sheets = [arms, Sheet("To know", EXTRAS, notes)]
    if len(summary.tasks) > 1:
        sheets.insert(1, _by_task(summary))
    return tuple(sheet for sheet in sheets if sheet.rows)


def _by_task(summary: Summary) -> Sheet:
    """Mean score of arms on tasks; the more numerous of both stand below one another."""
    if len(summary.tasks) < len(summary.arms):
        heads = [right(task.task, task.task) for task in summary.tasks]
        rows = [
            (str(arm.arm), *(_number(task.scores[number]) for task in summary.tasks))
            for number, arm in enumerate(summary.arms)
        ]
        return Sheet("Mean score by task", (Column("arm", "model, format, effort"), *heads), tuple(rows))
    heads = [right(str(arm.arm), str(arm.arm)) for arm in summary.arms]
    columns = (Column("task", "task"), right("questions", "questions"), *heads)
    return Sheet(
        "Mean score by task",
        columns,
        tuple((task.task, task.questions, *map(_number, task.scores)) for task in summary.tasks),
    )


def _arm(arm: ArmSummary) -> tuple[Cell, ...]:
    low, high = arm.samples
    return (
        str(arm.arm),
        arm.questions,
        f"{low:,}" if low == high else f"{low:,} to {high:,}",
        _number(arm.score),
        _number(arm.greedy),
        _number(arm.input_tokens),
        _number(arm.made_tokens),
        _number(arm.usd),
        _number(arm.usd_per_solved),
        _number(arm.truncated),
        arm.missing,
    )


def _notes(arm: ArmSummary) -> list[str]:
    found = []
    if arm.cap:
        found.append(
            f"{arm.cap.hits:,} of {arm.cap.outputs:,} replies end at {arm.cap.tokens:,} tokens: a suspected cap"
        )
    if arm.missing:
        named = ", ".join(arm.gaps) + (", ..." if arm.missing > len(arm.gaps) else "")
        found.append(f"no reply to {arm.missing:,} questions: {named}")
    counted = (
        (arm.failed, "failed requests"),
        (arm.unscored, "replies without a score"),
        (arm.uncounted, "replies without tokens"),
        (arm.unpriced, "replies without dollars"),
    )
    found += [f"{count:,} {what}" for count, what in counted if count]
    recorded = ((arm.verdicts, "verdicts"), (arm.revisions, "revisions"))
    return found + [f"{count:,} {what} recorded" for count, what in recorded if count]


def _number(value: float) -> float | None:
    return None if isnan(value) or isinf(value) else round_significant(value)


FINDINGS = (
    Column("subject", "of"),
    Column("quantity", "quantity"),
    right("value", "value"),
    right("low", "low"),
    right("high", "high"),
    Column("note", "note"),
)


def findings_sheet(law: Law, found: Sequence[Finding]) -> Sheet:
    """What a law found; an interval that does not exist is unknown."""
    rows = tuple(
        (one.subject, one.quantity, _number(one.value), _number(one.low), _number(one.high), one.note)
        for one in found
    )
    return Sheet(f"{law.name}: {law.says}", FINDINGS, rows)


def all_findings(found: Sequence[Finding]) -> Sheet:
    """All findings in one table, the law in the first column."""
    rows = tuple(
        (
            one.law,
            one.subject,
            one.quantity,
            _number(one.value),
            _number(one.low),
            _number(one.high),
            one.note,
        )
        for one in found
    )
    return Sheet("Laws", (Column("law", "law"), *FINDINGS), rows)
