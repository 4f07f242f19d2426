"""The calibration that prices a plan's steps, and what is said where it is not the one the plan was made under."""

from __future__ import annotations

from pathlib import Path

from comptroller.cli._output import say
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.facts.digests import facts_digest
from comptroller.planning.ground.plan_calibration import calibration_of_plan, other_calibration, plan_remarks
from comptroller.planning.ground.plan_document import Plan, load_plan


def plan_with_calibration(file: Path, folder: Path | None) -> tuple[Plan, TimingCalibration]:
    """A plan from its file, and a user's own calibration from its folder; without one, what the plan was priced by.

    Raises:
        FactError: the file is no plan, or the folder holds no calibration.
        InputError: the own calibration speaks of no service of the plan.
    """
    plan = load_plan(file)
    if folder is None:
        priced = calibration_of_plan(plan)
        _say([] if isinstance(priced, OwnCalibration) else [other_calibration(plan, facts_digest()[1])])
        return plan, priced
    own = OwnCalibration.of_folder(folder)
    _say([*plan_remarks(plan, own), other_calibration(plan, own.document.digest)])
    return plan, own


def _say(remarks: list[str]) -> None:
    for remark in filter(None, remarks):
        say(remark)
