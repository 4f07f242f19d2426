"""Virtual token counter: of those who wait, the tenant that has had least service goes first.

Service is prompt tokens and twice the output tokens (Sheng et al., Fairness in Serving Large Language Models, OSDI
2024, which weighs output so). The engine keeps the counters, asks anew at every admission, and lifts who comes back.
"""

from comptroller.serving.policies.view import Call

NEEDS = ("tenant", "counter")
INPUT_WEIGHT, OUTPUT_WEIGHT = 1.0, 2.0


def rank(call: Call) -> float:
    """The counter of its tenant."""
    return call.counter  # type: ignore[no-any-return]
