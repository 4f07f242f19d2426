"""The questions of our own evidence: tasks of reasoning-gym that a 135M model solves sometimes, few-shot prompts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import gcd
from typing import Any

import reasoning_gym

from comptroller_lab.sample import VerifiableQuestion

Entry = dict[str, Any]
SEED, SHOTS_SEED, SHOTS = 20_261, 999, 8
DIRECT_TOKENS, STEPS_TOKENS = 16, 72


def _multiples(entry: Entry) -> str:
    one, other = (int(x) for x in entry["metadata"]["expression"].split(" * "))
    return f"multiples of {one}: " + ", ".join(str(one * i) for i in range(1, other + 1))


def _common(entry: Entry) -> str:
    small, big = sorted(entry["metadata"]["numbers"])
    count = small // gcd(small, big)
    return f"multiples of {big} until {small} divides: " + ", ".join(str(big * i) for i in range(1, count + 1))


def _binary(entry: Entry) -> str:
    return f"{entry['metadata']['number']} is {' '.join(entry['metadata']['binary'])} in binary"


@dataclass(frozen=True)
class Task:
    """A reasoning-gym task with its settings, and how to write out the way to an answer, if we know one."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    worked: Callable[[Entry], str] | None = None


TASKS = (
    Task("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}),
    Task("products", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, _multiples),
    Task("gcd", {"min_value": 1, "max_value": 40}),
    Task("lcm", {"min_value": 1, "max_value": 15}, _common),
    Task("count_bits", {"max_n": 127}, _binary),
    Task("basic_arithmetic", {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1}),
    Task("number_sequence"),
)

WIDE_TASKS = (
    *TASKS,
    Task("calendar_arithmetic"),
    Task("count_primes", {"max_n": 40}),
    Task("letter_counting"),
    Task("needle_haystack", {"min_num_statements": 3, "max_num_statements": 5}),
    Task("number_filtering", {"max_numbers": 4}),
    Task("simple_equations", {"max_value": 20, "max_terms": 2}),
)
"""Of sixteen further tasks tried with these settings, those of which the model solves 5 % or more with one sample and
whose worked examples are short: 28 % of needle_haystack, 25 % of calendar_arithmetic, 5 % of simple_equations."""


def exercises(task: Task, effort: str, count: int) -> list[VerifiableQuestion]:
    """The first `count` different questions of a task, or as many as there are, at effort `direct` or `steps`; none is
    a worked example."""
    shots = _different(task, SHOTS_SEED, SHOTS)
    shown = frozenset(entry["question"] for entry in shots)
    made = _different(task, SEED, count, shown)
    checker = reasoning_gym.create_dataset(task.name, size=1, seed=SEED, **task.settings)
    return [_exercise(task, effort, shots, number, entry, checker) for number, entry in enumerate(made)]


def _different(task: Task, seed: int, count: int, beside: frozenset[str] = frozenset()) -> list[Entry]:
    found: dict[str, Entry] = {}
    for entry in reasoning_gym.create_dataset(task.name, size=40 * count, seed=seed, **task.settings):
        if entry["question"] not in beside:
            found.setdefault(entry["question"], entry)
        if len(found) == count:
            break
    return list(found.values())


def _line(text: str) -> str:
    return " ".join(text.split())


def _asked(entry: Entry) -> str:
    return f"Question: {_line(entry['question'])}\n"


def _wrong(number: int, entry: Entry, shots: Sequence[Entry]) -> str:
    """A wrong answer to a worked example: the answer of another one."""
    others = [other["answer"] for other in shots if other["answer"] != entry["answer"]]
    return str(others[number % len(others)])


def _exercise(
    task: Task, effort: str, shots: Sequence[Entry], number: int, entry: Entry, checker: Any
) -> VerifiableQuestion:
    solved = "".join(f"{_asked(shot)}{_reply(task, effort, shot)}\n\n" for shot in shots)
    judged = "".join(
        f"{_asked(shot)}Proposed answer: {shot['answer'] if i % 2 else _wrong(i, shot, shots)}\n"
        f"Is it correct? {'yes' if i % 2 else 'no'}\n\n"
        for i, shot in enumerate(shots)
    )
    revised = "".join(
        f"{_asked(shot)}First answer: {shot['answer'] if i % 2 else _wrong(i, shot, shots)}\n"
        f"Final answer: {shot['answer']}\n\n"
        for i, shot in enumerate(shots)
    )

    def revise(answers: Sequence[str]) -> str:
        names = ("First", "Second", "Third", "Fourth")
        said = "".join(f"{name} answer: {answer}\n" for name, answer in zip(names, answers, strict=False))
        return f"{revised}{_asked(entry)}{said}Final answer:"

    opening = "Answer:" if effort == "direct" else "Steps:"
    return VerifiableQuestion(
        id=f"{task.name}-{number:03d}",
        task=task.name,
        text=entry["question"].strip(),
        effort=effort,
        max_tokens=DIRECT_TOKENS if effort == "direct" else STEPS_TOKENS,
        solve=f"{solved}{_asked(entry)}{opening}",
        judge=lambda answer: f"{judged}{_asked(entry)}Proposed answer: {answer}\nIs it correct?",
        revise=revise,
        answer_of=_plain if effort == "direct" else _concluded,
        score=partial(_score, checker, entry),
    )


def _reply(task: Task, effort: str, shot: Entry) -> str:
    if effort == "direct":
        return f"Answer: {shot['answer']}"
    if task.worked is None:
        raise SystemExit(f"{task.name}: no worked examples")
    return f"Steps: {task.worked(shot)}. The answer is {shot['answer']}."


def _plain(text: str) -> str | None:
    return text.strip().rstrip(".") or None


def _concluded(text: str) -> str | None:
    found = re.search(r"The answer is (.+?)\.?$", text.strip())
    return found[1].strip() if found else None


def _score(checker: Any, entry: Entry, answer: str) -> float:
    return float(checker.score_answer(answer, entry) >= 1.0)
