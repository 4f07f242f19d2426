"""Runs of HELM: per_instance_stats.json, with run_spec.json and scenario_state.json beside it.

A list of {instance_id, train_trial_index, perturbation, stats: [{name: {name}, count, mean}]} (stanford-crfm/helm,
src/helm/benchmark/runner.py). The model is adapter_spec.model of run_spec.json, the text that of scenario_state.json.
Trials are samples; perturbed instances are left out. The score is the first of `SCORES` that the run has, or the one
that is named; tokens are num_prompt_tokens and num_completion_tokens (or num_output_tokens), seconds
inference_runtime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.work.documents import Object, inside, objects, only_object
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader

NEEDED = {"instance_id", "stats"}
SCORES = (
    *("exact_match", "quasi_exact_match", "prefix_exact_match", "final_number_exact_match", "ifeval_strict_accuracy"),
    *("math_equiv_chain_of_thought", "math_equiv", "chain_of_thought_correctness", "pass"),
)


def _read(path: Path) -> Evidence:
    return _read_scored(path, "")


def _read_scored(path: Path, score: str) -> Evidence:
    line, entries = objects(path)
    kept = [(number, entry) for number, entry in zip(line, entries, strict=True) if not entry.get("perturbation")]
    told = [{str(inside(stat, "name", "name")): stat.get("mean") for stat in entry["stats"]} for _, entry in kept]
    there = {name for stats in told for name in stats}
    name = score or next((each for each in SCORES if each in there), "")
    if name not in there:
        raise FactError(
            path.name, "stats", f"no score {name!r}" if name else "which is the score?", ", ".join(sorted(there))
        )
    spec, texts = _beside(path, "run_spec.json"), _texts(path)
    model = inside(spec, "adapter_spec", "model") or path.resolve().parent.name
    task = str(inside(spec, "name") or path.resolve().parent.name).partition(":")[0]
    rows = [[_row(entry, stats, name, str(model), task, texts)] for (_, entry), stats in zip(kept, told, strict=True)]
    return table(path, [number for number, _ in kept], rows)


def _row(entry: Object, stats: Object, score: str, model: str, task: str, texts: dict[str, str]) -> Object:
    number = str(entry["instance_id"])
    output = stats.get("num_completion_tokens")
    return {
        "question": f"{task}/{number}",
        "task": task,
        "text": texts.get(number, ""),
        "model": model,
        "sample": int(entry.get("train_trial_index") or 0),
        "score": stats.get(score),
        "input_tokens": stats.get("num_prompt_tokens"),
        "output_tokens": stats.get("num_output_tokens") if output is None else output,
        "latency_s": stats.get("inference_runtime"),
    }


def _beside(path: Path, name: str) -> Any:
    file = path.parent / name
    return only_object(file) if file.exists() else {}


def _texts(path: Path) -> dict[str, str]:
    states = inside(_beside(path, "scenario_state.json"), "request_states") or []
    return {
        str(inside(each, "instance", "id")): str(inside(each, "instance", "input", "text") or "") for each in states
    }


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "json" and peek.names >= NEEDED


READER = EvidenceReader(
    "helm", "per_instance_stats.json of a run of HELM", _recognises, _read, read_scored=_read_scored
)
