"""A deployment as words, and what stands behind it: how a command is asked about one without a file."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.costs.deployment import ModelReplica, ParallelLayout
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model as model_of
from comptroller.planning.offer.replica_fit import replica_to_check
from comptroller.report.calibration_rows import evidence_sheets
from comptroller.report.sheet import ReportSheet

FORM = (
    "ENGINE/ACCELERATOR/MODEL[/LAYOUT[/FORMAT]], such as vllm/h100_sxm/llama_3_1_70b/tp4/fp8_e4m3; the same apart, "
    "ENGINE ACCELERATOR MODEL [LAYOUT [FORMAT]], where a file or a repository has slashes of its own"
)


def replica_of_names(names: Sequence[str]) -> ModelReplica:
    """The deployment that is spelled like `FORM`: its parts, or all of them in one text with slashes between.

    The layout is one device, and the formats are the checkpoint's as the engine runs them, where none is named.

    Raises:
        InputError: it is not spelled so, or the layout does not cut the model.
        UnknownIdError: a name is not known.
        UnsupportedError: the engine does not serve on the device, or the device cannot run the formats.
    """
    parts = names[0].split("/") if len(names) == 1 else list(names)
    if not 3 <= len(parts) <= 5:
        raise InputError(f"{' '.join(names)!r} is no deployment; allowed: {FORM}")
    engine, device, model, layout, form = (*parts, *("tp1", "")[len(parts) - 3 :])
    return replica_to_check(model_of(model), accelerator(device), ParallelLayout.of(layout), engine, (form, ""))


def deployment_sheets(names: Sequence[str], calibration: TimingCalibration) -> tuple[ReportSheet, ...]:
    """What stands behind the deployment of these words; raises as `replica_of_names` and `evidence_sheets`."""
    return evidence_sheets(replica_of_names(names), calibration)
