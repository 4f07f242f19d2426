"""Trees of Thoughts, Game of 24, node by node (princeton-nlp/tree-of-thought-llm, MIT; marks of truth beside).

Every node is a step: its text what is left of the numbers, its judgement the model's own value as a share of the
largest (three verdicts, `sure` counts 20), its score whether 24 can still be reached, of an answer whether it is right.
One call proposes all that goes on from a node, so after the last of them a refused step says that there is no more. A
node that was not chosen was never continued.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, RecordError
from comptroller.work.evidence import STEP, Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows
from comptroller.work.tabular import open_text

KEYS = {"puzzle", "numbers", "depth", "node", "parent", "left", "answer", "value", "chosen", "reachable", "correct"}
MODEL = "gpt-4"
LARGEST = 60.0
"""Value of three verdicts of `sure`."""
TRUTH = {"True": 1.0, "False": 0.0, "": 0.0}


def _read(path: Path) -> Evidence:
    try:
        with open_text(path) as text:
            nodes = list(csv.DictReader(text))
    except (csv.Error, UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not readable as CSV: {error}") from error
    rows = list(_rows(path, nodes))
    columns = {name: [row[name] for _, row in rows] for name in rows[0][1]} if rows else {"question": [], "model": []}
    return evidence_of_rows(RawEvidence([line for line, _ in rows], columns, path.name), path)


def _rows(path: Path, nodes: list[dict[str, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Steps with their lines; behind the last continuation of a node, a refused one."""
    last = {(node["puzzle"], node["parent"]): line for line, node in enumerate(nodes, 2)}
    for line, node in enumerate(nodes, 2):
        yield line, _step(path, line, node)
        if last[node["puzzle"], node["parent"]] == line:
            bare = dict.fromkeys(("id", "answer", "content", "judgement", "score"))
            yield line, _step(path, line, node) | bare | {"finish": "refused"}


def _step(path: Path, line: int, node: Mapping[str, str]) -> dict[str, Any]:
    ends = node["answer"] == "True"
    try:
        judgement, truth = float(node["value"]) / LARGEST, TRUTH[node["correct" if ends else "reachable"]]
    except (ValueError, KeyError) as error:
        raise RecordError(path.name, [(line, f"value, reachable or correct is none: {error}")], 1) from None
    puzzle, above = node["puzzle"], node["parent"]
    return {
        "id": f"{puzzle}/{node['node']}",
        "parent": None if above == "-1" else f"{puzzle}/{above}",
        "question": puzzle,
        "text": node["numbers"],
        "task": "game of 24",
        "model": MODEL,
        "role": STEP,
        "content": node["left"] or "nothing",
        "answer": f"node {node['node']}" if ends else None,
        "score": truth,
        "judgement": judgement,
        "finish": "stop",
    }


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "csv" and peek.names >= KEYS


READER = EvidenceReader(
    "tree_nodes", "CSV with puzzle, depth, node, parent, left, value, reachable and correct", _recognises, _read
)
