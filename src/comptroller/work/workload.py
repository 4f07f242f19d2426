"""The workload document: the load to serve, its objectives, and the resources that may be used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PrivateAttr, model_validator

from comptroller.errors import FactError
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.facts.reader import fault_lines, ids, parse_toml
from comptroller.work.data_files import calibration_digest, find_calibration, find_data
from comptroller.work.evidence_readers import OWN, packaged_evidence
from comptroller.work.fleet_limits import (
    KIND_USD_PER_H,
    Confidence,
    KindCount,
    ResourceAllowlist,
    UseCeiling,
    WorkloadLevers,
    require_requests_alone,
)
from comptroller.work.hours import WorkloadDay, require_fitting, with_tables_read
from comptroller.work.objectives import (
    CarbonBound,
    CostObjective,
    LatencyObjectives,
    NotNegative,
    Positive,
    PowerBound,
    SpendRateBound,
)
from comptroller.work.quality import WorkloadQuality
from comptroller.work.rows import TraceReadOptions
from comptroller.work.sizes import STRICT, Sizes, checked_unit, conflict, in_si, unit_schema
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.uncertainty import WorkloadUncertainty
from comptroller.work.use_cases import WorkloadUsage, with_own_use_case
from comptroller.work.workload_names import ALLOWED, WorkloadNames, document_model

LEAST_RATE, MOST_RATE = 1e-6, 1e9
"""Range of rates in 1/s: one request in eleven days to a billion per second. Numbers outside it are in a wrong unit;
twice the range only accepts more of them."""

MOST_CV = 100.0
"""Greatest coefficient of variation of the gaps. Bursts of 100 requests have about 10; a value in per cent, such as
150, is refused. At twice this it would pass."""

PEAK_QUANTILE, PEAK_WINDOW_S = 0.95, 60.0
"""The rate of a trace to size for, unless the workload states another: that of all but the busiest 5 % of its minutes.
Windows of two minutes average the rate over twice the time and so give a lower peak; twice the quantile does not exist,
and 1 is the busiest window."""

LEAST_WINDOW_S = 1.0
"""Shortest window: in a shorter one a rate of 1/s is mostly 0 or several times itself. Twice this would refuse windows
of a second, which suit traces of thousands of requests per second."""

MOST_USD_PER_DEVICE_H = 1000.0
"""Greatest price of a device and hour. The dearest that sites list is below 20; what was meant by the month or as the
price of a node of many devices is refused at some thousand. Twice as much would let months of cheap devices pass."""

Rate = Annotated[float, Field(strict=True, ge=LEAST_RATE, le=MOST_RATE)]
Count = Annotated[int, Field(strict=True, ge=0)]
DevicePrice = Annotated[float, Field(strict=True, gt=0, le=MOST_USD_PER_DEVICE_H)]


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
    unit: Annotated[str, unit_schema("s")]

    @model_validator(mode="after")
    def _times(self) -> TraceSlice:
        checked_unit(self.unit, "s")
        if self.end <= self.start:
            raise conflict("end", f"{self.end:g} is not after the start {self.start:g}")
        return self


class Workload(WorkloadUsage, WorkloadLevers):
    """The load to serve, its objectives, and the resources that may be used.

    Arrivals are either `rate_per_s` (the rate to size for) with `cv`, the coefficient of variation of the gaps
    (1: Poisson), or a `trace`, as it is, at `scale` times its rate or at a mean of `rate_per_s`; the rate to size for
    is then its `peak`. Lengths are those of the trace, or `lengths`. A trace without arrival times is read at
    `rate_per_s`. columns: what the trace's columns are called, where not as its format has them.  tenants: of the
    trace, whose requests alone are read.
    Rate, lengths and objectives may also come from a use case and its users (`WorkloadUsage`); levers of serving stand
    in `WorkloadLevers`.
    seed: of random draws.  spare_replicas: replicas of each deployment kept in reserve (1: N+1).  caps: most devices by
    accelerator.  budget, power, carbon: upper bounds of spending, of power at the meter and of emissions, with every
    replica busy.
    quality: the share of questions to solve. The rate is then that of questions, lengths are in the evidence, and
    `models` are the recorded models that may answer (by default all).
    uncertainty: declared ranges of prices and demand, for a plan with a quality target.
    confidence: that a further draw of the arrivals holds the latency objectives (0.95 where not given).
    most_use: most of the time that replicas may be busy in the steady state; `MOST_USE` where there is no latency
    objective, no ceiling where there is one.  most_kinds: kinds of deployments in the fleet.  kind_usd_per_h: what each
    further kind counts for in the choice, beside the bill.
    hours: the day by the hour, which is planned beside the plan for the rate to size for.
    calibration: folder of the user's own calibration, as `comptroller fit calibration --out FOLDER` writes it.
    what_if: also plan with what no engine is known to launch, marked as such.
    trust_predicted_speed: take deployments that nobody timed at their predicted speed, and not at the upper end of its
    interval.
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
    columns: TraceColumnNames = TraceColumnNames()
    tenants: tuple[str, ...] = ()
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
    what_if: Annotated[bool, Field(strict=True)] = False
    trust_predicted_speed: Annotated[bool, Field(strict=True)] = False
    spare_replicas: Count = 0
    confidence: Confidence | None = None
    most_use: UseCeiling | None = None
    most_kinds: KindCount | None = None
    kind_usd_per_h: NotNegative = KIND_USD_PER_H
    caps: Mapping[str, Count] = Field(default_factory=dict)
    usd_per_device_h: Mapping[str, DevicePrice] = Field(default_factory=dict)
    allow: ResourceAllowlist = ResourceAllowlist()
    _library: FactLibrary = PrivateAttr(default=SHIPPED)

    @property
    def library(self) -> FactLibrary:
        """The facts that the names in it stand for, as they were when it was read."""
        return self._library

    @model_validator(mode="after")
    def _arrivals(self) -> Workload:
        if self.uncertainty is not None and self.quality is None:
            raise conflict("uncertainty", "is reckoned with for questions, not for requests", "with quality")
        if self.hours is not None:
            require_fitting(self.hours, self.quality is not None)
        if self.quality is None and not self.models:
            raise conflict("models", "is missing", "a list that is not empty, or quality")
        if self.quality is not None:
            require_requests_alone(
                {name: getattr(self, name) for name in ("lengths", "prefix", "adapters", "cache_tier")}
            )
        if self.trace is None:
            if self.rate_per_s is None:
                raise conflict("rate_per_s", "no arrivals", "rate_per_s, or trace")
            if self.lengths is None and self.quality is None:
                raise conflict("lengths", "is missing", "a histogram, distributions, or a trace")
            given = [name for name in ("scale", "part", "peak") if getattr(self, name) is not None]
            given += ["columns"] if self.columns != TraceColumnNames() else []
            given += ["tenants"] if self.tenants else []
            if given:
                raise conflict(given[0], "has no meaning without a trace", "trace")
        else:
            for name in ("cv", "lengths", "prefix"):
                if getattr(self, name) is not None:
                    raise conflict(name, "is already given by the trace", f"trace or {name}")
            if self.scale is not None and self.rate_per_s is not None:
                raise conflict("scale", "the rate is given twice", "scale or rate_per_s")
        return self

    def at_prices(self, usd_per_device_h: Mapping[str, float]) -> Workload:
        """The same where devices, by id, are rented on demand at other prices.

        Raises:
            FactError: offers at stated prices are not allowed.
        """
        prices, field = {**self.usd_per_device_h, **usd_per_device_h}, "usd_per_device_h"
        allow = self.allow.with_stated_prices(field, self.name)
        made = self.model_copy(update={field: prices, "allow": allow})
        made._library = self._library.with_prices(allow.sites or ids("sites"), prices, self.name)
        return made

    @property
    def reading(self) -> TraceReadOptions:
        """The options of reading the trace."""
        whole = TraceReadOptions(
            skip_bad=self.skip_bad, columns=self.columns, rate_per_s=self.rate_per_s, tenants=self.tenants
        )
        if self.part is None:
            return whole
        start_s, end_s = (in_si(value, self.part.unit, "s") for value in (self.part.start, self.part.end))
        return replace(whole, start_s=start_s, end_s=end_s)

    @property
    def digest(self) -> str:
        """SHA-256 of the document and of the contents of its trace, evidence and calibration; where they lie does not
        matter."""
        path = Path(self.trace) if self.trace else None
        quality = self.quality
        records = Path(quality.evidence.rpartition(OWN)[2]) if quality else None
        update: dict[str, Any] = {"trace": path.name if path else None}
        reward = quality.reward if quality else None
        scores = Path(reward.scores) if reward and reward.scores else None
        if quality and records:
            named = reward.model_copy(update={"scores": scores.name}) if reward and scores else reward
            update["quality"] = quality.model_copy(update={"evidence": records.name, "reward": named})
        silent: dict[str, Any] = {
            name: True
            for name in ("what_if", "speculation", "prefix", "adapters", "cache_tier", "tenants")
            if not getattr(self, name)
        }
        silent |= {"calibration": True, "allow": self.allow.unused_levers}
        silent |= {"quality": {"reward": True}} if quality and not reward else {}
        silent |= {} if self.usd_per_device_h else {"usd_per_device_h": True}
        written = self.model_copy(update=update).model_dump_json(exclude=silent)
        sha = hashlib.sha256(written.encode())
        for entry in self._library.entries:
            sha.update(f"{entry.kind} {entry.id} {entry.digest}".encode())
        parts = sorted(path.glob("chunk-*")) if path and path.is_dir() else [path]
        for file in (*parts, records, scores):
            if file and file.is_file():
                sha.update(file.name.encode() + file.read_bytes())
        if self.calibration:
            sha.update(calibration_digest(self.calibration).encode())
        return sha.hexdigest()


