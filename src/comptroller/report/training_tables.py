"""Tables of a plan of training: the run, its step and memory by part, counts, rivals, what limits cost."""

from __future__ import annotations

from collections.abc import Callable

from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.quantities import DAY_S, HOUR_S, KWH_J
from comptroller.report.figures import dollars, number, tokens_text
from comptroller.report.register_tables import register_sheets
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.training.plan_document import (
    StageMemoryDocument,
    TrainingLayoutDocument,
    TrainingModelRival,
    TrainingPlan,
    TrainingRival,
    TrainingRunDocument,
    TrainingShadowPrice,
)
from comptroller.training.stages import PART_NAMES

SHARDINGS = {"none": "", "optimizer": "ZeRO-1", "gradients": "ZeRO-2", "full": "ZeRO-3 / FSDP"}
"""Sharding -> its usual name."""


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(5400.0), duration(864000.0)
    ('1.5 h', '10 days')
    """
    return f"{number(seconds / DAY_S)} days" if seconds >= DAY_S else f"{number(seconds / HOUR_S)} h"


def layout_text(layout: TrainingLayoutDocument) -> str:
    """A layout in one line."""
    degrees = [f"{name}{getattr(layout, name)}" for name in ("dp", "tp", "pp", "cp", "ep")]
    shown = [text for text in degrees if not text.endswith("p1")] or ["dp1"]
    shown += [f"v{layout.chunks}"] if layout.chunks > 1 else []
    return "-".join(shown)


def headline(plan: TrainingPlan) -> str:
    """The answer in one line."""
    run = plan.run
    return (
        f"{run.devices:,} x {run.accelerator} at {run.site} in {run.precision}, {layout_text(run.layout)}: "
        f"{duration(run.wall_s.value)}, {dollars(run.usd.value)}"
    )


def goal(plan: TrainingPlan) -> str:
    """What was asked for."""
    return (
        f"{plan.model} ({plan.parameters / 1e9:,.1f} B, {plan.active_parameters / 1e9:,.1f} B active) on "
        f"{tokens_text(plan.tokens)} ({plan.tokens_source}), {plan.global_batch:,} sequences of {plan.seq:,} a "
        f"step; {plan.flops:.3g} FLOP; least {plan.objective}"
    )


def layout_sentence(plan: TrainingPlan) -> str:
    """How a step is made."""
    layout = plan.run.layout
    words = [f"{layout.accumulation} microbatches of {layout.micro_batch}", SHARDINGS[layout.sharding]]
    words += [f"recomputation {layout.recompute}"] if layout.recompute != "none" else ["nothing computed again"]
    words += [f"{plan.run.swapped_share:.0%} of activations swapped instead"] if plan.run.swapped_share else []
    words += [one for one in (plan.adapter, plan.offload) if one]
    words += [f"schedule {layout.schedule}"] if layout.schedule else []
    return "; ".join(filter(None, words))


def _between(figure: PredictedFigure, scale: float) -> str:
    low, high = figure.low, figure.high
    return "" if low is None or high is None else f"{number(low / scale)} to {number(high / scale)}"


def totals(plan: TrainingPlan) -> ReportSheet:
    """What the run takes, with 80 % intervals."""
    run = plan.run
    rows = (
        ("time", number(run.wall_s.value / DAY_S), _between(run.wall_s, DAY_S), "days"),
        ("cost", number(run.usd.value), _between(run.usd, 1.0), "USD"),
        ("rent", number(run.usd_per_h), "", "USD/h"),
        ("energy", number(run.j.value / KWH_J / 1e3), _between(run.j, KWH_J * 1e3), "MWh at the meter"),
        ("emissions", number(run.gco2e.value / 1e6), _between(run.gco2e, 1e6), "tCO2e"),
        ("step", number(run.step_s.value), _between(run.step_s, 1.0), "s"),
        ("steps", f"{run.steps:,}", "", ""),
        ("tokens", number(run.tokens_per_s), "", "1/s"),
        ("MFU", f"{run.mfu:.1%}", "", "6 N and attention over the dense peak"),
        ("HFU", f"{run.hfu:.1%}", "", "with what is computed again"),
        ("power", number(run.mean_device_w), "", "W a device, mean of a step"),
        ("checkpoint every", number(run.checkpoints.interval_s / 60), "", "min of computing"),
        ("checkpoint", number(run.checkpoints.write_s), "", f"s to write {run.checkpoints.bytes / 1e9:,.0f} GB"),
        ("fault every", number(run.checkpoints.faults_s / HOUR_S), "", "h"),
        ("goodput", f"{run.checkpoints.goodput:.1%}", "", "of the time training advances"),
    )
    columns = (left("what"), right("value"), left("interval", "80 %"), left("unit", ""))
    return ReportSheet("What it takes", columns, rows)


def step_sheet(plan: TrainingPlan) -> ReportSheet:
    """Seconds of a step by part."""
    total = plan.run.step_s.value
    items = sorted(plan.run.step_parts_s.items(), key=lambda item: -item[1])
    rows = tuple((name, value, f"{value / total:.1%}") for name, value in items)
    return ReportSheet("A step", (left("part"), right("s"), right("share", "of it")), rows)


def memory_sheet(plan: TrainingPlan) -> ReportSheet:
    """Memory of the fullest device by part."""
    rows = tuple((PART_NAMES.get(name, name), value / 1e9) for name, value in plan.run.memory_bytes.items() if value)
    limit = (("may take", plan.run.memory_limit_bytes / 1e9),)
    return ReportSheet("Memory of the fullest device", (left("part"), right("gb", "GB")), rows + limit)


def stages_sheet(plan: TrainingPlan) -> ReportSheet:
    """Memory of every stage by part."""
    names = list(dict.fromkeys(name for stage in plan.stages for name in stage.memory_bytes))

    def part(name: str) -> Callable[[StageMemoryDocument], float]:
        return lambda stage: stage.memory_bytes.get(name, 0.0) / 1e9

    columns: SheetColumns[StageMemoryDocument] = (
        left("stage", "stage", _stage_text),
        right("microbatches", "microbatches", lambda stage: stage.microbatches),
        *(right(name, PART_NAMES.get(name, name), part(name)) for name in names),
        right("total", "total, GB", lambda stage: stage.total_bytes / 1e9),
    )
    return ReportSheet.of("Memory by stage, GB", columns, plan.stages if len(plan.stages) > 1 else ())


def _stage_text(stage: StageMemoryDocument) -> str:
    return f"{stage.first + 1}" if stage.first == stage.last else f"{stage.first + 1} to {stage.last + 1}"


RUN_COLUMNS: SheetColumns[TrainingRunDocument] = (
    right("devices", "devices", lambda run: run.devices),
    left("layout", "layout", lambda run: layout_text(run.layout)),
    right("micro_batch", "micro-batch", lambda run: run.layout.micro_batch),
    left("recompute", "recompute", lambda run: run.layout.recompute),
    right("step_s", "step, s", lambda run: run.step_s.value),
    right("mfu_pct", "MFU, %", lambda run: 100 * run.mfu),
    right("days", "days", lambda run: run.wall_s.value / DAY_S),
    right("usd", "USD", lambda run: run.usd.value),
)


def counts_sheet(plan: TrainingPlan) -> ReportSheet:
    """The chosen accelerator with every number of devices."""
    return ReportSheet.of("By number of devices", RUN_COLUMNS, plan.by_count)


def rivals_sheet(plan: TrainingPlan) -> ReportSheet:
    """Runners-up, and why they lost."""

    def run(rival: TrainingRival) -> TrainingRunDocument:
        return rival.run

    columns: SheetColumns[TrainingRival] = (
        left("accelerator", "accelerator", lambda rival: run(rival).accelerator),
        left("precision", "precision", lambda rival: run(rival).precision),
        left("site", "site", lambda rival: run(rival).site),
        right("devices", "devices", lambda rival: run(rival).devices),
        left("layout", "layout", lambda rival: layout_text(run(rival).layout)),
        right("days", "days", lambda rival: run(rival).wall_s.value / DAY_S),
        right("usd", "USD", lambda rival: run(rival).usd.value),
        left("why", "why it lost", lambda rival: rival.why),
    )
    return ReportSheet.of("Runners-up", columns, plan.rivals)


def models_sheet(plan: TrainingPlan) -> ReportSheet:
    """Other models that were asked about, and why they lost."""

    def of_run(told: Callable[[TrainingRunDocument], str | float]) -> Callable[[TrainingModelRival], str | float]:
        return lambda rival: "–" if rival.run is None else told(rival.run)

    columns: SheetColumns[TrainingModelRival] = (
        left("model", "model", lambda rival: rival.model),
        right("tokens", "tokens", lambda rival: "–" if rival.tokens is None else f"{rival.tokens:.3g}"),
        left("accelerator", "accelerator", of_run(lambda run: run.accelerator)),
        right("devices", "devices", of_run(lambda run: run.devices)),
        right("days", "days", of_run(lambda run: run.wall_s.value / DAY_S)),
        right("usd", "USD", of_run(lambda run: run.usd.value)),
        left("why", "why it lost", lambda rival: rival.why),
    )
    return ReportSheet.of("Other models", columns, plan.models)


def prices_sheet(plan: TrainingPlan) -> ReportSheet:
    """What limits cost."""

    def change(price: TrainingShadowPrice) -> str:
        return f"{number(price.per_unit)} {price.unit}"

    columns = (left("limit"), left("change", "price", change), left("note", "where the choice changes"))
    return ReportSheet.of("What limits cost", columns, plan.shadow_prices)


def sheets(plan: TrainingPlan) -> tuple[ReportSheet, ...]:
    """All tables of a plan, in the order of reading."""
    made = (totals, step_sheet, memory_sheet, stages_sheet, counts_sheet, models_sheet, rivals_sheet, prices_sheet)
    rules = register_sheets(plan.compute) if plan.compute else ()
    return tuple(sheet for sheet in (*(make(plan) for make in made), *rules) if sheet.rows)


def error_sentence(plan: TrainingPlan) -> str:
    """How far the steps of the program are predicted."""
    return (
        f"steps by the constants of {plan.program}: mean error {plan.program_error:.1%} on groups left out of the fit; "
        f"{plan.tried:,} layouts divide, {plan.fitting:,} fit into memory"
    )
