"""What a workload trains, as a job on one accelerator in one precision."""

from __future__ import annotations

from comptroller.costs.training_quantisation import require_recipe
from comptroller.costs.training_work import TrainingJob
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.training_recipe import training_recipe
from comptroller.training.document import TrainingWorkload, adapter_of
from comptroller.training.stated_documents import with_documents
from comptroller.training.stated_precision import narrow_recipe, precision_recipe


def run_job(workload: TrainingWorkload, device: Accelerator, precision: str) -> TrainingJob:
    """The job; raises as `with_documents`."""
    run, library = workload.training, workload.library
    job = TrainingJob(
        library.model(run.model),
        device,
        run.seq,
        precision_recipe(precision),
        library,
        adapter_of(workload),
        run.offload.tier(device) if run.offload else None,
        narrow=narrow_recipe(precision),
    )
    return with_documents(job, run.documents, workload.base)


def require_precision(device: Accelerator, precision: str) -> None:
    """Refuse a recipe that an accelerator lacks; raises as `require_recipe`."""
    require_recipe(training_recipe(precision), device)
