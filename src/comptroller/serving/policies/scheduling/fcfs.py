"""First come, first served."""

from comptroller.serving.policies.view import Call


def rank(call: Call) -> float:
    """The same for all: arrival decides."""
    return 0.0
