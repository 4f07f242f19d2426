"""`comptroller fit gates EVIDENCE --kind question --out mine.json`: a gate trained on a user's own evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import typer

from comptroller.cli._monitors import fit_monitors
from comptroller.cli._output import check, say, write_all
from comptroller.cli._routers import PartFitOptions, fit_routers
from comptroller.errors import InputError
from comptroller.report.gate_report import gate_sheet, threshold_sheet
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.strategies.gate_training import GATES, train_gate
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence

__all__ = ["PARTS", "PartFitOptions"]


def fit_gates(
    evidence: str, wish: PartFitOptions, out: Path | None, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Train a gate, print its held-out quality and what its thresholds let pass, and write it.

    Raises:
        InputError: no or several models or kinds, no text of questions, too few of them, or one outcome alone.
    """
    kind, samples = _kind_and_samples(wish, out, files)
    table = files["table"]
    as_table = writer_of(table) if table else None
    records = read_evidence(evidence, wish.columns)
    if not isinstance(records, Evidence):
        raise InputError(f"{evidence}: holds counts; gates learn from replies")
    if not wish.models and len(records.arms) > 1:
        raise InputError(f"--model: whose success? recorded: {', '.join(map(str, records.arms))}")
    arm = records.find(wish.models[0]) if wish.models else records.arms[0]
    command = {"command": f"comptroller fit gates {records.source}"}
    gate = train_gate(kind, records, arm, samples, command, wish.seed)
    if as_table:
        write_all({"table": table}, {"table": lambda: as_table(threshold_sheet(gate))})
    if out:
        gate.part.save(out)
        say(f"wrote {out}; replay it with {GATES[kind].strategy}(by={out})")
    if as_json:
        settings = [one._asdict() for one in gate.thresholds]
        document = {"gate": kind, "caution": gate.caution, "thresholds": settings, "part": asdict(gate.part)}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False).replace("NaN", "null"))
        return
    print_sheet(gate_sheet(gate), console())
    print_sheet(threshold_sheet(gate), console())
    if gate.caution:
        console().print(f"[yellow]{gate.caution}[/]")


def _kind_and_samples(wish: PartFitOptions, out: Path | None, files: Mapping[str, Path | None]) -> tuple[str, int]:
    """The kind of gate and the samples of its votes, once every option is possible."""
    table = files["table"]
    for path in filter(None, (out, table)):
        check(path)
    faults = ["--cost: a gate is of one model"] if wish.cost else []
    faults += [f"--{name}: a gate has no such file" for name in ("png", "html") if files[name]]
    if out and out.suffix != ".json":
        faults.append(f"--out {out}: a gate ends in .json")
    if len(wish.kinds) != 1:
        faults.append("--kind: one of question (for difficulty_gate) and reply (for cascade)")
    if len(wish.models) > 1:
        faults.append(f"--model: a gate is of one model, not {len(wish.models)}")
    if len(wish.samples) > 1 or any(count < 1 for count in wish.samples):
        faults.append("--at: one number of samples behind each vote, from 1 up")
    if faults:
        raise InputError("; ".join(faults))
    return wish.kinds[0], next(iter(wish.samples), 1)


PARTS = {"routers": fit_routers, "gates": fit_gates, "monitors": fit_monitors}
"""What trains the parts of strategies, by subject of `comptroller fit`."""
