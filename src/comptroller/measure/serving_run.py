"""Requests sent to a running engine by OpenAI's API: a closed loop at a few loads, streamed, every token's time kept.

Threads and the standard library alone: a client of one machine reads a few hundred streams, and timing them takes
nothing that is installed beside an engine.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import nan
from queue import Empty, SimpleQueue
from threading import Event

import numpy as np

from comptroller.errors import InputError
from comptroller.measure.run_rows import RunRow
from comptroller.measure.serving_target import CHARACTERS, Json, ServingTarget

WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company",
    "system", "program", "question", "work", "night", "point", "home", "water", "room", "mother", "area", "money",
    "story",
)  # fmt: skip
"""Of prompts: nouns of one token each in the vocabularies of today, so that a prompt is nearly as long as asked."""

SPREAD = 0.5
"""Prompts and outputs are from half to half again as long as asked: requests of one length would prefill and end
together, which no traffic does. At twice this some would be empty."""

ROUNDS = 2
"""Over all loads, half of the requests each: a machine that slows down for a minute then slows all of them, not one."""

LEAST_SHARE = 0.9
"""Of the tokens asked for, which a reply may end before: an engine that heeds `ignore_eos` gives all of them, and one
that counts the end of a text otherwise gives one less. At twice what is missing outputs of half the length would pass
unsaid."""


@dataclass(frozen=True, slots=True)
class ServingLoad:
    """What is sent: so many requests at each number of clients, of so many tokens. replicas: that share the clients."""

    requests: int
    clients: tuple[int, ...]
    input_tokens: int
    output_tokens: int
    seed: int = 0
    replicas: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            InputError: no load, or a load with less than two requests a client, which are no steady state.
        """
        if not self.clients or min(self.clients) < 1:
            raise InputError("measure serving: --load 1 or more; again for other loads")
        if min(self.input_tokens, self.output_tokens) < 2:
            raise InputError("measure serving: prompts and outputs have 2 tokens or more")
        least = 2 * max(self.clients) * len(self.clients)
        if self.requests < least:
            raise InputError(
                f"measure serving: {self.requests} requests over {len(self.clients)} loads are less than two for each "
                f"of {max(self.clients)} clients; --requests {least} or more, or a smaller --load"
            )

    @property
    def each(self) -> int:
        """Requests at one load."""
        return self.requests // len(self.clients)


@dataclass(frozen=True, slots=True)
class ServingRequest:
    """What is asked once: a prompt, which no other request has, and the tokens of its output."""

    prompt: str
    output_tokens: int

    @classmethod
    def of(cls, load: ServingLoad, rng: np.random.Generator) -> ServingRequest:
        """Of a load, its lengths drawn within `SPREAD`."""
        shares = rng.uniform(1 - SPREAD, 1 + SPREAD, 2)
        words = rng.choice(WORDS, max(1, round(load.input_tokens * shares[0])))
        return cls(" ".join(words), max(2, round(load.output_tokens * shares[1])))

    def of_share(self, share: float) -> ServingRequest:
        """The same, of which a share of the output is asked."""
        return replace(self, output_tokens=max(2, round(self.output_tokens * share)))


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """One streamed request, by the engine's own count of tokens. going_s: of the tokens after the first.
    asked_tokens: of the output."""

    input_tokens: int
    output_tokens: int
    ttft_s: float
    going_s: float
    asked_tokens: int


@dataclass(frozen=True, slots=True)
class ServingMeasurement:
    """What came of the loads: a steady run of each, and the share of the output tokens asked for that came."""

    rows: tuple[RunRow, ...]
    share: float

    @property
    def remark(self) -> str:
        """What to say of outputs that ended before; empty where they did not."""
        if self.share >= LEAST_SHARE:
            return ""
        return (
            f"outputs ended after {self.share:.0%} of the tokens asked for: the engine does not heed ignore_eos; the "
            "runs are of what came"
        )


def loads_up_to(most: int) -> tuple[int, ...]:
    """Numbers of clients from one to the most, at most four and evenly spaced as logarithms.

    >>> loads_up_to(4), loads_up_to(64)
    ((1, 2, 3, 4), (1, 4, 16, 64))
    """
    return tuple(sorted({max(1, round(most ** (third / 3))) for third in range(4)}))


def measure(target: ServingTarget, load: ServingLoad, tell: Callable[[int, int], None]) -> ServingMeasurement:
    """Closed loops, each load as a steady run, in rounds over all loads; a request before them warms the engine up.

    Raises:
        InputError: a request fails, the engine does not stream or count its tokens, or no output has two of them.
    """
    rng, done = np.random.default_rng(load.seed), 0
    stream_timing(target, ServingRequest.of(load, rng))
    timings: dict[int, list[StreamTiming]] = {clients: [] for clients in load.clients}
    for turn in range(ROUNDS):
        for clients, kept in timings.items():
            count = len(range(turn, load.each, ROUNDS))
            kept.extend(_timings(target, load, count, clients, rng))
            done += count
            tell(done, load.each * len(load.clients))
    every = [timing for kept in timings.values() for timing in kept]
    made, asked = (sum(values) for values in zip(*((x.output_tokens, x.asked_tokens) for x in every), strict=True))
    if made == len(every):
        raise InputError(f"{target.url}: every output ends after one token of {asked / made:.0f} asked for")
    loops = enumerate(timings.items(), 1)
    return ServingMeasurement(tuple(_row(n, x / load.replicas, kept) for n, (x, kept) in loops), made / asked)


