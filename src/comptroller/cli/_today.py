"""The fleet of today beside a plan, for `comptroller plan --against`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from comptroller.cli._launch_options import LaunchOptions
from comptroller.cli._output import say
from comptroller.costs.own_calibration import outside_remarks
from comptroller.errors import InputError
from comptroller.facts.site import Term
from comptroller.launch import lines_of_manifest, starts
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.offer.space import goal_of
from comptroller.planning.planner import calibration_of
from comptroller.planning.reasons.against import FleetComparison, compare
from comptroller.planning.reasons.current_fleet import CurrentFleet, deployment_of, load_current
from comptroller.planning.reasons.launch_fleet import LaunchPlace, fleet_of_lines
from comptroller.work.workload import Workload


def todays_fleet(file: Path | None, moving_usd: float | None) -> CurrentFleet | None:
    """The fleet of a file, from which a move costs so many dollars beside rent; None without a file.

    Raises:
        FactError: the file is malformed.
        InputError: dollars without a file, or no amount.
    """
    if file is None:
        if moving_usd is not None:
            raise InputError("--moving-usd goes with --against")
        return None
    today = load_current(file)
    return today if moving_usd is None else today.with_moving_usd(moving_usd)


def fleet_from_launch(asked: LaunchOptions, workload: Workload, moving_usd: float | None) -> CurrentFleet:
    """The fleet that lines start; how they were read is said beside. moving_usd: of a move, beside rent.

    Raises:
        InputError: a line cannot be read, or it is not known where it runs.
    """
    terms = ", ".join(get_args(Term))
    if asked.term not in get_args(Term):
        raise InputError(f"--launch-term {asked.term}: allowed are {terms}")
    allowed = workload.allow.accelerators
    on = asked.on or (allowed[0] if len(allowed) == 1 else "")
    at = asked.at or next(iter(workload.allow.sites), "")
    if not at:
        raise InputError("a launch line does not say where it runs: --launch-at SITE")
    place = LaunchPlace(on, at, cast(Term, asked.term), asked.replicas)
    lines, unread = _lines(asked.lines, asked.replicas)
    try:
        reading = fleet_of_lines(lines, place)
    except InputError as error:
        if lines[0][3] == asked.lines:
            raise
        raise InputError(f"--from-launch {asked.lines}: {error}") from error
    for remark in (*unread, *reading.remarks):
        say(remark)
    return reading.fleet if moving_usd is None else reading.fleet.with_moving_usd(moving_usd)


def _lines(text: str, replicas: int) -> tuple[Sequence[tuple[str, int, str, str]], Sequence[str]]:
    """Lines of a text: its own, those of a file, or those of manifests; and what of them was not read.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(text)
    if " " in text or not path.suffix:
        return [("", replicas, "", text)], ()
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--from-launch {text}: {error}") from error
    if path.suffix in {".yaml", ".yml", ".json"}:
        found = lines_of_manifest(_documents(path, content))
        return found.lines, found.remarks
    joined = content.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    known = [line for line in lines if starts(line)]
    if not known and len(lines) != 1:
        raise InputError(f"--from-launch {text}: none of its {len(lines)} lines starts an engine that is known")
    others = [f"not read: {line.strip()[:80]}" for line in lines if line not in known]
    return [(path.stem, replicas, "", line) for line in known or lines], others if known else ()


def _documents(path: Path, content: str) -> list[Any]:
    """The objects of a manifest.

    Raises:
        InputError: it is not readable, or YAML without a reader of it.
    """
    if path.suffix == ".json":
        try:
            return [json.loads(content)]
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    try:
        import yaml
    except ImportError as error:
        raise InputError(f"{path}: pip install pyyaml, or name what `kubectl get -o json` writes") from error
    try:
        return list(yaml.safe_load_all(content))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error


def comparison_with_today(asked: Workload, fleet_plan: Plan, today: CurrentFleet) -> FleetComparison:
    """The fleet of today beside a plan for the same workload.

    Raises:
        UnsupportedError: a service of it has no price, does not fit or cannot run.
    """
    problem, priced = (traffic_of(asked), goal_of(asked)), calibration_of(asked)
    runs = (deployment_of(service, today.library) for service in today.services)
    for remark in outside_remarks(priced, ((one.id, one.replica) for one in runs)):
        say(remark)
    return compare(today, fleet_plan.services, fleet_plan.totals.usd_per_h.value, problem, priced)
