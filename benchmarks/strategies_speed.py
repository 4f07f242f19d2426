"""How fast strategies are: asks through the generators, asks replayed on evidence, nested grids, closed forms.

`python benchmarks/strategies_speed.py` writes results/strategies_speed.{json,md}. CPU seconds of one process, best
of the repeats. The samples are drawn from a seed: only their number matters here.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.allocation import allocate
from comptroller.strategies.drive import StrategyDriver, play
from comptroller.strategies.protocol import UNLIMITED, Ask, Reply, StrategyQuestion
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.results import nested_results, replay_strategy
from comptroller.strategies.spelling import parse
from comptroller.work.best_means import expected_best
from comptroller.work.evidence import Evidence, RecordedModel, RecordedQuestion, columns
from comptroller.work.vote_means import expected_vote
from comptroller_lab import closed_forms
from record import table, write

QUESTIONS, SETTINGS = 10_000, 100
ASKS_PER_S, CLOSED_S = 100_000.0, 5.0
REPEATS = 5
DRIVEN = (
    "once",
    "sample_and_vote(n=64)",
    "best_of_n(n=64)",
    "best_of_n(n=64,by=reward)",
    "adaptive_consistency(cap=64,threshold=1.0)",
    "stop_on_success(cap=32,accept=1.0)",
    "generative_verification(s=8,v=8)",
    "sequential_revision(rounds=8,chains=1)",
    "cascade(samples=4,threshold=1.0)",
    "route",
)
REPLAYED = ("once", "sample_and_vote(n=64)", "best_of_n(n=64)", "adaptive_consistency(cap=64,threshold=1.0)")


def best_s(task: Callable[[], object], repeats: int = REPEATS) -> float:
    """Least CPU seconds of a few runs."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        task()
        taken.append(time.process_time() - start)
    return min(taken)


class Same:
    """A world that gives one answer to everything and costs as little time as a world can."""

    cost = Cost(tokens=TokenCounts(input=5.0, output=3.0))

    def reply(self, ask: Ask, at_s: float) -> Reply:
        return Reply(ask, "stop", "x", "x", 0.5, None, self.cost, at_s, at_s + 3)

    def cut(self, reply: Reply, at_s: float) -> Reply:
        return reply


def driven(text: str, runs: int = 300) -> float:
    """Asks a second through a strategy's generator and the drive core."""
    strategy, question, rng, world = parse(text), StrategyQuestion("q", "?"), np.random.default_rng(0), Same()
    asks = 0

    def task() -> None:
        nonlocal asks
        asks = 0
        for _ in range(runs):
            asks += len(play(StrategyDriver(strategy, question, UNLIMITED, rng), world).replies)

    taken = best_s(task)
    return asks / taken


def recorded(questions: int, samples: int) -> EvidenceReplay:
    """Evidence of one model: a greedy reply and samples with answers, lengths and judgements, drawn from a seed."""
    rng = np.random.default_rng(0)
    count = questions * (samples + 1)
    number = np.tile(np.arange(samples + 1), questions)
    answer = rng.integers(0, 12, count)
    rows = columns(
        count,
        question=np.repeat(np.arange(questions), samples + 1),
        sample=number,
        temperature=np.where(number == 0, 0.0, 1.0),
        answer=np.array([f"a{value}" for value in answer], object),
        score=(answer == 0).astype(float),
        judgement=rng.random(count),
        finish=np.full(count, "stop"),
        input_tokens=np.full(count, 100.0),
        output_tokens=rng.integers(10, 500, count).astype(float),
    )
    items = tuple(RecordedQuestion(f"q{at}") for at in range(questions))
    return EvidenceReplay(
        Evidence(items, (RecordedModel("m"),), rows, source="drawn"), {"solver": RecordedService(RecordedModel("m"))}
    )


