"""Trajectories of SWE-agent: a folder of `.traj` files, or one of them; one row per issue.

A `.traj` is JSON with trajectory (steps), history and info: exit_status, submission, and model_stats with instance_cost
($), tokens_sent, tokens_received, api_calls (SWE-agent/SWE-agent, sweagent/agent/agents.py). Tokens are those of all
calls together, as they were sent: each step sends what came before again. Whether an issue was resolved is in
results.json of the submission's folder; without it replies are not scored.
"""

from __future__ import annotations

import json
from pathlib import Path

from comptroller.errors import FactError
from comptroller.work.documents import Object, inside, only_object
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_readers.swe_bench import repository_of, resolved_issues, submission_folder
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader

SUFFIX = ".traj"
CUT = ("exit_cost", "exit_context", "exit_api", "exit_total_execution_time")
"""Beginnings of an exit status by which limits ended the run."""


def _read(path: Path) -> Evidence:
    files = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    home = path.resolve() if path.is_dir() else submission_folder(path)
    resolved = resolved_issues(home) if resolved_issues(home) is not None else resolved_issues(home.parent)
    rows = [[_row_of_run(file, resolved)] for file in files]
    return table(path, list(range(1, len(rows) + 1)), rows)


def _row_of_run(file: Path, resolved: frozenset[str] | None) -> Object:
    document: Object = only_object(file)
    info = document.get("info")
    if not isinstance(info, dict):
        raise FactError(file.name, "info", "is missing")
    issue, status = file.name.removesuffix(SUFFIX), str(info.get("exit_status") or "")
    cut = status.startswith(CUT)
    return {
        "question": issue,
        "task": repository_of(issue),
        "model": _model(document) or submission_folder(file).name,
        "score": None if resolved is None else float(issue in resolved),
        "finish": "length" if cut else "stop" if info.get("submission") else "failed",
        "usd": inside(info, "model_stats", "instance_cost"),
        "input_tokens": inside(info, "model_stats", "tokens_sent"),
        "output_tokens": inside(info, "model_stats", "tokens_received"),
    }


def _model(document: Object) -> str:
    """The model that the run was configured with, where the file says so."""
    config = document.get("replay_config")
    try:
        parsed = json.loads(config) if isinstance(config, str) else config
    except ValueError:
        return ""
    return str(inside(parsed, "agent", "model", "name") or "")


def _recognises(peek: EvidencePreview) -> bool:
    if peek.kind == "folder":
        return SUFFIX in peek.names
    return peek.path.suffix == SUFFIX and {"trajectory", "info"} <= peek.names


READER = EvidenceReader("swe_agent", "a folder of .traj files of SWE-agent, or one of them", _recognises, _read)
