"""One step of a solution: asked for, continued, scored. What every search over trees is made of.

A step is an `Ask` that ends at a blank line; the next one continues its reply (`after`), so the ask's parents are the
path from the root, and what siblings have in common is read once. A score is the reply's own, or that which the role
`reward` gives the step.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any, ClassVar, NamedTuple, TypeAlias

from comptroller.strategies.checks import require_known
from comptroller.strategies.drive import FinishedRun
from comptroller.strategies.protocol import All, Answer, Ask, AssistantPrefill, Reply, StrategyQuestion
from comptroller.strategies.votes import PICKS, WEIGHTS

BLANK = AssistantPrefill("\n\n")
"""Text that ends a step and stands between two: a blank line, as in REBASE (arXiv 2408.00724) and Snell et al."""
STOP = (str(BLANK),)
CHECK = "Are the steps above right so far, and do they lead to the answer? Check them, then say: yes or no."
"""What the role `reward` is asked about a step."""
REWARD = "reward"
BY = ("score", "likelihood", REWARD)
"""Sources of a step's score: the reply's own, the mean probability of its tokens, or the role `reward`."""


@dataclass(frozen=True, slots=True)
class StepSearchStrategy:
    """What every search over steps is told. by: source of a step's score.  pick: vote weighted by the scores of last
    steps, or best.  ends: text of a step that ends a solution; empty for any step with an answer."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    uses: ClassVar[tuple[str, ...]] = ("step",)
    by: str = "reward"
    pick: str = "vote"
    ends: str = ""

    def __post_init__(self) -> None:
        require_known("score", self.by, BY)
        require_known("pick", self.pick, PICKS)


StepScores: TypeAlias = dict[Reply, float]
"""Score of each step that has one."""


def first_steps(question: StrategyQuestion, count: int) -> tuple[Ask, ...]:
    """Asks for `count` first steps."""
    return Ask(content=question.content, stop=STOP).times(count)


def next_steps(step: Reply, count: int) -> tuple[Ask, ...]:
    """Asks for `count` steps that continue one."""
    return Ask(after=step, content=BLANK, stop=STOP).times(count)


def usable(replies: Iterable[Reply]) -> list[Reply]:
    """The replies that can be continued or answer: those that ended by themselves. A truncated one is no step."""
    return [reply for reply in replies if reply.whole]


def ends_solution(step: Reply, mark: str) -> bool:
    """Whether a step ends a solution: it holds the mark, or any answer where there is none to look for."""
    return mark in step.content if mark else step.answer is not None


def score_steps(steps: Sequence[Reply], by: str) -> Generator[All, tuple[Reply, ...], StepScores]:
    """The scores of steps; those that the role `reward` does not judge are left out.

    Raises:
        UnsupportedError: by the reply itself, and it carries no score or no log-probabilities.
    """
    if by != REWARD:
        return {step: WEIGHTS[by](step) for step in steps}
    judged = yield All(*(Ask(REWARD, after=step, content=CHECK) for step in steps))
    return {reply.ask.after: reply.score for reply in judged if reply.ask.after and not isnan(reply.score)}


def path(step: Reply) -> tuple[Reply, ...]:
    """The replies from the root to a step, itself last."""
    found = [step]
    while (before := found[-1].ask.after) is not None:
        found.append(before)
    return tuple(found[::-1])


def chosen_solution(pick: str, solutions: Sequence[Reply], scores: StepScores) -> Answer:
    """The answer among solutions by the scores of their last steps, with the text of all its steps.

    pick: vote weighted by the scores, or best.  A solution that was never judged weighs nothing.
    """
    found = PICKS[pick](solutions, lambda step: scores.get(step, 0.0))
    return replace(found, content=BLANK.join(step.content for step in path(found.reply))) if found.reply else found


class TreeCacheUse(NamedTuple):
    """Keys and values that a search holds, shared prefixes counted once.

    tokens: mean over waves of steps.  most: of the largest wave.  nodes: mean number of steps held.
    """

    tokens: float
    most: float
    nodes: float


def cache_use(run: FinishedRun) -> TreeCacheUse:
    """What each wave of steps that are asked together holds: its steps, their ancestors, and the prompt once.

    The measure of ETS (Hooper et al., arXiv 2502.13575): tokens of the distinct nodes that are kept, by step.
    """
    waves: dict[float, list[Reply]] = {}
    for reply in run.replies:
        if reply.ended and reply.ask.stop == STOP:
            waves.setdefault(reply.started_s, []).append(reply)
    held = [dict.fromkeys(node for step in steps for node in path(step)) for steps in waves.values()]
    tokens = [_prompt_tokens(nodes) + sum(_made_tokens(node) for node in nodes) for nodes in held]
    if not tokens:
        return TreeCacheUse(0.0, 0.0, 0.0)
    return TreeCacheUse(sum(tokens) / len(tokens), max(tokens), sum(map(len, held)) / len(held))


def _prompt_tokens(nodes: Iterable[Reply]) -> float:
    """Prompt tokens before the first step, which all paths have in common."""
    roots = (node.cost.tokens for node in nodes if node.ask.after is None)
    return max((float(tokens.input + tokens.cached + tokens.cache_write) for tokens in roots), default=0.0)


def _made_tokens(node: Reply) -> float:
    return float(node.cost.tokens.output + node.cost.tokens.reasoning)
