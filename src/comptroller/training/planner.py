"""`plan_training`: the cheapest way to make a training run within its limits, with the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comptroller.errors import InfeasibleError
from comptroller.facts.training import training_calibration
from comptroller.quantities import DAY_S, HOUR_S
from comptroller.training.compute_register import RegisteredRun, compute_register
from comptroller.training.data_reports import data_reports
from comptroller.training.document import MOST_DEVICES, TrainingWorkload
from comptroller.training.figures import document_of
from comptroller.training.model_choice import cheapest_of_models
from comptroller.training.options import TrainingField, TrainingOption, field_of
from comptroller.training.plan_document import TrainingPlan, TrainingRival, TrainingRunDocument
from comptroller.training.plan_parts import adapter_words, plan_notes, plan_stages
from comptroller.training.prices import deadline_prices
from comptroller.training.register_document import ComputeRegister
from comptroller.training.tokens import run_tokens
from comptroller.work.documents import digest

MOST_RIVALS = 6
"""Rivals that a plan shows; twice as many fill a page."""

Pair = tuple[TrainingOption, TrainingRunDocument]


def plan_training(workload: TrainingWorkload) -> TrainingPlan:
    """Plan a training run.

    Raises:
        InfeasibleError: nothing meets the limits; says the least time or cost and what binds.
        InputError: as `field_of`.
        UnsupportedError: as `run_tokens` and `data_reports`.
    """
    run = workload.training
    if run.models:
        return cheapest_of_models(workload, plan_training)
    model = workload.library.model(run.model)
    tokens, source = run_tokens(run, model, workload.base)
    field = field_of(workload)
    if not field.options:
        raise InfeasibleError(f"{run.model}: nothing can train it: " + "; ".join(field.refused))
    made = _with_finer_counts([(one, document_of(one, workload, tokens)) for one in field.options], workload, tokens)
    allowed = [pair for pair in made if meets(pair[1], workload)]
    if not allowed:
        raise InfeasibleError(_why_infeasible(made, workload))
    best = min(allowed, key=lambda pair: _order(pair[1], workload))
    program, data = training_calibration().program(run.program), data_reports(best[0], workload, tokens)
    return TrainingPlan(
        name=workload.name,
        objective=str(workload.objective),
        model=run.model,
        parameters=model.total_params,
        active_parameters=model.active_params,
        tokens=tokens,
        tokens_source=source,
        seq=run.seq,
        global_batch=run.global_batch,
        program=run.program,
        program_error=program.mape,
        flops=best[0].job.flops_per_token() * tokens,
        run=best[1],
        rivals=_rivals(made, best, workload),
        by_count=_by_count(made, best),
        shadow_prices=deadline_prices([document for _, document in made], best[1], workload),
        refused=field.refused,
        notes=(*data.sentences, *plan_notes(best[0], workload)),
        tried=field.tried,
        fitting=field.fitting,
        digests=_digests(workload, best[0]),
        compute=_compute(best, workload, tokens),
        adapter=adapter_words(best[0]),
        stages=plan_stages(best[0], workload),
        compiled_loss=run.compiled_loss,
        experts=run.experts,
        trained_adapter=run.adapter,
        offload=run.offload.words if run.offload else "",
        offload_place=run.offload,
        packing=data.packing,
        generation=data.generation,
        replay=data.replay,
    )


def _compute(best: Pair, workload: TrainingWorkload, tokens: float) -> ComputeRegister:
    option, document = best
    device_s = document.devices * document.wall_s.value
    stated = workload.training.compute
    return compute_register(RegisteredRun(option.job, tokens, document.devices, device_s, stated))


def objective_of(document: TrainingRunDocument, workload: TrainingWorkload) -> float:
    """What the workload spends least of."""
    return float(getattr(document, str(workload.objective)).value)


def meets(document: TrainingRunDocument, workload: TrainingWorkload) -> bool:
    """Whether a run keeps deadline and budget."""
    run = workload.training
    in_time = run.deadline is None or document.wall_s.value <= run.deadline.max_s
    return in_time and (run.budget is None or document.usd.value <= run.budget.max_usd)


def _order(document: TrainingRunDocument, workload: TrainingWorkload) -> tuple[float, ...]:
    return (round(objective_of(document, workload), 2), document.devices, document.wall_s.value)


def _with_finer_counts(made: Sequence[Pair], workload: TrainingWorkload, tokens: float) -> list[Pair]:
    """The ways, with numbers of devices between two powers of two where the limits fall between them."""
    run = workload.training
    if run.allow.devices or (run.deadline is None and run.budget is None):
        return list(made)
    allowed = [pair for pair in made if meets(pair[1], workload)]
    if not allowed:
        return list(made)
    best = min(allowed, key=lambda pair: _order(pair[1], workload))
    least, step = best[0].devices // 2, max(1, best[0].devices // 16)
    between = tuple(range(least + step, best[0].devices, step))
    allow = run.allow.model_copy(update={
        "devices": between, "accelerators": (best[0].job.device.id,), "sites": (best[0].site.id,),
        "precisions": (best[0].precision,),
    })  # fmt: skip
    finer = workload.model_copy(update={"training": run.model_copy(update={"allow": allow})})
    more = field_of(finer) if between else TrainingField((), (), 0, 0)
    return [*made, *((one, document_of(one, workload, tokens)) for one in more.options)]


def _why_infeasible(made: Sequence[Pair], workload: TrainingWorkload) -> str:
    run = workload.training
    parts = []
    if run.deadline is not None:
        quick = min(made, key=lambda pair: pair[1].wall_s.value)[1]
        if quick.wall_s.value > run.deadline.max_s:
            parts.append(
                f"no count meets the deadline of {_days(run.deadline.max_s)}: the least time is "
                f"{_days(quick.wall_s.value)}, with {quick.devices} x {quick.accelerator} in {quick.precision} at "
                f"{quick.site} for ${quick.usd.value:,.0f}; what binds: {_binds(quick, made, workload)}"
            )
    if run.budget is not None:
        cheap = min(made, key=lambda pair: pair[1].usd.value)[1]
        if cheap.usd.value > run.budget.max_usd:
            parts.append(
                f"nothing costs at most ${run.budget.max_usd:,.0f}: the least is ${cheap.usd.value:,.0f}, with "
                f"{cheap.devices} x {cheap.accelerator} in {cheap.precision} at {cheap.site} in "
                f"{_days(cheap.wall_s.value)}"
            )
    if not parts:
        both = min(made, key=lambda pair: (not _in_time(pair[1], workload), pair[1].usd.value))[1]
        parts.append(
            f"deadline and budget cannot both be kept: within {_days(run.deadline.max_s if run.deadline else 0)} the "
            f"least cost is ${both.usd.value:,.0f}"
        )
    return f"{workload.name}: " + "; ".join(parts)


def _in_time(document: TrainingRunDocument, workload: TrainingWorkload) -> bool:
    deadline = workload.training.deadline
    return deadline is None or document.wall_s.value <= deadline.max_s


def _binds(quick: TrainingRunDocument, made: Iterable[Pair], workload: TrainingWorkload) -> str:
    run = workload.training
    if run.allow.devices:
        return f"training.allow.devices, at most {max(run.allow.devices)}"
    if quick.accelerator in run.caps and 2 * quick.devices > run.caps[quick.accelerator]:
        return f"the cap of {run.caps[quick.accelerator]} {quick.accelerator}"
    if quick.accelerator not in run.caps and 2 * quick.devices > MOST_DEVICES:
        return f"{MOST_DEVICES:,} devices, the most that are tried unless training.caps states more"
    most = max(pair[1].devices for pair in made if pair[1].accelerator == quick.accelerator)
    if most > quick.devices:
        return f"{run.global_batch} sequences of a step, over which more devices are slower"
    return f"{run.global_batch} sequences of a step: no layout on more devices divides them"


def _days(seconds: float) -> str:
    if seconds < HOUR_S:
        return f"{seconds:,.3g} s"
    return f"{seconds / DAY_S:,.1f} days" if seconds >= DAY_S else f"{seconds / HOUR_S:,.1f} h"


def _rivals(made: Sequence[Pair], best: Pair, workload: TrainingWorkload) -> tuple[TrainingRival, ...]:
    """The best of every other accelerator, precision and site, in the order of what they miss and cost."""
    kinds: dict[tuple[str, str, str], TrainingRunDocument] = {}
    for _, document in made:
        key = (document.accelerator, document.precision, document.site)
        held = kinds.get(key)
        if held is None or _rank(document, workload) < _rank(held, workload):
            kinds[key] = document
    kinds.pop((best[1].accelerator, best[1].precision, best[1].site))
    ordered = sorted(kinds.values(), key=lambda document: _rank(document, workload))[:MOST_RIVALS]
    return tuple(TrainingRival(run=one, why=_why_lost(one, best[1], workload)) for one in ordered)


def _rank(document: TrainingRunDocument, workload: TrainingWorkload) -> tuple[float, ...]:
    return (float(not meets(document, workload)), *_order(document, workload))


def _why_lost(document: TrainingRunDocument, best: TrainingRunDocument, workload: TrainingWorkload) -> str:
    run, parts = workload.training, []
    if not _in_time(document, workload) and run.deadline is not None:
        parts.append(f"{_days(document.wall_s.value - run.deadline.max_s)} late at its best count within the limits")
    if run.budget is not None and document.usd.value > run.budget.max_usd:
        parts.append(f"${document.usd.value - run.budget.max_usd:,.0f} over the budget")
    ratio = objective_of(document, workload) / objective_of(best, workload)
    parts.append(f"{ratio:.2f} times the {workload.objective}")
    if document.mfu < best.mfu:
        parts.append(f"MFU {document.mfu:.0%} for {best.mfu:.0%}")
    return "; ".join(parts)


def _by_count(made: Sequence[Pair], best: Pair) -> tuple[TrainingRunDocument, ...]:
    """The chosen accelerator, precision and site with every number of devices."""
    key = (best[1].accelerator, best[1].precision, best[1].site, best[1].term)
    same = [doc for _, doc in made if (doc.accelerator, doc.precision, doc.site, doc.term) == key]
    return tuple(sorted({doc.devices: doc for doc in same}.values(), key=lambda doc: doc.devices))


def _digests(workload: TrainingWorkload, option: TrainingOption) -> dict[str, str]:
    kinds = (("models", workload.training.model), ("accelerators", option.job.device.id), ("sites", option.site.id))
    facts = {f"{kind}/{name}": workload.library.entry(kind, name).digest[:16] for kind, name in kinds}
    return {
        "workload": digest(workload.model_dump(mode="json")),
        "calibration": str(training_calibration().date),
        **facts,
    }
