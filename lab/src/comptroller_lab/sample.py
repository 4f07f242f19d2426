"""Samples a small language model on the CPU and keeps what it did, reply by reply, as evidence.

Every piece of work (samples of a question, verdicts on them, revisions of them) is appended to a file as one line
of JSON when it is done; a second start goes on where the first one stopped. The rows are evidence as
`comptroller.work.evidence_readers.plain` reads it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from comptroller.errors import UnsupportedError

SLOTS = 16
SLOT_TOKENS = 1536
"""Room of one sequence: worked examples, a question and the answers that a revision sees; lists of numbers took 770."""


@dataclass(frozen=True, slots=True)
class SamplingRequest:
    """How to go on from a prompt: how many replies, how drawn, how long at most, what ends them."""

    count: int
    temperature: float
    max_tokens: int
    seed: int
    stop: tuple[str, ...] = ("\n",)


@dataclass(frozen=True, slots=True)
class SampledReply:
    """One reply: text, finish (`stop` or `length`), log-probabilities in nats at temperature 1, seconds."""

    text: str
    finish: str
    logprobs: tuple[float, ...]
    prompt_tokens: int
    ttft_s: float
    latency_s: float


class TextGenerator(Protocol):
    """What continues prompts."""

    def complete(self, prompt: str, wanted: SamplingRequest) -> list[SampledReply]:
        """As many replies as wanted."""
        ...


class LlamaCppGenerator:
    """A GGUF model run in this process by llama.cpp (package `xllamacpp`), all samples of a prompt in one batch.

    Raises:
        UnsupportedError: xllamacpp is not installed.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        try:
            xllamacpp = importlib.import_module("xllamacpp")
        except ImportError as error:
            raise UnsupportedError("sampling a model here needs the package xllamacpp") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = SLOTS
        params.n_ctx = SLOTS * SLOT_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.verbosity = 0
        self._server = xllamacpp.Server(params)

    def complete(self, prompt: str, wanted: SamplingRequest) -> list[SampledReply]:
        """Replies in the order of their indices; the prompt is computed once for up to 16 of them."""
        found: list[SampledReply] = []
        while len(found) < wanted.count:
            count = min(SLOTS, wanted.count - len(found))
            found += self._batch(prompt, replace(wanted, count=count, seed=wanted.seed + len(found)))
        return found

    def _batch(self, prompt: str, wanted: SamplingRequest) -> list[SampledReply]:
        pieces: dict[int, list[dict[str, Any]]] = {}
        stamps: dict[int, list[float]] = {}
        usage: dict[str, Any] = {}
        faults: list[Any] = []
        started = time.monotonic()

        def receive(chunk: Any) -> None:
            for part in chunk if isinstance(chunk, list) else [chunk]:
                if "error" in part or "message" in part:
                    faults.append(part)
                usage.update(part.get("usage") or {})
                for choice in part.get("choices", ()):
                    pieces.setdefault(choice["index"], []).append(choice)
                    stamps.setdefault(choice["index"], []).append(time.monotonic() - started)

        self._server.handle_completions(
            {
                "prompt": prompt,
                "n": wanted.count,
                "temperature": wanted.temperature,
                "max_tokens": wanted.max_tokens,
                "seed": wanted.seed,
                "stop": list(wanted.stop),
                "logprobs": 1,
                "cache_prompt": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            },
            receive,
        )
        if faults:
            raise UnsupportedError(f"the model cannot go on from a prompt of {len(prompt)} characters: {faults[0]}")
        tokens = int(usage["prompt_tokens"])
        return [_reply_from_pieces(pieces[index], stamps[index], tokens) for index in sorted(pieces)]


def _reply_from_pieces(pieces: Sequence[dict[str, Any]], stamps: Sequence[float], prompt_tokens: int) -> SampledReply:
    said = [token for piece in pieces for token in ((piece.get("logprobs") or {}).get("content") or ())]
    return SampledReply(
        text="".join(piece.get("text") or "" for piece in pieces),
        finish=next(piece["finish_reason"] for piece in reversed(pieces) if piece.get("finish_reason")),
        logprobs=tuple(round(float(token["logprob"]), 4) for token in said),
        prompt_tokens=prompt_tokens,
        ttft_s=round(stamps[0], 4),
        latency_s=round(stamps[-1], 4),
    )


@dataclass(frozen=True, slots=True)
class VerifiableQuestion:
    """A question with its checker.

    prompts: what is put before the model to solve, to judge an answer, to revise the answers so far.
    answer_of: the answer a reply's text gives, None for none.  score: 1 if an answer is right, else 0.
    """

    id: str
    task: str
    text: str
    effort: str
    max_tokens: int
    solve: str
    judge: Callable[[str], str]
    revise: Callable[[Sequence[str]], str]
    answer_of: Callable[[str], str | None]
    score: Callable[[str], float]


@dataclass(frozen=True, slots=True)
class SampledModel:
    """The model that is sampled, its number format, and the temperature of its samples."""

    model: str
    format: str
    temperature: float


