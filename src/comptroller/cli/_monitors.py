"""`comptroller fit monitors CALLS`: which monitor of agents' runs would have saved what, held out by repository."""

from __future__ import annotations

import json as documents
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import typer
from rich.markup import escape

from comptroller.cli._output import check, say, write_all
from comptroller.cli._routers import PartFitOptions
from comptroller.errors import FactError, InputError, UnknownIdError
from comptroller.report.monitor_tables import monitors_sheet
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.strategies.monitor_file import RunMonitor, judge_file, plain_monitor, read_monitor, train_monitor
from comptroller.strategies.monitor_study import MOST_LOST, MonitorFinding, findings, sources_of
from comptroller.strategies.monitors import monitor
from comptroller.work.data_files import found_evidence
from comptroller.work.trajectories import AgentTrajectories
from comptroller.work.trajectory_files import read_trajectories


def fit_monitors(
    evidence: str, wish: PartFitOptions, out: Path | None, files: Mapping[str, Path | None], as_json: bool
) -> None:
    """Judge every monitor, or those of `--kind`, on the runs of a file, and print what each would have saved; write the
    one of `--kind`, fitted to all of them, which a gateway takes.

    Raises:
        InputError: an option that monitors have no use for, or runs that nobody judged.
        FactError: there is no such file, or it holds no trajectories.
    """
    most_lost = _most_lost(wish, out, files)
    table = files["table"]
    as_table = writer_of(table) if table else None
    names = _learners(wish.kinds)
    made = {name: _as_it_is(name) for name in wish.kinds if name not in names}
    for name in names:
        monitor(name)
    path = found_evidence(Path(evidence))
    if not path.is_file():
        raise FactError(evidence, "file", "is not there", "a table with one row per call of an agent")
    calls = _of_model(read_trajectories(path), wish.models)
    told = list(findings(calls, names, most_lost)) if names or not made else []
    for name, one in made.items():
        sources = sources_of(calls).items()
        shown = f"{one.kind}, {name}" if name.endswith(".json") else one.kind
        told += [replace(judge_file(one, source, runs), monitor=shown) for source, runs in sources]
    found = [one for one in told if isinstance(one, MonitorFinding)]
    refused = [one for one in told if isinstance(one, str)]
    if not found:
        raise InputError("; ".join(refused))
    if as_table:
        write_all({"table": table}, {"table": lambda: as_table(monitors_sheet(found))})
    if out:
        (source,) = _one_source(calls)
        of_models = "".join(f" --model {name}" for name in wish.models)
        about = {"command": f"comptroller fit monitors {path.name} --kind {names[0]}{of_models}", "source": source}
        train_monitor(names[0], sources_of(calls)[source], most_lost, about).save(out)
        say(f'wrote {out}; [monitors.NAME] file = "{out}" stops runs at the gateway by it')
    if as_json:
        document = {"most_lost": most_lost, "findings": [asdict(one) for one in found], "refused": refused}
        typer.echo(documents.dumps(document, indent=2, ensure_ascii=False).replace("NaN", "null"))
        return
    print_sheet(monitors_sheet(found), console())
    for reason in refused:
        console().print(f"[dim]{escape(reason)}[/]", soft_wrap=True)


def _learners(kinds: Sequence[str]) -> tuple[str, ...]:
    """Monitors that are fitted to the runs: those without a file or a threshold of their own."""
    return tuple(dict.fromkeys(name for name in kinds if not name.endswith(".json") and "=" not in name))


def _as_it_is(kind: str) -> RunMonitor:
    """The monitor of a file, or one that learns nothing with the threshold after `=`.

    Raises:
        InputError: the threshold is no number, or the monitor learns from runs.
        UnknownIdError: there is no such monitor.
    """
    if kind.endswith(".json"):
        return read_monitor(Path(kind))
    name, _, said = kind.partition("=")
    try:
        return plain_monitor(name, float(said))
    except ValueError:
        raise InputError(f"--kind {kind}: a threshold is a number, as step_budget=30") from None


def _of_model(calls: AgentTrajectories, models: Sequence[str]) -> AgentTrajectories:
    """The runs of some models; all where none is named.

    Raises:
        UnknownIdError: no run is of a model.
    """
    known = {run.model for run in calls.runs}
    for name in models:
        if name not in known:
            raise UnknownIdError("model of the runs", name, known)
    return calls.take(np.array([run.model in models for run in calls.runs])) if models else calls


def _one_source(calls: AgentTrajectories) -> tuple[str, ...]:
    sources = tuple(sources_of(calls))
    if len(sources) > 1:
        models = dict.fromkeys((run.source, run.model) for run in calls.runs)
        of = {one: " ".join(f"--model {model}" for source, model in models if source == one) for one in sources}
        each = "; ".join(f"{said} for {source}" for source, said in of.items())
        raise InputError(f"--out: a monitor learns from one source, and these runs have several; say {each}")
    return sources


def _most_lost(wish: PartFitOptions, out: Path | None, files: Mapping[str, Path | None]) -> float:
    """The share of solved runs that may be stopped, once every option is possible."""
    if files["table"]:
        check(files["table"])
    faults = [f"--{name}: monitors have no such file" for name in ("png", "html") if files[name]]
    if out:
        check(out)
        faults += [] if out.suffix == ".json" else [f"--out {out}: a monitor ends in .json"]
        faults += [] if len(_learners(wish.kinds)) == 1 else ["--out: of one --kind, which is fitted to all runs"]
    faults += ["--cost: monitors have no use for it"] if wish.cost else []
    if len(wish.samples) > 1 or any(not 0 <= percent < 100 for percent in wish.samples):
        faults.append("--at: one per cent of solved runs that may be stopped, from 0 to 99")
    if faults:
        raise InputError("; ".join(faults))
    return wish.samples[0] / 100 if wish.samples else MOST_LOST
