"""What is told of search over steps: how it is asked for, and claims with the figures of `benchmarks/trees.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TOLD = """## Search over steps

`beam_search`, `dvts`, `rebase`, `ets`, `particle_filtering`, `best_first` and `mcts` ask for a solution step by step:
an ask that ends at a blank line, continued from any step before, so that what paths have in common is read once. A
step is scored by the reply itself (`by=score`, as recorded), its likelihood (`by=likelihood`) or the role `reward`: a
model live, a recorded one (`--role reward=NAME`), one of stated error rates (`--reward TPR,FPR`), or one that errs as
a recorded one does (`--reward EVIDENCE:MODEL`). A step with an answer ends a solution; live, name a text that only
last steps hold (`ends`), and services that go on from their own words (`prefill`). A replay continues any step that
was continued in the record; a question on which a search leaves the record is left out and counted."""


def _times(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.2f}x" for value in values)


def tree_section(figures: Mapping[str, Any]) -> str:
    """The section of the strategies' page. figures: of benchmarks/results/trees.json."""
    recorded, throughput = figures["recorded"]["settings"], figures["throughput"]
    drawn = {name: part for name, part in figures.items() if name not in ("recorded", "throughput")}
    held = "; ".join(f"{_times(h['times'][0] for h in part['held_out'])} ({name})" for name, part in drawn.items())
    widths = ", ".join(str(h["width"]) for h in next(iter(drawn.values()))["held_out"])
    plain, ets = (recorded[f"{rule}(width=10,depth=4,by=score,pick=best)"] for rule in ("rebase", "ets"))
    dear = recorded["ets(width=10,depth=4,by=score,pick=best,cost=4)"]
    beam = next(iter(recorded.values()))
    best: dict[str, tuple[float, int]] = {}
    for run in throughput:
        if "ets" in run["strategy"]:
            best[run["device"]] = max(best.get(run["device"], (0.0, 0)), (run["times"], run["cache_tokens"]))
    served = ", ".join(f"at most {times:.2f}x ({name}, {size:,} tokens)" for name, (times, size) in best.items())
    nodes, solved = "common_nodes", "common_solved"
    rows = (
        ("breadth-first search of width 5 on the Game of 24, any of five answers right",
         "as recorded", f"the same, on {beam['puzzles']} of 60 puzzles (`beam_search`, a test)", "recorded"),
        (f"ETS holds less cache than REBASE at an equal share, widths {widths}", "1.8x", held, "drawn"),
        ("the same on the Game of 24, width 10", "–",
         f"{plain[nodes]:.1f} nodes and {plain[solved]:.0%} solved by REBASE, {ets[nodes]:.1f} and {ets[solved]:.0%} "
         f"by ETS; at cost 4 {dear[nodes]:.1f} and {dear[solved]:.0%}", "recorded"),
        ("ETS serves more questions than REBASE, width 32", "1.4x", served, "drawn, simulated"),
        ("steps and scores through the gateway", "–", "asked rightly (a test); no share measured", "live"),
    )  # fmt: skip
    heads = (("claim", "published", "here", "trees"), ("---",) * 4)
    table = "\n".join(f"| {' | '.join(row)} |" for row in (*heads, *rows))
    link = "All settings, intervals and what is declared: [trees.md](../benchmarks/results/trees.md)."
    return f"{TOLD}\n\n{table}\n\n{link}"