def load(path: Path | str) -> Workload:
    """The workload of a TOML file; paths in it are relative to the file.

    Raises:
        FactError: names the file, the field and what is allowed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "chat.toml"
    ...     text = "name = 'chat'\\nmodels = ['llama_3_1_8b']\\nrate_per_s = 5\\n"
    ...     written = file.write_text(text + "lengths = { input = { fixed = 300 }, output = { fixed = 50 } }")
    ...     asked = load(file)
    >>> asked.models, asked.rate_per_s
    (('llama_3_1_8b',), 5.0)
    """
    path = Path(path)
    with fault_lines(path):
        return parse(parse_toml(path), path)


def parse(document: Mapping[str, Any], file: Path = Path("workload")) -> Workload:
    """The workload of a document; its paths are relative to the folder of `file`.

    Raises:
        FactError: names the file, the field and what is allowed.
    """
    if document.get("assumptions"):
        raise FactError(file.name, "assumptions", "follow from use_case and users and cannot be stated")
    workload = document_model(Workload, with_own_use_case(document, file), file)
    names = WorkloadNames(workload.library, file)
    allow = workload.allow
    allowed = {field: names.ids(f"allow.{field}", kind, getattr(allow, field)) for field, kind in ALLOWED.items()}
    allowed["providers"] = allow.known_providers(file.name, map(names.library().site, allowed["sites"]))
    update: dict[str, Any] = {
        "models": workload.models if workload.quality else names.ids("models", "models", workload.models),
        "caps": dict(zip(names.ids("caps", "accelerators", workload.caps), workload.caps.values(), strict=True)),
        "allow": allow.model_copy(update=allowed),
    }
    update["policies"] = workload.policies.beside(file)
    if (asked := workload.speculation) is not None and asked.draft is not None:
        (draft,) = names.ids("speculation.draft", "models", [asked.draft])
        update["speculation"] = asked.model_copy(update={"draft": draft})
    if workload.trace is not None:
        update["trace"] = str(find_data("trace", workload.trace, file))
    if workload.hours is not None:
        update["hours"] = with_tables_read(workload.hours, lambda name: find_data("hourly table", name, file))
    if workload.calibration is not None:
        update["calibration"] = str(find_calibration(workload.calibration, file))
    if workload.quality is not None:
        update["quality"] = _with_located_files(workload.quality, names, file)
    resolved = workload.model_copy(update=update)
    resolved._library = names.library()
    return _with_stated_prices(resolved, names, file) if workload.usd_per_device_h else resolved


