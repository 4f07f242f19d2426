"""Policies of jobs on a cluster, one file each: the folder is the registry.

A file holds one function, `grants(view)`: from what a cluster looks like to GPUs for some of its jobs, in the order in
which they are given. It is asked whenever a job has less than it asks for, at every submission and end, and every
EVERY_S seconds where the file says so. NEEDS: `durations` where it reads how long jobs still take, `quota`, `tiers`.
TRANSPARENT: its jobs are saved from outside at any moment, so that those which serving stops lose no work either; what
a policy itself stops writes a checkpoint first, in every case. MIGRATES: jobs may move so that others find room.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from comptroller.errors import InputError, UnknownIdError
from comptroller.own_code import own_module


@lru_cache(maxsize=1)
def policy_names() -> tuple[str, ...]:
    """Ids of the policies that ship.

    >>> policy_names()[:3]
    ('backfill', 'fcfs', 'first_fit')
    """
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def policy_module(name: str) -> ModuleType:
    """The file of a policy: by its id, by a path or by a dotted path.

    Raises:
        UnknownIdError: there is no such policy.
        InputError: it has no function `grants`.
    """
    policy = import_module(f"{__name__}.{name}") if name in policy_names() else own_module(name)
    if policy is None:
        raise UnknownIdError("policy of jobs", name, policy_names())
    if not callable(getattr(policy, "grants", None)):
        raise InputError(f"policy of jobs {name}: {policy.__file__} has no function `grants`")
    return policy
