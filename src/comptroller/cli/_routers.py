"""`comptroller fit routers EVIDENCE --model ...`: routers among a user's own models, measured on held-out questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from rich.markup import escape

from comptroller.cli._evidence_options import EvidenceMap
from comptroller.cli._output import FileContent, check, say, write_all
from comptroller.errors import InputError
from comptroller.report import router_report as report
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.strategies.router_training import TRAINERS, TrainedRouter, train
from comptroller.strategies.routing import RoutingComparison, RoutingOutcomes, outcomes, references
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence


@dataclass(frozen=True)
class PartFitOptions:
    """What to train: names of models, kinds (of routers all that the evidence allows, if none), cost of each model.

    samples: replies behind each vote that a gate judges.  columns: of the evidence, where it is in no known format.
    """

    models: Sequence[str]
    kinds: Sequence[str]
    cost: Sequence[float]
    samples: Sequence[int]
    seed: int
    columns: EvidenceMap = None


def fit_routers(
    evidence: str, wish: PartFitOptions, out: Path | None, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Train, print held-out quality beside random and oracle, and write the one of the highest APGR.

    files: of `png`, `html` and `table`.

    Raises:
        InputError: fewer than two models, models that cost the same, or nothing to learn from.
    """
    for path in filter(None, (out, *files.values())):
        check(path)
    if out and out.suffix != ".npz":
        raise InputError(f"--out {out}: a router ends in .npz")
    as_table = writer_of(files["table"]) if files["table"] else None
    records = read_evidence(evidence, wish.columns)
    if not isinstance(records, Evidence):
        raise InputError(f"{evidence}: holds counts; routers learn from replies to questions with texts or tasks")
    arms = [records.find(name) for name in wish.models]
    recorded = outcomes(records, arms, wish.cost).cheapest_first
    lessons = _lessons(recorded, wish, f"comptroller fit routers {records.source}")
    shown = RoutingComparison(recorded.models, recorded.unit, (*(one.curve for one in lessons), *references(recorded)))
    setting = f"{len(recorded.questions):,} questions of {recorded.source}; held out, five folds by text"
    best = max(lessons, key=lambda one: one.curve.apgr if np.isfinite(one.curve.apgr) else one.curve.aiq)
    make: dict[str, Callable[[], FileContent]] = {
        "png": lambda: report.picture(shown, setting),
        "html": lambda: report.page(shown, setting),
    }
    if as_table:
        make["table"] = lambda: as_table(report.router_sheet(shown))
    write_all(files, make)
    if out:
        best.router.save(out)
        say(f"wrote {out}: {best.curve.name}; replay it with route(by={out}), roles from the cheapest on")
    if as_json:
        document = {"source": recorded.source, "models": recorded.models, "unit": recorded.unit}
        typer.echo(
            json.dumps(document | {"routers": report.router_sheet(shown).records()}, indent=2, ensure_ascii=False)
        )
        return
    print_sheet(report.router_sheet(shown), console())
    console().print(f"[dim]{escape(setting)}. {report.HINT}[/]", soft_wrap=True)


def _lessons(recorded: RoutingOutcomes, wish: PartFitOptions, command: str) -> list[TrainedRouter]:
    """One for each kind; without kinds named, of those that the questions allow."""
    words = any(question.content for question in recorded.questions)
    tasks = len({question.task for question in recorded.questions}) > 1
    able = [kind for kind in TRAINERS if (tasks if kind == "domain" else words)]
    if not able:
        raise InputError(f"{recorded.source}: neither texts nor tasks are recorded, so nothing tells questions apart")
    return [
        train(kind, recorded, {"command": command, "seed": wish.seed}, np.random.default_rng(wish.seed))
        for kind in wish.kinds or able
    ]
