"""The answer to whether a model fits on a device, as tables and as a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comptroller.launch import line
from comptroller.planning.offer.replica_fit import FitAnswer, FitRemedy
from comptroller.planning.offer.replica_speed import RequestSpeed
from comptroller.report.figures import number, seconds
from comptroller.report.sheet import Cell, ReportSheet, SheetColumns, left, right

GB = 1e9

SPEEDS: SheetColumns[RequestSpeed] = (
    right("requests", "requests at once"),
    right("ttft_s", "TTFT", lambda one: seconds(one.ttft_s)),
    right("tpot_s", "time per token", lambda one: seconds(one.tpot_s)),
    right("tokens_per_s_each", "tokens/s each", lambda one: 1.0 / one.tpot_s),
    right("output_tokens_per_s", "tokens/s in all", lambda one: one.output_tokens_per_s),
)

REMEDIES: SheetColumns[FitRemedy] = (
    left("change"),
    right("devices", None, lambda one: one.replica.layout.devices),
    right("requests", "requests at once"),
    right("context_tokens", "longest context"),
)


def headline(answer: FitAnswer) -> str:
    """Whether it fits, with how many requests and which context, in one line."""
    query, replica = answer.query, answer.query.replica
    if not answer.fits:
        return f"{replica} does not fit: {answer.reason}"
    many = answer.requests >= replica.engine.max_batch
    most = f", the most that {replica.engine.id} takes in a step" if many else ""
    sizes = f"{query.input_tokens:,} in, {query.output_tokens:,} out"
    longest = f"context up to {answer.context_tokens:,}"
    return f"{replica} fits: {answer.requests:,} requests at once of {sizes}{most}; {longest}"


def remarks(answer: FitAnswer) -> Iterator[str]:
    """What of the model is taken on trust, and what a server without flags would refuse."""
    model = answer.query.replica.model
    if model.doubt:
        yield model.doubt
    if answer.fits and answer.context_tokens < model.context_tokens:
        yield (
            f"the model's own context, {model.context_tokens:,} tokens, does not fit: a server refuses it unless it is "
            f"started with at most {answer.context_tokens:,}"
        )


def start(answer: FitAnswer) -> str:
    """The command that starts what was asked about, or a comment that says why there is none."""
    context = answer.query.context_tokens or answer.context_tokens
    return line(answer.query.replica, context)


def sheets(answer: FitAnswer) -> tuple[ReportSheet, ...]:
    """The arithmetic, the speeds, and what would make it fit."""
    columns = (left("what"), right("gb", "GB"), left("how"))
    device = answer.query.replica.device.id
    return (
        ReportSheet(f"Memory of one {device}, in GB", columns, tuple(_device(answer))),
        ReportSheet("A sequence", (left("what"), right("mb", "MB"), left("how")), tuple(_sequence(answer))),
        ReportSheet.of("Speed", SPEEDS, answer.speeds),
        ReportSheet.of("What would make it fit", REMEDIES, answer.remedies),
    )


def _device(answer: FitAnswer) -> Iterator[tuple[Cell, ...]]:
    parts, replica = answer.breakdown, answer.query.replica
    engine, layout = replica.engine, replica.layout
    shared = {
        "total": "of it",
        "static": "of what is free before loading, weights and cache",
        "free": "of what is left",
    }
    yield "seen by the engine", parts.total / GB, f"{replica.device.name}, less what the driver keeps"
    yield "taken", engine.memory_fraction * parts.total / GB, f"{engine.memory_fraction:g} {shared[engine.fraction_of]}"
    yield "weights", -parts.weights / GB, f"{replica.model.total_params / GB:.4g} G parameters over {layout}"
    size = f"{engine.max_batch:,} sequences x {replica.model.vocabulary:,} x {engine.logit_bytes:g} B"
    yield "peak of a step", -parts.peak / GB, f"{engine.chunk_tokens:,} tokens of a layer, or sampling {size}"
    yield "captured graphs", -parts.graphs / GB, engine.id
    yield "framework", -parts.framework / GB, "context, libraries" + (", collectives" if layout.devices > 1 else "")
    yield "left for the cache", parts.room / GB, "" if parts.room > 0 else "nothing"


def _sequence(answer: FitAnswer) -> Iterator[tuple[Cell, ...]]:
    parts, query = answer.breakdown, answer.query
    if parts.kv_per_token or not parts.windows:
        yield (
            "cache per 1,000 tokens",
            parts.kv_per_token / 1e3,
            f"{number(parts.kv_per_token)} B a token, whole context",
        )
    for tokens, size in parts.windows:
        yield "window, per 1,000 tokens", size / 1e3, f"{number(size)} B a token, at most {tokens:,} of them"
    if parts.state:
        yield "state", parts.state / 1e6, "whatever the length"
    context = query.input_tokens + query.output_tokens / 2
    yield "one request", parts.sequence / 1e6, f"at its mean context, {context:,.0f} tokens"


def document(answer: FitAnswer) -> dict[str, Any]:
    """The answer as JSON: SI units, what is not known is null."""
    query, replica, parts = answer.query, answer.query.replica, answer.breakdown
    return {
        "model": replica.model.id,
        "accelerator": replica.device.id,
        "engine": replica.engine.id,
        "layout": str(replica.layout),
        "devices": replica.layout.devices,
        "formats": {name: getattr(replica.recipe, name) for name in ("weights", "experts", "activations", "kv")},
        "input_tokens": query.input_tokens,
        "output_tokens": query.output_tokens,
        "fits": answer.fits,
        "reason": answer.reason,
        "remarks": list(remarks(answer)),
        "requests": answer.requests,
        "context_tokens": answer.context_tokens,
        "memory_per_device": {
            "total_bytes": parts.total,
            "memory_fraction": replica.engine.memory_fraction,
            "weight_bytes": parts.weights,
            "peak_bytes": parts.peak,
            "graph_bytes": parts.graphs,
            "framework_bytes": parts.framework,
            "reserve_bytes": parts.peak + parts.graphs + parts.framework,
            "cache_bytes": parts.room,
        },
        "sequence_per_device": {
            "kv_bytes_per_token": parts.kv_per_token,
            "windows": [{"window_tokens": tokens, "bytes_per_token": size} for tokens, size in parts.windows],
            "state_bytes": parts.state,
            "request_bytes": parts.sequence,
        },
        "speed": [
            {
                "requests": one.requests,
                "ttft_s": one.ttft_s,
                "tpot_s": one.tpot_s,
                "output_tokens_per_s": one.output_tokens_per_s,
            }
            for one in answer.speeds
        ],
        "remedies": [
            {
                "change": one.change,
                "layout": str(one.replica.layout),
                "weights": one.replica.recipe.weights,
                "experts": one.replica.recipe.experts,
                "kv": one.replica.recipe.kv,
                "max_batch": one.replica.engine.max_batch,
                "requests": one.requests,
                "context_tokens": one.context_tokens,
            }
            for one in answer.remedies
        ],
        "start": start(answer) if answer.fits else None,
    }
