"""The workload document: the load to serve, its objectives, and the resources that may be used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.calibration_document import CalibrationDocument
from comptroller.facts.reader import locate, parse_toml
from comptroller.facts.site import Term
from comptroller.quantities import UNITS, to_si
from comptroller.work.document_errors import fact_error
from comptroller.work.evidence_readers import packaged_evidence
from comptroller.work.hours import WorkloadDay, require_fitting
from comptroller.work.quality import WorkloadQuality
from comptroller.work.rows import TraceReadOptions
from comptroller.work.sizes import STRICT, Sizes, conflict
from comptroller.work.uncertainty import WorkloadUncertainty

LEAST_RATE, MOST_RATE = 1e-6, 1e9
"""Range of rates in 1/s: one request in eleven days to a billion per second. Numbers outside it are in a wrong unit;
twice the range only accepts more of them."""

MOST_CV = 100.0
"""Greatest coefficient of variation of the gaps. Bursts of 100 requests have about 10; a value in per cent, such as
150, is refused. At twice this it would pass."""

PERCENTILE = 95.0
"""Per cent of the requests that a latency bound holds for, unless it states another. Twice this does not exist; 99
would make the slowest hundredth decide the fleet instead of the slowest twentieth."""

PEAK_QUANTILE, PEAK_WINDOW_S = 0.95, 60.0
"""The rate of a trace to size for, unless the workload states another: that of all but the busiest 5 % of its minutes.
Windows of two minutes average the rate over twice the time and so give a lower peak; twice the quantile does not exist,
and 1 is the busiest window."""

LEAST_WINDOW_S = 1.0
"""Shortest window: in a shorter one a rate of 1/s is mostly 0 or several times itself. Twice this would refuse windows
of a second, which suit traces of thousands of requests per second."""

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, ge=LEAST_RATE, le=MOST_RATE)]
Count = Annotated[int, Field(strict=True, ge=0)]


class CostObjective(StrEnum):
    """The quantity that the plan minimises: dollars, joules or grams of CO2e."""

    USD = "usd"
    J = "j"
    GCO2E = "gco2e"


class QuantityBound(BaseModel):
    """An upper bound of a quantity, in any of its units."""

    model_config = STRICT
    max: Positive
    unit: str

    def in_si(self, suffix: str) -> float:
        """The bound in SI units of the quantity with a field suffix (`w`).

        Raises:
            PydanticCustomError: the unit is not one of that quantity.
        """
        return to_si(self.max, checked_unit(self.unit, suffix))[0]


class LatencyPercentileBound(QuantityBound):
    """An upper bound of the latency of `p` per cent of the requests."""

    p: Annotated[float, Field(strict=True, gt=0, lt=100)] = PERCENTILE

    @model_validator(mode="after")
    def _time(self) -> LatencyPercentileBound:
        checked_unit(self.unit, "s")
        return self

    @property
    def max_s(self) -> float:
        """The bound in seconds."""
        return self.in_si("s")


class SpendRateBound(QuantityBound):
    """An upper bound of spending over time, such as USD/h."""

    @model_validator(mode="after")
    def _money(self) -> SpendRateBound:
        checked_unit(self.unit, "usd_per_s")
        return self

    @property
    def max_usd_per_s(self) -> float:
        """The bound in dollars per second."""
        return self.in_si("usd_per_s")


class PowerBound(QuantityBound):
    """An upper bound of power at the meter, with cooling and losses (PUE)."""

    @model_validator(mode="after")
    def _watts(self) -> PowerBound:
        checked_unit(self.unit, "w")
        return self


class CarbonBound(QuantityBound):
    """An upper bound of emissions over time, such as kgCO2e/h."""

    @model_validator(mode="after")
    def _grams(self) -> CarbonBound:
        checked_unit(self.unit, "gco2e_per_s")
        return self


def checked_unit(unit: str, suffix: str) -> str:
    """The unit itself, if it belongs to a field suffix.

    Raises:
        PydanticCustomError: it does not; lists those that do.
    """
    fitting = [name for name, (belongs, _) in UNITS.items() if belongs == suffix]
    if unit not in fitting:
        raise conflict("unit", f"{unit!r} does not fit", ", ".join(fitting))
    return unit


class LatencyObjectives(BaseModel):
    """Bounds of time to first token (ttft), time per output token after it (tpot) and end-to-end latency (e2e)."""

    model_config = STRICT
    ttft: LatencyPercentileBound | None = None
    tpot: LatencyPercentileBound | None = None
    e2e: LatencyPercentileBound | None = None


class PeakQuantile(BaseModel):
    """The rate of a trace to size for: a quantile of the rate over windows (0.95: all but the busiest 5 %)."""

    model_config = STRICT
    quantile: Annotated[float, Field(strict=True, gt=0, le=1)] = PEAK_QUANTILE
    window_s: Annotated[float, Field(strict=True, ge=LEAST_WINDOW_S, le=1e9)] = PEAK_WINDOW_S


class TraceSlice(BaseModel):
    """A part of a trace, from `start` to `end` after its first arrival, in a unit of time."""

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
    """The resources that a plan may use, by id or by path to a user's own file; an empty list allows all."""

    model_config = STRICT
    accelerators: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ("on_demand",)


