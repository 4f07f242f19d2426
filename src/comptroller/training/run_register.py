"""A register of training runs that were made or are meant: a document with tables `[[runs]]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, model_validator

from comptroller.costs.training_work import TrainingJob
from comptroller.errors import FactError, one_error
from comptroller.facts.document_faults import fact_error
from comptroller.facts.library import FactLibrary
from comptroller.facts.reader import fault_lines, parse_toml
from comptroller.quantities import HOUR_S
from comptroller.training.compute_register import RegisteredRun, compute_register
from comptroller.training.document import Count
from comptroller.training.register_document import ComputeRegister
from comptroller.training.stated_compute import StatedCompute
from comptroller.training.stated_precision import SIXTEEN_BIT, TrainingPrecision, precision_recipe
from comptroller.work.objectives import Positive
from comptroller.work.sizes import STRICT, conflict
from comptroller.work.workload_names import WorkloadNames

Share = Annotated[float, Field(strict=True, gt=0, le=1)]


class StatedUtilisation(BaseModel):
    """MFU that was measured, against the dense peak of the arithmetic; low, high: where it lay."""

    model_config = STRICT
    middle: Share
    low: Share
    high: Share

    @model_validator(mode="after")
    def _ordered(self) -> StatedUtilisation:
        if not self.low <= self.middle <= self.high:
            raise conflict("low", "low, middle and high are not in this order", "low <= middle <= high")
        return self


class RunEntry(BaseModel):
    """A run. hours: of wall-clock on all devices; without them FLOPs are counted by architecture alone.

    compute: what rules count beside it.
    """

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    model: str
    tokens: Annotated[float, Field(strict=True, gt=0, le=1e16)]
    seq: Count = 4096
    accelerator: str
    devices: Count
    hours: Positive | None = None
    precision: TrainingPrecision = SIXTEEN_BIT
    utilisation: StatedUtilisation | None = None
    compute: StatedCompute = StatedCompute()

    def registered(self, library: FactLibrary) -> RegisteredRun:
        """The run with its facts; raises as those."""
        device = library.accelerator(self.accelerator)
        job = TrainingJob(library.model(self.model), device, self.seq, precision_recipe(self.precision), library)
        known = self.utilisation
        return RegisteredRun(
            job,
            self.tokens,
            self.devices,
            (self.hours or 0.0) * HOUR_S * self.devices,
            self.compute,
            None if known is None else (known.low, known.middle, known.high),
        )


class RunRegister(BaseModel):
    """All runs of a register."""

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    runs: Annotated[tuple[RunEntry, ...], Field(min_length=1)]


def registered_runs(path: Path) -> dict[str, ComputeRegister]:
    """What a register says of each of its runs, by name.

    Raises:
        FactError: the file is malformed, a name is unknown or stands twice; all faults.
    """
    with fault_lines(path):
        return _runs_of(path)


def _runs_of(path: Path) -> dict[str, ComputeRegister]:
    try:
        found = RunRegister.model_validate(parse_toml(path))
    except ValidationError as error:
        raise fact_error(error, path.name, RunRegister) from error
    names, faults, entries = WorkloadNames(FactLibrary(), path), list[FactError](), list[RunEntry]()
    for i, run in enumerate(found.runs):
        ids: dict[str, str] = {}
        for field, kind in (("model", "models"), ("accelerator", "accelerators")):
            try:
                (ids[field],) = names.ids(f"runs.{i}.{field}", kind, (getattr(run, field),))
            except FactError as error:
                faults.append(error)
        entries.append(run.model_copy(update=ids))
    if faults:
        raise one_error(faults)
    library = names.library()
    return {f"{i + 1}. {run.name}": compute_register(run.registered(library)) for i, run in enumerate(entries)}
