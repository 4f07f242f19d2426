"""From the asks of a strategy to the bodies of requests: turns of a chat, or the text of a completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comptroller.gateway.body_fields import LENGTHS
from comptroller.strategies.protocol import SAMPLED, Ask, AssistantPrefill, CarriedTail, FreshPrompt, Reply

Json = dict[str, Any]

JUDGE = "Is the answer above correct? Check it step by step, then say: yes or no."
"""Asked of a role that judges a reply and was given no words of its own."""
INSTRUCTS = ("system", "developer")
"""Roles of turns that say how to answer."""
FRESH = (CarriedTail, FreshPrompt)
"""Contents with which a conversation begins anew."""
OWN = frozenset({"messages", "prompt", "model", "stream", "stream_options", "n", "best_of", "comptroller"})
"""Fields that the gateway fills in itself."""


def most_tokens(body: Json) -> int | None:
    """The longest generation that a request permits: the shortest that it names; None where it does not say."""
    return min((int(body[name]) for name in LENGTHS if body.get(name)), default=None)


def with_token_cap(body: Json, most: int | None, unnamed: str = "max_tokens") -> Json:
    """A request with a generation of at most so many tokens, under the name that it uses itself, else `unnamed`."""
    asked = most_tokens(body)
    if most is None or (asked is not None and asked <= most):
        return body
    name = next((name for name in LENGTHS if body.get(name)), unnamed)
    return {key: value for key, value in body.items() if key not in LENGTHS} | {name: most}


@dataclass(frozen=True)
class ClientConversation:
    """What a client sent, from which every ask of a strategy is made.

    path: "chat/completions" or "completions".  body: as it came.  reminder: added to the last turn, if any.
    on_context: whether the first turn is a context that the request named.
    """

    path: str
    body: Json
    reminder: str = ""
    on_context: bool = False

    @property
    def passage(self) -> str:
        """What stands before the last words of the user, but for the client's instructions: the context that it named,
        and earlier turns. A strategy may read it, begin an ask with it, and leave it out (`FreshPrompt`)."""
        turns = self.body.get("messages") or ()
        return "\n\n".join(filter(None, (text_of(turns[at].get("content")) for at in self._before())))

    def _before(self) -> list[int]:
        """Places of the turns of the passage."""
        turns = self.body.get("messages") or ()
        last = _last_of_user(turns)
        told = range(last or 0)
        return [at for at in told if turns[at].get("role") not in INSTRUCTS or (at == 0 and self.on_context)]

    @property
    def question(self) -> str:
        """The last words of the user: what strategies take for the question."""
        if self.path == "completions":
            return str(self.body["prompt"])
        turns = [turn for turn in self.body["messages"] if turn.get("role") == "user"]
        return text_of(turns[-1].get("content")) if turns else ""

    def body_of(self, ask: Ask, number: int) -> Json:
        """The body of an ask, the `number`-th of its run: a seed is counted up from the client's."""
        chat = self.path != "completions"
        body = {name: value for name, value in self.body.items() if name not in OWN}
        body |= {"messages": self.turns(ask)} if chat else {"prompt": self.text(ask)}
        if ask.sampling != SAMPLED or "temperature" not in body:
            body["temperature"] = ask.sampling.temperature
        if ask.sampling.top_p != 1.0:
            body["top_p"] = ask.sampling.top_p
        if isinstance(body.get("seed"), int):
            body["seed"] += number
        if ask.effort:
            body["reasoning_effort"] = ask.effort
        if ask.stop:
            own = body.get("stop") or []
            body["stop"] = [*([own] if isinstance(own, str) else own), *ask.stop]
        if chat and body["messages"][-1]["role"] == "assistant":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return with_token_cap(body, ask.max_tokens)

    def goes_on(self, ask: Ask) -> bool:
        """Whether an ask continues the model's own unfinished turn."""
        return self.path != "completions" and self.turns(ask)[-1]["role"] == "assistant"

    def turns(self, ask: Ask) -> list[Json]:
        """The messages of an ask: those of the client, and what was said since."""
        chain = _chain(ask)
        turns: list[Json] = []
        if isinstance(ask.content, CarriedTail):
            turns += self.opening(self.question)
            _say(turns, str(ask.content))
            return turns
        for turn_ask, reply in chain:
            self._put(turns, turn_ask)
            if reply is not None and reply.content:
                _say(turns, reply.content)
        return turns

    def _put(self, turns: list[Json], ask: Ask) -> None:
        if not turns:
            turns += self.opening(ask.content)
        elif isinstance(ask.content, AssistantPrefill) or (not ask.content and ask.after and not _judges(ask)):
            _say(turns, str(ask.content))
        elif ask.content or _judges(ask):
            turns.append({"role": "user", "content": str(ask.content) or JUDGE})

    def opening(self, content: str) -> list[Json]:
        """The client's messages, the last words of the user replaced if others are asked.

        The passage stays in its turns where the words begin with it. Where they begin the conversation anew it goes:
        what they say before the question takes its place.
        """
        turns = [dict(turn) for turn in self.body["messages"]]
        last = _last_of_user(turns)
        if last is None:
            return [*turns, *([{"role": "user", "content": content}] if content else [])]
        if isinstance(content, FreshPrompt):
            left_out = set(self._before())
            turns = [turn for at, turn in enumerate(turns[: last + 1]) if at not in left_out]
            if content.endswith(self.question) and (notes := content[: -len(self.question)].strip()):
                turns.insert(-1, {"role": "system", "content": notes})
                content = self.question
            last = len(turns) - 1
        elif (passage := self.passage) and content.startswith(passage):
            content = content[len(passage) :].lstrip("\n")
        if content != self.question:
            turns[last]["content"] = str(content)
        elif self.reminder and isinstance(turns[last]["content"], str):
            turns[last]["content"] += f"\n\n{self.reminder}"
        return turns

    def text(self, ask: Ask) -> str:
        """The prompt of an ask: the client's, and what was said since."""
        text = ""
        if isinstance(ask.content, CarriedTail):
            return self.question + str(ask.content)
        for turn_ask, reply in _chain(ask):
            said = turn_ask.content or (JUDGE if _judges(turn_ask) else "")
            text += ("\n\n" if text and said and not isinstance(said, AssistantPrefill) else "") + said
            text += reply.content if reply else ""
        return text


