"""The workload of a training run: a document with a table `[training]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from comptroller.costs.training_layout import TrainingLayout
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.facts.reader import fault_lines, ids, parse_toml
from comptroller.facts.site import ProviderKind, SellerAllowlist, Term
from comptroller.facts.training import training_calibration
from comptroller.quantities import UNITS
from comptroller.training.programs import (
    IN_TURN,
    WIDE_SHARDING,
    ProgramReach,
    RecomputeName,
    ShardingName,
    TrainingSchedule,
    reach_of,
)
from comptroller.training.stated_compute import StatedCompute
from comptroller.training.stated_data import StatedData
from comptroller.training.stated_experts import StatedExperts
from comptroller.training.stated_offload import StateOffload
from comptroller.training.stated_precision import SIXTEEN_BIT, TrainingPrecision
from comptroller.work.objectives import CostObjective, Positive, QuantityBound
from comptroller.work.sizes import STRICT, checked_unit, conflict
from comptroller.work.workload_names import WorkloadNames, document_model

TABLE = "training"
"""The table that makes a workload one of training."""

MOST_DEVICES = 16_384
"""Most devices that are tried where no cap is stated: the largest run whose faults are published. At twice this the
search takes one more count."""

Count = Annotated[int, Field(strict=True, ge=1)]
Loss = Annotated[float, Field(strict=True, gt=0, le=20)]


LONG_HOURS = {"day": 24.0, "days": 24.0, "week": 168.0, "weeks": 168.0}
"""Units of a deadline that no fact has, in hours."""


class RunDeadline(QuantityBound):
    """Most time that the run may take."""

    @model_validator(mode="before")
    @classmethod
    def _days(cls, given: Any) -> Any:
        """Days and weeks are times that people state and that no unit of a fact has."""
        if isinstance(given, dict) and given.get("unit") in LONG_HOURS and isinstance(given.get("max"), int | float):
            return {**given, "max": float(given["max"]) * LONG_HOURS[given["unit"]], "unit": "h"}
        return given

    @model_validator(mode="after")
    def _time(self) -> RunDeadline:
        known = [name for name, (belongs, _) in UNITS.items() if belongs == "s"]
        if self.unit not in known:
            raise conflict("unit", f"{self.unit!r} does not fit", ", ".join((*known, *LONG_HOURS)))
        return self

    @property
    def max_s(self) -> float:
        """The bound in seconds."""
        return self.in_si("s")


class RunBudget(QuantityBound):
    """Most dollars of the run."""

    @model_validator(mode="after")
    def _money(self) -> RunBudget:
        checked_unit(self.unit, "usd")
        return self

    @property
    def max_usd(self) -> float:
        """The bound in dollars."""
        return self.in_si("usd")


class StatedLayout(BaseModel):
    """Degrees that are given; those that are left out are searched. sharding: what data-parallel ranks share out:
    optimiser states (ZeRO-1), gradients too (ZeRO-2), weights too (ZeRO-3, FSDP).  recompute: what the backward pass
    computes again."""

    model_config = STRICT
    tp: Count | None = None
    pp: Count | None = None
    cp: Count | None = None
    ep: Count | None = None
    dp: Count | None = None
    chunks: Count | None = None
    micro_batch: Count | None = None
    sharding: ShardingName | None = None
    recompute: RecomputeName | None = None

    @property
    def stated(self) -> dict[str, int]:
        """Those that are given as numbers, by name."""
        given = self.model_dump(exclude={"sharding", "recompute"})
        return {name: value for name, value in given.items() if value is not None}

    def within(self, reach: ProgramReach) -> ProgramReach:
        """What is left of what a program can do."""
        sharded = (self.sharding.sharding,) if self.sharding else reach.sharded
        return replace(
            reach, sharded=sharded, recompute=(self.recompute.recompute,) if self.recompute else reach.recompute
        )

    def require_reach(self, program: str) -> None:
        """Refuse what a program does not have, with what it has instead.

        Raises:
            PydanticCustomError: as `conflict`.
        """
        reach = reach_of(program)
        able = {"tp": reach.split, "pp": reach.split, "cp": reach.context, "ep": reach.experts}
        for name in (name for name, degree in self.stated.items() if degree > 1 and not able.get(name, True)):
            raise conflict(f"layout.{name}", f"{program} has no such parallelism", "1")
        if self.sharding and self.sharding.sharding not in reach.sharded:
            has = ", ".join(one.name.lower() for one in reach.sharded)
            raise conflict("layout.sharding", f"{program} does not have {str(self.sharding)!r}", has)
        if self.recompute and self.recompute.recompute not in reach.recompute:
            has = ", ".join(one.name.lower() for one in reach.recompute)
            raise conflict("layout.recompute", f"{program} does not have {str(self.recompute)!r}", has)
        if self.stated.get("pp", 1) > 1 and not reach.sharded_stages and self.sharding in WIDE_SHARDING:
            raise conflict(
                "layout.sharding", f"{program} shares out no more than states in a pipeline", "optimizer, or pp = 1"
            )

    def filled(self) -> TrainingLayout:
        """The layout with 1 for what is left out."""
        given: dict[str, Any] = dict(self.stated)
        return replace(TrainingLayout(), **given)


class TrainingAllowlist(BaseModel):
    """What may be used; an empty list allows all. devices: counts that are tried, else powers of two of nodes.
    schedules: of pipelines."""

    model_config = STRICT
    accelerators: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ("on_demand",)
    providers: tuple[str, ...] = ()
    kinds: tuple[ProviderKind, ...] = ()
    precisions: Annotated[tuple[TrainingPrecision, ...], Field(min_length=1)] = (SIXTEEN_BIT,)
    devices: tuple[Count, ...] = ()
    schedules: Annotated[tuple[TrainingSchedule, ...], Field(min_length=1)] = IN_TURN

    @property
    def sellers(self) -> SellerAllowlist:
        """Of whom may be rented."""
        return SellerAllowlist(self.providers, self.kinds)


class RunFaults(BaseModel):
    """Faults of the run, where they are known better than by default. device_hours: of one device between two of them.
    restart_s: from a fault to training again.  store_gb_per_s: that a node writes to the store of checkpoints."""

    model_config = STRICT
    device_hours: Positive | None = None
    restart_s: Annotated[float, Field(strict=True, ge=0)] | None = None
    store_gb_per_s: Positive | None = None


class TrainedAdapter(BaseModel):
    """Low-rank adapters beside frozen weights. rank: of their factors.  base: format of the frozen weights, an id of
    `comptroller show formats`: 16 bits (LoRA) or fewer (QLoRA)."""

    model_config = STRICT
    rank: Count
    base: str = "bf16"


class TrainingRun(StatedData):
    """What is trained. models: in place of one, those among which the cheapest is chosen that reaches `target_loss`.

    tokens: in all.  seq: tokens of a sequence.  global_batch: sequences of a step.

    program: whose constants price the steps.  caps: most devices by accelerator.  compute: what rules count beside it.
    adapter: what alone is trained, where not all weights are.  offload: where weights and states are, if not on
    devices.  experts: how tokens fill them.
    compiled_loss: whether the loss is one compiled kernel, which keeps fewer bytes of a logit.
    law: file of the law that turns a loss into tokens (`fit laws --out`), else Chinchilla's.  beyond: also where its
    hold-out does not reach.
    """

    model_config = STRICT
    model: str = ""
    models: tuple[str, ...] = ()
    tokens: Annotated[float, Field(strict=True, gt=0, le=1e16)] | None = None
    target_loss: Loss | None = None
    law: str = ""
    beyond: Annotated[bool, Field(strict=True)] = False
    seq: Count = 4096
    global_batch: Count
    program: str = "megatron_bridge"
    deadline: RunDeadline | None = None
    budget: RunBudget | None = None
    layout: StatedLayout = StatedLayout()
    allow: TrainingAllowlist = TrainingAllowlist()
    caps: Mapping[str, Count] = Field(default_factory=dict)
    faults: RunFaults = RunFaults()
    compute: StatedCompute = StatedCompute()
    adapter: TrainedAdapter | None = None
    offload: StateOffload | None = None
    experts: StatedExperts | None = None
    compiled_loss: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _consistent(self) -> TrainingRun:
        if bool(self.model) == bool(self.models):
            raise conflict("model", "model or models: state one of them", "model, or models with target_loss")
        if len(self.models) == 1:
            raise conflict("models", "one model is no choice", "two or more, or model")
        if self.models and self.target_loss is None:
            raise conflict("models", "are chosen among by what they take to a loss", "target_loss in place of tokens")
        if (self.tokens is None) == (self.target_loss is None):
            raise conflict("tokens", "tokens or target_loss: state one of them", "tokens, or target_loss")
        if self.tokens is not None and (self.law or self.beyond):
            raise conflict("law", "tokens are stated: no law is asked", "a law beside target_loss")
        known = [one.id for one in training_calibration().programs]
        if self.program not in known:
            raise conflict("program", f"{self.program!r} was not measured", ", ".join(known))
        if self.adapter is not None and not reach_of(self.program).adapters:
            able = ", ".join(name for name in known if reach_of(name).adapters)
            raise conflict("adapter", f"{self.program} trains no adapters", able)
        if self.offload is not None and not reach_of(self.program).offload:
            able = ", ".join(name for name in known if reach_of(name).offload)
            raise conflict("offload", f"{self.program} is not priced with states outside of devices", able)
        if self.documents is not None and self.documents.servers and not reach_of(self.program).servers:
            able = ", ".join(name for name in known if reach_of(name).servers)
            raise conflict("documents", f"{self.program} has no attention servers", able)
        self._require_program(known)
        self.layout.require_reach(self.program)
        if self.offload is not None and self.layout.sharding not in (None, ShardingName.FULL):
            raise conflict("layout.sharding", "states outside of devices are shared out whole", "full")
        return self

    def _require_program(self, known: list[str]) -> None:
        has = reach_of(self.program).schedules
        missing = [one for one in self.allow.schedules if one not in has]
        if missing and "schedules" in self.allow.model_fields_set:
            raise conflict("allow.schedules", f"{self.program} has no {missing[0]}", ", ".join(has) or "none")
        compiles = [name for name in known if training_calibration().program(name).memory.compiled_logit_bytes]
        if self.compiled_loss and self.program not in compiles:
            raise conflict("compiled_loss", f"{self.program} is not priced with a compiled loss", ", ".join(compiles))


class LocatedDocument(BaseModel):
    """A document that knows the facts it brings and the folder it lies in."""

    _library: FactLibrary = PrivateAttr(default=SHIPPED)
    _base: Path = PrivateAttr(default=Path())

    @property
    def library(self) -> FactLibrary:
        """The facts that it brings, then the catalogue's."""
        return self._library

    @property
    def base(self) -> Path:
        """The folder that names of files are relative to."""
        return self._base


