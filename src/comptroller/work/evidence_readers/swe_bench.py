"""Submissions to SWE-bench: results/results.json or all_preds.jsonl of a submission's folder, or
per_instance_details.json beside it.

results.json lists the issues `resolved`, and those with `no_generation` and `no_logs`; issues that were tried and not
resolved are those of all_preds.jsonl beside it (SWE-bench/experiments). per_instance_details.json has `resolved`,
`cost` ($) and `api_calls` of every issue (the boards with mini-SWE-agent). The model is the name of the submission's
folder. The task is the repository, the part of an issue's id before the last hyphen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.work.documents import Object, inside, objects, only_object
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader

PREDICTIONS, PREDICTED = "all_preds.jsonl", ".jsonl"
FAILED = ("no_generation", "no_logs")


def submission_folder(path: Path) -> Path:
    """The folder of a submission that a file of it lies in."""
    folder = path.resolve().parent
    return folder.parent if folder.name in ("results", "trajs", "logs") else folder


def resolved_issues(folder: Path) -> frozenset[str] | None:
    """Issues that a submission resolved, by its results.json; `None` where there is none."""
    file = _results_file(folder)
    return None if file is None else frozenset(_issues(only_object(file), "resolved"))


def _results_file(folder: Path) -> Path | None:
    places = (folder / "results" / "results.json", folder / "results.json")
    return next((each for each in places if each.exists()), None)


def repository_of(issue: str) -> str:
    """The repository of an issue.

    >>> repository_of("scikit-learn__scikit-learn-13142")
    'scikit-learn__scikit-learn'
    """
    return issue.rpartition("-")[0]


def _issues(document: Object, name: str) -> list[str]:
    names = document.get(name) or []
    return [str(each) for each in names] if isinstance(names, list) else []


def _read(path: Path) -> Evidence:
    if path.suffix == PREDICTED:
        results = _results_file(submission_folder(path))
        if results is None:
            told = "predictions do not say what was resolved"
            raise FactError(path.name, "resolved", told, "results/results.json in the submission's folder")
        path = results
    document: Object = only_object(path)
    details = document.get("per_instance_details", document)
    if "resolved" in document and isinstance(document["resolved"], list):
        rows = _rows_of_lists(path, document)
    else:
        rows = [_row_of_details(path, issue, told) for issue, told in details.items() if isinstance(told, dict)]
    return table(path, list(range(1, len(rows) + 1)), [[row] for row in rows])


def _rows_of_lists(path: Path, document: Object) -> list[Object]:
    model, resolved = submission_folder(path).name, set(_issues(document, "resolved"))
    failed = {issue for name in FAILED for issue in _issues(document, name)}
    predictions = submission_folder(path) / PREDICTIONS
    tried = {str(row.get("instance_id")) for row in objects(predictions)[1]} if predictions.exists() else set[str]()
    if not tried and not failed:
        raise FactError(
            path.name, "resolved", "only what was resolved is listed", f"{PREDICTIONS} in the submission's folder"
        )
    return [
        _row(issue, model, float(issue in resolved)) | ({"finish": "failed"} if issue in failed else {})
        for issue in sorted(resolved | failed | tried)
    ]


def _row_of_details(path: Path, issue: str, told: Object) -> Object:
    return _row(issue, submission_folder(path).name, told.get("resolved")) | {"usd": told.get("cost")}


def _row(issue: str, model: str, score: Any) -> Object:
    return {"question": issue, "task": repository_of(issue), "model": model, "score": score}


def _recognises(peek: EvidencePreview) -> bool:
    if peek.kind == "jsonl" and peek.names >= {"instance_id", "model_patch"} and peek.path.suffix == PREDICTED:
        return True
    if peek.kind != "json" or not isinstance(peek.first, dict):
        return False
    lists = isinstance(peek.first.get("resolved"), list) and bool(peek.names & set(FAILED))
    details = peek.first.get("per_instance_details", peek.first)
    one = next(iter(details.values()), None) if isinstance(details, dict) else None
    return lists or (inside(one, "resolved") is not None and inside(one, "cost") is not None)


READER = EvidenceReader(
    "swe_bench",
    "results.json, all_preds.jsonl or per_instance_details.json of a SWE-bench submission",
    _recognises,
    _read,
)
