"""The shipped rule uniform_progress, asked every second."""

from comptroller.cluster.deadline_rules.uniform_progress import rental

__all__ = ["rental"]
EVERY_S = 1.0
