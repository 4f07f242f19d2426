"""Serving engines: their defaults and limits, as their documentation states them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError
from comptroller.facts.reader import FactEntry, FactSource, entry_of, fact_of, ids

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class EngineFacts:
    """The defaults of a serving engine at one version.

    fraction: share of device memory the engine takes; of what, says `fraction_of`.
    fraction_of: "total" memory, for weights, activations and cache (vLLM); "static" for weights and cache only
    (SGLang); "free" of what weights and activations leave (TensorRT-LLM).
    kv_block_tokens: tokens of one cache block.  chunk_tokens: token budget of one mixed step.
    prefix_block_tokens: tokens of a block whose cache calls with a common prefix share by default, those of one step
    included; 0 where they are not.
    max_batch: most sequences in one step.  graph_bytes: memory that captured graphs take per device.
    program: the shipped engine that an own file is other settings of.
    poll_steps: decode steps between two looks at the queue of new requests (SGLang's --scheduler-recv-interval).
    stream_interval: tokens of a streamed piece; the first token is sent alone and what is left at the end, so that no
    request's first or last token is later (--stream-interval of SGLang and vLLM, stream_interval of TensorRT-LLM).
    tile_vectors: on a CPU, vectors that unpacking a matrix for several costs as much as, and one; 1 where none is.
    generations: older generations of the program, oldest first: its name -> the first version that is none of it.
    asynchronous_since: first version whose scheduler prepares a step while the one before runs, without being told to;
    empty where all do, or no source says.  asynchronous_flag: what tells earlier versions of the present generation.
    draft_expansion: older generation in which a verification in captured graphs has a sequence for every token.
    graph_sizes: batches for which graphs are captured, as far as twice `max_batch`; empty where graph_bytes is fixed.
    logit_bytes: bytes per sequence and entry of the vocabulary that live at once while a full batch is sampled: logits,
    their fp32 copy and what the sampler makes of it. Where no source tells more, fp32 logits alone.
    """

    id: str
    name: str
    version: str
    kv_block_tokens: Annotated[int, Field(ge=1)]
    chunk_tokens: Annotated[int, Field(ge=1)]
    max_batch: Annotated[int, Field(ge=1)]
    fraction: Annotated[float, Field(gt=0, le=1)]
    graph_bytes: float
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    fraction_of: Literal["total", "static", "free"] = "total"
    prefix_block_tokens: Annotated[int, Field(ge=0)] = 0
    graph_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    logit_bytes: Annotated[float, Field(ge=0)] = 4.0
    poll_steps: Annotated[int, Field(ge=1)] = 1
    stream_interval: Annotated[int, Field(ge=1)] = 1
    tile_vectors: Annotated[int, Field(ge=1)] = 1
    generations: Mapping[str, str] = field(default_factory=dict)
    asynchronous_since: str = ""
    asynchronous_flag: str = ""
    draft_expansion: str = ""
    vendors: tuple[str, ...] = ()
    program: str = ""
    note: str = ""

    @property
    def launched_as(self) -> str:
        """The id of the program that it is: what starts it, and under which it was measured."""
        return self.program or self.id

    def generation_of(self, version: str) -> str:
        """The older generation that a version belongs to; empty for the present one, or where no version is stated.

        >>> engine_facts("vllm").generation_of("0.6.3.post1"), engine_facts("vllm").generation_of("0.12.0")
        ('v0', '')
        """
        numbers = version_numbers(version)
        olds = (name for name, first in self.generations.items() if numbers and numbers < version_numbers(first))
        return next(olds, "")

    def must_be_told(self, version: str) -> bool:
        """Whether a version of the present generation needs the flag to prepare steps ahead, as its times assume.

        >>> [engine_facts("vllm").must_be_told(version) for version in ("0.11.0", "0.12", "0.13.1", "0.14.0", "")]
        [False, True, True, False, False]
        """
        numbers = version_numbers(version)
        late = bool(numbers) and numbers < version_numbers(self.asynchronous_since)
        return late and not self.generation_of(version)


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, by which versions are ordered; none of a name that starts otherwise.

    >>> version_numbers("0.6.3.post2.dev308"), version_numbers("nightly")
    ((0, 6, 3), ())
    """
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def engine_facts(name: str) -> EngineFacts:
    """The engine of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> engine_facts("vllm").kv_block_tokens
    16
    """
    return engine_of(entry_of("engines", name))


def engine_of(entry: FactEntry) -> EngineFacts:
    """The engine of an entry.

    Raises:
        FactError: it is malformed, or an own file that does not say what program it is.
    """
    facts = fact_of(EngineFacts, entry)
    if facts.launched_as not in ids("engines"):
        raise FactError(
            entry.file, "program", "the engine that this file has other settings of", ", ".join(ids("engines"))
        )
    if facts.program and not facts.generations:
        return replace(facts, generations=fact_of(EngineFacts, entry_of("engines", facts.program)).generations)
    return facts
