"""The workload document: what must be served, how fast, and what may be used for it."""

from __future__ import annotations

import difflib
import hashlib
import os
import reprlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.reader import locate, parse_toml
from comptroller.facts.site import Term
from comptroller.quantities import UNITS, to_si
from comptroller.work.evidence_readers import packaged_evidence
from comptroller.work.hours import WorkloadDay, require_fitting
from comptroller.work.quality import WorkloadQuality
from comptroller.work.rows import TraceReadOptions
from comptroller.work.sizes import STRICT, TAGS, Sizes, conflict
from comptroller.work.uncertainty import WorkloadUncertainty

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, ge=1e-6, le=1e9)]
Count = Annotated[int, Field(strict=True, ge=0)]

WORDS = {
    "model_type": "a table",
    "dict_type": "a table",
    "mapping_type": "a table",
    "tuple_type": "a list",
    "string_type": "a text in quotes",
    "string_too_short": "a text that is not empty",
    "too_short": "a list that is not empty",
    "int_type": "a whole number",
    "float_type": "a number",
}
"""What validation asks for, in the words of a TOML file."""


class CostObjective(StrEnum):
    """What is spent as little of as possible."""

    USD = "usd"
    J = "j"
    GCO2E = "gco2e"


class QuantityBound(BaseModel):
    """A most value in any unit of a quantity."""

    model_config = STRICT
    max: Positive
    unit: str

    def in_si(self, suffix: str) -> float:
        """The value in SI, in the quantity of a field suffix."""
        return to_si(self.max, checked_unit(self.unit, suffix))[0]


class LatencyPercentileBound(QuantityBound):
    """At most `max` for `p` per cent of the requests."""

    p: Annotated[float, Field(strict=True, gt=0, lt=100)] = 95.0

    @model_validator(mode="after")
    def _time(self) -> LatencyPercentileBound:
        checked_unit(self.unit, "s")
        return self

    @property
    def max_s(self) -> float:
        """The bound in seconds."""
        return self.in_si("s")


class SpendRateBound(QuantityBound):
    """The most to spend, in dollars per hour."""

    @model_validator(mode="after")
    def _money(self) -> SpendRateBound:
        checked_unit(self.unit, "usd_per_s")
        return self

    @property
    def max_usd_per_s(self) -> float:
        """The bound in dollars per second."""
        return self.in_si("usd_per_s")


class PowerBound(QuantityBound):
    """The most power, at the meter."""

    @model_validator(mode="after")
    def _watts(self) -> PowerBound:
        checked_unit(self.unit, "w")
        return self


class CarbonBound(QuantityBound):
    """The most emissions, over time."""

    @model_validator(mode="after")
    def _grams(self) -> CarbonBound:
        checked_unit(self.unit, "gco2e_per_s")
        return self


def checked_unit(unit: str, suffix: str) -> str:
    """The unit, if it belongs to a suffix."""
    fitting = [name for name, (belongs, _) in UNITS.items() if belongs == suffix]
    if unit not in fitting:
        raise conflict("unit", f"{unit!r} does not fit", ", ".join(fitting))
    return unit


class LatencyObjectives(BaseModel):
    """Latency objectives: time to first token, time per output token after it, end to end."""

    model_config = STRICT
    ttft: LatencyPercentileBound | None = None
    tpot: LatencyPercentileBound | None = None
    e2e: LatencyPercentileBound | None = None


class PeakQuantile(BaseModel):
    """The rate to hold: a quantile of the rate over windows of a trace (0.95: all but the busiest 5 %)."""

    model_config = STRICT
    quantile: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.95
    window_s: Annotated[float, Field(strict=True, ge=1, le=1e9)] = 60.0


class TraceSlice(BaseModel):
    """A part of a trace, from `start` to `end` after its first arrival."""

    model_config = STRICT
    start: NotNegative = 0.0
    end: Positive
    unit: str

    @model_validator(mode="after")
    def _times(self) -> TraceSlice:
        checked_unit(self.unit, "s")
        if self.end <= self.start:
            raise conflict("end", f"{self.end:g} is not after the start {self.start:g}")
        return self


class ResourceAllowlist(BaseModel):
    """What may be used, by id or by path to an own file; an empty list allows all."""

    model_config = STRICT
    accelerators: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ("on_demand",)


