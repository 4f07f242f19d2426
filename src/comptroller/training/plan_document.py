"""The plan of a training run: what was chosen, what it takes, why, and what would change it. Versioned JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from comptroller.errors import FactError
from comptroller.facts.document_faults import fact_error
from comptroller.facts.reader import read_json
from comptroller.planning.ground.day_document import DocumentPart
from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.training.document import TrainedAdapter
from comptroller.training.register_document import ComputeRegister
from comptroller.training.stated_documents import PackingReport
from comptroller.training.stated_experts import StatedExperts
from comptroller.training.stated_generation import GenerationReport
from comptroller.training.stated_offload import StateOffload
from comptroller.training.stated_replay import ReplayReport

DIGITS = 6
"""Significant digits of figures, as in plans of serving."""


def six_digits(value: float) -> float:
    """A figure to six significant digits.

    >>> six_digits(1234567.89)
    1234570.0
    """
    return float(f"{value:.{DIGITS}g}")


class TrainingLayoutDocument(DocumentPart):
    """How the run is cut; the names are `TrainingLayout`'s. accumulation: microbatches of a step."""

    dp: int
    tp: int
    pp: int
    cp: int
    ep: int
    chunks: int
    micro_batch: int
    accumulation: int
    sharding: str
    recompute: str
    schedule: str


class StageMemoryDocument(DocumentPart):
    """Memory of the devices of a stage, or of several that are alike. first, last: of the stages, counted from 0.
    microbatches: of its layers that it holds at its fullest.  memory_bytes: by part; `surplus` is what more than one
    microbatch adds.  total_bytes: all parts."""

    first: int
    last: int
    microbatches: float
    memory_bytes: dict[str, float]
    total_bytes: float


class CheckpointDocument(DocumentPart):
    """Checkpoints of the run. faults_s: between two faults.  goodput: share of the time in which training advances."""

    interval_s: float
    write_s: float
    bytes: float
    faults_s: float
    restart_s: float
    goodput: float


class TrainingRunDocument(DocumentPart):
    """One way to make the run. step_parts_s: seconds of a step by part.  swapped_share: of the activations that leave
    the device in place of being computed again.  memory_bytes: of the fullest device by part.

    mfu: model FLOPs (6 N and attention over the whole square) over the dense peak of the arithmetic in which matrices
    are multiplied.  hfu: the same with what is computed again.
    """

    accelerator: str
    site: str
    provider: str
    term: str
    devices: int
    precision: str
    layout: TrainingLayoutDocument
    steps: int
    step_s: PredictedFigure
    step_parts_s: dict[str, float]
    swapped_share: float = 0.0
    tokens_per_s: float
    mfu: float
    hfu: float
    wall_s: PredictedFigure
    usd: PredictedFigure
    usd_per_h: float
    j: PredictedFigure
    gco2e: PredictedFigure
    mean_device_w: float
    memory_bytes: dict[str, float]
    memory_limit_bytes: float
    checkpoints: CheckpointDocument


class TrainingRival(DocumentPart):
    """Another way, and why it lost."""

    run: TrainingRunDocument
    why: str


class TrainingModelRival(DocumentPart):
    """Another model that was asked about, and why it lost. model: its id.  why: it lost.  tokens: that it takes to the
    loss.  run: its cheapest; without one it cannot be trained so.  ratio: of the objective to the plan's."""

    model: str
    why: str
    tokens: float | None = None
    run: TrainingRunDocument | None = None
    ratio: float | None = None


class TrainingShadowPrice(DocumentPart):
    """What the next change of a limit saves, or costs. bound: the limit as it stands.  at: where the choice changes.
    difference: of the objective, per unit of which is `per_unit`.  note: in words."""

    limit: str
    bound: float
    at: float
    difference: float
    per_unit: float
    unit: str
    note: str


class TrainingPlan(DocumentPart):
    """The plan. tried: layouts that divide. fitting: of them, those that fit into memory. flops: of the run, by model
    FLOPs. adapter: what alone is trained, in words; `trained_adapter`: as the workload states it. offload: what
    lies outside of devices, in words; `offload_place`: as the workload states it. stages: memory of each stage of
    the run. compiled_loss: whether the loss is one compiled kernel. compute: its FLOPs by both methods, and the rules
    that it meets. refused: what could not be tried, and why. models: others that
    were asked about."""

    schema_version: Literal[1] = 1
    kind: Literal["training"] = "training"
    name: str
    objective: str
    model: str
    parameters: float
    active_parameters: float
    tokens: float
    tokens_source: str
    seq: int
    global_batch: int
    program: str
    program_error: float
    flops: float
    run: TrainingRunDocument
    rivals: tuple[TrainingRival, ...]
    by_count: tuple[TrainingRunDocument, ...]
    shadow_prices: tuple[TrainingShadowPrice, ...]
    refused: tuple[str, ...]
    notes: tuple[str, ...]
    tried: int
    fitting: int
    digests: dict[str, str]
    compute: ComputeRegister | None = None
    adapter: str = ""
    stages: tuple[StageMemoryDocument, ...] = ()
    compiled_loss: bool = False
    experts: StatedExperts | None = None
    trained_adapter: TrainedAdapter | None = None
    offload: str = ""
    offload_place: StateOffload | None = None
    packing: PackingReport | None = None
    generation: GenerationReport | None = None
    replay: ReplayReport | None = None
    models: tuple[TrainingModelRival, ...] = ()

    def to_json(self) -> str:
        """The document as text."""
        return self.model_dump_json(indent=2) + "\n"


def read_training_plan(path: Path) -> TrainingPlan:
    """A plan from its file.

    Raises:
        FactError: it is no training plan, or of another version; names file and field.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("kind") != "training":
        raise FactError(path.name, "kind", "is no plan of training", "training")
    try:
        return TrainingPlan.model_validate(document)
    except ValidationError as error:
        raise fact_error(error, path.name, TrainingPlan) from error
