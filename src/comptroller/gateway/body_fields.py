"""Fields of a request that a service may be sent: a table for each engine and provider.

A hold bounds what goes upstream. So a field is passed on where it is known neither to lengthen nor to multiply what is
generated beyond the cap and the choices that were held, nor to change its price; every other is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comptroller.errors import InputError
from comptroller.gateway.problems import GatewayError

Json = dict[str, Any]

LENGTHS = ("max_completion_tokens", "max_tokens")
"""Names of the longest generation; one of them goes upstream, never two: engines differ in which they obey."""
INSTEAD: dict[str, str] = dict.fromkeys(
    ("n_predict", "num_predict", "max_new_tokens", "max_length", "max_gen_len", "max_output_tokens", "options"),
    "max_tokens",
) | dict.fromkeys(("best_of", "use_beam_search", "num_return_sequences", "candidate_count"), "n")
INSTEAD |= dict.fromkeys(("enable_thinking", "thinking_budget"), 'reasoning_effort, or dialect = "qwen" of the service')
"""Fields that lengthen or multiply -> the field that the hold is made for."""

THOUGHTS = (
    ("thinking", "budget_tokens"),
    ("reasoning", "max_tokens"),
    ("thinking_budget",),
    ("thinking_token_budget",),
)
"""Places of budgets of thinking, which is part of a generation (Anthropic, OpenRouter, Qwen, vLLM)."""

_SHARED = "frequency_penalty logit_bias logprobs metadata model presence_penalty seed stop stream stream_options"
_SHARED += " temperature top_p user"
_CHAT = "audio functions function_call messages modalities n parallel_tool_calls prompt_cache_key"
_CHAT += " prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier service_tier"
_CHAT += " store tool_choice tools top_logprobs verbosity max_tokens max_completion_tokens"
_TEXT = "best_of echo max_tokens n prompt suffix prompt_cache_key"
_EMBED = "dimensions encoding_format input input_type model truncate truncate_prompt_tokens user"
_ENGINE = "add_generation_prompt chat_template_kwargs continue_final_message ignore_eos min_p min_tokens"
_ENGINE += " repetition_penalty separate_reasoning skip_special_tokens stop_token_ids top_k"
_VLLM = "add_special_tokens allowed_token_ids bad_words cache_salt documents guided_choice guided_grammar guided_json"
_VLLM += " guided_regex include_reasoning include_stop_str_in_output length_penalty priority prompt_logprobs"
_VLLM += " return_tokens_as_token_ids return_token_ids spaces_between_special_tokens structured_outputs"
_VLLM += " thinking_token_budget truncate_prompt_tokens"
_SGLANG = "ebnf lora_path no_stop_trim regex return_hidden_states stream_reasoning"
_LLAMA = "cache_prompt dry_allowed_length dry_base dry_multiplier dry_penalty_last_n dry_sequence_breakers"
_LLAMA += " dynatemp_exponent dynatemp_range grammar id_slot json_schema min_keep mirostat mirostat_eta mirostat_tau"
_LLAMA += " n_keep n_probs post_sampling_probs reasoning_format repeat_last_n repeat_penalty return_tokens samplers"
_LLAMA += " timings_per_token typical_p xtc_probability xtc_threshold"
_PROVIDERS = "prompt_mode random_seed reasoning reasoning_format reasoning_split safe_prompt thinking top_a top_k"


@dataclass(frozen=True, slots=True)
class BodyDialect:
    """What one engine or provider takes beside the fields of OpenAI's API, and its one name of the longest generation.

    length: of chats; empty where the name that the client used is kept.
    """

    more: frozenset[str] = frozenset()
    length: str = ""


def _dialect(more: str, length: str = "") -> BodyDialect:
    return BodyDialect(frozenset(more.split()), length)


DIALECTS: Mapping[str, BodyDialect] = {
    "openai": _dialect("", "max_completion_tokens"),
    "vllm": _dialect(f"{_ENGINE} {_VLLM}", "max_tokens"),
    "sglang": _dialect(f"{_ENGINE} {_SGLANG}", "max_tokens"),
    "llamacpp": _dialect(f"{_ENGINE} {_LLAMA}", "max_tokens"),
    "xai": _dialect("", "max_completion_tokens"),
    "anthropic": _dialect("thinking", "max_tokens"),
    "gemini": _dialect("", "max_tokens"),
    "deepseek": _dialect("thinking", "max_tokens"),
    "mistral": _dialect("prompt_mode random_seed safe_prompt", "max_tokens"),
    "qwen": _dialect("enable_thinking thinking_budget top_k", "max_completion_tokens"),
    "openrouter": _dialect(_PROVIDERS + " repetition_penalty min_p", "max_tokens"),
    "compatible": _dialect(f"{_ENGINE} {_VLLM} {_SGLANG} {_LLAMA} {_PROVIDERS}"),
}
"""From each engine's own request model (vLLM and SGLang `protocol.py`, llama.cpp's server README) and each provider's
API reference. Qwen's thinking has a row of its own: there `max_tokens` may bound the answer alone, and
`max_completion_tokens` bounds thoughts and answer together (alibabacloud.com/help/en/model-studio,
api-compatibility-upgrade-notice of 2026-11-02).
Left out on purpose: `chat_template` (a loop in it lengthens the prompt), `prediction` (tokens that are rejected are
billed beside the cap), `web_search_options`, `search_parameters` and `plugins` (billed by the search), `models`,
`route` and `provider` (another model at another price), `extra_body`, `vllm_xargs`."""
_ENDPOINTS: Mapping[str, frozenset[str]] = {
    "chat/completions": frozenset(f"{_SHARED} {_CHAT}".split()),
    "completions": frozenset(f"{_SHARED} {_TEXT}".split()),
    "embeddings": frozenset(_EMBED.split()),
}


def require_dialect(where: str, name: str) -> None:
    """Refuses a dialect that is not in the table.

    Raises:
        InputError: names those that there are.
    """
    if name not in DIALECTS:
        raise InputError(f"{where}: no dialect {name!r}; there are {', '.join(DIALECTS)}")


def bounded_body(path: str, body: Json, dialect: str, also: tuple[str, ...], service: str) -> Json:
    """A body of fields that the hold bounds, null ones left out. also: fields that the operator answers for.

    Raises:
        GatewayError: a field is none of them; names it, and what to use instead.
    """
    known = DIALECTS[dialect].more if path != "embeddings" else frozenset()
    sent = {name: value for name, value in body.items() if value is not None and name != "comptroller"}
    for name in sent:
        if name not in _ENDPOINTS[path] and name not in known and name not in also:
            raise _refusal_of(name, service)
    return sent if path == "embeddings" else _one_length(path, sent, dialect)


def _refusal_of(name: str, service: str) -> GatewayError:
    shown = name if len(name) <= 60 else f"{name[:60]}..."
    fix = f"use {INSTEAD[name]}" if name in INSTEAD else f"leave it out, or allow it with services.{service}.fields"
    why = "it may make more, or dearer, than what is held" if name in INSTEAD else "it is no field that is known there"
    return GatewayError(400, f"{shown}: not sent to {service}, for {why}; {fix}", "unsupported", shown)


def require_thoughts_within(body: Json, most: int | None, service: str) -> None:
    """Refuses a budget of thinking that is longer than the generation that is held for. most: its cap, if any.

    Raises:
        GatewayError: one is; names it.
    """
    for *path, name in THOUGHTS:
        inner: Any = body
        for part in path:
            inner = inner.get(part) if isinstance(inner, dict) else None
        asked = inner.get(name) if isinstance(inner, dict) else None
        if most is not None and isinstance(asked, int | float) and asked > most:
            where = ".".join((*path, name))
            raise GatewayError(
                400, f"{where}: {asked:g} is more than the {most} tokens that a generation of {service} may have; ask "
                "for less, or for a longer max_tokens where the service allows it", "invalid_value", where,
            )  # fmt: skip


def length_name(path: str, dialect: str) -> str:
    """The name of the longest generation where the client used none.

    >>> length_name("chat/completions", "openai"), length_name("completions", "openai")
    ('max_completion_tokens', 'max_tokens')
    """
    return (DIALECTS[dialect].length if path != "completions" else "") or "max_tokens"


def _one_length(path: str, body: Json, dialect: str) -> Json:
    """The shortest of the lengths that are told, under one name."""
    told = {name: body[name] for name in LENGTHS if name in body}
    if not told:
        return body
    kept = next(iter(told)) if len(told) == 1 else "max_tokens"
    kept = "max_tokens" if path == "completions" else DIALECTS[dialect].length or kept
    return {name: value for name, value in body.items() if name not in LENGTHS} | {kept: min(told.values())}
