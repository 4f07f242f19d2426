"""Request lengths in a workload document, and units: a joint histogram, or a distribution each for input and output."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import scipy  # its parts are imported when they are used
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from comptroller.quantities import UNITS, to_si
from comptroller.work.lengths import (
    LengthBucketEdges,
    LengthStrata,
    RequestSizeTable,
    fixed_strata,
    lognormal_strata,
    product,
    whole,
    within,
)
from comptroller.work.rows import MOST_TOKENS
from comptroller.work.trace import Floats, Ints

STRICT = ConfigDict(extra="forbid", frozen=True)
TokenCount = Annotated[int, Field(strict=True, ge=1, le=int(MOST_TOKENS))]
TokenMean = Annotated[float, Field(strict=True, ge=1, le=MOST_TOKENS)]
Weight = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


def conflict(field: str, problem: str, allowed: str = "") -> PydanticCustomError:
    """A validation error about a field that contradicts others; the loader turns it into a `FactError`."""
    return PydanticCustomError("conflict", "{problem}", {"problem": problem, "field": field, "allowed": allowed})


def checked_unit(unit: str, suffix: str) -> str:
    """The unit itself, if it belongs to a field suffix.

    Raises:
        PydanticCustomError: it does not; lists those that do.
    """
    fitting = [name for name, (belongs, _) in UNITS.items() if belongs == suffix]
    if unit not in fitting:
        raise conflict("unit", f"{unit!r} does not fit", ", ".join(fitting))
    return unit


def unit_schema(suffix: str) -> WithJsonSchema:
    """What the JSON Schema of a unit allows: those of a field suffix."""
    return WithJsonSchema(
        {"type": "string", "enum": [name for name, (belongs, _) in UNITS.items() if belongs == suffix]}
    )


def in_si(value: float, unit: str, suffix: str) -> float:
    """A value in SI units of the quantity with a field suffix (`w`).

    Raises:
        PydanticCustomError: the unit is not one of that quantity.
    """
    return to_si(value, checked_unit(unit, suffix))[0]


class FixedLength(BaseModel):
    """A constant length, in tokens."""

    model_config = STRICT
    fixed: TokenCount

    def strata(self) -> LengthStrata:
        """One stratum."""
        return fixed_strata(float(self.fixed))

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """The length, n times."""
        return np.full(n, self.fixed, np.int64)


class LognormalLength(BaseModel):
    """A lognormal length in tokens, given by median and mean or 99th percentile; longer ones are cut at `most`."""

    model_config = STRICT
    median: TokenMean
    mean: TokenMean | None = None
    p99: TokenMean | None = None
    most: TokenCount

    @model_validator(mode="after")
    def _spread(self) -> LognormalLength:
        if (self.mean is None) == (self.p99 is None):
            raise conflict("mean", "give the spread once", "mean or p99")
        if (self.mean or self.p99 or 0.0) <= self.median:
            raise conflict("median", f"{self.median:g} is not below the mean or p99")
        mean = self.median * float(np.exp(self.sigma**2 / 2))
        if self.most < mean:
            raise conflict("most", f"{self.most} is below the mean {mean:.6g} of the lengths", f"at least {mean:.6g}")
        return self

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm: sqrt(2 ln(mean / median)), or ln(p99 / median) / 2.326."""
        if self.mean is not None:
            return float(np.sqrt(2 * np.log(self.mean / self.median)))
        return float(np.log((self.p99 or self.median) / self.median) / scipy.special.ndtri(0.99))

    def strata(self) -> LengthStrata:
        """Strata of equal probability."""
        return lognormal_strata(self.median, self.sigma, float(self.most))

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Random lengths between 1 and `most`."""
        drawn = self.median * np.exp(self.sigma * rng.standard_normal(n))
        return np.clip(whole(np.clip(drawn, 1, self.most), rng), 1, self.most)


def _length_kind(value: Any) -> str:
    is_fixed = isinstance(value, FixedLength) or (isinstance(value, dict) and "fixed" in value)
    return "<fixedlength>" if is_fixed else "<lognormallength>"


Length = Annotated[
    Annotated[FixedLength, Tag("<fixedlength>")] | Annotated[LognormalLength, Tag("<lognormallength>")],
    Discriminator(_length_kind),
]


class LengthDistributions(BaseModel):
    """Independent input and output lengths."""

    model_config = STRICT
    input: Length
    output: Length

    def points(self) -> RequestSizeTable:
        """The joint distribution as weighted points."""
        return product(self.input.strata(), self.output.strata())

    def edges(self) -> LengthBucketEdges | None:
        """None, because a continuous distribution has no bins; the planner chooses the buckets."""
        return None

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Random input and output lengths."""
        return self.input.draw(n, rng), self.output.draw(n, rng)


