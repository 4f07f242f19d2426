"""Rules by which a job with a deadline rents machines, one file each: the folder is the registry.

A file holds one function, `rental(view)`: from what a job knows at a moment to what it is to run on. It is asked when a
zone changes, when its slack falls to two changeovers, and every EVERY_S seconds.
"""

from __future__ import annotations

import sys
from types import ModuleType

from comptroller.own_code import registry_module, registry_stems


def deadline_rule_names() -> tuple[str, ...]:
    """Ids of the rules that ship.

    >>> deadline_rule_names()
    ('expected_cost', 'greedy', 'on_demand', 'uniform_progress')
    """
    return registry_stems(sys.modules[__name__])


def deadline_rule(name: str) -> ModuleType:
    """The file of a rule: by its id, by a path or by a dotted path.

    Raises:
        UnknownIdError: there is no such rule.
        InputError: it has no function `rental`.
    """
    return registry_module(sys.modules[__name__], "rule for a deadline", "rental", name)