class Workload(BaseModel):
    """The load to serve, its objectives, and the resources that may be used.

    Arrivals are either `rate_per_s` (the rate to size for) with `cv`, the coefficient of variation of the gaps
    (1: Poisson), or a `trace`, as it is, at `scale` times its rate or at a mean of `rate_per_s`; the rate to size for
    is then its `peak`. Lengths are those of the trace, or `lengths`.
    seed: of random draws.  spare_replicas: replicas of each deployment kept in reserve (1: N+1).  caps: most devices by
    accelerator.  budget, power, carbon: upper bounds of spending, of power at the meter and of emissions, with every
    replica busy.
    quality: the share of questions to solve. The rate is then that of questions, lengths are in the evidence, and
    `models` are the recorded models that may answer (by default all).
    uncertainty: declared ranges of prices and demand, for a plan with a quality target.
    hours: the day by the hour, which is planned beside the plan for the rate to size for.
    calibration: folder of the user's own calibration, as `comptroller fit calibration --out FOLDER` writes it.
    """

    model_config = STRICT
    name: Annotated[str, Field(min_length=1)]
    models: tuple[str, ...] = ()
    rate_per_s: Rate | None = None
    cv: Annotated[float, Field(strict=True, ge=0, le=MOST_CV)] | None = None
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
    calibration: str | None = None
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
        """The options of reading the trace."""
        if self.part is None:
            return TraceReadOptions(skip_bad=self.skip_bad)
        start_s, end_s = (to_si(value, self.part.unit)[0] for value in (self.part.start, self.part.end))
        return TraceReadOptions(start_s, end_s, self.skip_bad)

    @property
    def digest(self) -> str:
        """SHA-256 of the document and of the contents of its trace, evidence and calibration; where they lie does not
        matter."""
        path = Path(self.trace) if self.trace else None
        quality = self.quality
        records = Path(quality.evidence) if quality else None
        update: dict[str, Any] = {"trace": path.name if path else None}
        if quality and records:
            update["quality"] = quality.model_copy(update={"evidence": records.name})
        written = self.model_copy(update=update).model_dump_json(exclude={"calibration"})
        sha = hashlib.sha256(written.encode())
        parts = sorted(path.glob("chunk-*")) if path and path.is_dir() else [path]
        for file in (*parts, records):
            if file and file.is_file():
                sha.update(file.name.encode() + file.read_bytes())
        if self.calibration:
            sha.update(CalibrationDocument.of_folder(Path(self.calibration)).digest.encode())
        return sha.hexdigest()


def load(path: Path | str) -> Workload:
    """The workload of a TOML file; paths in it are relative to the file.

    Raises:
        FactError: names the file, the field and what is allowed.
    """
    path = Path(path)
    return parse(parse_toml(path), path)


def parse(document: Mapping[str, Any], file: Path = Path("workload")) -> Workload:
    """The workload of a document; its paths are relative to the folder of `file`.

    Raises:
        FactError: names the file, the field and what is allowed.
    """
    try:
        workload = Workload.model_validate(document)
    except ValidationError as error:
        raise fact_error(error.errors()[0], file.name, Workload) from error
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
    if workload.calibration is not None:
        update["calibration"] = str(_located_calibration(workload.calibration, file))
    if workload.quality is not None:
        update["quality"] = _with_located_files(workload.quality, file)
    return workload.model_copy(update=update)


def _locate_names(field: str, kind: str, names: tuple[str, ...] | Mapping[str, int], file: Path) -> tuple[str, ...]:
    """The ids, and the paths to a user's own files, relative to the workload's folder, resolved.

    Raises:
        FactError: neither an id nor a file.
    """
    located = []
    for name in names:
        user_file = file.parent / name
        chosen = str(user_file) if user_file.suffix in {".toml", ".json"} and user_file.is_file() else name
        try:
            locate(kind, chosen)
        except UnknownIdError as error:
            raise FactError(file.name, field, str(error)) from error
        located.append(chosen)
    return tuple(located)


def _located_calibration(name: str, file: Path) -> Path:
    """The folder of a calibration, relative to the workload's.

    Raises:
        FactError: it is none; says what it lacks.
    """
    folder = file.parent / name
    try:
        CalibrationDocument.of_folder(folder)
    except FactError as error:
        raise FactError(file.name, "calibration", f"{name!r}: {error.field}: {error.problem}", error.allowed) from error
    return folder


def _with_located_files(quality: WorkloadQuality, file: Path) -> WorkloadQuality:
    """The target with the paths of its evidence and of its models resolved."""
    models = dict(
        zip(
            quality.models, _locate_names("quality.models", "models", tuple(quality.models.values()), file), strict=True
        )
    )
    if quality.evidence in packaged_evidence():
        return quality.model_copy(update={"models": models})
    path = find_data("evidence", quality.evidence, file)
    return quality.model_copy(update={"models": models, "evidence": str(path)})


FOLDERS = {"trace": "traces", "evidence": "evidence"}
"""Kind of file that a workload names -> data folder that it is looked for in."""


def data_folders(kind: str, file: Path) -> Iterator[Path]:
    """The folders that a file is looked for in: that of the workload, then the data folders."""
    yield file.parent
    if root := os.environ.get("COMPTROLLER_DATA"):
        yield Path(root) / FOLDERS[kind]
    for base in (Path.cwd(), file.absolute().parent, file.absolute().parent.parent):
        yield base.parent / "shared" / "data" / FOLDERS[kind]


def find_data(kind: str, name: str, file: Path) -> Path:
    """The path of a trace or of evidence (a file or folder) by its name or path, relative to the workload `file`.

    Raises:
        FactError: it is not there; lists the folders searched.
    """
    folders = list(dict.fromkeys(data_folders(kind, file)))
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    places = ", ".join(str(folder) for folder in folders)
    hint = f"a path, or COMPTROLLER_DATA set to the folder that holds {FOLDERS[kind]}/"
    raise FactError(file.name, kind, f"{name!r} is not there; looked in {places}", hint)
