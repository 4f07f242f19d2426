"""The shipped rule greedy, asked every second."""

from comptroller.cluster.deadline_rules.greedy import rental

__all__ = ["rental"]
EVERY_S = 1.0
