"""Every search over steps, live on the embedded model: scored by log-probabilities or by the model as its own judge.

`python benchmarks/steps_live.py` writes results/steps_live.{json,md}: calls, tokens, cache held, and what was answered.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.checking import last_number
from comptroller.gateway.config import EMBEDDED, single_service_config
from comptroller.gateway.formats import RequestOptions
from comptroller.gateway.live import run
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.strategies.rules.sample_and_vote import SampleAndVoteStrategy
from comptroller.strategies.spelling import model_id, parse
from comptroller.strategies.steps import cache_use
from record import table, write

QUESTIONS, STEP_TOKENS = 4, 24
EVERY = "width=3,depth=3,ends=answer"
SEARCHES = (
    "sample_and_vote(n=3)",
    *(f"{name}({EVERY},by=likelihood)" for name in ("beam_search", "dvts", "rebase", "ets", "dora", "hyper")),
    f"particle_filtering({EVERY},by=likelihood)",
    "best_first(expansions=2,branch=3,ends=answer,by=likelihood)",
    "mcts(rounds=3,branch=3,ends=answer,by=likelihood)",
    "arbitrage(depth=3,ends=answer,by=likelihood,threshold=0.7)",
    f"rebase({EVERY},by=reward)",
    f"ets({EVERY},by=reward)",
)
PROMPT = (
    "{question} Think step by step: one short line for each step, with an empty line between two. The last line says: "
    "The answer is, and the number."
)


def questions() -> list[tuple[str, int]]:
    """Questions and answers."""
    pairs = ((7, 5), (12, 9), (6, 8), (15, 4))[:QUESTIONS]
    return [
        (f"Anna has {a} red apples and buys {b} green ones. How many apples does she have?", a + b) for a, b in pairs
    ]


async def searched(gateway: GatewayRuntime, text: str, question: str, seed: int) -> Any:
    """One run of a strategy, and the calls that it made."""
    turns = [{"role": "user", "content": PROMPT.format(question=question)}]
    body = {"model": EMBEDDED, "messages": turns, "max_tokens": STEP_TOKENS, "seed": seed}
    if isinstance(parse(text), SampleAndVoteStrategy):
        body["max_tokens"] = 3 * STEP_TOKENS
    options = RequestOptions(strategy=model_id(parse(text)), answer="number")
    asked = GatewayRequest("chat/completions", body, 2000, options, GatewayCaller(), gateway.desk.books.new_id())
    job = gateway.run(asked)
    assert job is not None
    played = await run(job.drive, job.world)
    return played, [attempt.call for attempt in job.world.attempts]


async def measured() -> dict[str, dict[str, float]]:
    """Means by strategy."""
    gateway = GatewayRuntime(replace(single_service_config("embedded"), books="", max_calls=512))
    await gateway.start()
    found = {}
    try:
        for text in SEARCHES:
            rows = []
            for number, (question, right) in enumerate(questions()):
                played, calls = await searched(gateway, text, question, number)
                rows.append({
                    "calls": len(calls), "output tokens": sum(call.output_tokens for call in calls),
                    "prompt tokens": sum(call.input_tokens for call in calls),
                    "cached": sum(call.cached_tokens for call in calls), "held": cache_use(played).tokens,
                    "answered": float(played.answer.reply is not None),
                    "right": float(last_number(played.answer.content) == right),
                })  # fmt: skip
            found[text] = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
            print(text, found[text], flush=True)
    finally:
        await gateway.stop()
    return found


def main() -> None:
    """Measures and writes."""
    found = asyncio.run(measured())
    names = ("calls", "output tokens", "prompt tokens", "held", "answered", "right")
    shares = ("answered", "right")
    rows = []
    for text, means in found.items():
        cells = [f"{means[name]:.0%}" if name in shares else f"{means[name]:.0f}" for name in names]
        rows.append([f"`{text}`", *cells, f"{means['cached'] / means['prompt tokens']:.0%}"])
    text = "\n\n".join((
        f"# Search over steps, live\n\n{(__doc__ or '').partition(chr(10))[0]}",
        table(["live", *names, "prompt cached"], rows),
        f"{QUESTIONS} questions of arithmetic in words, steps of at most {STEP_TOKENS} tokens, SmolLM2-135M on the "
        "CPU, asked as a request to the gateway is. Held: tokens of cache that a wave of steps and its ancestors hold. "
        "So few questions to so small a model say that every search runs and what it takes, not which is better.",
    ))  # fmt: skip
    write("steps_live", found, text, ("xllamacpp",))


if __name__ == "__main__":
    main()
