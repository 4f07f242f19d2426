"""The official OpenAI client against `comptroller serve`: a real answer, its cost, and what eight samples buy.

    comptroller serve &
    python examples/client.py

Products are hard for a model of 135 million parameters: its most likely answer is often wrong, one of a few samples is
often right, and a checker can tell. Sixty questions give an interval of thirteen points either way.
"""

from __future__ import annotations

import random
import sys
from math import sqrt
from typing import Any

import openai

MODEL = "smollm2-135m-instruct"
SHOWN = "".join(f"Q: What is {a} times {b}?\nA: {a * b}\n" for a, b in ((2, 9), (7, 5), (12, 3), (4, 4), (11, 6)))


def asked(count: int) -> list[tuple[str, int]]:
    """Questions and answers, the same each time."""
    dice = random.Random(7)
    pairs = [(dice.randint(3, 12), dice.randint(3, 12)) for _ in range(count)]
    return [(f"{SHOWN}Q: What is {a} times {b}?\nA:", a * b) for a, b in pairs]


def run(client: openai.OpenAI, strategy: str, questions: list[tuple[str, int]]) -> dict[str, float]:
    """Solves all questions by a strategy: share solved, calls, joules and dollars of each."""
    sums = dict.fromkeys(("solved", "calls", "j", "usd"), 0.0)
    for prompt, right in questions:
        options: dict[str, Any] = {"checker": {"number": right}, "answer": "number"}
        reply = client.completions.create(
            model=f"comptroller/{strategy}", prompt=prompt, max_tokens=8, stop=["\n"],
            temperature=0.8 if "stop" in strategy else 0.0, extra_body={"comptroller": options},
        )  # fmt: skip
        told = reply.model_extra["comptroller"]
        said = reply.choices[0].text.strip().split()
        sums["solved"] += bool(said) and said[0].rstrip(".") == str(right)
        sums["calls"] += told["calls"]
        sums["j"] += told["cost"]["j"]
        sums["usd"] += told["cost"]["usd"]
    return {name: value / len(questions) for name, value in sums.items()}


def main(url: str = "http://127.0.0.1:8080/v1", count: str = "60") -> None:
    """Asks, and prints what came of it."""
    client = openai.OpenAI(base_url=url, api_key="none")
    stream = client.chat.completions.create(
        model=MODEL, stream=True, max_tokens=40, temperature=0.2,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
    )  # fmt: skip
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    cost = chunk.model_extra["comptroller"]["cost"]
    print(f"\n{cost['j']:.1f} J, ${cost['usd']:.3g} of electricity, {cost['tokens']['output']:.0f} tokens\n")

    questions = asked(int(count))
    print("strategy                  solved       calls   J each  $ each     J per solved")
    for strategy in ("once", "stop_on_success:cap=8"):
        found = run(client, strategy, questions)
        rate = found["solved"]
        half = 1.96 * sqrt(rate * (1 - rate) / len(questions))
        per = f"{found['j'] / rate:.1f}" if rate else "-"
        each = f"{found['calls']:5.1f}  {found['j']:7.2f}  {found['usd']:.2g}"
        print(f"{strategy:24}  {rate:.2f} ± {half:.2f}  {each}  {per:>12}")


if __name__ == "__main__":
    main(*sys.argv[1:])
