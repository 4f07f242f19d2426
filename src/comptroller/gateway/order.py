"""A call that is to be made, as each service gets it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comptroller.gateway.conversation import most_tokens, prompt_bound, with_token_cap
from comptroller.gateway.replica_choice import RoutedPrompt
from comptroller.gateway.service import UpstreamService
from comptroller.quantities import BYTES_PER_TOKEN
from comptroller.work.call import Call

if TYPE_CHECKING:
    from comptroller.gateway.desk import CallAttempt

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A call that is to be made.

    path: "chat/completions", "completions" or "embeddings".  body: of the request, which each service gets in its own
    way.  size: bytes of the request, which bound its prompt.  call: who asks, and what for.  services: the first
    choice and the fallbacks.  affinity: the session, or how the prompt begins: what should meet the same cache.
    session: as the client named it, or the strategy's run.  estimate_pusd: what it is expected to cost.
    plan: digest of the plan it belongs to.  attempts: every try that is over.
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
    attempts: list[CallAttempt] = field(default_factory=list)

    @property
    def choices(self) -> int:
        """How many generations it asks for."""
        prompt = self.body.get("prompt")
        many = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
        return many * int(self.body.get("best_of") or self.body.get("n") or 1)

    def body_for(self, service: UpstreamService) -> Json:
        """The body as a service gets it: its model, its cap, and the wish for usage."""
        config = service.config
        body = {name: value for name, value in self.body.items() if name != "comptroller"}
        body["model"] = service.model
        if self.path == "embeddings":
            return body
        body = with_token_cap(body, config.max_output_tokens)
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
        return RoutedPrompt(min(tokens, context or tokens), most, self.session, self.affinity, body)

    def worst_pusd(self, service: UpstreamService, body: Json) -> int | None:
        """The most it may cost there."""
        context = service.config.context_tokens
        prompt = prompt_bound(body, self.size, context)
        output = 0 if self.path == "embeddings" else most_tokens(body) or context
        return service.tariff.worst_pusd(prompt, output, self.choices)