class TrainingWorkload(LocatedDocument):
    """A workload of training. objective: what is spent least of."""

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    objective: CostObjective = CostObjective.USD
    training: TrainingRun

    def with_run(self, run: TrainingRun) -> TrainingWorkload:
        """The same about another run, with the same facts and folder."""
        found = self.model_copy(update={"training": run})
        found._library, found._base = self._library, self._base
        return found


def states_training(document: Mapping[str, Any]) -> bool:
    """Whether a workload's document is one of training."""
    return TABLE in document


def load_training(path: Path) -> TrainingWorkload:
    """The training workload of a TOML file; raises as `parse_training`."""
    with fault_lines(path):
        return parse_training(parse_toml(path), path)


def parse_training(document: Mapping[str, Any], file: Path = Path("workload")) -> TrainingWorkload:
    """The training workload of a document, with its names resolved relative to the folder of `file`.

    Raises:
        FactError: names the file and every field that is wrong, with what is allowed there.
    """
    found = document_model(TrainingWorkload, document, file)
    run, allow, names = found.training, found.training.allow, WorkloadNames(FactLibrary(), file)
    model = names.ids("training.model", "models", (run.model,) if run.model else ())
    models = names.ids("training.models", "models", run.models)
    devices = names.ids("training.allow.accelerators", "accelerators", allow.accelerators)
    places = names.ids("training.allow.sites", "sites", allow.sites or ids("sites"))
    base = names.ids("training.adapter.base", "formats", (run.adapter.base,) if run.adapter else ())
    caps = dict(zip(names.ids("training.caps", "accelerators", run.caps), run.caps.values(), strict=True))
    update = {
        "adapter": run.adapter and run.adapter.model_copy(update={"base": base[0]}),
        "model": next(iter(model), ""),
        "models": models,
        "caps": caps,
        "allow": allow.model_copy(update={"accelerators": devices, "sites": places}),
    }
    found._library, found._base = names.library(), file.parent
    return found.with_run(run.model_copy(update=update))
