"""Priority with preemption: the larger number goes first, and sets aside a running call of a lower one."""

from comptroller.serving.policies.view import Call

NEEDS = ("priority",)
PREEMPTS = True


def rank(call: Call) -> float:
    """The priority, turned round."""
    return -call.priority  # type: ignore[no-any-return]
