"""The calibration of training: what programs make of the rates of single kernels, and what they keep in memory.

`calibration/training.toml` is written by `benchmarks/fit_training.py`; its header states the equation. A program is
named like those of engines: by what users run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import UnknownIdError
from comptroller.facts.reader import FactSource, build, folder, parse_toml

_STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]

ANY_FAMILY = "any"
"""Family of a constant that holds on all accelerators; those of one family multiply it."""


@dataclass(frozen=True, config=_STRICT)
class TrainingConstant:
    """A fitted constant of a program, with its log standard deviation. family: `any`, or of accelerators, as a
    factor."""

    program: str
    name: str
    family: str
    value: Positive
    error: Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=_STRICT)
class ProgramMemory:
    """What a program keeps in memory; `costs.training_memory.MemoryHabits` explains the fields. why: of the values.

    compiled_logit_bytes: of a logit where the loss is one compiled kernel, 0 where the program has no such.
    """

    gradients: Positive
    logit_bytes: Positive
    split_logit_bytes: Positive
    compiled_logit_bytes: Annotated[float, Field(ge=0)]
    kept: Annotated[float, Field(gt=0, le=1)]
    narrow_kept: bool
    sequence_split: bool
    score_bytes: float
    dropout: bool
    gathered: float
    slack: Positive
    base_bytes: Positive
    why: str


@dataclass(frozen=True, config=_STRICT)
class TrainingProgram:
    """A training program as it was measured. families: of the accelerators.  rows, groups: behind the fit.

    mape: mean absolute error of step times of groups left out.  band: 10th and 90th percentile of the log of measured
    over predicted seconds of such groups.
    """

    id: str
    name: str
    source: str
    families: tuple[str, ...]
    rows: int
    groups: int
    mape: Positive
    band: tuple[float, float]
    memory: ProgramMemory


@dataclass(frozen=True, config=_STRICT)
class TrainingCalibration:
    """All programs with their constants."""

    date: date
    command: str
    programs: tuple[TrainingProgram, ...]
    constants: tuple[TrainingConstant, ...]
    sources: Mapping[str, FactSource]

    def program(self, id: str) -> TrainingProgram:
        """The program of an id.

        Raises:
            UnknownIdError: there is none; lists those there are.
        """
        found = {one.id: one for one in self.programs}
        if id not in found:
            raise UnknownIdError("training program", id, found)
        return found[id]

    def values(self, program: str, family: str) -> dict[str, float]:
        """Constants of a program on a family of accelerators; one that was not measured has those of all."""
        own = [one for one in self.constants if one.program == program]
        found = {one.name: one.value for one in own if one.family == ANY_FAMILY}
        for one in own:
            if one.family == family:
                found[one.name] *= one.value
        return found


@lru_cache(maxsize=1)
def training_calibration() -> TrainingCalibration:
    """The shipped calibration.

    >>> training_calibration().program("llm_foundry").rows > 100
    True
    """
    path = folder("calibration") / "training.toml"
    return build(TrainingCalibration, parse_toml(path), path.name)
