"""Fair share by tokens: start-time fair queueing between tenants (Goyal, Vin, Cheng, 1996).

A call's start tag is the larger of the replica's virtual time and the finish tag of its tenant's call before
it; the finish tag adds its tokens. The engine keeps the tags; this policy goes by them.
"""

from comptroller.serving.policies.view import Call

NEEDS = ("tenant",)


def rank(call: Call) -> float:
    """The start tag."""
    return call.fair_start  # type: ignore[no-any-return]
