"""Balancers of services over nodes, one file each: the folder is the registry.

A file holds one function, `assignment(case, rng)`: the node of each service, of shape (services,). Searches share one
budget of changes that they look at, `CHANGES`, so that none wins by looking longer.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from comptroller.errors import InputError, UnknownIdError
from comptroller.own_code import own_module

CHANGES = 4000
"""Changes of one service that a search looks at in one case: some ten for each of a few hundred services. At twice as
many no search of the benchmark removed more overload."""


@lru_cache(maxsize=1)
def balancer_names() -> tuple[str, ...]:
    """Ids of the balancers that ship.

    >>> balancer_names()[:2]
    ('agents', 'annealing')
    """
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def balancer_module(name: str) -> ModuleType:
    """The file of a balancer: by its id, by a path or by a dotted path.

    Raises:
        UnknownIdError: there is no such balancer.
        InputError: it has no function `assignment`.
    """
    balancer = import_module(f"{__name__}.{name}") if name in balancer_names() else own_module(name)
    if balancer is None:
        raise UnknownIdError("balancer", name, balancer_names())
    if not callable(getattr(balancer, "assignment", None)):
        raise InputError(f"balancer {name}: {balancer.__file__} has no function `assignment`")
    return balancer
