"""What a workload trains, as a job on one accelerator in one precision."""

from __future__ import annotations

from comptroller.costs.training_quantisation import require_recipe
from comptroller.costs.training_work import TrainingJob
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.training_recipe import training_recipe
from comptroller.training.document import TrainingWorkload, adapter_of, narrow_recipe, precision_recipe
from comptroller.training.stated_documents import with_documents


def run_job(workload: TrainingWorkload, device: Accelerator, precision: str) -> TrainingJob:
    """The job.

    Raises:
        UnsupportedFormatError: no source says that the accelerator has the recipe.
    """
    run, library = workload.training, workload.library
    require_recipe(training_recipe(precision), device)
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