def commanded_s(samples: int, settings: Sequence[str]) -> float:
    """CPU seconds of `comptroller replay` of settings on recorded samples of all questions, as a process."""
    rng, count = np.random.default_rng(0), QUESTIONS * samples
    answer = rng.integers(0, 12, count)
    columns = {
        "question": [f"q{number}" for number in np.repeat(np.arange(QUESTIONS), samples)],
        "model": ["m"] * count,
        "sample": np.tile(np.arange(samples), QUESTIONS),
        "temperature": np.ones(count),
        "answer": [f"a{value}" for value in answer],
        "score": (answer == 0).astype(float),
        "judgement": rng.random(count),
        "finish": ["stop"] * count,
        "input_tokens": np.full(count, 100),
        "output_tokens": rng.integers(10, 500, count),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "drawn.parquet"
        pq.write_table(pa.table(columns), file)
        command = [sys.executable, "-m", "comptroller", "replay", *settings, "--evidence", str(file), "--json"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command_times() -> dict[str, float]:
    """CPU seconds of the command by what is replayed, the least of three runs."""
    half, sizes = SETTINGS // 2, range(1, SETTINGS + 1)
    votes, best = ([f"{name}(n={size})" for size in sizes] for name in ("sample_and_vote", "best_of_n"))
    tasks = {
        f"votes of 1 to {SETTINGS} of {SETTINGS} samples": (SETTINGS, votes),
        f"votes and best-of-n of 1 to {half} of {half} samples": (half, votes[:half] + best[:half]),
    }
    return {name: min(commanded_s(*task) for _ in range(3)) for name, task in tasks.items()}


COMMAND = """The command: `comptroller replay` of {settings} settings on {questions:,} questions, with intervals, the
start of the process and the reading of the file among the CPU seconds (target {target:g} s):"""
"""What the table of the command says."""


def closed_form_times() -> dict[str, float]:
    """CPU seconds of each closed form for all questions and settings."""
    rng = np.random.default_rng(0)
    answer = rng.integers(0, 12, (QUESTIONS, SETTINGS))
    samples = closed_forms.RecordedSamples(answer, (answer == 0).astype(float))
    rated, sizes = rng.random(answer.shape), np.arange(1, SETTINGS + 1)
    votes, right = closed_forms.vote_path(samples), samples.score.sum(axis=1)
    few = rng.multinomial(16, [0.4, 0.3, 0.2, 0.1], QUESTIONS)
    small = closed_forms.RecordedSamples(answer[:, :10], samples.score[:, :10])
    value = np.cumsum(rng.random(answer.shape) / np.arange(1, SETTINGS + 1) ** 2, axis=1)
    tasks: dict[str, Callable[[], object]] = {
        "vote, n = 1..100": lambda: closed_forms.vote_path(samples),
        "vote, mean over 8 random orders, n = 1..100": lambda: closed_forms.shuffled_vote(samples, 8, rng),
        "vote, mean over all choices, n = 1..8 of 16, four answers": lambda: expected_vote(
            few, np.tile([1.0, 0.0, 0.0, 0.0], (QUESTIONS, 1)), np.arange(1, 9)
        ),
        "best of n by score, n = 1..100": lambda: closed_forms.best_path(samples, rated),
        "best of n, mean over all choices": lambda: expected_best(rated, [samples.score], sizes),
        "adaptive consistency, cap = 1..100": lambda: closed_forms.adaptive_path(votes, [0.95]),
        "stop on success, verifier with error rates": lambda: closed_forms.stop_on_success_outcome(
            right / SETTINGS, sizes, 0.9, 0.1
        ),
        "stop on success, over recorded samples": lambda: closed_forms.stop_on_success_over_orders(
            right, SETTINGS, sizes
        ),
        "generative verification, S, V = 1..10": lambda: closed_forms.verified_path(
            small, rated.reshape(QUESTIONS, 10, 10)
        ),
        "cascade of two, 100 thresholds": lambda: closed_forms.cascade_means(
            rated[:, :2], samples.score[:, :2], rated[:, :2], sizes / SETTINGS
        ),
        "allocation of a budget over 100 options": lambda: allocate(value, sizes.astype(float), 20.0 * QUESTIONS),
    }
    return {name: best_s(task, 3) for name, task in tasks.items()}


def rates(figures: dict[str, float], least: float | None) -> list[Sequence[str]]:
    """Rows of asks a second."""
    return [
        [name, f"{rate:,.0f}", "–" if least is None else "met" if rate >= least else "missed"]
        for name, rate in figures.items()
    ]


def times(figures: dict[str, float]) -> list[Sequence[str]]:
    """Rows of seconds."""
    return [[name, f"{taken:.2f}", "met" if taken < CLOSED_S else "missed"] for name, taken in figures.items()]


def main() -> None:
    """Measures everything and writes the results."""
    through = {text: driven(text) for text in DRIVEN}
    replay = recorded(200, 64)
    onto = {}
    for text in REPLAYED:
        strategy = parse(text)
        calls = replay_strategy(strategy, replay).calls.sum()
        onto[text] = float(calls / best_s(lambda strategy=strategy: replay_strategy(strategy, replay), 3))
    grid = list(range(1, 65))
    vote = parse("sample_and_vote")
    once = best_s(lambda: replay_strategy(parse("sample_and_vote(n=64)"), replay), 3)
    whole = best_s(lambda: nested_results(vote, replay, grid), 3)
    forms = closed_form_times()
    taken = command_times()
    text = "\n\n".join(
        [
            "# Speed of strategies",
            "Asks a second of one core through the generator and the drive core, in a world that answers at once "
            f"(target {ASKS_PER_S:,.0f}):",
            table(["strategy", "asks/s", ""], rates(through, ASKS_PER_S)),
            "The same replayed on evidence, the replies' books included:",
            table(["strategy", "asks/s"], [row[:2] for row in rates(onto, None)]),
            f"A nested grid, n = 1..64 of `sample_and_vote` on 200 questions, takes {whole:.2f} s; one replay at "
            f"n = 64 alone takes {once:.2f} s, {len(grid)} of them would take {sum(grid) / 64 * once:.1f} s.",
            COMMAND.format(settings=SETTINGS, questions=QUESTIONS, target=CLOSED_S),
            table(["replayed", "s", ""], times(taken)),
            f"Closed forms for {QUESTIONS:,} questions x {SETTINGS} settings (target {CLOSED_S:g} s each):",
            table(["closed form", "s", ""], times(forms)),
        ]
    )
    figures = {
        "asks_per_s": through,
        "replayed_asks_per_s": onto,
        "nested_s": whole,
        "single_s": once,
        "command_s": taken,
        "closed_forms_s": forms,
    }
    print(write("strategies_speed", figures, text, ("numpy", "scipy")).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