def _with_stated_prices(workload: Workload, names: WorkloadNames, file: Path) -> Workload:
    """The workload whose sites rent devices out at the prices that it states.

    Raises:
        FactError: an accelerator is unknown, or offers at stated prices are not allowed.
    """
    priced, field = workload.usd_per_device_h, "usd_per_device_h"
    prices = dict(zip(names.ids(field, "accelerators", priced), priced.values(), strict=True))
    allow = workload.allow.with_stated_prices(field, file.name)
    resolved = workload.model_copy(update={field: prices, "allow": allow})
    resolved._library = names.library().with_prices(allow.sites or ids("sites"), prices, file.name)
    return resolved


def _with_located_files(quality: WorkloadQuality, names: WorkloadNames, file: Path) -> WorkloadQuality:
    """The target with the path of its evidence and the names of its models resolved."""
    resolved = names.ids("quality.models", "models", quality.models.values())
    models = dict(zip(quality.models, resolved, strict=True))
    strategies = tuple(_with_located_code(text, file.parent) for text in quality.strategies)
    evidence = quality.evidence
    if evidence not in packaged_evidence():
        code, own, records = evidence.rpartition(OWN)
        found = str(find_data("evidence", records, file))
        evidence = f"{file.parent / (code + OWN[:-1])}:{found}" if own else found
    reward = quality.reward
    if reward is not None and reward.scores and reward.scores not in packaged_evidence():
        reward = reward.model_copy(update={"scores": str(find_data("evidence", reward.scores, file))})
    update = {"models": models, "strategies": strategies, "evidence": evidence, "reward": reward}
    return quality.model_copy(update=update)


def _with_located_code(strategy: str, base: Path) -> str:
    """A strategy's text with the path of its file, if it names one beside the workload."""
    path, colon, rest = strategy.partition(".py:")
    located = base / f"{path}.py"
    return f"{located}:{rest}" if colon and located.is_file() else strategy
