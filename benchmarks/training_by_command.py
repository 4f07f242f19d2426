"""Measured training steps as `comptroller plan` prices them, beside the functions that training_accuracy.py calls.

    python benchmarks/training_by_command.py      (data at ../shared/data or COMPTROLLER_DATA)

Writes benchmarks/results/training_by_command.{md,json}. Every row of torchtitan and Megatron-Bridge becomes a workload
with its layout stated, on as many devices, and is planned as the command plans it; sharding, recomputation and the
schedule remain the plan's to choose. Where it chooses what the row ran, its step is held against that of the cost
functions with the shipped constants on the same accelerator. llm-foundry's and vTrain's models are not in the
catalogue.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict, dataclass, replace

from comptroller.costs.training_layout import LayoutGrid, PipelineSchedule
from comptroller.costs.training_pace import training_pace
from comptroller.costs.training_time import step_ingredients, training_step_time
from comptroller.costs.training_work import ForwardTable
from comptroller.errors import ComptrollerError
from comptroller.facts.accelerator import accelerator
from comptroller.training.document import parse_training
from comptroller.training.planner import plan_training
from comptroller_lab.training_rows import READERS, MeasuredStep
from energy_data import data_folder
from record import table, write

PROGRAMS = ("torchtitan", "megatron_bridge")
DEGREES = ("tp", "pp", "cp", "ep", "dp", "chunks", "micro_batch")
SAME = "the layout of the row"
OTHER = "other recomputation or sharding"
REASONS = {
    "no allowed seller": "nobody rents so many",
    "divides neither": "stages that are unequal",
    "does not divide": "a degree that does not divide",
    "GB a device": "does not fit",
}


@dataclass(frozen=True)
class CommandStep:
    """One row: what the plan did, and seconds of a step by it and by the functions."""

    program: str
    outcome: str
    planned_s: float | None = None
    function_s: float | None = None


def main() -> None:
    """Plan every row, print and write."""
    try:
        data = data_folder() / "training"
    except ComptrollerError as error:
        sys.exit(str(error))
    found = [command_step(program, step) for program in PROGRAMS for step in READERS[program](data)]
    kinds = [SAME, OTHER, *sorted({one.outcome for one in found} - {SAME, OTHER})]
    rows = []
    for program in PROGRAMS:
        here = [one for one in found if one.program == program]
        counts = Counter(one.outcome for one in here)
        off = [
            abs(one.planned_s / one.function_s - 1) for one in here if one.outcome == SAME and one.planned_s is not None
            and one.function_s is not None
        ]  # fmt: skip
        rows.append([program, str(len(here)), *(str(counts[kind]) for kind in kinds), f"{100 * max(off):.4f}"])
    text = "\n\n".join([
        "# Measured training steps by the command", table(("program", "rows", *kinds, "most difference, %"), rows),
        "The last column is of the rows that were planned in their own layout; a plan's seconds are rounded to six "
        "digits. torchtitan's pages are of an H100 of 96 GB and 500 W that no seller has: here both sides take the one "
        "of the catalogue. Without room for what a row ran, a plan computes more again.",
    ])  # fmt: skip
    print(write("training_by_command", {"rows": [asdict(one) for one in found]}, text).read_text(encoding="utf-8"))


def command_step(program: str, step: MeasuredStep) -> CommandStep:
    """One row through the command's planning and through the cost functions."""
    layout, device = step.layout, accelerator(step.job.device.id)
    run = {
        "model": step.job.model.id, "program": program, "tokens": 1e10, "seq": step.job.seq,
        "global_batch": step.global_batch, "layout": {name: getattr(layout, name) for name in DEGREES},
        "allow": {
            "accelerators": [device.id], "devices": [layout.devices],
            "precisions": [step.job.narrow.id if step.job.narrow else "bf16"],
        },
    }  # fmt: skip
    try:
        chosen = plan_training(parse_training({"name": "row", "training": run})).run
    except ComptrollerError as error:
        return CommandStep(program, next(told for word, told in REASONS.items() if word in str(error)))
    ran = (layout.sharding.name.lower(), layout.recompute.name.lower())
    own = (chosen.layout.sharding, chosen.layout.recompute)
    if own != ran or layout.schedule != PipelineSchedule.ONE_EACH:
        return CommandStep(program, OTHER)
    table_of = ForwardTable(replace(step.job, device=device))
    made = step_ingredients(table_of, LayoutGrid.of([layout]), step.global_batch)
    seconds = float(training_step_time(made, training_pace(program, device)).total_s[0])
    return CommandStep(program, SAME, chosen.step_s.value, seconds)


if __name__ == "__main__":
    main()
