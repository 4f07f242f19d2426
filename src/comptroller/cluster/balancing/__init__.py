"""Balancers of services over nodes, one file each: the folder is the registry.

A file holds one function, `assignment(case, rng)`: the node of each service, of shape (services,). Searches share one
budget of changes that they look at, `CHANGES`, so that none wins by looking longer.
"""

from __future__ import annotations

import sys
from types import ModuleType

from comptroller.own_code import registry_module, registry_stems

CHANGES = 4000
"""Changes of one service that a search looks at in one case: some ten for each of a few hundred services. At twice as
many no search of the benchmark removed more overload."""


def balancer_names() -> tuple[str, ...]:
    """Ids of the balancers that ship.

    >>> balancer_names()[:2]
    ('agents', 'annealing')
    """
    return registry_stems(sys.modules[__name__])


def balancer_module(name: str) -> ModuleType:
    """The file of a balancer: by its id, by a path or by a dotted path.

    Raises:
        UnknownIdError: there is no such balancer.
        InputError: it has no function `assignment`.
    """
    return registry_module(sys.modules[__name__], "balancer", "assignment", name)
