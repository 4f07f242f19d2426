"""What packed documents cost the plan of a run, with and without attention servers."""

from __future__ import annotations

from dataclasses import replace

from comptroller.costs.training_pace import memory_habits, training_pace
from comptroller.costs.training_work import ForwardTable
from comptroller.training.document import TrainingWorkload
from comptroller.training.options import TrainingOption, question
from comptroller.training.programs import reach_of
from comptroller.training.search import fastest
from comptroller.training.stated_documents import PackingReport


def packing_report(option: TrainingOption, workload: TrainingWorkload) -> PackingReport | None:
    """The report of a choice; `None` where sequences are whole documents."""
    job, layout = option.job, option.choice.layout
    if job.documents is None:
        return None
    rounds = workload.training.global_batch // (layout.dp * layout.micro_batch)
    found = job.documents.balance(job.seq, (layout.dp, layout.micro_batch, rounds))
    return PackingReport(
        documents=len(job.documents.lengths),
        mean_tokens=sum(job.documents.lengths) / len(job.documents.lengths),
        attended_share=job.attended_share,
        busiest=found.busiest / found.mean,
        servers=job.servers,
        step_s=option.choice.step_s,
        other_step_s=_other_step_s(option, workload),
    )


def _other_step_s(option: TrainingOption, workload: TrainingWorkload) -> float:
    """Seconds of a step of the fastest layout on the same devices the other way; 0 where there is none."""
    run, job = workload.training, option.job
    if not reach_of(run.program).servers:
        return 0.0
    table = ForwardTable(replace(job, servers=not job.servers))
    pace, habits = training_pace(run.program, job.device), memory_habits(run.program)
    choice = fastest(question(table, option.devices, workload), pace, habits)
    return 0.0 if choice is None else choice.step_s
