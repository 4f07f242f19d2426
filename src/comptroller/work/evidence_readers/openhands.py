"""Runs of OpenHands' evaluations: output.jsonl, one issue a line.

instance_id, metadata.llm_config.model, metrics.accumulated_cost ($), metrics.accumulated_token_usage (prompt_tokens,
completion_tokens, cache_read_tokens, cache_write_tokens; All-Hands-AI/OpenHands, openhands/llm/metrics.py), error,
and test_result.report.resolved where the run was evaluated (output.swebench_eval.jsonl) or `report.resolved`. Tokens
are those of all calls of the run together.
"""

from __future__ import annotations

from math import isnan
from pathlib import Path

from comptroller.work.documents import Object, inside, objects
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import count_inside, table
from comptroller.work.evidence_readers.swe_bench import repository_of
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader

NEEDED = {"instance_id", "metadata", "metrics"}


def _row_of_run(run: Object) -> Object:
    issue = str(run.get("instance_id") or "")
    usage = inside(run, "metrics", "accumulated_token_usage")
    prompt, cached = count_inside(usage, "prompt_tokens"), count_inside(usage, "cache_read_tokens")
    return {
        "question": issue,
        "task": repository_of(issue),
        "model": inside(run, "metadata", "llm_config", "model"),
        "score": _score(run),
        "finish": "failed" if run.get("error") else "",
        "usd": inside(run, "metrics", "accumulated_cost"),
        "input_tokens": prompt - (0.0 if isnan(cached) else cached),
        "cached_tokens": cached,
        "output_tokens": count_inside(usage, "completion_tokens"),
    }


def _score(run: Object) -> float | None:
    reports = (inside(run, "test_result", "report", "resolved"), inside(run, "report", "resolved"), run.get("resolved"))
    told = next((each for each in reports if isinstance(each, bool)), None)
    return None if told is None else float(told)


def _read(path: Path) -> Evidence:
    line, runs = objects(path)
    return table(path, line, [[_row_of_run(run)] for run in runs])


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind in ("json", "jsonl") and peek.names >= NEEDED


READER = EvidenceReader("openhands", f"JSON lines with {', '.join(sorted(NEEDED))}", _recognises, _read)
