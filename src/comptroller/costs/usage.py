"""What a service says it used: one reader, and a table of the dialects in which providers say it.

Usage is a claim. It is believed where its parts make up its whole, and no fewer tokens are reported than arrived; what
does not add up is an error, which the books keep as unknown and never as cheap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from typing import Any

from comptroller.costs.rating import TokenUsage
from comptroller.errors import InputError, UnsupportedError

TICKS_PER_USD = 10**10
"""Of xAI's `cost_in_usd_ticks` (docs.x.ai/developers/cost-tracking: 37,756,000 ticks are $0.0038)."""
SERVED: Mapping[str, str] = {
    "": "standard", "default": "standard", "standard": "standard", "scale": "standard", "on_demand": "standard",
    "flex": "flex", "priority": "priority", "batch": "batch", "fast": "fast",
}  # fmt: skip
"""The tier that a reply says it was served in (OpenAI, Anthropic, Groq) -> the tier of the price."""

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UsageDialect:
    """How one kind of API reports usage: the fields, nested ones with dots, and what counts inside what.

    mark: fields one of which tells the dialect.  cached, written, hour, reasoning: the first that is there counts.
    beside: prompt tokens outside `input`.  counts: field -> unit sold apart, inside prompt or output by its name.
    """

    mark: tuple[str, ...]
    input: str
    output: str
    total: str = "total_tokens"
    cached: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    hour: tuple[str, ...] = ("cache_creation.ephemeral_1h_input_tokens",)
    reasoning: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    counts: Mapping[str, str] = field(default_factory=dict)
    cached_inside: bool = True
    reasoning_inside: bool = True


def _details(prompt: str, output: str) -> dict[str, str]:
    """Tokens of other kinds in the details of OpenAI's two APIs."""
    inside = {f"{prompt}.{kind}_tokens": f"input_{kind}_tokens" for kind in ("audio", "image", "video")}
    return inside | {f"{output}.{kind}_tokens": f"output_{kind}_tokens" for kind in ("audio", "image", "video")}


