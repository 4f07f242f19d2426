"""`comptroller fit rollouts EVIDENCE --at 8`: controllers of reinforcement learning replayed on recorded samples."""

from __future__ import annotations

import json as documents
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from comptroller.cli._evidence_options import EvidenceMap
from comptroller.cli._output import check, write_all
from comptroller.errors import InputError
from comptroller.report.rollout_tables import rollout_sheets, rules_sheet
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.training.rollout_findings import RolloutQuery, rollout_findings
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import LawQuery
from comptroller.work.laws.coverage import right_counts

MEAN = 8
"""Rollouts a prompt where none is asked for, as in GRPO's first uses; twice as many need twice the samples."""


def fit_rollouts(
    evidence: tuple[str, EvidenceMap], models: Sequence[str], query: LawQuery, files: Mapping[str, Path | None],
    as_json: bool,
) -> None:  # fmt: skip
    """Replay the controllers, print and write.

    Raises:
        InputError: a picture or a page is asked for, or several means.
    """
    table = files.get("table")
    if any(files.get(name) for name in ("png", "html")):
        raise InputError("fit rollouts: a table: --table, or --json")
    if len(query.at) > 1 or any(mean < 2 for mean in query.at):
        raise InputError("fit rollouts --at: one mean number of rollouts a prompt, at least 2")
    if table:
        check(table)
    counts = right_counts(read_evidence(*evidence))
    mean = query.at[0] if query.at else MEAN
    found = rollout_findings(counts, RolloutQuery(mean, tuple(models), query.level, query.draws, query.seed))
    if table:
        make = writer_of(table)
        write_all({"table": table}, {"table": lambda: make(rules_sheet(found))})
    if as_json:
        typer.echo(documents.dumps(found.record, indent=2))
        return
    for sheet in rollout_sheets(found):
        print_sheet(sheet, console())
