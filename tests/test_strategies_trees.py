"""Search over steps: the program of ETS against all subsets, searches against all paths, what is held."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from math import ceil, exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as within
from hypothesis import strategies as st

from comptroller.errors import ComptrollerError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.drive import FinishedRun, StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, Ask, Reply, StrategyQuestion
from comptroller.strategies.rules.particle_filtering import particle_weights
from comptroller.strategies.rules.rebase import balanced_counts
from comptroller.strategies.spelling import parse
from comptroller.strategies.steps import cache_use, path
from comptroller.strategies.tree_pruning import PruningCase, kept_steps

TREES = ("beam_search", "best_first", "dvts", "ets", "mcts", "rebase")
TOKENS = 7.0
PROMPT = 11.0


@dataclass
class SmallTree:
    """A tree of fixed branching and depth: the k-th ask after a node gets its k-th child, over and over.

    scores: by path of child numbers.  Leaves have an answer of their own.
    """

    scores: dict[tuple[int, ...], float]
    branch: int
    depth: int
    place: dict[Ask, tuple[int, ...]] = field(default_factory=dict)
    asked: dict[tuple[int, ...], int] = field(default_factory=dict)

    @classmethod
    def drawn(cls, seed: int, branch: int = 3, depth: int = 3, falling: bool = False) -> SmallTree:
        rng, scores = np.random.default_rng(seed), {(): 1.0}
        for level in range(depth):
            for above in [node for node in scores if len(node) == level]:
                for child in range(branch):
                    luck = float(rng.random())
                    scores[(*above, child)] = luck * scores[above] if falling else luck
        return cls(scores, branch, depth)

    @property
    def leaves(self) -> dict[tuple[int, ...], float]:
        return {node: score for node, score in self.scores.items() if len(node) == self.depth}

    def reply(self, ask: Ask, at_s: float) -> Reply:
        above = self.place[ask.after.ask] if ask.after else ()
        if ask.role == "reward":
            return Reply(ask, "stop", score=self.scores[above], started_s=at_s, done_s=at_s + 1)
        child = self.asked.get(above, 0)
        self.asked[above] = child + 1
        node = self.place[ask] = (*above, child % self.branch)
        read = PROMPT + TOKENS * len(above)
        cost = Cost(tokens=TokenCounts(input=read, output=TOKENS))
        answer = "-".join(map(str, node)) if len(node) == self.depth else None
        text = f"step {node[-1]}"
        return Reply(ask, "stop", text, answer, self.scores[node], (-0.5,), cost, at_s, at_s + 1)

    def cut(self, reply: Reply, at_s: float) -> Reply:
        return replace(reply, finish="cancelled", done_s=at_s)

    def best_leaf(self) -> str:
        leaves = self.leaves
        return "-".join(map(str, max(leaves, key=leaves.__getitem__)))


def run(text: str, tree: SmallTree) -> FinishedRun:
    drive = StrategyDriver(parse(text), StrategyQuestion("q", "What?"), UNLIMITED, np.random.default_rng(0))
    return play(drive, tree)


def levels_of(played: FinishedRun) -> dict[int, list[Reply]]:
    by_level: dict[int, list[Reply]] = {}
    for reply in played.replies:
        if reply.ask.stop:
            by_level.setdefault(len(path(reply)), []).append(reply)
    return by_level


@pytest.mark.parametrize("seed", range(60))
def test_the_program_of_ets_keeps_what_the_best_of_all_subsets_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, branches = int(rng.integers(1, 9)), int(rng.integers(0, 6))
    weights = rng.dirichlet(np.ones(steps)).tolist()
    above = [sorted(rng.choice(branches, int(rng.integers(1, branches + 1)), False).tolist()) if branches else []
             for _ in range(steps)]  # fmt: skip
    used = {node: number for number, node in enumerate(dict.fromkeys(node for nodes in above for node in nodes))}
    clusters = rng.integers(0, 4, steps).tolist()
    named = {label: number for number, label in enumerate(dict.fromkeys(clusters))}
    case = PruningCase(
        weights, [[used[node] for node in nodes] for nodes in above], [named[label] for label in clusters]
    )
    cost, cover = float(rng.uniform(0, 4)), float(rng.uniform(0, 2))
    subsets = [kept for size in range(1, steps + 1) for kept in combinations(range(steps), size)]
    best = max(case.value(kept, cost, cover) for kept in subsets)
    assert case.value(kept_steps(case, cost, cover), cost, cover) == pytest.approx(best, abs=1e-7)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(1, 64), st.floats(0.05, 2))
@within(max_examples=100, deadline=None)
def test_balanced_counts_fill_the_width_and_follow_the_rewards(rewards: list[float], width: int, heat: float) -> None:
    rewards = sorted(rewards, reverse=True)
    counts = balanced_counts(rewards, width, heat)
    assert sum(counts) == width and counts == sorted(counts, reverse=True)
    shares = [exp((reward - rewards[0]) / heat) for reward in rewards]
    assert counts[0] == min(width, ceil(width * shares[0] / sum(shares) - 1e-9))


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("by", ["score", "reward"])
@pytest.mark.parametrize("seed", range(3))
def test_a_search_wide_enough_for_all_steps_finds_the_best_of_all_paths(name: str, by: str, seed: int) -> None:
    wide = {
        "beam_search": "width=27,keep=27",
        "dvts": "width=3,branch=3",
        "rebase": "width=81,temperature=100",
        "ets": "width=81,temperature=100,cost=0",
        "best_first": "expansions=13,branch=3",
        "mcts": "rounds=13,branch=3",
    }[name]
    tree = SmallTree.drawn(seed, falling=name == "best_first")
    if name == "dvts":  # one subtree: the best step of each level, which scores that all fall alike do not lead astray
        tree = SmallTree({node: sum(0.1 * 0.5**k * c for k, c in enumerate(node)) for node in tree.scores}, 3, 3)
    played = run(f"{name}({wide},by={by},pick=best)", tree)
    assert played.answer.answer == tree.best_leaf()


@pytest.mark.parametrize("seed", range(5))
def test_best_first_stops_before_it_has_seen_everything(seed: int) -> None:
    tree = SmallTree.drawn(seed, falling=True)
    played = run("best_first(expansions=13,branch=3,by=score)", tree)
    assert played.answer.answer == tree.best_leaf() and len(played.replies) < len(tree.scores) - 1


@pytest.mark.parametrize(
    "text", ["beam_search(width=6,keep=2)", "rebase(width=6)", "ets(width=6)", "dvts(width=6,branch=2)"]
)
def test_no_level_has_more_steps_than_the_width(text: str) -> None:
    for level in levels_of(run(text, SmallTree.drawn(1, branch=4, depth=5))).values():
        assert len(level) <= 6


def test_subtrees_of_dvts_do_not_compete() -> None:
    tree = SmallTree.drawn(2, branch=6, depth=4)
    ends = levels_of(run("dvts(width=6,branch=2,by=score)", tree))[4]
    assert {tree.place[path(step)[0].ask][0] // 2 for step in ends} == {0, 1, 2}


def test_a_dear_node_makes_ets_hold_less_and_a_free_one_is_rebase() -> None:
    def held(text: str) -> float:
        return float(np.mean([cache_use(run(text, SmallTree.drawn(seed, 6, 5))).tokens for seed in range(10)]))

    free, rebase = held("ets(width=8,cost=0,by=score)"), held("rebase(width=8,by=score)")
    assert free == rebase
    assert held("ets(width=8,cost=4,cover=0,by=score)") < held("ets(width=8,by=score)") <= rebase


def test_what_is_held_counts_shared_prefixes_once() -> None:
    tree = SmallTree(
        {(): 1.0, **{(n,): 1.0 - n / 10 for n in range(2)}, **{(n, m): 0.5 for n in range(2) for m in range(2)}}, 2, 2
    )
    use = cache_use(run("beam_search(width=2,keep=1,by=score)", tree))
    # the prompt and two first steps; then the prompt, the better of them and two that continue it
    assert use.tokens == PROMPT + TOKENS * (2 + 3) / 2 and use.most == PROMPT + 3 * TOKENS and use.nodes == 2.5


@pytest.mark.parametrize("name", TREES)
def test_truth_is_not_asked_for(name: str) -> None:
    roles = {reply.ask.role for reply in run(name, SmallTree.drawn(3)).replies}
    assert roles == {"solver", "reward"}


@pytest.mark.parametrize(
    "text",
    [
        "rebase(temperature=0)",
        "ets(cost=-1)",
        "dvts(branch=0)",
        "beam_search(by=luck)",
        "mcts(pick=last)",
        "best_first(expansions=0)",
    ],
)
def test_settings_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ComptrollerError):
        parse(text)


def test_particles_are_drawn_by_the_odds_of_their_scores() -> None:
    tree = SmallTree({(): 1.0, (0,): 0.8, (1,): 0.5, (0, 0): 0.5, (1, 0): 0.5, (0, 1): 0.5, (1, 1): 0.5}, 2, 2)
    drive = StrategyDriver(
        parse("particle_filtering(width=2000,by=score)"), StrategyQuestion("q"), UNLIMITED, np.random.default_rng(1)
    )
    played = play(drive, tree)
    roots = [tree.place[reply.ask][0] for reply in levels_of(played)[2]]
    assert len(roots) == 2000 and np.mean(roots) == pytest.approx(0.2, abs=0.03), (
        "odds of 4 and of 1, 1000 steps of each"
    )
    flat = particle_weights([0.9, 0.1, 1.0, 0.0], 1e9)
    assert flat == pytest.approx(np.full(4, 0.25)) and particle_weights([0.0, 1.0], 1.0)[1] == pytest.approx(1.0)