def _chain(ask: Ask) -> Sequence[tuple[Ask, Reply | None]]:
    """The asks before one and their replies, oldest first, the ask itself last."""
    chain: list[tuple[Ask, Reply | None]] = [(ask, None)]
    while (parent := chain[-1][0].after) is not None and not isinstance(chain[-1][0].content, FRESH):
        chain.append((parent.ask, parent))
    return chain[::-1]


def _last_of_user(turns: Sequence[Json]) -> int | None:
    """Place of the user's last turn; None where there is none."""
    return max((at for at, turn in enumerate(turns) if turn.get("role") == "user"), default=None)


def _judges(ask: Ask) -> bool:
    """Whether an ask without words of its own wants a verdict, not more of the text it comes after."""
    return not ask.content and ask.after is not None and ask.role != ask.after.ask.role


def _say(turns: list[Json], words: str) -> None:
    """Adds to the turn of the assistant, or begins one."""
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"] = (turns[-1].get("content") or "") + words
    else:
        turns.append({"role": "assistant", "content": words})


def text_of(content: Any) -> str:
    """The text of a message, whose content may be parts.

    >>> text_of([{"type": "text", "text": "2+2?"}, {"type": "image_url", "image_url": {}}])
    '2+2?'
    """
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def prompt_bound(body: Json, size: int, context_tokens: int | None) -> int | None:
    """The most tokens a prompt may have: a token is a byte or longer, so the size of the request bounds it.

    Pictures, sounds and files that are fetched from elsewhere have no such bound; the context has the last word.
    """
    if has_media(body):
        return context_tokens
    return size if context_tokens is None else min(size, context_tokens)


def has_media(body: Json) -> bool:
    """Whether anything but text goes in or may come out."""
    parts = (part for turn in body.get("messages") or () for part in _parts(turn))
    return bool(body.get("modalities") or body.get("audio")) or any(
        part.get("type", "text") not in ("text", "refusal", "output_text") for part in parts
    )


def _parts(turn: Json) -> list[Json]:
    content = turn.get("content")
    return content if isinstance(content, list) else []
