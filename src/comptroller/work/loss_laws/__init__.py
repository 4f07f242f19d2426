"""Laws of the loss of training runs, one module each with a `LAW`: what each needs, its equation, its parameters.

`comptroller fit laws LOSSES.csv` fits every law whose columns the table has, and averages those of parameters and
tokens.
A law is a function of transformed parameters x (logarithms of what is positive) and the columns of the runs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnknownIdError

Array = npt.NDArray[np.float64]
Columns = Mapping[str, Array]

PARAMS, TOKENS = "params", "tokens"


MOST_LOG = 700.0
"""Greatest logarithm of a parameter that is told: beyond it (an endless half-life) it has no number of eight bytes."""


@dataclass(frozen=True, slots=True)
class LossLaw:
    """A law. formula, source: in words.  needs: columns beside parameters and tokens.

    log_loss: log of the loss of runs, of transformed parameters and columns.  names: of the parameters.  positive:
    which of them stand as logarithms in x.  starts: of x.  published: values of a publication, by name.
    """

    name: str
    formula: str
    source: str
    names: tuple[str, ...]
    starts: tuple[tuple[float, ...], ...]
    log_loss: Callable[[Array, Columns], Array]
    needs: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    published: Mapping[str, float] = field(default_factory=dict)

    def values(self, x: Array) -> dict[str, float]:
        """Parameters by name."""
        return {
            name: float(np.exp(min(one, MOST_LOG))) if name in self.positive else float(one)
            for name, one in zip(self.names, x, strict=True)
        }

    def transformed(self, values: Mapping[str, float]) -> Array:
        """x of parameters."""
        return np.array([np.log(values[name]) if name in self.positive else values[name] for name in self.names])

    def loss(self, values: Mapping[str, float], columns: Columns) -> Array:
        """Losses of runs by parameters."""
        return np.exp(self.log_loss(self.transformed(values), columns))


@lru_cache(maxsize=1)
def loss_laws() -> tuple[LossLaw, ...]:
    """All laws, by name.

    >>> [law.name for law in loss_laws()][:2]
    ['average_params', 'chinchilla']
    """
    names = sorted(item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_"))
    return tuple(importlib.import_module(f"{__name__}.{name}").LAW for name in names)


def loss_law(name: str) -> LossLaw:
    """The law of a name.

    Raises:
        UnknownIdError: there is none; lists the nearest.
    """
    found = {law.name: law for law in loss_laws()}
    if name not in found:
        raise UnknownIdError("law of the loss", name, found)
    return found[name]
