"""Energy of one arithmetic operation by number kind and width, from a published table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.facts.reader import FactSource, read

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class OperationEnergy:
    """One row: joules of an addition or multiplication of two numbers of a kind and width."""

    operation: Literal["add", "multiply"]
    kind: Literal["int", "float"]
    bits: Annotated[int, Field(gt=0)]
    energy_j: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=_STRICT)
class EnergyTable:
    """Energies of one process node and supply voltage, which `name` and `note` state.

    Widths between the published ones are not interpolated.
    """

    id: str
    name: str
    note: str
    rows: tuple[OperationEnergy, ...]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]


@lru_cache(maxsize=1)
def energy_table() -> EnergyTable:
    """The table that ships with the package, `energy_per_op.toml`."""
    return read(EnergyTable, Path(__file__).with_name("energy_per_op.toml"))
