"""From a launch line to what it starts: the reverse of `launch.command`, by the tables of the engines' files.

A table says for each flag what it sets. What no table knows is named with its value, never dropped: the reader of a
line is told what was not understood, and that the rest was read without it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comptroller.errors import InputError


@dataclass(frozen=True, slots=True)
class LaunchFlags:
    """How an engine's line is read.

    start: sequences of words of which one begins the line.  setting: flag -> what it sets, of `LaunchStatement.values`;
    one without a value sets 1.  bare: flags without a value.  passed: flags that plans do not hold: names, addresses,
    logs.  model: flags before the model; empty where it is the first word after the start.
    """

    start: tuple[tuple[str, ...], ...]
    setting: Mapping[str, str]
    model: tuple[str, ...] = ()
    bare: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LaunchStatement:
    """What a line states. values: text by what it sets.  unread: flags with their values that no table knows.  flags:
    what a value was set by, as it was written.
    """

    engine: str
    model: str
    values: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)

    def count(self, name: str, usual: int = 1) -> int:
        """A whole number above 0.

        Raises:
            InputError: it is none.
        """
        text = self.values.get(name, str(usual))
        if not re.fullmatch(r"[1-9]\d*", text):
            flag = self.flags.get(name, name)
            raise InputError(f"{self.engine}: {flag} takes a whole number above 0, and has {text!r}")
        return int(text)


ADDRESSES = frozenset(
    {
        *("--host", "--port", "--served-model-name", "--api-key", "--uvicorn-log-level", "--log-level", "--seed"),
        *("--trust-remote-code", "--download-dir", "--tokenizer", "--chat-template", "--disable-log-requests"),
        *("--revision", "--alias", "--enable-auto-tool-choice", "--tool-call-parser", "--reasoning-parser"),
    }
)
"""Flags of any engine that change neither what a replica holds nor how fast it is."""

BARE = frozenset({"--trust-remote-code", "--disable-log-requests", "--enable-auto-tool-choice"})
"""Of `ADDRESSES`, those without a value."""

NODE = frozenset({"--nnodes", "--node-rank", "--master-addr", "--dist-init-addr", "--headless"})
"""Flags that place a rank of a replica over several nodes: the layout tells its devices."""

_VARIABLE = re.compile(r"[A-Za-z_]\w*=.*", re.S)


def read_line(text: str, tables: Mapping[str, LaunchFlags]) -> LaunchStatement:
    """What a launch line states.

    tables: by engine.

    Raises:
        InputError: it is no shell line, starts no engine that is known, names no model, or a flag has no value.
    """
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise InputError(f"launch line {text[:60]!r}: {error}") from error
    while words and (_VARIABLE.fullmatch(words[0]) or words[0] in {"exec", "env", "sudo", "nohup"}):
        words = words[1:]
    for engine, flags in tables.items():
        for start in flags.start:
            if _begins(words, start):
                return _read_words(engine, flags, words[len(start) :])
    known = "; ".join(" ".join(start) for flags in tables.values() for start in flags.start)
    raise InputError(f"launch line {' '.join(words[:3])!r} starts no engine that is known; known: {known}")


def _begins(words: Sequence[str], start: Sequence[str]) -> bool:
    """Whether a line begins so; a program may be named by its path, python by its version."""
    heads = [word.rpartition("/")[2] for word in words[: len(start)]]
    return [re.sub(r"^python[\d.]*$", "python", head) for head in heads] == list(start)


def _read_words(engine: str, flags: LaunchFlags, words: Sequence[str]) -> LaunchStatement:
    values: dict[str, str] = {}
    unread: list[str] = []
    loose: list[str] = []
    written: dict[str, str] = {}
    for flag, value in _pairs(engine, flags, words):
        if flag in flags.setting:
            values[flags.setting[flag]] = value or "1"
            written[flags.setting[flag]] = flag
        elif not flag:
            loose.append(value)
        elif flag not in ADDRESSES | NODE | flags.passed:
            unread.append(f"{flag} {value}".strip())
    model = values.pop("model", "") or next(iter(loose), "")
    if not model:
        raise InputError(
            f"{engine}: the line names no model; it stands after {' or '.join(flags.model) or 'the start'}"
        )
    extra = [word for word in loose if word != model]
    return LaunchStatement(engine, model, values, (*unread, *extra), written)


def _pairs(engine: str, flags: LaunchFlags, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Flags with their values; a word without a flag has an empty one.

    Raises:
        InputError: a flag that takes a value has none.
    """
    place = 0
    while place < len(words):
        word, place = words[place], place + 1
        if not word.startswith("-") or _is_number(word):
            yield "", word
            continue
        flag, equal, value = word.partition("=")
        if equal or flag in flags.bare | BARE or flag == "--headless":
            yield flag, value
        elif place < len(words) and (not words[place].startswith("-") or _is_number(words[place])):
            yield flag, words[place]
            place += 1
        elif flag in flags.setting or flag in ADDRESSES | NODE | flags.passed:
            takes = ", ".join(sorted(flags.setting))
            raise InputError(f"{engine}: {flag} has no value; known flags: {takes}")
        else:
            yield flag, ""


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", word) is not None


def lines_of_manifest(documents: Sequence[Any]) -> list[tuple[str, int, str, str]]:
    """Of every Deployment and StatefulSet of Kubernetes manifests: its name, replicas, device label and launch line.

    Raises:
        InputError: no object of them starts a container by a command.
    """
    found = []
    for document in _objects(documents):
        if document.get("kind") not in {"Deployment", "StatefulSet"}:
            continue
        spec = document.get("spec") or {}
        pod = ((spec.get("template") or {}).get("spec")) or {}
        for container in pod.get("containers") or ():
            line = _container_line(container)
            if line:
                label = str((pod.get("nodeSelector") or {}).get("comptroller/accelerator", ""))
                whole = 1 if document["kind"] == "StatefulSet" else int(spec.get("replicas", 1))
                found.append((str((document.get("metadata") or {}).get("name", "")), whole, label, line))
    if not found:
        raise InputError("the manifest has no Deployment or StatefulSet whose container has a command")
    return found


def _objects(documents: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Objects, those inside a list of `kubectl get -o json` among them."""
    for document in documents:
        if isinstance(document, dict):
            yield from _objects(document["items"]) if isinstance(document.get("items"), list) else (document,)


def _container_line(container: Mapping[str, Any]) -> str:
    """The line that a container starts; empty where its image decides alone."""
    words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
    if len(words) == 3 and words[0].rpartition("/")[2] in {"sh", "bash"} and words[1].startswith("-"):
        return words[2]
    return shlex.join(words)


def without_shell(line: str) -> str:
    """A line of a replica over nodes without what the shell puts in for each of them.

    >>> without_shell('vllm serve m --nnodes 2 --node-rank "$RANK" $([ "$RANK" = 0 ] || echo --headless)')
    'vllm serve m --nnodes 2 --node-rank "0"'
    """
    return re.sub(r"\$\{?\w+\}?", "0", re.sub(r"\s*\$\(.*?\)(?=\s|$)", "", line))
