"""What a workload trains, as a job on one accelerator in one precision."""

from __future__ import annotations

from comptroller.costs.training_adapter import AdapterTuning
from comptroller.costs.training_quantisation import require_recipe
from comptroller.costs.training_work import TrainingJob
from comptroller.errors import InputError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.training_recipe import training_recipe
from comptroller.training.document import TrainingWorkload
from comptroller.training.stated_documents import with_documents
from comptroller.training.stated_precision import narrow_recipe, precision_recipe


def run_job(workload: TrainingWorkload, device: Accelerator, precision: str) -> TrainingJob:
    """The job; raises as `with_documents`.

    Raises:
        InputError: experts are stated of a model that has none.
    """
    run, library = workload.training, workload.library
    if run.experts is not None and not library.model(run.model).is_moe:
        raise InputError(f"training.experts: {run.model} has no experts; leave the table out")
    job = TrainingJob(
        library.model(run.model),
        device,
        run.seq,
        precision_recipe(precision),
        library,
        adapter_of(workload),
        run.offload.tier(device) if run.offload else None,
        narrow=narrow_recipe(precision),
        experts=run.experts.rows if run.experts else None,
    )
    return with_documents(job, run.documents, workload.base)


def require_precision(device: Accelerator, precision: str) -> None:
    """Refuse a recipe that an accelerator lacks; raises as `require_recipe`."""
    require_recipe(training_recipe(precision), device)


def adapter_of(workload: TrainingWorkload) -> AdapterTuning | None:
    """The adapters of a workload, with the bits of their frozen weights; raises as `FactLibrary.format`."""
    chosen = workload.training.adapter
    if chosen is None:
        return None
    return AdapterTuning(chosen.rank, workload.library.format(chosen.base).bits_per_element)
