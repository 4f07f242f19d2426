"""What is told of search over steps: how it is asked for, and claims with the figures of `benchmarks/trees.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TOLD = """## Search over steps

`beam_search`, `dvts`, `rebase`, `ets`, `dora`, `hyper`, `particle_filtering`, `best_first`, `depth_first`, `mcts` and
`arbitrage` ask for a solution step by step: an ask that ends at a blank line, continued from any step before, so that
what paths have in common is read once. A step is scored by the reply itself (`by=score`, as recorded), its likelihood
(`by=likelihood`) or the role `reward`: a model live, a recorded one (`--role reward=NAME`), one of stated error rates
(`--reward TPR,FPR`), or one that errs as a recorded one does (`--reward EVIDENCE:MODEL`). Bound alone, a reward model
stands beside every model that solves, or those of `--model`; `--pool` takes these for one, so that questions of which
each recorded one solution have several. A step with an answer ends a solution; live, name a text that only last steps
hold (`ends`), and services that go on from their own words (`prefill`). A replay continues any step that was continued
in the record; a question on which a search leaves the record is left out and counted; one that leaves it everywhere is
refused (other rewards than the recorded ones take other steps: keep few). Every deal keeps the recorded order of
steps, since ties fall otherwise in another and a search soon leaves a tree that was pruned; only steps that are
recorded as sampled (a `temperature` above 0), those of `step_rewards.parquet` and of a pool come in any order.

Drawn errors (`--reward`) lead a search to other steps than the recorded one took. Where that leaves the record on more
than a tenth of the questions, the setting is refused, with the share solved that the record allows at least and at
most: what is left would be those questions on which the errors do not matter. They are drawn on trees in which every
step was continued to its end, as in `step_rewards.parquet`:

    comptroller show evidence step_rewards.parquet
    comptroller replay "rebase(width=1,depth=64)" "rebase(depth=64)" "hyper(depth=64)" \
--evidence step_rewards.parquet --task perturbed --role reward=math_shepherd_7b
    comptroller replay "beam_search(depth=64)" --evidence step_rewards.parquet --task perturbed --reward 0.8,0.3
    comptroller replay "beam_search(depth=64)" \
--evidence step_rewards.parquet --task perturbed --reward step_rewards.parquet:reasoneval_llemma_34b
    comptroller replay "dvts(width=4,branch=2,depth=64)" \
--evidence step_rewards.parquet --task mr-math --pool --role reward=reasoneval_mistral_7b
    comptroller replay "beam_search(width=200,keep=5,depth=4,by=score,pick=best)" --evidence tree24_nodes.csv
    comptroller replay "depth_first(by=score,ends=never)" --evidence tree_crosswords.csv --model dfs_prune

The first of the second line takes one way by chance: what rewards are worth is seen beside it.

The error of a reward model is a parameter of a replay (`--reward`) and of a plan (`reward` in `[quality]`,
[quality.md](quality.md))."""


def _times(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.2f}x" for value in values)


def _of_records(figures: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Claims on recorded depth-first searches and programs. figures: of benchmarks/results/recorded_searches.json."""
    pruned, whole = (share for share, *_ in figures["crosswords"].values())
    solved = {name: share for name, (share, *_) in figures["programs"].items()}
    weak, strong = solved["gpt-3.5-turbo mcts_8x5"], solved["gpt-4 mcts_8x5"]
    both, asked = solved["gpt-3.5-turbo, then gpt-4 where own tests fail"], solved["asked gpt-4"]
    return (
        ("words of mini crosswords right by depth-first search, with pruning and without", "60%, 41.5% (20 puzzles)",
         f"{pruned:.1%}, {whole:.1%} (14 puzzles, `depth_first`)", "recorded"),
        ("HumanEval by LATS, GPT-3.5 and GPT-4", "83.8%, 92.7%",
         f"{weak:.1%}, {strong:.1%} of {solved['tasks']:.0f} tasks; GPT-4 only where own tests fail {both:.1%}, asked "
         f"in {asked:.0%} (`verdict_cascade`)", "recorded"),
    )  # fmt: skip


