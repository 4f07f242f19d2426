"""Calls of a trace that no service of a plan takes, because its context is planned for shorter ones."""

from __future__ import annotations

import numpy as np

from comptroller.planning.ground.plan_document import Plan
from comptroller.work.trace import RequestTrace


def long_calls_note(plan: Plan, trace: RequestTrace) -> str:
    """What to say of calls whose prompt and output are longer than the context of every service of the plan; empty
    where there are none, or a service takes what its model takes."""
    contexts = [service.deployment.engine.context_tokens for service in plan.services]
    longest = max((tokens for tokens in contexts if tokens is not None), default=0)
    if not contexts or None in contexts:
        return ""
    count = int(np.count_nonzero(trace.input_tokens + trace.output_tokens > longest))
    if not count:
        return ""
    return (
        f"{count:,} of {len(trace):,} requests are longer than the {longest:,} tokens that the plan's replicas take, "
        "and are refused whatever is compared here (plan with the lengths of the trace)"
    )
