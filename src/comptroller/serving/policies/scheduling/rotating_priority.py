"""Priorities that change as a service runs: drawn anew for every session each 25 steps, and running calls give way.

The setting of FastSwitch (arXiv 2411.18424): a priority trace of random pattern, updated at a frequency of 0.04 a
step. A call without a session has a priority of its own.
"""

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import Call

EVERY_STEPS = 25
"""Steps between changes: one over FastSwitch's frequency of 0.04. At twice it half as many caches are swapped."""
PREEMPTS = True


def rank(call: Call) -> float:
    """A draw for the session in this epoch; the lowest goes first."""
    return float(draw(call.epoch, call.session if call.session >= 0 else call.id, 0))