GOOGLE = UsageDialect(
    mark=("promptTokenCount",),
    input="promptTokenCount",
    output="candidatesTokenCount",
    total="totalTokenCount",
    cached=("cachedContentTokenCount",),
    reasoning=("thoughtsTokenCount",),
    beside=("toolUsePromptTokenCount",),
    counts={
        f"{part}TokensDetails.{kind}": f"{way}_{kind}_tokens"
        for part, way in (("prompt", "input"), ("candidates", "output"))
        for kind in ("audio", "image", "video")
    },
    reasoning_inside=False,
)
"""ai.google.dev/api/generate-content#UsageMetadata: the total counts thoughts and prompts of tools beside the parts."""
CHAT = UsageDialect(
    mark=("prompt_tokens",),
    input="prompt_tokens",
    output="completion_tokens",
    cached=(
        "prompt_tokens_details.cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens",
    ),
    written=(
        "cache_creation_input_tokens", "prompt_tokens_details.cache_creation_tokens",
        "prompt_tokens_details.cache_write_tokens",
    ),
    reasoning=("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
    counts=_details("prompt_tokens_details", "completion_tokens_details")
    | {"server_tool_use.web_search_requests": "web_searches", "num_sources_used": "web_sources"},
)  # fmt: skip
"""OpenAI's chat and those who follow it: DeepSeek (`prompt_cache_hit_tokens`), Moonshot (`cached_tokens`), OpenRouter
(`cache_write_tokens`, `server_tool_use`), xAI (reasoning beside the completion, seen by the total; sources of a live
search, which are sold apart), Gemini (thoughts in the total alone)."""
RESPONSES = UsageDialect(
    mark=("input_tokens_details", "output_tokens_details", "total_tokens"),
    input="input_tokens",
    output="output_tokens",
    cached=("input_tokens_details.cached_tokens",),
    written=("input_tokens_details.cache_write_tokens", "input_tokens_details.cache_creation_tokens"),
    reasoning=("output_tokens_details.reasoning_tokens",),
    counts=_details("input_tokens_details", "output_tokens_details"),
)
ANTHROPIC = UsageDialect(
    mark=("input_tokens",),
    input="input_tokens",
    output="output_tokens",
    cached=("cache_read_input_tokens",),
    written=("cache_creation_input_tokens",),
    reasoning=("output_tokens_details.reasoning_tokens",),
    counts={"server_tool_use.web_search_requests": "web_searches"},
    cached_inside=False,
)
"""docs.anthropic.com, prompt caching: input_tokens leaves out what was read from and written to the cache."""
BEDROCK = UsageDialect(
    mark=("inputTokens",),
    input="inputTokens",
    output="outputTokens",
    total="totalTokens",
    cached=("cacheReadInputTokens",),
    written=("cacheWriteInputTokens",),
    cached_inside=False,
)
"""docs.aws.amazon.com/bedrock, TokenUsage; its total may or may not count the cache, so that only less is a fault."""
DIALECTS = (GOOGLE, BEDROCK, CHAT, RESPONSES, ANTHROPIC)
"""In the order in which they are tried."""


def parse_usage(usage: Mapping[str, Any] | None, counted_output: int = 0) -> TokenUsage:
    """What a provider's usage object says, in the dialect that its fields tell.

    Zero is what was used where it is written; absent is unknown. counted_output: tokens that were seen to arrive, over
    all choices; a report of fewer leaves some out (a server that counts one of n choices).

    Raises:
        UnsupportedError: usage is missing, or cannot be all there was.
        InputError: a count is negative, or the parts and the whole do not agree.

    >>> parse_usage({"prompt_tokens": 2006, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 1920}})
    TokenUsage(input=86, output=300, cached=1920, cache_write=0, cache_write_1h=0, reasoning=0, other={})
    >>> parse_usage({"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 215}).output_tokens  # Gemini's total
    210
    """
    if not usage:
        raise UnsupportedError("the provider reported no usage")
    fields = _flat(usage)
    dialect = next((one for one in DIALECTS if any(_there(usage, name) for name in one.mark)), CHAT)
    prompt, generated = _count(fields, dialect.input), _count(fields, dialect.output)
    reasoning = _first(fields, dialect.reasoning)
    if prompt is None or (generated is None and not reasoning):
        raise UnsupportedError(f"the provider reported no {dialect.input if prompt is None else dialect.output}")
    made = _usage(fields, dialect, prompt, *_output_split(fields, dialect, prompt, generated or 0, reasoning))
    if counted_output and not made.prompt_tokens:
        raise UnsupportedError("the provider reported a prompt of 0 tokens, and an answer came")
    if made.output_tokens < counted_output:
        raise UnsupportedError(f"the provider reported {made.output_tokens} output tokens, {counted_output} arrived")
    return made


def _output_split(
    fields: Fields, dialect: UsageDialect, prompt: int, generated: int, reasoning: int
) -> tuple[int, int]:
    """Output tokens without reasoning, and reasoning: the total tells whether it is counted inside the output.

    xAI counts it outside (docs.x.ai: total = prompt + completion + reasoning); Gemini's OpenAI-compatible API counts
    thoughts in the total alone.
    """
    total = _count(fields, dialect.total)
    inside = generated - reasoning, reasoning
    outside = generated, reasoning
    beside = _first(fields, dialect.beside)
    if total is None or not dialect.cached_inside:
        return inside if dialect.reasoning_inside else outside
    gap = total - prompt - generated - beside
    if gap == 0 and (dialect.reasoning_inside or not reasoning):
        return inside
    if gap == reasoning:
        return outside
    if gap > 0 and not reasoning and prompt:
        return generated, gap
    raise InputError(
        f"usage does not add up: {dialect.total} is {total}, with {prompt} in the prompt, {generated} generated"
        f" and {reasoning} of reasoning"
    )


def _usage(fields: Fields, dialect: UsageDialect, prompt: int, output: int, reasoning: int) -> TokenUsage:
    """The buckets.

    Raises:
        InputError: a part is larger than its whole.
        UnsupportedError: tokens of another kind may be among those of the cache, which are cheaper.
    """
    cached, written, hour = (_first(fields, paths) for paths in (dialect.cached, dialect.written, dialect.hour))
    other = {unit: count for path, unit in dialect.counts.items() if (count := _count(fields, path))}
    into = sum(count for unit, count in other.items() if unit.startswith("input_"))
    out = sum(count for unit, count in other.items() if unit.startswith("output_"))
    if cached and into:
        raise UnsupportedError("the provider does not say how many of the cached tokens are audio, images or video")
    made = TokenUsage(
        input=prompt + _first(fields, dialect.beside) - into - (cached + written if dialect.cached_inside else 0),
        output=output - out,
        cached=cached,
        cache_write=written - hour,
        cache_write_1h=hour,
        reasoning=reasoning,
        other=other,
    )
    if min(made.input, made.output, made.cached, made.cache_write, made.reasoning) < 0:
        raise InputError(f"usage does not add up: {json.dumps(dict(fields), default=str)}")
    return made


def own_cost(usage: Mapping[str, Any] | None) -> Decimal | None:
    """The dollars that a provider says itself (OpenRouter's `cost`, xAI's ticks); None where it says none.

    >>> own_cost({"cost": 0.05}), own_cost({"cost_in_usd_ticks": 37_756_000}), own_cost({})
    (Decimal('0.05'), Decimal('0.0037756'), None)
    """
    for name, per_usd in (("cost_in_usd_ticks", TICKS_PER_USD), ("cost", 1)):
        said = (usage or {}).get(name)
        if isinstance(said, int | float) and not isinstance(said, bool) and isfinite(said) and said >= 0:
            return Decimal(str(said)) / per_usd
    return None


def served_tier(said: Any) -> str:
    """The price tier of what a reply calls its service tier; absent is the standard one.

    Raises:
        UnsupportedError: no such tier is known.

    >>> served_tier("default"), served_tier("priority"), served_tier(None)
    ('standard', 'priority', 'standard')
    """
    tier = SERVED.get(said or "") if said is None or isinstance(said, str) else None
    if tier is None:
        raise UnsupportedError(f"served in tier {said!r}, which no price is known for")
    return tier


def require_region(usage: Mapping[str, Any] | None, priced: str) -> None:
    """Holds the region that a reply says it was served in (Anthropic's `inference_geo`) against that of the price.

    Raises:
        UnsupportedError: it is another, whose price is not known (Anthropic: 1.1 times for "us").
    """
    said = (usage or {}).get("inference_geo")
    if said not in (None, "global", "not_available", priced or None):
        raise UnsupportedError(f"served in region {said!r}, and the price is for {priced or 'none in particular'}")


def _there(usage: Mapping[str, Any], name: str) -> bool:
    return usage.get(name) is not None


def _flat(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Fields by their path, two levels deep; Google's lists of modalities as `details.audio`."""
    flat: dict[str, Any] = {}
    for name, value in usage.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": item for inner, item in value.items()}
        elif isinstance(value, list):
            rows = [row for row in value if isinstance(row, Mapping)]
            flat |= {f"{name}.{str(row.get('modality')).lower()}": row.get("tokenCount") for row in rows}
        else:
            flat[name] = value
    return flat


def _first(fields: Fields, paths: Iterable[str]) -> int:
    """The first of some fields that is there; absent parts of a known whole are none of it."""
    return next((count for path in paths if (count := _count(fields, path)) is not None), 0)


def _count(fields: Fields, path: str) -> int | None:
    value = fields.get(path)
    if value is None:
        return None
    right = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not right or value < 0 or value != int(value):
        raise InputError(f"usage: {path} is {value!r}; a count is a whole number from 0 up")
    return int(value)
