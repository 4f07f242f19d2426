"""Trees of Thoughts, mini crosswords: depth-first search, with pruning and without, state by state in its order.

Every state is a step: one deeper than the state before goes on from it, another one from the last state above it. Its
judgement is 0 where the model finds a word impossible, which prunes it, else the share of words that it is sure of,
`maybe` counted half; its score is the share of words that are right. Each search is an effort of one model. After the
last state that goes on from another, and after one from which none does though it was followed, a refused step says
so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comptroller.errors import FactError, RecordError
from comptroller.work.evidence import STEP, Evidence
from comptroller.work.evidence_rows import EvidencePreview, EvidenceReader, RawEvidence, evidence_of_rows
from comptroller.work.tabular import open_text

KEYS = {"puzzle", "search", "order", "depth", "words_right", "sure", "maybe", "impossible"}
MODEL = "gpt-4"
PRUNED = "dfs_prune"
"""The search that prunes; it looks for nothing behind a state that it prunes."""
WORDS = 10.0
"""Words of a 5 x 5 crossword."""


def _read(path: Path) -> Evidence:
    try:
        with open_text(path) as text:
            states = list(csv.DictReader(text))
    except (csv.Error, UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not readable as CSV: {error}") from error
    rows = list(_rows(path, states))
    columns = {name: [row[name] for _, row in rows] for name in rows[0][1]} if rows else {"question": [], "model": []}
    return evidence_of_rows(RawEvidence([line for line, _ in rows], columns, path.name), path)


def _rows(path: Path, states: Sequence[Mapping[str, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Steps with their lines, and behind the last continuation of each a refused one."""
    above: dict[tuple[str, str], list[str]] = {}
    parents: list[str | None] = []
    for line, state in enumerate(states, 2):
        trail = above.setdefault((state["puzzle"], state["search"]), [])
        depth = _number(path, line, state, "depth")
        if not 1 <= depth <= len(trail) + 1:
            raise RecordError(path.name, [(line, f"depth is {depth:g} after a state of depth {len(trail)}")], 1)
        del trail[int(depth) - 1 :]
        parents.append(trail[-1] if trail else None)
        trail.append(_name(state))
    yield from _with_ends(path, states, parents)


def _with_ends(
    path: Path, states: Sequence[Mapping[str, str]], parents: Sequence[str | None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The steps, and where a search looked for more and found none, a refused one."""
    last = {
        (state["puzzle"], state["search"], parent): place
        for place, (state, parent) in enumerate(zip(states, parents, strict=True))
    }
    continued, ends = {parent for *_, parent in last}, {(state["puzzle"], state["search"]): state for state in states}
    for place, (state, parent) in enumerate(zip(states, parents, strict=True)):
        step, line = _step(path, place + 2, state, parent), place + 2
        bare = dict.fromkeys(("id", "answer", "content", "judgement", "score")) | {"finish": "refused"}
        yield line, step
        if last[state["puzzle"], state["search"], parent] == place:
            yield line, step | bare
        pruned = state["search"] == PRUNED and step["judgement"] == 0.0
        if not (pruned or _name(state) in continued or ends[state["puzzle"], state["search"]] is state):
            yield line, step | bare | {"parent": _name(state)}


def _name(state: Mapping[str, str]) -> str:
    return f"{state['search']}/{state['puzzle']}/{state['order']}"


def _step(path: Path, line: int, state: Mapping[str, str], parent: str | None) -> dict[str, Any]:
    sure, maybe, impossible = (_number(path, line, state, name) for name in ("sure", "maybe", "impossible"))
    return {
        "id": _name(state),
        "parent": parent,
        "question": f"crossword {state['puzzle']}",
        "task": "mini crosswords",
        "model": MODEL,
        "effort": state["search"],
        "role": STEP,
        "content": f"state {state['order']}",
        "answer": f"state {state['order']}",
        "score": _number(path, line, state, "words_right"),
        "judgement": 0.0 if impossible else (sure + maybe / 2) / WORDS,
        "finish": "stop",
    }


def _number(path: Path, line: int, state: Mapping[str, str], name: str) -> float:
    try:
        return float(state[name])
    except ValueError:
        raise RecordError(path.name, [(line, f"{name} is {state[name]!r}; it must be a number")], 1) from None


def _recognises(peek: EvidencePreview) -> bool:
    return peek.kind == "csv" and peek.names >= KEYS


READER = EvidenceReader(
    "crosswords", "CSV with puzzle, search, order, depth, words_right, sure, maybe and impossible", _recognises, _read
)
