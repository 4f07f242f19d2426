"""Policies of jobs on a cluster, one file each: the folder is the registry.

A file holds one function, `grants(view)`: from what a cluster looks like to GPUs for some of its jobs, in the order in
which they are given. It is asked whenever a job has less than it asks for, at every submission and end, and every
EVERY_S seconds where the file says so. NEEDS: `durations` where it reads how long jobs still take, `quota`, `tiers`,
`goodput`.
TRANSPARENT: its jobs are saved from outside at any moment, so that those which serving stops lose no work either; what
a policy itself stops writes a checkpoint first, in every case. MIGRATES: jobs may move so that others find room.
EXCHANGES: it is asked even where every job has what it asks for, since jobs may change places.
"""

from __future__ import annotations

from comptroller.own_code import PlugInRegistry

JOB_POLICIES = PlugInRegistry(__name__, "policy of jobs", "grants")