class EvidenceSampler:
    """Asks a model and appends the replies to a file; what the file already has is not asked again."""

    def __init__(self, generator: TextGenerator, who: SampledModel, path: Path, seed: int) -> None:
        self._generator, self._who, self._path, self._seed = generator, who, path, seed
        self._rows = {row["id"]: row for row in read_lines(path)}

    def samples(self, exercise: VerifiableQuestion, count: int) -> None:
        """One greedy reply and `count` sampled ones."""
        first = self._id(exercise, "g")
        if first in self._rows:
            return
        greedy = self._ask(exercise, exercise.solve, 1, greedy=True)
        drawn = self._ask(exercise, exercise.solve, count)
        rows = [self._solved(exercise, first, greedy[0], 0) | {"temperature": 0.0}]
        rows += [self._solved(exercise, self._id(exercise, f"s{i}"), reply, i) for i, reply in enumerate(drawn)]
        self._append(rows)

    def verdicts(self, exercise: VerifiableQuestion, each: int) -> None:
        """`each` verdicts on the greedy reply and on every sample that gave an answer."""
        parents = [row for row in self._solutions(exercise) if row["answer"] is not None]
        if not parents or f"{parents[0]['id']}/v0" in self._rows:
            return
        drawn = {
            answer: iter(self._ask(exercise, exercise.judge(answer), each * times, verdict=True))
            for answer, times in Counter(row["answer"] for row in parents).items()
        }
        rows = []
        for parent in parents:
            for number in range(each):
                reply = next(drawn[parent["answer"]])
                row = self._row(exercise, f"{parent['id']}/v{number}", reply, number)
                said = reply.text.strip().lower()
                verdict = 1.0 if said.startswith("yes") else 0.0 if said.startswith("no") else None
                row |= {"role": "verifier", "parent": parent["id"], "judgement": verdict}
                rows.append(row)
        self._append(rows)

    def revisions(self, exercise: VerifiableQuestion, chains: int, rounds: int) -> None:
        """`rounds` revisions, one after the other, of the greedy reply and of the first `chains` samples."""
        heads = [[row] for row in self._solutions(exercise)[: chains + 1] if row["answer"] is not None]
        if not heads or f"{heads[0][0]['id']}/r0" in self._rows:
            return
        rows = []
        for _ in range(rounds):
            going = [chain for chain in heads if chain[-1]["answer"] is not None]
            keys = [tuple(row["answer"] for row in chain) for chain in going]
            drawn = {
                key: iter(self._ask(exercise, exercise.revise(key), times)) for key, times in Counter(keys).items()
            }
            for key, chain in zip(keys, going, strict=True):
                parent = chain[-1]["id"]
                row = self._solved(exercise, f"{parent}/r0", next(drawn[key]), 0)
                rows.append(row | {"role": "reviser", "parent": parent})
                chain.append(rows[-1])
        self._append(rows)

    def _ask(
        self, exercise: VerifiableQuestion, prompt: str, count: int, greedy: bool = False, verdict: bool = False
    ) -> list[SampledReply]:
        digest = hashlib.sha256(f"{self._seed}|{self._who.format}|{prompt}|{greedy}".encode()).digest()
        return self._generator.complete(
            prompt,
            SamplingRequest(
                count=count,
                temperature=0.0 if greedy else self._who.temperature,
                max_tokens=2 if verdict else exercise.max_tokens,
                seed=int.from_bytes(digest[:4], "big") >> 1,
            ),
        )

    def _solutions(self, exercise: VerifiableQuestion) -> list[dict[str, Any]]:
        ids = [self._id(exercise, "g"), *(self._id(exercise, f"s{i}") for i in range(10_000))]
        found = []
        for name in ids:
            if name not in self._rows:
                break
            found.append(self._rows[name])
        return found

    def _id(self, exercise: VerifiableQuestion, which: str) -> str:
        return f"{self._who.format}/{exercise.effort}/{exercise.id}/{which}"

    def _solved(self, exercise: VerifiableQuestion, name: str, reply: SampledReply, sample: int) -> dict[str, Any]:
        """The row of a reply that answers; a truncated one has no answer and scores 0."""
        answer = exercise.answer_of(reply.text) if reply.finish == "stop" else None
        score = exercise.score(answer) if answer is not None else 0.0
        return self._row(exercise, name, reply, sample) | {"answer": answer, "score": score}

    def _row(self, exercise: VerifiableQuestion, name: str, reply: SampledReply, sample: int) -> dict[str, Any]:
        return {
            "id": name,
            "question": exercise.id,
            "task": exercise.task,
            "text": exercise.text,
            "model": self._who.model,
            "format": self._who.format,
            "effort": exercise.effort,
            "role": "solver",
            "sample": sample,
            "content": reply.text,
            "finish": reply.finish,
            "temperature": self._who.temperature,
            "input_tokens": reply.prompt_tokens,
            "cached_tokens": 0,
            "output_tokens": len(reply.logprobs),
            "reasoning_tokens": 0,
            "ttft_s": reply.ttft_s,
            "latency_s": reply.latency_s,
            "logprobs": list(reply.logprobs),
        }

    def _append(self, rows: Sequence[dict[str, Any]]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(list(rows)) + "\n")
        self._rows |= {row["id"]: row for row in rows}


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows written so far, a piece of work per line; a last line that was cut off is cut away, in the file too."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    for line in whole.splitlines():
        yield from json.loads(line)
