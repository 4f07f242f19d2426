"""What a plan says about the data of a run."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.training.document import TrainingWorkload
from comptroller.training.options import TrainingOption
from comptroller.training.packing_report import packing_report
from comptroller.training.stated_documents import PackingReport
from comptroller.training.stated_generation import GenerationReport, generation_report
from comptroller.training.stated_replay import ReplayReport, replay_report


@dataclass(frozen=True, slots=True)
class DataReports:
    """Reports by what the workload states; `None` for what it does not."""

    packing: PackingReport | None
    generation: GenerationReport | None
    replay: ReplayReport | None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of them in words."""
        return tuple(part.sentence for part in (self.packing, self.generation, self.replay) if part)


def data_reports(option: TrainingOption, workload: TrainingWorkload, tokens: float) -> DataReports:
    """The reports of a choice; raises as `generation_report` and `replay_report`."""
    run, base = workload.training, workload.base
    return DataReports(
        packing_report(option, workload),
        generation_report(run.generation, base),
        replay_report(run.replay, tokens, base),
    )
