"""Controllers of reinforcement learning replayed on recorded samples: what they choose, judged on samples left out.

Every question's samples are dealt into two halves. Rollouts of a round are drawn from the first; what the rules make of
variance and coverage is counted on the second. Arms replayed one after the other (a weak model, then a stronger one)
stand for a model that learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.training.difficulty_groups import EDGES, DifficultyGroups, group_means
from comptroller.training.prompt_weights import PromptWeights
from comptroller.training.rollout_price import RolloutPrice, neutral_counts, rollout_options, variance_value
from comptroller.work.evidence import EvidenceCounts
from comptroller.work.laws.coverage import pass_at_k

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROUNDS = 120
"""Rounds of a replay for each arm: every prompt is seen some twenty times at a sixth of the prompts a round. At twice
this no figure moves by more than its interval."""

LEAST_MULTIPLE = 2
"""Recorded samples of a half over the mean, at least: with no more than the mean no rule has a choice."""

BATCH_SHARE = 6
"""Prompts over prompts of a round."""

UNIFORM, SQUARE_ROOT, MARGINAL = "uniform", "square root", "marginal gain"
RULES = (UNIFORM, SQUARE_ROOT, MARGINAL)


@dataclass(frozen=True, slots=True)
class SampleHalves:
    """Counts of one arm in two halves of its samples, of shape (questions,)."""

    seen: Ints
    seen_right: Ints
    left: Ints
    left_right: Ints

    @classmethod
    def of(cls, n: Ints, right: Ints, rng: np.random.Generator) -> SampleHalves:
        """A random deal."""
        half = n // 2
        hits = rng.hypergeometric(right, n - right, half)
        return cls(half, hits, n - half, right - hits)


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """A rule on the samples left out. variance: mean of p (1 - p) / n.  coverage: prompts with a right rollout.
    mixed: prompts with right and wrong ones, which alone move a group-relative policy.  mean: rollouts a prompt.
    """

    variance: float
    coverage: float
    mixed: float
    mean: float


@dataclass(frozen=True, slots=True)
class PromptOutcome:
    """What weights of prompts chose in the last third of the rounds. drawn, present: share of each group, drawn and of
    the prompts.  loss, mixed: mean of what was drawn; even_loss, even_mixed: of all prompts alike,
    with as many rollouts."""

    drawn: Floats
    present: Floats
    loss: float
    even_loss: float
    mixed: float
    even_mixed: float


@dataclass(frozen=True, slots=True)
class ArmReplay:
    """One arm's replay. outcomes: by rule.  counts: mean rollouts of each group by rule.

    price: of the square-root rule's controller, and of the exact program."""

    outcomes: dict[str, RuleOutcome]
    counts: dict[str, Floats]
    price: tuple[float, float]
    prompts: PromptOutcome


