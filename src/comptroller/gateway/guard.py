"""The overflow guard: answers that repeat themselves, or think and never begin, are found while they run."""

from __future__ import annotations

from comptroller.gateway.config import GuardConfig
from comptroller.gateway.conversation import text_of
from comptroller.gateway.events import UpstreamEvent, UpstreamStreamReader

WINDOW = 1200
"""Characters at the end of a text that are looked at: six turns of up to 200 characters fit in. At twice it longer
loops are seen and a look costs twice as much."""
TURNS, LEAST = 6, 300
"""A repetition is so many turns of the same that cover so many characters. Fewer turns occur in lists and
tables, fewer characters in lines of dashes; at twice them a loop runs on for twice as many tokens."""
EVERY = 48
"""Events between two looks, a token each: a loop is found at most 48 tokens late, and a look every token would cost 48
times as much."""


def repeats(text: str) -> bool:
    """Whether the end of a text says the same over and over.

    The period of every suffix comes from the prefix function of the reversed text (Knuth, Morris, Pratt 1977).

    >>> repeats("So the answer is 4. Wait. " * 20), repeats("".join(map(str, range(400))))
    (True, False)
    """
    tail = text[: -WINDOW - 1 : -1]
    border = [0] * len(tail)
    for at in range(1, len(tail)):
        length = border[at - 1]
        while length and tail[at] != tail[length]:
            length = border[length - 1]
        border[at] = length + (tail[at] == tail[length])
        covered = at + 1
        if covered >= LEAST and covered // (covered - border[at]) >= TURNS:
            return True
    return False


class OverflowGuard:
    """Watches one stream. `found` says what was found: empty, "repetition" or "no_convergence"."""

    def __init__(self, config: GuardConfig, stop: bool | None) -> None:
        self._config = config
        self._stop = config.stop_repetition if stop is None else stop
        self._tail = ""
        self._looked = 0
        self.found = ""

    def ends(self, pieces: list[UpstreamEvent], reading: UpstreamStreamReader) -> bool:
        """Takes note of what arrived; whether the generation is to end here."""
        said = [choice for piece in pieces for choice in piece.chunk.choices]
        for choice in said:
            delta = choice.delta
            new = choice.text or (delta and (text_of(delta.content) or delta.reasoning_content or delta.reasoning))
            self._tail += new or ""
        if reading.counted - self._looked >= EVERY:
            self._looked, self._tail = reading.counted, self._tail[-WINDOW:]
            if repeats(self._tail):
                self.found = "repetition"
                return self._stop
        most = self._config.reasoning_tokens
        if most is not None and reading.reasoned >= most and reading.reasoned == reading.counted:
            self.found = "no_convergence"
            return True
        return False