class LengthHistogram(BaseModel):
    """Joint histogram of input and output lengths: one row for each input bin, one column for each output bin.

    input_edges, output_edges: whole tokens; bin i is edges[i] <= tokens < edges[i + 1].  input_means, output_means:
    mean tokens of each bin; its middle, if not given.  weights: counts or shares; they are normalised.
    """

    model_config = STRICT
    input_edges: tuple[TokenCount, ...] = Field(min_length=2)
    output_edges: tuple[TokenCount, ...] = Field(min_length=2)
    weights: tuple[tuple[Weight, ...], ...]
    input_means: tuple[TokenMean, ...] | None = None
    output_means: tuple[TokenMean, ...] | None = None

    @model_validator(mode="after")
    def _shape(self) -> LengthHistogram:
        rows, columns = len(self.input_edges) - 1, len(self.output_edges) - 1
        for name, edges in (("input_edges", self.input_edges), ("output_edges", self.output_edges)):
            if any(b <= a for a, b in pairwise(edges)):
                raise conflict(name, "do not increase")
        if len(self.weights) != rows or any(len(row) != columns for row in self.weights):
            shape = f"{rows} rows (input bins) of {columns} (output bins)"
            raise conflict("weights", "do not match the edges", shape)
        if not np.sum(self.weights) > 0:
            raise conflict("weights", "are all zero")
        for name, edges, means in (
            ("input_means", self.input_edges, self.input_means),
            ("output_means", self.output_edges, self.output_means),
        ):
            _check_means(name, edges, means)
        return self

    @property
    def shares(self) -> Floats:
        """The weights normalised to a sum of one."""
        table: Floats = np.array(self.weights, np.float64)
        return table * (1 / float(table.sum()))

    def points(self) -> RequestSizeTable:
        """One point for each bin with a weight above 0."""
        rows, columns = np.nonzero(self.shares)
        (_, input_high), (_, output_high) = _bounds(self.input_edges), _bounds(self.output_edges)
        return RequestSizeTable(
            _means(self.input_edges, self.input_means)[rows],
            _means(self.output_edges, self.output_means)[columns],
            self.shares[rows, columns],
            input_high[rows],
            output_high[columns],
        )

    def edges(self) -> LengthBucketEdges:
        """The bins' own inner edges."""
        return LengthBucketEdges(np.array(self.input_edges[1:-1], float), np.array(self.output_edges[1:-1], float))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Random input and output lengths; each bin keeps its mean."""
        cell = rng.choice(self.shares.size, size=n, p=self.shares.ravel())
        rows, columns = np.divmod(cell, self.shares.shape[1])
        drawn = []
        for edges, means, bins in (
            (self.input_edges, self.input_means, rows),
            (self.output_edges, self.output_means, columns),
        ):
            low, high = _bounds(edges)
            drawn.append(whole(within(low[bins], high[bins], _means(edges, means)[bins], rng), rng))
        return drawn[0], drawn[1]


def _bounds(edges: tuple[int, ...]) -> tuple[Floats, Floats]:
    """The least and the greatest length of each bin."""
    return np.array(edges[:-1], np.float64), np.array(edges[1:], np.float64) - 1


def _means(edges: tuple[int, ...], means: tuple[float, ...] | None) -> Floats:
    low, high = _bounds(edges)
    return (low + high) / 2 if means is None else np.array(means, np.float64)


def _check_means(name: str, edges: tuple[int, ...], means: tuple[float, ...] | None) -> None:
    if means is None:
        return
    if len(means) != len(edges) - 1:
        raise conflict(name, f"has {len(means)} values", f"one for each of {len(edges) - 1} bins")
    for (low, high), mean in zip(pairwise(edges), means, strict=True):
        if not low <= mean <= high - 1:
            raise conflict(name, f"{mean:g} lies outside its bin", f"{low} to {high - 1}")


def _sizes_kind(value: Any) -> str:
    is_table = isinstance(value, LengthHistogram) or (
        isinstance(value, dict) and bool({"weights", "input_edges"} & set(value))
    )
    return "<lengthhistogram>" if is_table else "<lengthdistributions>"


Sizes = Annotated[
    Annotated[LengthHistogram, Tag("<lengthhistogram>")] | Annotated[LengthDistributions, Tag("<lengthdistributions>")],
    Discriminator(_sizes_kind),
]
