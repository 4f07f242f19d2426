"""Round robin: the replicas in turn."""

from comptroller.serving.policies.view import Call, Ranks, Router, View


def choose(view: View, ranks: Ranks, call: Call, router: Router) -> int:
    """The next in turn."""
    return int(ranks[router.turn % ranks.size])
