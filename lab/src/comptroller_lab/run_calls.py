"""From a run to the records of its calls: the rows that a trace, a simulation and a ledger have in common."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

from comptroller.quantities import Values
from comptroller.strategies.drive import FinishedRun
from comptroller.strategies.protocol import Reply
from comptroller.work.call import Call


def calls(played: FinishedRun, strategy: str, services: Mapping[str, str], request: int = 0) -> list[Call]:
    """The calls of a run, numbered in the order of asking; a call's parent is the one it goes on from.

    strategy: as it is written.  services: role -> service, empty where a role has none.  Joules are not split
    between the phases here, so they stay unknown; unknown tokens count as none.
    """
    replies = sorted(played.replies, key=lambda reply: played.order[reply.ask])
    return [_call(reply, played, strategy, services, request) for reply in replies]


def _call(reply: Reply, played: FinishedRun, strategy: str, services: Mapping[str, str], request: int) -> Call:
    tokens, parent = reply.cost.tokens, reply.ask.after
    fresh, cached, written = (_count(amount) for amount in (tokens.input, tokens.cached, tokens.cache_write))
    reasoning = _count(tokens.reasoning)
    return Call(
        call=played.order[reply.ask],
        request=request,
        parent=-1 if parent is None else played.order.get(parent.ask, -1),
        question=played.question.id,
        role=reply.ask.role,
        strategy=strategy,
        service=services.get(reply.ask.role, ""),
        arrival_s=reply.started_s,
        started_s=reply.started_s,
        last_s=reply.done_s,
        input_tokens=fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=_count(tokens.output) + reasoning,
        reasoning_tokens=reasoning,
        finish=reply.finish,
        device_s=float(reply.cost.device_s),
        usd=float(reply.cost.usd),
        gco2e=float(reply.cost.gco2e),
        source="predicted",
    )


def _count(tokens: Values) -> int:
    amount = float(tokens)
    return 0 if isnan(amount) else round(amount)
