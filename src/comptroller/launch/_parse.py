"""From a launch line to what it starts: the reverse of `launch.command`, by the tables of the engines' files.

A table says for each flag what it sets. What no table knows is named with its value, never dropped: the reader of a
line is told what was not understood, and that the rest was read without it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile

from comptroller.errors import InputError


@dataclass(frozen=True, slots=True)
class LaunchFlags:
    """How an engine's line is read.

    start: sequences of words of which one begins the line.  setting: flag -> what it sets, of `LaunchStatement.values`;
    one without a value sets 1.  bare: flags without a value.  passed: flags that plans do not hold: names, addresses,
    logs.  model: flags before the model; empty where it is the first word after the start.  images: how names of
    container images begin that start the engine by themselves.
    """

    start: tuple[tuple[str, ...], ...]
    setting: Mapping[str, str]
    model: tuple[str, ...] = ()
    bare: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchStatement:
    """What a line states. values: text by what it sets.  unread: flags with their values that no table knows, variables
    and other commands of the line.  flags: what a value was set by, as it was written.
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

WRAPPERS = frozenset({"exec", "env", "export", "sudo", "nohup", "{", "}", "time"})
"""Words before a program that change nothing of it."""

VARIABLES = re.compile(
    r"(CUDA|HIP|ROCR|NVIDIA)_VISIBLE_DEVICES|HF_\w+|HUGGING_FACE_HUB_TOKEN|TRANSFORMERS_\w+|RANK|LEADER|PATH|HOME|"
    r"VLLM_(API_KEY|PORT|HOST_IP|LOGGING_LEVEL|NIXL_SIDE_CHANNEL_\w+)|NCCL_DEBUG"
)
"""Variables that change neither what a replica holds nor how fast it is."""

CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
"""Programs that start a container, with the image's own start before the words after its name."""


def read_line(text: str, tables: Mapping[str, LaunchFlags]) -> LaunchStatement:
    """What a launch line states.

    tables: by engine.

    Raises:
        InputError: it is no shell line, starts no engine that is known, names no model, or a flag has no value.
    """
    segments = [_without_wrappers(words) for words in _commands(text)]
    for number, (words, variables) in enumerate(segments):
        for engine, flags in tables.items():
            if (rest := _after_start(words, flags)) is not None:
                said = _read_words(engine, flags, rest)
                others = [shlex.join(each) for place, (each, _) in enumerate(segments) if place != number and each]
                set_before = [name for _, names in segments[:number] for name in names]
                told = [name for name in (*set_before, *variables) if not VARIABLES.fullmatch(name.partition("=")[0])]
                return replace(said, unread=(*said.unread, *told, *others))
    known = "; ".join(" ".join(start) for flags in tables.values() for start in flags.start)
    first = next((words for words, _ in segments if words), [])
    raise InputError(f"launch line {' '.join(first[:3])!r} starts no engine that is known; known: {known}")


def starts_engine(text: str, tables: Mapping[str, LaunchFlags]) -> bool:
    """Whether one of a line's commands starts an engine."""
    commands = [_without_wrappers(words)[0] for words in _commands(text)]
    return any(_after_start(words, flags) is not None for words in commands for flags in tables.values())


def _commands(text: str) -> list[list[str]]:
    """Words of each command of a line, without where its output goes.

    >>> _commands("cd /x && vllm serve m --tp 2 > log 2>&1 &")
    [['cd', '/x'], ['vllm', 'serve', 'm', '--tp', '2']]

    Raises:
        InputError: it is no line of a shell.
    """
    joined = re.sub(r"(?<=\s)\d(?=[<>])", "", text.replace("\\\n", " "))
    lexer = shlex.shlex(joined, posix=True, punctuation_chars=";<>|&\n")
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    found: list[list[str]] = [[]]
    try:
        for word in lexer:
            if word and set(word) <= set(";|&\n"):
                found.append([])
            else:
                found[-1].append(word)
    except ValueError as error:
        raise InputError(f"launch line {text[:60]!r}: {error}") from error
    return [list(takewhile(lambda word: not word or not set(word) <= set("<>&"), words)) for words in found if words]


def _without_wrappers(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The program and its words, and the variables that are set for it."""
    place = 0
    while place < len(words) and (_VARIABLE.fullmatch(words[place]) or words[place] in WRAPPERS):
        place += 1
    rest, names = list(words[place:]), [word for word in words[:place] if _VARIABLE.fullmatch(word)]
    if rest and rest[0].rpartition("/")[2] in CONTAINERS:
        names += [after for word, after in pairwise(rest) if word in {"-e", "--env"} and _VARIABLE.fullmatch(after)]
    return rest, names


def _after_start(words: Sequence[str], flags: LaunchFlags) -> list[str] | None:
    """The words after an engine's start, or after an image that starts it by itself; none where they do neither."""
    for start in flags.start:
        if _begins(words, start):
            return list(words[len(start) :])
    if not words or words[0].rpartition("/")[2] not in CONTAINERS:
        return None
    for place, word in enumerate(words):
        if flags.images and word.startswith(flags.images):
            inner = list(words[place + 1 :])
            return _after_start(inner, replace(flags, images=())) or inner
        if any(_begins(words[place:], start) for start in flags.start):
            return _after_start(words[place:], flags)
    return None


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


def without_shell(line: str) -> str:
    """A line of a replica over nodes without what the shell puts in for each of them.

    >>> without_shell('vllm serve m --nnodes 2 --node-rank "$RANK" $([ "$RANK" = 0 ] || echo --headless)')
    'vllm serve m --nnodes 2 --node-rank "0"'
    """
    return re.sub(r"\$\{?\w+\}?", "0", re.sub(r"\s*\$\(.*?\)(?=\s|$)", "", line))
