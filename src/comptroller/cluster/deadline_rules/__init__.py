"""Rules by which a job with a deadline rents machines, one file each: the folder is the registry.

A file holds one function, `rental(view)`: from what a job knows at a moment to what it is to run on. It is asked when a
zone changes, when its slack falls to two changeovers, and every EVERY_S seconds.
"""

from __future__ import annotations

from comptroller.own_code import PlugInRegistry

DEADLINE_RULES = PlugInRegistry(__name__, "rule for a deadline", "rental")
