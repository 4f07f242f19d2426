"""Prefix match: the longest cached prefix of the prompt; ties go to the fewest requests in flight."""

from comptroller.serving.policies.view import ACTIVE, MATCH, Call, Ranks, RouterState, View

NEEDS = ("match",)


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """Longest match, then fewest requests in flight."""
    best = ranks[0]
    for rank in ranks:
        more = view[rank, MATCH] > view[best, MATCH]
        if more or (view[rank, MATCH] == view[best, MATCH] and view[rank, ACTIVE] < view[best, ACTIVE]):
            best = rank
    return int(best)
