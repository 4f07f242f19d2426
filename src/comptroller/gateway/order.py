"""A call that is to be made, as each service gets it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as changed

from comptroller.books.rates import RateClaim
from comptroller.costs.rating import PUSD
from comptroller.errors import UnsupportedError
from comptroller.gateway.body_fields import bounded_body, length_name, require_thoughts_within
from comptroller.gateway.config import RateLimits
from comptroller.gateway.conversation import has_media, most_tokens, prompt_bound, with_token_cap
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.replica_choice import RoutedPrompt
from comptroller.gateway.service import UpstreamService
from comptroller.gateway.tariff import HoldTerms
from comptroller.quantities import BYTES_PER_TOKEN
from comptroller.work.call import Call

if TYPE_CHECKING:
    from comptroller.gateway.attempt import CallAttempt

Json = dict[str, Any]
MOST_CONTEXT = 10_000_000
"""Tokens of the longest context that is sold (Llama 4 Scout's); what is above it was never read. At twice it a service
without `context_tokens` could claim twice as much."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A call that is to be made.

    path: "chat/completions", "completions" or "embeddings".  body: of the request, which each service gets in its own
    way.  size: bytes of the request, which bound its prompt.  call: who asks, and what for.  services: the first
    choice and the fallbacks.  affinity: the session, or how the prompt begins: what should meet the same cache.
    session: as the client named it, or the strategy's run.  estimate_pusd: what it is expected to cost.
    plan: digest of the plan it belongs to.  native: the request as it came to /v1/messages, for services that speak
    so; its cap and model are those of `body`.  user, tags: as of `CallQuote`.  limits: of its key per minute.
    hedge: whether a second request may go out beside it, where the service is hedged.
    attempts: every try that is over.
    """

    path: str
    body: Json
    size: int
    call: Call
    services: tuple[UpstreamService, ...]
    stream: bool = False
    affinity: str = ""
    session: str = ""
    estimate_pusd: int | None = None
    plan: str = ""
    native: Json | None = None
    user: str = ""
    tags: str = ""
    limits: RateLimits = field(default_factory=RateLimits)
    hedge: bool = False
    attempts: list[CallAttempt] = field(default_factory=list)

    def beside(self) -> UpstreamRequest:
        """The same for a second request beside the first: of limits per minute, it is no request of its own."""
        return replace(self, limits=changed(self.limits, requests=None))

    @property
    def choices(self) -> int:
        """How many generations it asks for."""
        if self.path == "embeddings":
            return 1
        prompt, many = self.body.get("prompt"), 1
        if self.path == "completions" and isinstance(prompt, list) and not all(type(item) is int for item in prompt):
            many = len(prompt)
        best_of = self.body.get("best_of") if self.path == "completions" else None
        return many * max(int(best_of or 1), int(self.body.get("n") or 1))

    def body_for(self, service: UpstreamService) -> Json:
        """The body as a service gets it: fields that the hold bounds, its model, its cap, and the wish for usage.

        Raises:
            GatewayError: a field is not bounded by the hold; names it.
        """
        config = service.config
        body = bounded_body(self.path, self.body, config.dialect, config.fields, service.id)
        body["model"] = service.model
        if self.path == "embeddings":
            return body
        body = with_token_cap(body, config.max_output_tokens, length_name(self.path, config.dialect))
        require_thoughts_within(body, most_tokens(body), service.id)
        if self.native is not None and service.native:
            body["native"] = self.native
        if self.stream and config.usage:
            body["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
            if config.running_usage:
                body["stream_options"] |= {"continuous_usage_stats": True}
                body["timings_per_token"] = True
        return body

    def routed_prompt(self, service: UpstreamService, body: Json) -> RoutedPrompt:
        """What a router is told of it."""
        tokens = max(1, self.size // BYTES_PER_TOKEN)
        context = service.config.context_tokens
        most = None if self.path == "embeddings" else most_tokens(body)
        return RoutedPrompt(min(tokens, context or tokens), most, self.session, self.affinity, body, self.call.key)

    def worst_pusd(self, service: UpstreamService, body: Json) -> int | None:
        """The most it may cost there."""
        context = service.config.context_tokens
        prompt = prompt_bound(body, self.size, context)
        output = 0 if self.path == "embeddings" else most_tokens(body) or context
        tier = body.get("service_tier")
        try:
            return service.tariff.worst_pusd(prompt, output, self.choices, HoldTerms(has_media(body), tier or ""))
        except UnsupportedError as error:
            raise GatewayError(400, f"service_tier: {error}", "invalid_value", "service_tier") from error

    def claims(self, service: UpstreamService, body: Json, worst_pusd: int | None) -> tuple[RateClaim, ...]:
        """What it may take there of its key's limits per minute; all of them where that has no end."""
        name, limits, found = self.call.key, self.limits, []
        if limits.requests is not None and not self.attempts:
            found.append(RateClaim(name, "requests", limits.requests, 1.0))
        if limits.tokens is not None:
            context = service.config.context_tokens
            prompt = prompt_bound(body, self.size, context)
            output = 0 if self.path == "embeddings" else most_tokens(body) or context
            most = limits.tokens if prompt is None or output is None else prompt + output * self.choices
            found.append(RateClaim(name, "tokens", limits.tokens, most))
        if limits.usd is not None:
            most_usd = limits.usd if worst_pusd is None else worst_pusd / PUSD
            found.append(RateClaim(name, "usd", limits.usd, most_usd))
        return tuple(found)

    def permits(self, service: UpstreamService, body: Json) -> tuple[float, float]:
        """The most prompt and output tokens that a service may report and be believed: what its context and the hold
        leave room for. Templates and tools make a prompt longer than its text, so that bytes do not bound it here."""
        context = service.config.context_tokens or MOST_CONTEXT
        if self.path == "embeddings":
            return context * (len(body["input"]) if isinstance(body["input"], list) else 1), 0.0
        return context * self.choices, (most_tokens(body) or context) * self.choices
