"""Priority: the larger number goes first."""

from comptroller.serving.policies.view import Call


def rank(call: Call) -> float:
    """In the engine\'s form."""
    return -call.priority  # type: ignore[no-any-return]


def plain(call: Call) -> float:
    """The priority, turned round."""
    return 0.0 - float(call.priority)
