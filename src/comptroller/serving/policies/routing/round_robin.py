"""Round robin: the replicas in turn."""

from comptroller.serving.policies.view import Call, Ranks, RouterState, View


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The next in turn."""
    return int(ranks[router.turn % ranks.size])
