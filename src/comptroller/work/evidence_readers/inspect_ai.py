"""Logs of inspect_ai: `.eval` (a zip of JSON files) and `.json`.

The documents are EvalLog and EvalSample of UKGovernmentBEIS/inspect_ai, src/inspect_ai/log/_log.py, and ModelUsage
and ModelOutput of src/inspect_ai/model/_model_output.py; an `.eval` file holds header.json and samples/*.json. A
sample's epoch is its number; its usage is that of the evaluated model, over all its calls. Scores are converted as in
inspect's value_to_float: C is 1, P is 0.5, I and N are 0; numbers, yes and no are taken as they are. Of several
scorers the user chooses one.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from math import nan
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.work.arrow import unpack_zstd
from comptroller.work.documents import Object, inside, last_message_text
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader
from comptroller.work.tabular import open_text

SCORES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
FINISHED = {
    "stop": "stop",
    "tool_calls": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "refused",
}
"""`stop_reason` of a model output -> finish."""

DAMAGE = (ValueError, KeyError, NotImplementedError, EOFError, OSError, zipfile.BadZipFile, zlib.error)
"""Exceptions of `zipfile` and `json` on a damaged file."""

ZSTANDARD = 93
"""Compression method of a zip member (PKWARE APPNOTE 6.3.10, 4.4.5)."""

CUT = ("context", "token", "message", "time", "working", "cost")
"""Types of inspect's limits that end a sample early."""


def _read(path: Path) -> Evidence:
    return _read_scored(path, "")


def _read_scored(path: Path, scorer: str) -> Evidence:
    header, samples = _header_and_samples(path)
    spec = header.get("eval") or {}
    for key in ("task", "model"):
        if not spec.get(key):
            raise FactError(path.name, f"eval.{key}", "is missing")
    config = spec.get("model_generate_config") or inside(header, "plan", "config") or {}
    scorers = sorted({name for sample in samples for name in sample.get("scores") or ()})
    if scorer and scorer not in scorers:
        raise FactError(path.name, "scores", f"no scorer {scorer!r}", ", ".join(scorers))
    if len(scorers) > 1 and not scorer:
        raise FactError(path.name, "scores", f"several scorers: {', '.join(scorers)}", f"one: --map score={scorers[0]}")
    chosen = scorer or next(iter(scorers), "")
    rows = [[_row_of_sample(sample, spec, config, chosen)] for sample in samples]
    return table(path, list(range(1, len(rows) + 1)), rows)


def _row_of_sample(sample: Object, spec: Object, config: Object, scorer: str) -> Object:
    score: Object = (sample.get("scores") or {}).get(scorer) or {}
    output = sample.get("output") or {}
    logs = inside(output, "choices", 0, "logprobs", "content")
    usage = inside(sample, "model_usage", spec["model"]) or output.get("usage") or {}
    return {
        "question": f"{spec['task']}/{sample.get('id')}",
        "text": last_message_text(sample.get("input")),
        "task": spec["task"],
        "model": spec["model"],
        "effort": config.get("reasoning_effort") or "",
        "temperature": config.get("temperature"),
        "sample": int(sample.get("epoch") or 1) - 1,
        "score": _score_value(score.get("value")),
        "answer": score.get("answer"),
        "content": output.get("completion") or last_message_text(inside(output, "choices", 0, "message", "content")),
        "finish": _finish(sample, output),
        "usd": usage.get("total_cost"),
        "latency_s": sample.get("total_time") or output.get("time"),
        "logprobs": [token["logprob"] for token in logs] if logs else None,
        **_tokens_by_kind(usage),
    }


def _tokens_by_kind(usage: Object) -> Object:
    """Tokens by kind. Some providers count cached tokens among the input; then the total is input plus output."""
    generated, reasoning = usage.get("output_tokens", nan), usage.get("reasoning_tokens")
    cached, cache_write = usage.get("input_tokens_cache_read"), usage.get("input_tokens_cache_write") or 0
    prompt = usage.get("input_tokens", nan)
    includes_cached = cached and usage.get("total_tokens") == prompt + generated
    return {
        "input_tokens": prompt - cached if includes_cached else prompt + cache_write,
        "cached_tokens": cached,
        "output_tokens": generated - (reasoning or 0),
        "reasoning_tokens": reasoning,
    }


def _score_value(value: Any) -> Any:
    return SCORES.get(value, value) if isinstance(value, str) else value


def _finish(sample: Object, output: Object) -> str:
    if sample.get("error"):
        return "failed"
    if inside(sample, "limit", "type") in CUT:
        return "length"
    return FINISHED.get(str(inside(output, "choices", 0, "stop_reason")), "")


def _header_and_samples(path: Path) -> tuple[Object, list[Object]]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                head = "header.json" if "header.json" in names else "_journal/start.json"
                header: Object = json.loads(_member(archive, head))
                samples = [json.loads(_member(archive, name)) for name in sorted(_sample_names(names))]
            return header, samples
        with open_text(path) as text:
            log: Object = json.load(text)
        return log, list(log.get("samples") or [])
    except DAMAGE as error:
        raise FactError(path.name, "file", f"not readable as a log of inspect_ai: {error}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a member, also of one that Python before 3.14 cannot unpack: inspect_ai writes Zstandard."""
    info = archive.getinfo(name)
    if info.compress_type != ZSTANDARD:
        return archive.read(info)
    stored = copy(info)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
    del stored.CRC  # that of what is packed
    unpacked = unpack_zstd(archive.read(stored), info.file_size)
    if zlib.crc32(unpacked) != info.CRC:
        raise ValueError(f"{name}: another checksum than the archive's")
    return unpacked


def _sample_names(names: list[str]) -> Iterator[str]:
    return (name for name in names if name.startswith("samples/") and name.endswith(".json"))


def _recognises(peek: EvidencePreview) -> bool:
    if peek.kind == "zip":
        try:
            with zipfile.ZipFile(peek.path) as archive:
                return bool({"header.json", "_journal/start.json"} & set(archive.namelist()))
        except DAMAGE:
            return peek.path.suffix == ".eval"
    return peek.kind == "json" and {"eval", "samples"} <= peek.names


READER = EvidenceReader("inspect_ai", ".eval or .json log of inspect_ai", _recognises, _read, read_scored=_read_scored)
