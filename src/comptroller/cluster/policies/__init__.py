"""Policies of jobs on a cluster, one file each: the folder is the registry.

A file holds one function, `grants(view)`: from what a cluster looks like to GPUs for some of its jobs, in the order in
which they are given. It is asked whenever a job has less than it asks for, at every submission and end, and every
EVERY_S seconds where the file says so. NEEDS: `durations` where it reads how long jobs still take, `quota`, `tiers`.
TRANSPARENT: its jobs are saved from outside at any moment, so that those which serving stops lose no work either; what
a policy itself stops writes a checkpoint first, in every case. MIGRATES: jobs may move so that others find room.
EXCHANGES: it is asked even where every job has what it asks for, since jobs may change places.
"""

from __future__ import annotations

import sys
from types import ModuleType

from comptroller.own_code import registry_module, registry_stems


def policy_names() -> tuple[str, ...]:
    """Ids of the policies that ship.

    >>> policy_names()[:3]
    ('backfill', 'fcfs', 'first_fit')
    """
    return registry_stems(sys.modules[__name__])


def policy_module(name: str) -> ModuleType:
    """The file of a policy: by its id, by a path or by a dotted path.

    Raises:
        UnknownIdError: there is no such policy.
        InputError: it has no function `grants`.
    """
    return registry_module(sys.modules[__name__], "policy of jobs", "grants", name)
