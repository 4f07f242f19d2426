"""Priority: the larger number goes first."""

from comptroller.serving.policies.view import Call

NEEDS = ("priority",)


def rank(call: Call) -> float:
    """The priority, turned round."""
    return -call.priority  # type: ignore[no-any-return]
