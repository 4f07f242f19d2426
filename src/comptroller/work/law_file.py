"""A law of the loss as a file: what `fit laws LOSSES.csv --out LAW.toml` writes and a workload of training names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.reader import build, fault_lines, parse_toml
from comptroller.work.scaling_law import CHINCHILLA, ScalingLaw

_STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=_STRICT)
class LossLawFile:
    """The law L = floor + a / N^alpha + b / D^beta with what its fit supports.

    reach_flops: greatest compute that its hold-out supports.  held_out: mean error on the runs of most compute.
    """

    name: str
    runs: Annotated[int, Field(ge=1)]
    floor: Annotated[float, Field(ge=0)]
    a: Positive
    alpha: Positive
    b: Positive
    beta: Positive
    reach_flops: Positive
    held_out: Annotated[float, Field(ge=0)]

    @property
    def law(self) -> ScalingLaw:
        """The law itself."""
        source = f"{self.runs} runs of {self.name} (held out {100 * self.held_out:.2g} %)"
        return ScalingLaw(self.floor, self.a, self.b, self.alpha, self.beta, source)

    def text(self) -> str:
        """The file.

        >>> file = LossLawFile("own", 20, 1.8, 480.0, 0.35, 2100.0, 0.37, 1e23, 0.01)
        >>> file.text().splitlines()[:2]
        ['name = "own"', 'runs = 20']
        """
        name = json.dumps(self.name, ensure_ascii=False)
        fields = ("floor", "a", "alpha", "b", "beta", "reach_flops", "held_out")
        rest = "".join(f"{field} = {float(getattr(self, field))!r}\n" for field in fields)
        return f"name = {name}\nruns = {self.runs}\n{rest}"


def read_law(path: Path) -> LossLawFile:
    """The law of a file.

    Raises:
        FactError: the file is malformed; names file, line and field.
    """
    with fault_lines(path):
        return build(LossLawFile, parse_toml(path), path.name)


def law_of(name: str, base: Path = Path()) -> tuple[ScalingLaw, float | None]:
    """The law of a file, relative to a folder, with its reach in FLOP; without a name Epoch's refit of Chinchilla.

    Raises:
        FactError: as `read_law`.

    >>> law_of("")[0] is CHINCHILLA
    True
    """
    if not name:
        return CHINCHILLA, None
    found = read_law(base / name)
    return found.law, found.reach_flops


def require_reach(flops: float, reach: float | None, beyond: bool, name: str) -> None:
    """Refuse compute that a law's hold-out does not support.

    Raises:
        UnsupportedError: says both, and how to ask for it anyway.
    """
    if reach is not None and flops > reach and not beyond:
        raise UnsupportedError(
            f"{flops:.3g} FLOP is beyond {reach:.3g}, as far as the hold-out of {name} supports; measure larger runs, "
            f"or set beyond = true"
        )
