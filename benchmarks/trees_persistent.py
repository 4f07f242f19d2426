"""ETS against REBASE where the errors of a reward stay with a path, as recorded ones do, and where the cache is full.

`python benchmarks/trees_persistent.py` writes results/trees_persistent.{json,md}. In `trees.py` every step errs anew,
so errors average out along a path, wide searches solve nearly all, and equal shares say little.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.world import QuestionStream, SimulatedStrategy, solve
from comptroller.strategies.modelled_reward import recorded_reward
from comptroller.strategies.spelling import parse
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from comptroller_lab.drawn_trees import DrawnTrees, TreeLaw, law_of, persistence_of
from record import table, write
from served import step_table
from trees import COSTS, DATA, QUESTIONS, REWARDS, TASK, Searched, held_out, of_halves, searched

WIDTHS = (8, 16)
DEVICE, AT_ONCE = "h100_sxm", 128


def compared(law: TreeLaw) -> dict[str, Searched]:
    """REBASE and ETS at every width and cost."""
    trees = DrawnTrees(law, QUESTIONS)
    every = [f"width={width},depth=40,by=score" for width in WIDTHS]
    texts = [text for one in every for text in (f"rebase({one})", *(f"ets({one},cost={cost})" for cost in COSTS))]
    return {text: searched(text, trees, range(QUESTIONS)) for text in texts}


def full(law: TreeLaw) -> tuple[list[list[str]], dict[str, Any]]:
    """Questions a second of one replica that gets so many at once that their trees do not fit its cache."""
    trees, one, rows, figures = DrawnTrees(law, AT_ONCE, seed=1), step_table(DEVICE), [], dict[str, Any]()
    fleet = replace(SimulatedFleet.uniform(one, 1), prefix_block_tokens=one.kv_block_tokens)
    base = 0.0
    for text in ("rebase(width=32,depth=40,by=score)", "ets(width=32,depth=40,by=score,cost=4)"):
        stream = QuestionStream((SimulatedStrategy(parse(text), trees),), np.zeros(AT_ONCE), np.arange(AT_ONCE))
        run = solve(fleet, stream)
        rate, solved = AT_ONCE / run.outcome.horizon_s, float(run.score.mean())
        base = base or rate
        figures[text] = {"per_s": rate, "times": rate / base, "solved": solved, "cache_tokens": one.kv_capacity_tokens}
        rows.append([f"{DEVICE}, `{text}`", f"{rate:.3g}", f"{rate / base:.2f}x", f"{solved:.0%}"])
        print(rows[-1], flush=True)
    return rows, figures


def main() -> int:
    """Compares and writes."""
    steps = read_evidence(DATA / "step_rewards.parquet")
    assert isinstance(steps, Evidence)
    parts, figures = [f"# Search over steps, errors that persist\n\n{(__doc__ or '').partition(chr(10))[0]}"], {}
    for name in REWARDS:
        kept = persistence_of(steps, name, TASK)
        law = replace(law_of(steps, recorded_reward(steps, name, (TASK,)), TASK), persistence=kept)
        found, rng = compared(law), np.random.default_rng(0)
        judged = [held_out(found, width, rng) for width in WIDTHS]
        heads = ("drawn trees", "solved", "cache, tokens", "cache, nodes", "tokens made")
        parts += [f"## {name}\n\nA score correlates with that of the step before it by {kept:.2f}.",
                  table(heads, [one.cells() for one in found.values()]), of_halves(judged)]  # fmt: skip
        figures[name] = {
            "persistence": kept,
            "settings": {text: {"solved": s.score.mean(), "cache": s.cache.mean()} for text, s in found.items()},
            "held_out": [{"width": h.width, "costs": h.costs, "times": h.times, "gain": h.gain} for h in judged],
        }
        write("trees_persistent", figures, "\n\n".join(parts))
        print(parts[-1], flush=True)
    rows, figures["full"] = full(law)
    parts += [f"## A full cache\n\n{AT_ONCE} questions at once, {DEVICE}, rewards as {REWARDS[-1]}.",
              table(("simulated", "questions/s", "of REBASE", "solved"), rows)]  # fmt: skip
    write("trees_persistent", figures, "\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
