"""Search over steps: recorded trees replayed, drawn ones compared; ETS against REBASE in cache, share, throughput."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.world import QuestionStream, SimulatedStrategy, solve
from comptroller.strategies.modelled_reward import recorded_reward
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.results import runs
from comptroller.strategies.spelling import parse
from comptroller.strategies.steps import cache_use
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from comptroller_lab.drawn_trees import DrawnTrees, TreeLaw, law_of
from record import table, write
from served import ROOT, step_table

DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data")) / "agents"
Floats = npt.NDArray[np.float64]

ON_RECORD = (
    "beam_search(width=200,keep=5,depth=4,by=score,pick=best)",
    "beam_search(width=40,keep=1,depth=4,by=score,pick=best)",
    "rebase(width=10,depth=4,by=score,pick=best)",
    "ets(width=10,depth=4,by=score,pick=best)",
    "ets(width=10,depth=4,by=score,pick=best,cost=4)",
    "rebase(width=20,depth=4,by=score,pick=best)",
    "ets(width=20,depth=4,by=score,pick=best)",
    "ets(width=20,depth=4,by=score,pick=best,cost=4)",
    "best_first(expansions=20,branch=40,by=score)",
)
"""The first is as wide as the recorded search: 5 nodes of a level, with all that was proposed."""
TASK = "mr-math"
REWARDS = ("reasoneval_llemma_34b", "math_shepherd_7b")
WIDTHS, COSTS = (8, 16, 32), (1.0, 2.0, 4.0)
QUESTIONS, AT_ONCE = 80, 32
DEVICES = ("h100_sxm", "l4")
DRAWS = 2000


@dataclass(frozen=True)
class Searched:
    """Of one setting, by question: whether it is solved, and mean tokens and nodes of the cache; tokens made."""

    text: str
    score: Floats
    cache: Floats
    nodes: Floats
    made: Floats

    def cells(self) -> list[str]:
        """As a row of the table of drawn trees."""
        means = (self.cache.mean(), self.nodes.mean(), self.made.mean())
        return [f"`{self.text}`", f"{self.score.mean():.1%}", *(f"{value:,.0f}" for value in means)]


def searched(text: str, replay: EvidenceReplay, questions: Sequence[int]) -> Searched:
    """A setting on questions."""
    rows = runs(parse(text), replay, questions)
    use = [cache_use(run) for _, run in rows]
    made = [sum(float(reply.cost.tokens.output) for reply in run.replies) for _, run in rows]
    score = np.array([score for score, _ in rows])
    return Searched(text, score, np.array([u.tokens for u in use]), np.array([u.nodes for u in use]), np.array(made))


def on_record(evidence: Evidence) -> tuple[str, dict[str, Any]]:
    """Every setting on the puzzles on which it stays within the record, and on those on which all do."""
    service = RecordedService(evidence.arms[0])
    replay = EvidenceReplay(evidence, {"solver": service, "step": service})
    found: dict[str, dict[int, Searched]] = {}
    for text in ON_RECORD:
        found[text] = {}
        for number in range(len(evidence.items)):
            try:
                found[text][number] = searched(text, replay, [number])
            except UnsupportedError:
                continue
    common = sorted(set.intersection(*(set(by_puzzle) for by_puzzle in found.values())))
    rows, figures = [], dict[str, Any]()
    for text, by_puzzle in found.items():
        both = [by_puzzle[number] for number in common]
        own = np.mean([one.score[0] for one in by_puzzle.values()])
        shared = np.mean([one.score[0] for one in both]), np.mean([one.nodes[0] for one in both])
        figures[text] = {
            "puzzles": len(by_puzzle),
            "solved": own,
            "common_solved": shared[0],
            "common_nodes": shared[1],
        }
        cells = (str(len(by_puzzle)), f"{own:.1%}", f"{shared[0]:.1%}", f"{shared[1]:.1f}")
        rows.append([f"`{text}`", *cells])
    heads = (
        "recorded trees",
        "puzzles within the record",
        "solved of them",
        f"solved of the {len(common)} of all",
        "nodes held",
    )
    return table(heads, rows), {"common": len(common), "puzzles": len(evidence.items), "settings": figures}


def compared(trees: DrawnTrees) -> dict[str, Searched]:
    """Every setting on all drawn questions."""
    settings = []
    for width in WIDTHS:
        every = f"width={width},depth=40,by=score"
        settings += [f"rebase({every})", *(f"ets({every},cost={cost})" for cost in COSTS)]
        settings += [f"beam_search({every},keep=4)", f"dvts({every},branch=4)"]
    return {text: searched(text, trees, range(QUESTIONS)) for text in settings}


@dataclass(frozen=True)
class HeldOut:
    """ETS beside REBASE of a width: its cost chosen on one half of the questions, judged on the other, both ways.

    times: REBASE's cache over ETS's.  gain: of the share solved.  Both with 95 % intervals, questions
    resampled in pairs.
    """

    width: int
    costs: tuple[float, float]
    times: tuple[float, float, float]
    gain: tuple[float, float, float]

    def cells(self) -> list[str]:
        """As a row of the table."""
        times, gain = self.times, [100 * value for value in self.gain]
        chosen = " and ".join(f"{cost:g}" for cost in self.costs)
        return [str(self.width), chosen, f"{times[0]:.2f}x [{times[1]:.2f}, {times[2]:.2f}]",
                f"{gain[0]:+.1f} [{gain[1]:+.1f}, {gain[2]:+.1f}]"]  # fmt: skip


def held_out(found: Mapping[str, Searched], width: int, rng: np.random.Generator) -> HeldOut:
    """The least cache among ETS's costs that solve no less than REBASE on the choosing half, on the other half."""
    every = f"width={width},depth=40,by=score"
    rebase, choices = found[f"rebase({every})"], {cost: found[f"ets({every},cost={cost})"] for cost in COSTS}
    order = rng.permutation(QUESTIONS)
    halves = (order[: QUESTIONS // 2], order[QUESTIONS // 2 :])
    picked, cache, score = [], np.zeros(QUESTIONS), np.zeros(QUESTIONS)
    for chosen, judged in (halves, halves[::-1]):
        level = rebase.score[chosen].mean()
        enough = [cost for cost in COSTS if choices[cost].score[chosen].mean() >= level]
        best = min(enough, key=lambda cost: choices[cost].cache[chosen].mean()) if enough else COSTS[0]
        picked.append(best)
        cache[judged], score[judged] = choices[best].cache[judged], choices[best].score[judged]
    draws = rng.integers(QUESTIONS, size=(DRAWS, QUESTIONS))
    times = rebase.cache[draws].mean(axis=1) / cache[draws].mean(axis=1)
    gains = (score - rebase.score)[draws].mean(axis=1)
    low, high = (np.quantile(values, (0.025, 0.975)).tolist() for values in (times, gains))
    return HeldOut(
        width, (picked[0], picked[1]),
        (float(rebase.cache.mean() / cache.mean()), *low), (float((score - rebase.score).mean()), *high),
    )  # fmt: skip


def throughput(law: TreeLaw) -> tuple[str, Any]:
    """Questions a second and joules a question of one replica that gets all questions at once, prefixes shared."""
    trees, rows, figures = DrawnTrees(law, AT_ONCE, seed=1), [], []
    for device in DEVICES:
        one = step_table(device)
        fleet = replace(SimulatedFleet.uniform(one, 1), prefix_block_tokens=one.kv_block_tokens)
        base = 0.0
        for name in ("rebase", *(f"ets cost={cost:g}" for cost in COSTS)):
            rule, _, cost = name.partition(" ")
            text = f"{rule}(width=32,depth=40,by=score{',' + cost if cost else ''})"
            stream = QuestionStream((SimulatedStrategy(parse(text), trees),), np.zeros(AT_ONCE), np.arange(AT_ONCE))
            run = solve(fleet, stream)
            rate = AT_ONCE / run.outcome.horizon_s
            base = base or rate
            cached = float(run.outcome.requests.cached.sum() / run.calls["input_tokens"].sum())
            joules, solved = run.outcome.meter_j / AT_ONCE, float(run.score.mean())
            figures.append({"device": device, "cache_tokens": one.kv_capacity_tokens, "strategy": text, "per_s": rate,
                            "times": rate / base, "cached": cached, "joules": joules, "solved": solved})  # fmt: skip
            rows.append([f"{device}, `{text}`", f"{one.kv_capacity_tokens:,}", f"{rate:.3g}", f"{rate / base:.2f}x",
                         f"{cached:.0%}", f"{joules:,.0f}", f"{solved:.0%}"])  # fmt: skip
    heads = (
        "drawn trees, simulated",
        "tokens of cache",
        "questions/s",
        "of REBASE",
        "prompt cached",
        "J a question",
        "solved",
    )
    return table(heads, rows), figures


def drawn(name: str, law: TreeLaw) -> tuple[str, dict[str, Any]]:
    """The tables of drawn trees whose rewards err as a recorded model does."""
    found = compared(DrawnTrees(law, QUESTIONS))
    rng = np.random.default_rng(0)
    judged = [held_out(found, width, rng) for width in WIDTHS]
    settings = {
        text: {"solved": s.score.mean(), "cache": s.cache.mean(), "nodes": s.nodes.mean(), "made": s.made.mean()}
        for text, s in found.items()
    }
    halves = [{"width": h.width, "costs": h.costs, "times": h.times, "gain": h.gain} for h in judged]
    about = {"auc": law.reward.auc, "wrong": law.wrong, "even": law.even}
    text = "\n\n".join((drawn_from(name, law), of_settings(found), of_halves(judged)))
    return text, about | {"settings": settings, "held_out": halves}


def drawn_from(name: str, law: TreeLaw) -> str:
    """What trees were drawn from."""
    right, wrong = len(law.reward.right), len(law.reward.wrong)
    return (
        f"## Drawn trees, rewards as {name} errs\n\nA right step scores above a wrong one in {law.reward.auc:.1%} "
        f"({right} right, {wrong} wrong steps of {TASK}); {len(law.steps)} solutions, {np.mean(law.steps):.1f} steps; "
        f"{law.wrong:.1%} of steps first wrong, Beta sum {law.even:.1f}; {QUESTIONS} questions."
    )


def of_settings(found: Mapping[str, Searched]) -> str:
    """The table of settings."""
    heads = ("drawn trees", "solved", "cache, tokens", "cache, nodes", "tokens made")
    return table(heads, [one.cells() for one in found.values()])


def of_halves(judged: Sequence[HeldOut]) -> str:
    """The table of ETS against REBASE."""
    heads = ("width", "cost chosen", "cache of REBASE over ETS", "points solved")
    return table(heads, [one.cells() for one in judged])


NOTE = """# Search over steps

Recorded: Trees of Thoughts of GPT-4 on the Game of 24, node by node, scored by its own values. A search that continues
a node which was never continued has left the record, and its puzzle is left out: those that remain are easier. The
first row is as wide as the recorded search. Drawn: trees of solution steps whose lengths, wrong steps and rewards
follow recorded ones; the ways on of a node (6, Zipf), tokens of a step (60) and of the prompt (200) are declared,
nothing records them. The cache is what a wave of steps and its ancestors hold, shared prefixes once. None is live.

What to hold against it: rewards of steps err independently here, so they average out along a path, wide searches solve
nearly all, and equal shares say little. Both searches make as many tokens, so a device whose cache holds everything
gains nothing; the gain in throughput is that of a cache which is scarce."""


def main() -> int:
    """Run, print and write."""
    files = [DATA / name for name in ("tree24_nodes.csv", "step_rewards.parquet")]
    if missing := [file.name for file in files if not file.exists()]:
        print(f"trees: {', '.join(missing)} not in {DATA}; COMPTROLLER_DATA names the data folder", file=sys.stderr)
        return 2
    nodes, steps = (read_evidence(file) for file in files)
    assert isinstance(nodes, Evidence) and isinstance(steps, Evidence)
    laws = {name: law_of(steps, recorded_reward(steps, name, (TASK,)), TASK) for name in REWARDS}
    tasks: dict[str, Callable[[], tuple[str, Any]]] = {
        "recorded": lambda: on_record(nodes),
        REWARDS[0]: lambda: drawn(REWARDS[0], laws[REWARDS[0]]),
        "throughput": lambda: throughput(laws[REWARDS[0]]),
        REWARDS[1]: lambda: drawn(REWARDS[1], laws[REWARDS[1]]),
    }
    parts, figures = [NOTE], dict[str, Any]()
    for name, task in tasks.items():
        text, figures[name] = task()
        parts.append(text)
        print(text, flush=True)
        write("trees", figures, "\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