def _of_trees(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """The claim on trees of changed solutions. figures: of benchmarks/results/recorded_searches.json."""
    shares = figures["trees"]["shares"]
    chance, *searches = shares.values()
    told = []
    for judge in (judge for judge in chance if "drawn" not in judge):
        span, drawn = [of[judge] for of in searches], [of.get(f"{judge}, drawn", 0.0) for of in searches]
        errs = f"; its errors drawn step by step {min(drawn):.0%} to {max(drawn):.0%}" if any(drawn) else ""
        told.append(f"{min(span):.0%} to {max(span):.0%} ({judge}{errs})")
    return (
        f"{len(searches)} searches over steps, {figures['trees']['questions']} questions, trees of right and changed "
        "solutions", "–", f"{', '.join(told)}; one way by chance {next(iter(chance.values())):.0%}", "recorded",
    )  # fmt: skip


def _of_live(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """The claim on searches that ran live. figures: of benchmarks/results/steps_live.json."""
    searches = {text: means for text, means in figures.items() if not text.startswith("sample_and_vote")}
    cached = sum(m["cached"] for m in searches.values()) / sum(m["prompt tokens"] for m in searches.values())
    answered = sum(m["answered"] for m in searches.values()) / len(searches)
    told = (
        f"{len(searches)} searches on the embedded model by likelihood or its own verdicts, {answered:.0%} answered, "
        f"{cached:.0%} of prompt tokens cached; so small a model "
        "says nothing of shares"
    )
    return ("steps and scores through the gateway", "–", told, "live")


def _of_persistence(figures: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Claims where errors persist and the cache is full. figures: of benchmarks/results/trees_persistent.json."""
    models = {name: part for name, part in figures.items() if name != "full"}
    held = "; ".join(f"{_times(h['times'][0] for h in part['held_out'])} ({name})" for name, part in models.items())
    base, pruned = figures["full"].values()
    return (
        ("ETS holds less cache, widths 8, 16, errors of rewards that persist along a path as recorded", "1.8x", held,
         "drawn"),
        ("ETS serves more, width 32, 128 questions at once on H100 so that their trees pass its cache", "1.4x",
         f"{pruned['times']:.2f}x at cost 4, but {pruned['solved']:.0%} solved against {base['solved']:.0%}",
         "drawn, simulated"),
    )  # fmt: skip


def tree_rows(
    figures: Mapping[str, Any], records: Mapping[str, Any], live: Mapping[str, Any], persistent: Mapping[str, Any]
) -> tuple[tuple[str, ...], ...]:
    """Claims on search over steps: claim, published, here, and whether trees are recorded, drawn or live.

    figures: of benchmarks/results/trees.json.  records, live, persistent: of recorded_searches.json, steps_live.json
    and trees_persistent.json beside it.
    """
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
    return (
        ("breadth-first search of width 5 on the Game of 24, any of five answers right",
         "as recorded", f"the same, on {beam['puzzles']} of 60 puzzles (`beam_search`, a test)", "recorded"),
        (f"ETS holds less cache than REBASE at an equal share, widths {widths}", "1.8x", held, "drawn"),
        ("ETS beside REBASE on the Game of 24, width 10", "–",
         f"{plain[nodes]:.1f} nodes and {plain[solved]:.0%} solved by REBASE, {ets[nodes]:.1f} and {ets[solved]:.0%} "
         f"by ETS; at cost 4 {dear[nodes]:.1f} and {dear[solved]:.0%}", "recorded"),
        ("ETS serves more questions than REBASE, width 32", "1.4x", served, "drawn, simulated"),
        *_of_persistence(persistent),
        *_of_records(records),
        _of_trees(records),
        _of_live(live),
    )  # fmt: skip


def tree_section(*figures: Mapping[str, Any]) -> str:
    """The section of the strategies' page. figures: as of `tree_rows`."""
    heads = (("claim", "published", "here", "trees"), ("---",) * 4)
    table = "\n".join(f"| {' | '.join(row)} |" for row in (*heads, *tree_rows(*figures)))
    link = (
        "All settings, intervals and what is declared: [trees.md](../benchmarks/results/trees.md), "
        "[trees_persistent.md](../benchmarks/results/trees_persistent.md), "
        "[recorded_searches.md](../benchmarks/results/recorded_searches.md), "
        "[steps_live.md](../benchmarks/results/steps_live.md)."
    )
    return f"{TOLD}\n\n{table}\n\n{link}"
