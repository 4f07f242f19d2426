"""The work of `comptroller plan`: the answer is printed as soon as it is known, its reasons as they come."""

from __future__ import annotations

import json as documents
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from comptroller.cli._executor import executor_of
from comptroller.cli._export import wishes, write_exports
from comptroller.cli._output import write_all
from comptroller.cli._progress import ProgressBar
from comptroller.cli._today import comparison_with_today, todays_fleet
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import PlanDepth, plan_in_parts, why_not
from comptroller.planning.reasons.against import FleetComparison
from comptroller.planning.reasons.current_fleet import CurrentFleet
from comptroller.report.plan_page import page, picture
from comptroller.report.plan_tables import explanations
from comptroller.report.terminal import PlanPrinter, console, print_sheet
from comptroller.work.workload import Workload

EVALUATING = "evaluating deployments"


@dataclass(frozen=True)
class PlanOutput:
    """What is told of a plan, and where. paths: by kind of file.  exports: targets with their folders."""

    json: bool
    quick: bool
    paths: Mapping[str, Path | None]
    today: CurrentFleet | None
    exports: Sequence[tuple[str, Path]]

    @property
    def depth(self) -> PlanDepth:
        """How far the plan is worked out: the frontier is shown by documents and pages alone."""
        if self.quick:
            return PlanDepth.ANSWER
        return PlanDepth.FRONTIER if self.json or any(self.paths.values()) else PlanDepth.REASONS


def things_beside(
    export: list[str] | None, against: Path | None, moving_usd: float | None
) -> tuple[list[tuple[str, Path]], CurrentFleet | None]:
    """Targets with their folders, and the fleet of today.

    Raises:
        InputError, FactError: as `wishes` and `todays_fleet`.
    """
    return wishes(export), todays_fleet(against, moving_usd)


def tell_plan(asked: Workload, worked_on: tuple[str, bool], output: PlanOutput) -> None:
    """Plan, print and write. worked_on: the name of an executor, and whether finished parts are kept."""
    printer = PlanPrinter(console())
    comparison: FleetComparison | None = None
    found: Plan | None = None
    with ProgressBar(EVALUATING, "") as bar, executor_of(asked, *worked_on) as executor:
        for part in plan_in_parts(asked, progress=bar, executor=executor, depth=output.depth):
            if found is None and output.today is not None:
                comparison = comparison_with_today(asked, part, output.today)
            found = part
            if not output.json:
                with bar.aside():
                    printer.print(found, comparison)
    assert found is not None
    if not output.json:
        printer.end()
    _write_files(found, comparison, output.paths)
    write_exports(found, output.exports)
    if output.json:
        typer.echo(_document(found, comparison), nl=False)


def explain_choices(asked: Workload, wanted: list[str], json: bool) -> None:
    """Say why each choice was not made."""
    with ProgressBar(EVALUATING, "solving for each choice") as bar:
        answers = why_not(asked, wanted, progress=bar)
    if json:
        typer.echo(documents.dumps([asdict(each) for each in answers], indent=2, ensure_ascii=False))
    else:
        print_sheet(explanations(answers), console())


def _write_files(found: Plan, comparison: FleetComparison | None, paths: Mapping[str, Path | None]) -> None:
    write_all(paths, {"json": found.to_json, "html": lambda: page(found, comparison), "png": lambda: picture(found)})


def _document(fleet_plan: Plan, comparison: FleetComparison | None) -> str:
    if comparison is None:
        return fleet_plan.to_json()
    both = {"plan": fleet_plan.model_dump(mode="json"), "against": asdict(comparison)}
    return documents.dumps(both, indent=2, ensure_ascii=False) + "\n"