class Workload(BaseModel):
    """What must be served.

    Arrivals are either `rate_per_s` (the rate to hold) with `cv`, the coefficient of variation of the gaps
    (1: Poisson), or a `trace`, as it is, `scale` times as fast or at a mean of `rate_per_s`; the rate to hold
    is then its `peak`. Lengths come from the trace or from `lengths`.
    spare_replicas: replicas of each deployment kept in reserve (1: N+1).  caps: most devices by accelerator.
    power, carbon: most watts at the meter, and grams of CO2e over time, with every replica busy.
    quality: what must be solved; the rate is then that of questions, lengths come from the evidence, and `models`
    are the recorded ones that may answer (all, if none is named).
    uncertainty: declared ranges of prices and demand, for a plan with a quality target.
    hours: the day by the hour, planned beside the plan for the rate to hold.
    """

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    models: tuple[str, ...] = ()
    rate_per_s: Rate | None = None
    cv: Annotated[float, Field(strict=True, ge=0, le=100)] | None = None
    trace: str | None = None
    scale: Rate | None = None
    part: TraceSlice | None = None
    skip_bad: Annotated[bool, Field(strict=True)] = False
    seed: Count = 0
    peak: PeakQuantile | None = None
    lengths: Sizes | None = None
    objectives: LatencyObjectives = LatencyObjectives()
    objective: CostObjective = CostObjective.USD
    budget: SpendRateBound | None = None
    power: PowerBound | None = None
    carbon: CarbonBound | None = None
    quality: WorkloadQuality | None = None
    uncertainty: WorkloadUncertainty | None = None
    hours: WorkloadDay | None = None
    spare_replicas: Count = 0
    caps: Mapping[str, Count] = Field(default_factory=dict)
    allow: ResourceAllowlist = ResourceAllowlist()

    @model_validator(mode="after")
    def _arrivals(self) -> Workload:
        if self.uncertainty is not None and self.quality is None:
            raise conflict("uncertainty", "is reckoned with for questions, not for requests", "with quality")
        if self.hours is not None:
            require_fitting(self.hours, self.quality is not None)
        if self.quality is None and not self.models:
            raise conflict("models", "is missing", "a list that is not empty, or quality")
        if self.quality is not None and self.lengths is not None:
            raise conflict("lengths", "are already given by the evidence", "quality.lengths, or none")
        if self.trace is None:
            if self.rate_per_s is None:
                raise conflict("rate_per_s", "no arrivals", "rate_per_s, or trace")
            if self.lengths is None and self.quality is None:
                raise conflict("lengths", "is missing", "a histogram, distributions, or a trace")
            given = [name for name in ("scale", "part", "peak") if getattr(self, name) is not None]
            if given:
                raise conflict(given[0], "has no meaning without a trace", "trace")
        else:
            for name in ("cv", "lengths"):
                if getattr(self, name) is not None:
                    raise conflict(name, "is already given by the trace", f"trace or {name}")
            if self.scale is not None and self.rate_per_s is not None:
                raise conflict("scale", "the rate is given twice", "scale or rate_per_s")
        return self

    @property
    def reading(self) -> TraceReadOptions:
        """How to read the trace."""
        if self.part is None:
            return TraceReadOptions(skip_bad=self.skip_bad)
        start_s, end_s = (to_si(value, self.part.unit)[0] for value in (self.part.start, self.part.end))
        return TraceReadOptions(start_s, end_s, self.skip_bad)

    @property
    def digest(self) -> str:
        """SHA-256 of the document and of its trace's content; the same wherever the files lie."""
        path = Path(self.trace) if self.trace else None
        asked = self.quality
        records = Path(asked.evidence) if asked else None
        update: dict[str, Any] = {"trace": path.name if path else None}
        if asked and records:
            update["quality"] = asked.model_copy(update={"evidence": records.name})
        sha = hashlib.sha256(self.model_copy(update=update).model_dump_json().encode())
        parts = sorted(path.glob("chunk-*")) if path and path.is_dir() else [path]
        for file in (*parts, records):
            if file and file.is_file():
                sha.update(file.name.encode() + file.read_bytes())
        return sha.hexdigest()


def load(path: Path | str) -> Workload:
    """The workload of a TOML file; paths in it are relative to the file.

    Raises:
        FactError: names the file, the field and what is allowed.
    """
    path = Path(path)
    return parse(parse_toml(path), path)


