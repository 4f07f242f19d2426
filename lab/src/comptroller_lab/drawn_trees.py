"""Trees of solution steps that are drawn, not recorded: any node can be continued, so wide searches can be compared.

Drawn from what was recorded: the length of solutions, the chance that a step is the first wrong one, how questions
differ in it, and the scores that a reward model gave to right and to wrong steps. Declared, because nothing records
them: how many ways on a step has and how often each is taken, tokens of steps and prompts, wrong answers. A node is
drawn from its seed and its path of ways, so every search sees the same tree; two samples that go the same way say the
same, are right together and score alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import nan, sqrt

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from comptroller.errors import UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.modelled_reward import ModelledReward
from comptroller.strategies.protocol import Answer, Ask, Reply
from comptroller.strategies.recorded_service import RecordedReply
from comptroller.strategies.replay import EvidenceReplay, RecordedService, ReplayWorld
from comptroller.work.evidence import STEP, VERIFIER, Evidence, Floats, Ints, RecordedModel, RecordedQuestion, columns

DRAWN = RecordedModel("drawn")
RIGHT_ANSWER = "right"


@dataclass(frozen=True)
class TreeLaw:
    """What trees are drawn from.

    steps: recorded numbers of steps of solutions.  wrong: chance that a step is the first wrong one, its mean over
    questions.  even: how alike questions are, the sum of the parameters of the Beta distribution of that chance.
    reward: scores of right and wrong steps.  persistence: correlation of the errors of scores from a step to the next,
    on a normal scale; with 0 every step errs anew.  ways: ways on of a node.  skew: exponent of the Zipf law by which
    they are taken.  step_tokens, prompt_tokens: means, of a geometric law and fixed.  answers: wrong ones.
    """

    steps: tuple[int, ...]
    wrong: float
    reward: ModelledReward
    even: float = 10.0
    ways: int = 6
    skew: float = 1.0
    step_tokens: float = 60.0
    prompt_tokens: int = 200
    answers: int = 5
    persistence: float = 0.0

    @cached_property
    def ordered(self) -> tuple[Floats, Floats]:
        """Scores of wrong and of right steps, rising."""
        return np.sort(self.reward.wrong), np.sort(self.reward.right)


def right_share(steps: Sequence[int], wrong: float, even: float) -> float:
    """Share of solutions without a wrong step: E[(1 - h)^L] over lengths L, h of Beta(wrong even, (1 - wrong) even).

    E[(1 - h)^L] = prod_{i < L} (b + i) / (even + i),  b = (1 - wrong) even.

    >>> round(right_share([2], 0.5, 2.0), 4)  # h uniform: the integral of (1 - h)^2
    0.3333
    """
    kept = (1 - wrong) * even
    factors = np.cumprod((kept + np.arange(max(steps))) / (even + np.arange(max(steps))))
    return float(factors[np.asarray(steps) - 1].mean())


def law_of(evidence: Evidence, reward: ModelledReward, task: str) -> TreeLaw:
    """The law of recorded solutions of a task: lengths, wrong steps, how alike questions are; the rest as declared.

    How alike they are follows from the recorded share of right solutions: the more questions differ, the more of the
    wrong steps fall together.

    Raises:
        UnsupportedError: no steps of the task are recorded with their truth.
    """
    rows = evidence.rows
    of_task = np.array([item.task == task for item in evidence.items])
    use = (rows.role == STEP) & of_task[rows.question] & np.isfinite(rows.score)
    if not use.any():
        raise UnsupportedError(f"{evidence.source}: no steps of {task} are recorded with their truth")
    ends = np.flatnonzero(use & np.array([answer is not None for answer in rows.answer]))
    steps = tuple(_depth(rows.parent, int(row)) for row in ends)
    asked = use & np.where(rows.parent >= 0, rows.score[rows.parent] > 0.5, True)
    wrong, share = float((rows.score[asked] < 0.5).mean()), float((rows.score[ends] > 0.5).mean())
    low, high = 1e-3, 1e4
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if right_share(steps, wrong, middle) > share else (low, middle)
    return TreeLaw(steps, wrong, reward, even=low)


def persistence_of(evidence: Evidence, name: str, task: str) -> float:
    """Correlation of a reward model's scores of one step and the next that are both right, or both wrong, so far.

    Scores become normal ones by their rank among steps of their kind, so that truth itself correlates nothing.

    Raises:
        UnsupportedError: it scored no two steps of the task in a row.
    """
    rows, arm = evidence.rows, evidence.arm(evidence.find(name))
    of_task = np.array([item.task == task for item in evidence.items])
    use = np.flatnonzero(
        (rows.arm == arm) & (rows.role == VERIFIER) & np.isfinite(rows.judgement) & of_task[rows.question]
    )
    step = rows.parent[use]
    known = np.isfinite(rows.score[step])
    use, step = use[known], step[known]
    level = dict[int, float]()
    for kind in (False, True):
        here = (rows.score[step] > 0.5) == kind
        ranks = rankdata(rows.judgement[use][here]) / (here.sum() + 1)
        level |= dict(zip(step[here].tolist(), ndtri(ranks).tolist(), strict=True))
    pairs = [
        (level[above], level[row])
        for row in level
        if (above := int(rows.parent[row])) in level and (rows.score[above] > 0.5) == (rows.score[row] > 0.5)
    ]
    if not pairs:
        raise UnsupportedError(f"{evidence.source}: {name} scored no two steps of {task} in a row")
    return float(np.corrcoef(np.array(pairs).T)[0, 1])


def _depth(parent: Ints, row: int) -> int:
    """Steps from the first one to a row."""
    depth = 1
    while parent[row] >= 0:
        row, depth = int(parent[row]), depth + 1
    return depth


@dataclass(frozen=True)
class DrawnStep:
    """A node: whether all is right so far, its score, and how generously it was scored, of a normal law."""

    right: bool
    score: float
    level: float = 0.0


class DrawnTrees(EvidenceReplay):
    """Questions with drawn trees, in place of recorded evidence. Strategies read the score of each step itself."""

    def __init__(self, law: TreeLaw, questions: int, seed: int = 0) -> None:
        items = tuple(RecordedQuestion(f"drawn {number}") for number in range(questions))
        service = RecordedService(DRAWN)
        super().__init__(Evidence(items, (DRAWN,), columns(0), source="drawn trees"), {"solver": service}, seed)
        self.law, self.timed = law, False
        shares = np.arange(1, law.ways + 1, dtype=float) ** -law.skew
        self.taken = np.cumsum(shares / shares.sum())

    def world(self, question: int, known: Mapping[Ask, RecordedReply] | None = None) -> DrawnTreeWorld:
        """A world for one run on the question of this index; nothing is prepared of drawn questions."""
        return DrawnTreeWorld(self, question)

    def tree(self, question: int) -> DrawnTree:
        """The tree of a question."""
        return _tree(self.law, (self.seed or 0, question))


class DrawnTree:
    """The tree of one question: nodes by their path of ways."""

    def __init__(self, law: TreeLaw, seeds: tuple[int, int]) -> None:
        self.law, self.seeds = law, seeds
        rng = np.random.default_rng(seeds)
        self.depth = int(law.steps[int(rng.integers(len(law.steps)))])
        self.wrong = float(rng.beta(law.wrong * law.even, (1 - law.wrong) * law.even))
        self._nodes: dict[tuple[int, ...], DrawnStep] = {(): DrawnStep(True, nan)}

    def node(self, path: tuple[int, ...]) -> DrawnStep:
        """The node at the end of a path of ways."""
        found = self._nodes.get(path)
        if found is None:
            above = self.node(path[:-1])
            rng = np.random.default_rng([*self.seeds, 1, *path])
            right = above.right and bool(rng.random() >= self.wrong)
            found = self._nodes[path] = self._step(right, above.level if len(path) > 1 else None, rng)
        return found

    def _step(self, right: bool, before: float | None, rng: np.random.Generator) -> DrawnStep:
        """A step with its score; before: the level of the step above, None for a first one."""
        kept = self.law.persistence
        if not kept:
            return DrawnStep(right, self.law.reward.judged(right, rng))
        fresh = float(rng.standard_normal())
        level = fresh if before is None else kept * before + sqrt(1 - kept**2) * fresh
        scores = self.law.ordered[int(right)]
        return DrawnStep(right, float(scores[min(int(ndtr(level) * len(scores)), len(scores) - 1)]), level)

    def answer(self, path: tuple[int, ...]) -> str | None:
        """The answer of a path of full length: the right one, or one of the wrong ones, by its first wrong step."""
        if len(path) < self.depth:
            return None
        wrong = next((end for end in range(1, len(path) + 1) if not self.node(path[:end]).right), None)
        if wrong is None:
            return RIGHT_ANSWER
        return f"wrong {np.random.default_rng([*self.seeds, 2, *path[:wrong]]).integers(self.law.answers)}"


@lru_cache(maxsize=4096)
def _tree(law: TreeLaw, seeds: tuple[int, int]) -> DrawnTree:
    return DrawnTree(law, seeds)


class DrawnTreeWorld(ReplayWorld):
    """Answers the asks of one run on a drawn tree: the k-th sample after the same path is the same in every run."""

    def __init__(self, trees: DrawnTrees, question: int) -> None:
        super().__init__(trees, question, {})
        self.trees, self.tree = trees, trees.tree(question)
        self._path: dict[Ask, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._tokens: dict[Ask, int] = {}
        self._asked: dict[tuple[int, ...], int] = {}

    def reply(self, ask: Ask, at_s: float) -> Reply:
        """The next sample after a step.

        Raises:
            UnsupportedError: something other than a step is asked for.
        """
        if not ask.stop:
            raise UnsupportedError(f"drawn trees have steps only, none for the role {ask.role!r}")
        above, samples = self._path[ask.after.ask] if ask.after else ((), ())
        read = self._tokens[ask.after.ask] if ask.after else self.trees.law.prompt_tokens
        number = self._asked.get(samples, 0)
        self._asked[samples] = number + 1
        rng = np.random.default_rng([*self.tree.seeds, 3, *samples, number])
        path = (*above, int(np.searchsorted(self.trees.taken, rng.random())))
        made = int(rng.geometric(1 / self.trees.law.step_tokens))
        self._path[ask], self._tokens[ask] = (path, (*samples, number)), read + made
        node = self.tree.node(path)
        cost = Cost(nan, TokenCounts(input=float(read), output=float(made)), nan, nan, nan, nan, nan)
        text = f"way {'-'.join(map(str, path))}"
        return Reply(ask, "stop", text, self.tree.answer(path), node.score, None, cost, at_s, at_s + made)

    def cut(self, reply: Reply, at_s: float) -> Reply:
        """Searches cancel nothing.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("drawn trees have no part of a step")

    def score(self, answer: Answer) -> float:
        """1 for the right answer."""
        return float(answer.answer == RIGHT_ANSWER)
