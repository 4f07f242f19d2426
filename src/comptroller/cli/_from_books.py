"""`comptroller plan --from-books BOOKS`: last month's calls are the trace, the evidence and the calibration."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.books.query import LedgerScope
from comptroller.books.traffic import LedgerTraffic, traffic
from comptroller.cli._books_input import BooksOptions
from comptroller.cli._books_options import open_books
from comptroller.cli._calibration import CalibrationRequest, fit_calibration
from comptroller.cli._measure_serving import planned_statement
from comptroller.errors import InputError
from comptroller.gateway.plan_drift import digest_of
from comptroller.measure.run_observations import NOTHING_STATED, FactLookup
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.report.terminal import note_console
from comptroller.work.trace import RequestTrace
from comptroller.work.traces.plain import write
from comptroller.work.workload import Workload

Say = Callable[[str], None]

DAYS = 30
"""Days of the books that are taken where none are named: a month, with its week-ends. At twice it a plan follows a
change of the load a month later."""
FEWEST = 100
"""Timed calls of a service below which it is not calibrated by its log: four windows of `measure.request_log`, of which
one is held out. At half of them the error after the fit is that of one window."""


def workload_from_books(asked: Workload, given: BooksOptions) -> Workload:
    """A workload with the books' calls as its trace, their scored answers as its evidence, and their times as its
    calibration.

    Raises:
        InputError: there are no books, or no calls in that time.
    """
    plan = load_plan(given.served) if given.served else None
    since = given.since or datetime.now(UTC).date() - timedelta(DAYS)
    with open_books(given.where) as ledger:
        told = traffic(ledger, LedgerScope(since, given.until), digest_of(plan) if plan else "")
    if len(told.trace) < 2:
        of = f" of {given.served}" if given.served else ""
        raise InputError(f"{given.where}: fewer than two calls{of} with known tokens since {since}")
    given.folder.mkdir(parents=True, exist_ok=True)
    words = note_console()

    def say(text: str) -> None:
        words.print(f"[dim]{text}[/]", soft_wrap=True)

    changed = _with_traffic(asked, told, given.folder, say)
    if plan is None:
        return changed
    base = Path(asked.calibration) if asked.calibration else None
    for service in plan.services:
        if (log := _log_of(told, service, say)) is not None:
            base = _calibration(log, (plan, service), given.folder, base)
    return changed.model_copy(update={"calibration": str(base) if base else None})


def _with_traffic(asked: Workload, told: LedgerTraffic, folder: Path, say: Say) -> Workload:
    file = folder / "trace.csv"
    write(replace(told.trace, measured=None), file)
    left = f"; {told.unknown:,} without known tokens are not in it" if told.unknown else ""
    say(f"{file}: {len(told.trace):,} calls over {told.trace.span_s / 3600:.4g} h{left}")
    stated = ("use_case", "users", "requests_per_user_per_day", "tokens_per_day", "busiest_hour_share", "cv", "part")
    update: dict[str, Any] = dict.fromkeys(stated)
    if asked.quality is None:
        update |= {"trace": str(file), "rate_per_s": None, "lengths": None, "columns": type(asked.columns)()}
        return asked.model_copy(update=update)
    update |= {"trace": None, "rate_per_s": told.requests_per_s}
    if told.answers:
        evidence = folder / "evidence.csv"
        _write_answers(told, evidence)
        say(f"{evidence}: {len(told.answers):,} scored answers")
        update["quality"] = asked.quality.model_copy(update={"evidence": str(evidence), "map": {}})
    return asked.model_copy(update=update)


def _write_answers(told: LedgerTraffic, file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(told.answers[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(told.answers)


def _log_of(told: LedgerTraffic, service: ServiceDocument, say: Say) -> RequestTrace | None:
    """The log of a service that is one replica, with enough times; which of several answered, the books do not say."""
    log, pools = told.logs.get(service.id), service.deployment.pools
    timed = 0 if log is None or log.measured is None else int(np.isfinite(log.measured.ttft_s).sum())
    replicas = sum(pool.replicas for pool in pools)
    if timed >= FEWEST and replicas == 1:
        return log
    why = f"{timed} timed calls where {FEWEST} are needed" if timed < FEWEST else f"it was {replicas} replicas"
    say(f"{service.id} keeps its calibration: {why}")
    return None


def calibration_request(
    log: RequestTrace, served: tuple[Plan, ServiceDocument], folder: Path, base: Path | None
) -> CalibrationRequest:
    """What is fitted: the log of a service, written into a folder, under what its plan states of the server."""
    plan, service = served
    file = folder / f"{service.id.replace('/', '_')}.csv"
    write(log, file)
    statement = planned_statement(service, NOTHING_STATED)
    return CalibrationRequest([file], "", statement, base, FactLookup.of(plan.library))


def _calibration(log: RequestTrace, served: tuple[Plan, ServiceDocument], folder: Path, base: Path | None) -> Path:
    """Folder of a calibration by a service's log, upon those of the services before it."""
    made = folder / "calibration"
    fit_calibration(calibration_request(log, served, folder, base), made, False, note_console())
    return made
