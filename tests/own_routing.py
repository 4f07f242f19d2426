"""A routing policy of a user's own, as docs/simulator.md shows it: most of the prompt cached, unless far busier."""

from comptroller.serving.policies.view import ACTIVE, MATCH

NEEDS = ("match",)


def choose(view, ranks, call, router):
    idlest = ranks[0]
    for rank in ranks:
        if view[rank, ACTIVE] < view[idlest, ACTIVE]:
            idlest = rank
    best = idlest
    for rank in ranks:
        if view[rank, MATCH] > view[best, MATCH] and view[rank, ACTIVE] <= view[idlest, ACTIVE] + 4:
            best = rank
    return int(best)