def _timings(
    target: ServingTarget, load: ServingLoad, count: int, clients: int, rng: np.random.Generator
) -> list[StreamTiming]:
    """A steady run of so many requests by so many clients, each of which sends its next as soon as its last one ended.

    What a client sends first ends at a random place of an output and does not count: requests that all start at one
    moment wait for each other's prompts, and those of the loop's middle do not. While the last are answered, clients
    that are done send further ones, which do not count either and are cut at the end: as many are in flight as before.
    """
    jobs = SimpleQueue[ServingRequest]()
    for _ in range(count):
        jobs.put(ServingRequest.of(load, rng))
    found, over = list[StreamTiming](), Event()

    def work(own: np.random.Generator) -> None:
        try:
            _pieces(target, ServingRequest.of(load, own).of_share(own.uniform()), over.is_set)
            while (job := _next(jobs)) is not None:
                found.append(stream_timing(target, job))
                if len(found) == count:
                    over.set()
            while not over.is_set():
                _pieces(target, ServingRequest.of(load, own), over.is_set)
        finally:
            over.set()

    with ThreadPoolExecutor(clients) as threads:
        for client in [threads.submit(work, own) for own in rng.spawn(clients)]:
            client.result()
    return found


def _next(jobs: SimpleQueue[ServingRequest]) -> ServingRequest | None:
    """The next job of a queue that nobody fills any more."""
    try:
        return jobs.get_nowait()
    except Empty:
        return None


def stream_timing(target: ServingTarget, request: ServingRequest) -> StreamTiming:
    """Send one request and time its stream.

    Raises:
        InputError: it fails, has no token, or the engine does not count its tokens.
    """
    begun = time.perf_counter()
    moments, usage = _pieces(target, request)
    read, made = _usage(target, usage, len(moments))
    return StreamTiming(read, made, moments[0] - begun, moments[-1] - moments[0], request.output_tokens)


def _pieces(
    target: ServingTarget, request: ServingRequest, is_over: Callable[[], bool] = lambda: False
) -> tuple[list[float], Json]:
    """When each piece of a stream came, and what the engine says of its tokens; cut when it is over."""
    body = {
        "model": target.model, "prompt": request.prompt, "max_tokens": request.output_tokens, "stream": True,
        "temperature": 0, "ignore_eos": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    moments, usage = list[float](), Json()
    with target.open("completions", body) as reply:
        for event in target.events(reply):
            usage = event.get("usage") or usage
            if any(choice.get("text") for choice in event.get("choices") or ()):
                moments.append(time.perf_counter())
            if is_over():
                break
    return moments, usage


def _usage(target: ServingTarget, usage: Json, pieces: int) -> tuple[int, int]:
    """Tokens of the prompt and of the output of a whole stream, as the engine counts them.

    Raises:
        InputError: it has no token, came in one piece, or does not count its tokens.
    """
    read, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not pieces:
        raise InputError(f"{target.url}: a stream has no text; {target.model} may not be a model of completions")
    if not isinstance(read, int) or not isinstance(made, int) or min(read, made) < 1:
        said = json.dumps(usage) if usage else "none"
        raise InputError(
            f"{target.url} does not count tokens (stream_options.include_usage); usage of a stream: {said[:CHARACTERS]}"
        )
    if made > 1 and pieces == 1:
        raise InputError(f"{target.url} does not stream: {made} tokens of a reply came in one piece")
    return read, made


def _row(number: int, clients: float, timings: Sequence[StreamTiming]) -> RunRow:
    """A load as a steady run: means over its requests, the time per token over all tokens."""
    later = sum(timing.output_tokens - 1 for timing in timings)
    return RunRow(
        number,
        {},
        float(np.mean([timing.input_tokens for timing in timings])),
        float(np.mean([timing.output_tokens for timing in timings])),
        clients,
        float(np.mean([timing.ttft_s for timing in timings])),
        sum(timing.going_s for timing in timings) / later if later else nan,
    )


def table_of(rows: Sequence[RunRow]) -> str:
    """Runs as the table that `fit calibration` reads."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    names = ("input_tokens", "output_tokens", "clients", "ttft_s", "tpot_s")
    out.writerow(names)
    out.writerows([f"{getattr(row, name):.6g}" for name in names] for row in rows)
    return text.getvalue()