class RolloutReplay:
    """Controllers over the questions of some arms that all have enough samples; state goes on from arm to arm."""

    def __init__(self, counts: EvidenceCounts, mean: int, seed: int, resample: bool = False) -> None:
        self.mean = mean
        self.rng = np.random.default_rng(seed)
        enough = (counts.n >= 2 * LEAST_MULTIPLE * mean).all(axis=1)
        if enough.sum() < len(EDGES) + 1:
            raise UnsupportedError(
                f"{counts.source or 'evidence'}: {int(enough.sum())} questions have {2 * LEAST_MULTIPLE * mean} "
                f"samples of every model, which a mean of {mean} rollouts needs (half of them are left out); a smaller "
                f"--at, or fewer models"
            )
        rows = np.flatnonzero(enough)
        rows = self.rng.choice(rows, len(rows)) if resample else rows
        self.n, self.right = counts.n[rows], counts.correct[rows].astype(np.int64)
        self.options = rollout_options(mean, int(self.n.min()) // 2)
        self.groups = DifficultyGroups(len(rows))
        self.weights = PromptWeights(len(EDGES) + 1)
        self.price = RolloutPrice(float(mean), 0.25 / mean**2)
        self.variance = np.full(len(EDGES) + 1, 0.25)

    def play(self, arm: int) -> ArmReplay:
        """All rounds of one arm."""
        halves = SampleHalves.of(self.n[:, arm], self.right[:, arm], self.rng)
        drawn: list[tuple[Ints, Floats, npt.NDArray[np.bool_]]] = []
        for _ in range(ROUNDS):
            drawn.append(self._round(halves))
        counts, price = self._rules(halves)
        outcomes = {rule: _outcome(counts[rule], halves) for rule in RULES}
        by_group = {rule: group_means(counts[rule].astype(float), self.groups.group) for rule in RULES}
        return ArmReplay(outcomes, by_group, (self.price.price, price), self._prompts(drawn[-ROUNDS // 3 :], halves))

    def _round(self, halves: SampleHalves) -> tuple[Ints, Floats, npt.NDArray[np.bool_]]:
        """One round: prompts by weight, rollouts at the price, all controllers told. Prompts, rewards, mixed."""
        chosen = self._chosen_prompts()
        group = self.groups.group[chosen]
        size = self.price.counts(variance_value(self.variance, self.options), self.options)[group]
        hits = self.rng.hypergeometric(halves.seen_right[chosen], halves.seen[chosen] - halves.seen_right[chosen], size)
        reward = hits / size
        self.weights.note(group_means(1.0 - reward, group))
        spread = group_means(hits * (size - hits) / (size * (size - 1.0)), group)
        known = np.isfinite(spread)
        self.variance[known] += 0.2 * (spread[known] - self.variance[known])
        self.price.move(float(self.groups.shares @ self._mean_counts()))
        self.groups.note(chosen, self.rng.random(len(chosen)) < _any_right(hits, size, self.options[0]))
        return chosen, reward, (hits > 0) & (hits < size)

    def _mean_counts(self) -> Ints:
        return self.price.counts(variance_value(self.variance, self.options), self.options)

    def _chosen_prompts(self) -> Ints:
        """Prompts of a round: groups by weight, prompts of a group alike; each once until all were seen."""
        size = max(1, len(self.n) // BATCH_SHARE)
        fresh = np.flatnonzero(self.groups.visits == 0)
        if len(fresh):
            return self.rng.permutation(fresh)[:size]
        shares = self.groups.shares
        weight = self.weights.shares(shares > 0)[self.groups.group] / shares[self.groups.group]
        return np.unique(self.rng.choice(len(self.n), size, p=weight / weight.sum()))

    def _rules(self, halves: SampleHalves) -> tuple[dict[str, Ints], float]:
        """Rollouts of each prompt by every rule, from the half that was seen, at one mean; the price of the next."""
        group = self.groups.group
        n, right = halves.seen.astype(float), halves.seen_right.astype(float)
        variance = np.nan_to_num(group_means(right * (n - right) / (n * (n - 1)), group))
        covered = pass_at_k(n[:, None], right[:, None], self.options[None, :])
        gain = np.stack([np.nan_to_num(group_means(column, group)) for column in covered.T], axis=1)
        rooted, price = neutral_counts(variance_value(variance, self.options), group, self.options, self.mean)
        marginal, _ = neutral_counts(gain, group, self.options, self.mean)
        even = np.full(len(group), self.mean, dtype=np.int64)
        return {UNIFORM: even, SQUARE_ROOT: rooted, MARGINAL: marginal}, price

    def _prompts(
        self, rounds: Sequence[tuple[Ints, Floats, npt.NDArray[np.bool_]]], halves: SampleHalves
    ) -> PromptOutcome:
        chosen, reward, mixed = (np.concatenate([one[i] for one in rounds]) for i in range(3))
        drawn = np.bincount(self.groups.group[chosen], minlength=len(EDGES) + 1) / len(chosen)
        even = _outcome(np.minimum(self._mean_counts()[self.groups.group], halves.left), halves)
        rate = halves.left_right / halves.left
        return PromptOutcome(
            drawn, self.groups.shares, float(1 - reward.mean()), float(1 - rate.mean()), float(mixed.mean()), even.mixed
        )


def _any_right(hits: Ints, size: Ints, k: int) -> Floats:
    """Probability that k of the rollouts hold a right one, so that the classifier sees k whatever a rule drew."""
    return pass_at_k(size, hits, np.minimum(k, size))


def _outcome(size: Ints, halves: SampleHalves) -> RuleOutcome:
    """What so many rollouts of each prompt give on the half that was left out, by unbiased estimates."""
    n, right = halves.left.astype(float), halves.left_right.astype(float)
    variance = right * (n - right) / (n * (n - 1)) / size
    some = pass_at_k(n, right, size)
    none_wrong = 1.0 - pass_at_k(n, n - right, size)
    return RuleOutcome(
        float(variance.mean()), float(some.mean()), float((some - none_wrong).mean()), float(size.mean())
    )
