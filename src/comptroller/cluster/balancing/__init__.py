"""Balancers of services over nodes, one file each: the folder is the registry.

A file holds one function, `assignment(case, rng)`: the node of each service, of shape (services,). Searches share one
budget of changes that they look at, `CHANGES`, so that none wins by looking longer.
"""

from __future__ import annotations

from comptroller.own_code import PlugInRegistry

CHANGES = 4000
"""Changes of one service that a search looks at in one case: some ten for each of a few hundred services. At twice as
many no search of the benchmark removed more overload."""

BALANCERS = PlugInRegistry(__name__, "balancer", "assignment")
