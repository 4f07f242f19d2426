"""The serving calibration: a few named parameters with error bars, and the anchors of the learned residual.

`calibration/serving.toml` and `calibration/residual.csv` are written by `benchmarks/fit_serving.py`, or by
`comptroller fit calibration` for a user's own file of the same form.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from math import hypot
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as strict

from comptroller.errors import FactError, RecordError
from comptroller.facts.reader import FactSource, build, fault_lines, folder, parse_toml

_STRICT = ConfigDict(extra="forbid")
ANY = "any"
"""Engine of a parameter that all engines share."""

IDENTIFIED = 0.9
"""Most posterior over prior standard deviation of a parameter that the data determine: with Gaussian errors they then
carry at least 0.23 of the prior's information (1/0.9^2 - 1). Of the 45 parameters that ship 22 count. A fit never
widens a prior, so at twice this all would count."""

Positive = Annotated[float, Field(gt=0)]
Band = tuple[float, float]


@strict(frozen=True, config=_STRICT)
class ServingParameter:
    """A positive constant of one engine, or of any.

    error: log standard deviation after the fit.  prior, prior_error: centre and log standard deviation before it.
    """

    name: str
    engine: str
    unit: str
    value: Positive
    error: Annotated[float, Field(ge=0)]
    prior: Positive
    prior_error: Positive

    @property
    def identified(self) -> bool:
        """Whether the fit narrowed the prior enough to speak of a measurement."""
        return self.error <= IDENTIFIED * self.prior_error


@strict(frozen=True, config=_STRICT)
class PredictionErrorBands:
    """10th and 90th percentile of held-out errors, in log units, by what was measured.

    new: neither the model under this engine nor the accelerator with it.  related: the model under this engine, but on
    another accelerator or in another format.  seen: engine, model, formats and accelerator; here of the residual
    divided by its predicted standard deviation.  vendor, engine, generation: another vendor's device or a family whose
    kernels nobody timed, such an engine, an older generation of an engine; from sources left out.  foreign: these
    together, for a group without a band of its own.  by_kind: of a group and a kind of models ("vendor experts"), where
    enough was measured to tell dense models and mixtures of experts apart.
    """

    new: Band
    related: Band
    seen: Band
    foreign: Band | None = None
    vendor: Band | None = None
    engine: Band | None = None
    generation: Band | None = None
    by_kind: Mapping[str, Band] = Field(default_factory=dict)

    def of_group(self, group: str, measured: bool, kind: str = "") -> tuple[str, Band]:
        """The group that judges a replica, with the kind of models where that has a band of its own, and the band.

        group, kind: as `costs.causes.strangeness` and `model_kind` have them.  measured: whether the model was, under
        this engine.
        """
        usual = "related" if measured else "new"
        names = (usual,) if group == "timed" else (group, "foreign", usual)
        known = {f"{name} {kind}": self.by_kind.get(f"{name} {kind}") for name in names[:1]}
        known |= {name: getattr(self, name) for name in names}
        return next((name, band) for name, band in known.items() if band)

    def has_group(self, group: str) -> bool:
        """Whether errors of the group itself, or of all strange ones together, are among the bands."""
        return group == "timed" or any(getattr(self, name) is not None for name in (group, "foreign"))


def both(one: Band, other: Band) -> Band:
    """The band of two independent errors: each edge in quadrature.

    >>> [round(edge, 3) for edge in both((-0.3, 0.4), (-0.4, 0.3))]
    [-0.5, 0.5]
    """
    return -hypot(one[0], other[0]), hypot(one[1], other[1])


@strict(frozen=True, config=_STRICT)
class ResidualKernel:
    """Covariance of the Gaussian process of the residual: standard deviations in log units, lengths in octaves.

    key: part shared by configurations of one engine, model, formats and accelerator.  run: by those of one engine
    version and date as well.  kin: by those of one engine and model on any accelerator.  fine, run_fine: parts of the
    first two that vary with length scales `scales` in (clients, input, output, devices, ranks, expert parallelism); the
    others vary with length scale `reach`.  noise: of a measurement.
    """

    key: float
    run: float
    kin: float
    fine: float
    run_fine: float
    noise: float
    reach: float
    scales: tuple[float, float, float, float, float, float]


@strict(frozen=True, config=_STRICT)
class ServingFacts:
    """The fitted constants of a serving calibration."""

    date: date
    command: str
    data: str
    rows: int
    parameters: tuple[ServingParameter, ...]
    tpot: PredictionErrorBands
    ttft: PredictionErrorBands
    tpot_kernel: ResidualKernel
    ttft_kernel: ResidualKernel
    sources: Mapping[str, FactSource]

    def first_token_band(self, group: str, measured: bool, kind: str = "") -> tuple[str, Band]:
        """Who judges the first token of a replica, and the band; group, measured, kind as `of_group` has them.

        Where no first token of the group was held out: what is around the engine errs as on the servers that were
        timed, and its steps as those of the group, both in one band; `+` stands between the names of the two.
        """
        name, band = self.ttft.of_group(group, measured, kind)
        if self.ttft.has_group(group):
            return name, band
        steps, more = self.tpot.of_group(group, measured, kind)
        return f"{name}+{steps}", both(band, more)

    @cached_property
    def table(self) -> Mapping[tuple[str, str], ServingParameter]:
        """Parameters by name and engine."""
        return {(p.name, p.engine): p for p in self.parameters}

    def value(self, name: str, engine: str) -> float:
        """The value for an engine; for an engine without measurements the geometric mean over the measured ones.

        Raises:
            FactError: no engine has such a parameter.
        """
        exact = self.table.get((name, engine)) or self.table.get((name, ANY))
        if exact:
            return exact.value
        others = [p.value for p in self.parameters if p.name == name]
        if not others:
            raise FactError("serving.toml", name, "no such parameter")
        product = 1.0
        for value in others:
            product *= value ** (1 / len(others))
        return product


@dataclass(frozen=True, slots=True)
class ResidualAnchor:
    """A measured configuration of the residual.

    run: engine version and date.  place: octaves of clients, input and output tokens, devices, ranks and expert
    parallelism.  tpot_weight, ttft_weight: NaN where the latency was not measured.
    """

    engine: str
    architecture: str
    formats: str
    accelerator: str
    run: str
    place: tuple[float, float, float, float, float, float]
    tpot_weight: float
    ttft_weight: float


ANCHOR_COLUMNS = (
    "engine",
    "architecture",
    "formats",
    "accelerator",
    "run",
    *(f"x{i}" for i in range(6)),
    "tpot_weight",
    "ttft_weight",
)


def read_anchors(path: Path) -> tuple[ResidualAnchor, ...]:
    """The anchors of a residual file; none where there is no file.

    Raises:
        RecordError: as `parse_anchors`.
    """
    return parse_anchors(path.read_text(encoding="utf-8"), path.name) if path.is_file() else ()


def parse_anchors(text: str, name: str) -> tuple[ResidualAnchor, ...]:
    """The anchors of a residual file's text.

    Raises:
        RecordError: columns are missing, or a cell that must be a number is not.
    """
    reader = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    header = next(reader, [])
    if tuple(header) != ANCHOR_COLUMNS:
        raise RecordError(name, [(1, f"columns must be {', '.join(ANCHOR_COLUMNS)}")], 1)
    rows = []
    for number, row in enumerate(reader, start=2):
        try:
            engine, architecture, formats, device, run, *cells = row
            x0, x1, x2, x3, x4, x5, tpot, ttft = (float(x) if x else float("nan") for x in cells)
            place = (x0, x1, x2, x3, x4, x5)
            rows.append(ResidualAnchor(engine, architecture, formats, device, run, place, tpot, ttft))
        except ValueError as error:
            raise RecordError(name, [(number, str(error))], 1) from error
    return tuple(rows)


@lru_cache(maxsize=8)
def serving_facts(path: Path | None = None) -> ServingFacts:
    """The serving calibration that ships with the package, or that of a user's own file.

    Raises:
        FactError: the file is malformed; names file, field and what is allowed.

    >>> serving_facts().value("interference", "vllm") > 0
    True
    """
    path = path or folder("calibration") / "serving.toml"
    with fault_lines(path):
        return build(ServingFacts, parse_toml(path), path.name)


@lru_cache(maxsize=8)
def anchors(path: Path | None = None) -> tuple[ResidualAnchor, ...]:
    """The anchors of the residual that ships with the package, or those of a user's own file.

    Raises:
        RecordError: as `read_anchors`.
    """
    return read_anchors(path or folder("calibration") / "residual.csv")