def parse(document: Mapping[str, Any], file: Path = Path("workload")) -> Workload:
    """The workload of a document; relative paths start at the file's folder.

    Raises:
        FactError: names the file, the field and what is allowed.
    """
    try:
        workload = Workload.model_validate(document)
    except ValidationError as error:
        raise _fact_error(error.errors()[0], file.name) from error
    allow = workload.allow
    update: dict[str, Any] = {
        "models": workload.models if workload.quality else _locate_names("models", "models", workload.models, file),
        "caps": dict(
            zip(_locate_names("caps", "accelerators", workload.caps, file), workload.caps.values(), strict=True)
        ),
        "allow": allow.model_copy(
            update={
                kind: _locate_names(f"allow.{kind}", kind, getattr(allow, kind), file)
                for kind in ("accelerators", "formats", "engines", "sites")
            }
        ),
    }
    if workload.trace is not None:
        update["trace"] = str(find_data("trace", workload.trace, file))
    if workload.quality is not None:
        update["quality"] = _found_records(workload.quality, file)
    return workload.model_copy(update=update)


def _locate_names(field: str, kind: str, names: tuple[str, ...] | Mapping[str, int], file: Path) -> tuple[str, ...]:
    """The names, with paths to own files made to start at the workload's folder."""
    found = []
    for name in names:
        own = file.parent / name
        chosen = str(own) if own.suffix in {".toml", ".json"} and own.is_file() else name
        try:
            locate(kind, chosen)
        except UnknownIdError as error:
            raise FactError(file.name, field, str(error)) from error
        found.append(chosen)
    return tuple(found)


def _found_records(quality: WorkloadQuality, file: Path) -> WorkloadQuality:
    """The target with its evidence found and the models it maps to located."""
    models = dict(
        zip(
            quality.models, _locate_names("quality.models", "models", tuple(quality.models.values()), file), strict=True
        )
    )
    if quality.evidence in packaged_evidence():
        return quality.model_copy(update={"models": models})
    found = find_data("evidence", quality.evidence, file)
    return quality.model_copy(update={"models": models, "evidence": str(found)})


FOLDERS = {"trace": "traces", "evidence": "evidence"}
"""The data folder of each kind of file that a workload names."""


def data_folders(kind: str, file: Path) -> Iterator[Path]:
    """Where a file is looked for: beside the workload, then in the data folders."""
    yield file.parent
    if root := os.environ.get("COMPTROLLER_DATA"):
        yield Path(root) / FOLDERS[kind]
    for base in (Path.cwd(), file.absolute().parent, file.absolute().parent.parent):
        yield base.parent / "shared" / "data" / FOLDERS[kind]


def find_data(kind: str, name: str, file: Path) -> Path:
    """The trace or evidence, a file or folder, of a name or path.

    Raises:
        FactError: it is nowhere; says where it was looked for.
    """
    folders = list(dict.fromkeys(data_folders(kind, file)))
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    places = ", ".join(str(folder) for folder in folders)
    hint = f"a path, or COMPTROLLER_DATA set to the folder that holds {FOLDERS[kind]}/"
    raise FactError(file.name, kind, f"{name!r} is not there; looked in {places}", hint)


def _fact_error(error: ErrorDetails, file: str) -> FactError:
    """What a validation error says, with the field and what is allowed there."""
    context = error.get("ctx", {})
    where = [part for part in error["loc"] if part not in TAGS]
    problem, allowed = error["msg"], str(context.get("expected", ""))
    if error["type"] == "conflict":
        where.append(context["field"])
        allowed = str(context["allowed"])
    elif error["type"] == "extra_forbidden":
        known = list(_fields_at(error["loc"][:-1]))
        near = difflib.get_close_matches(str(where[-1]), known, n=1)
        problem = "unknown field" + (f", did you mean {near[0]!r}?" if near else "")
        allowed = ", ".join(known)
    elif error["type"] == "missing":
        problem = "is missing"
    else:
        expected = WORDS.get(error["type"]) or allowed or problem.removeprefix("Input should be ")
        problem, allowed = f"{reprlib.repr(error['input'])} is not allowed", expected
    return FactError(file, ".".join(map(str, where)) or "file", problem, allowed)


def _fields_at(location: tuple[int | str, ...]) -> Iterator[str]:
    """The fields a document may have at a place."""
    kinds: list[type[BaseModel]] = [Workload]
    for part in location:
        tagged = [kind for kind in kinds if f"<{kind.__name__.lower()}>" == part]
        inner = (kind.model_fields[part].annotation for kind in kinds if part in kind.model_fields)
        kinds = tagged or [found for annotation in inner for found in _models_in(annotation)]
    return (name for kind in kinds for name in kind.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
