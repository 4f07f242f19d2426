"""What the conciseness reminder does to the embedded model: tokens, joules and answers with it and without.

`python benchmarks/gateway_reminder.py` writes results/gateway_reminder.{json,md}. Greedy answers to questions of
arithmetic in a chat, at most 96 tokens each; right is the last number.
"""

from __future__ import annotations

import asyncio
import random
from math import sqrt

from msgspec.structs import replace

from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.config import EMBEDDED, GuardConfig, single_service_config
from comptroller.gateway.formats import CheckerOptions, RequestOptions
from comptroller.gateway.live import run
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.strategies.spelling import parse
from record import table, write

QUESTIONS, MOST = 40, 96
TEMPLATES = (
    "Anna has {a} apples and buys {b} more. How many apples does she have?",
    "A box holds {a} pens. How many pens are in {b} boxes?",
    "Tom had {c} coins and gave away {a}. How many coins are left?",
)


def questions() -> list[tuple[str, int]]:
    """Questions and answers, the same each time."""
    dice = random.Random(3)
    found = []
    for at in range(QUESTIONS):
        a, b = dice.randint(2, 12), dice.randint(2, 12)
        c = a + b
        kind = at % len(TEMPLATES)
        found.append((TEMPLATES[kind].format(a=a, b=b, c=c), (a + b, a * b, b)[kind]))
    return found


async def answers(reminder: bool) -> list[tuple[float, list[int], int, float]]:
    """Of each greedy answer: the verdict, tokens of its calls, how many were cut, joules."""
    gateway = GatewayRuntime(replace(single_service_config("embedded"), books=""))
    await gateway.start()
    found = []
    for text, right in questions():
        body = {
            "model": EMBEDDED,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": MOST,
            "temperature": 0,
        }
        options = RequestOptions(reminder=reminder, checker=CheckerOptions(number=right))
        asked = GatewayRequest("chat/completions", body, 1000, options, GatewayCaller(), gateway.desk.books.new_id())
        job = gateway.run(asked, parse("stop_on_success(cap=1)"))
        assert job is not None
        played = await run(job.drive, job.world)
        calls = [attempt.call for attempt in job.world.attempts]
        cut = sum(call.finish == "length" for call in calls)
        found.append((played.answer.confidence, [c.output_tokens for c in calls], cut, float(played.cost.j)))
    await gateway.stop()
    return found


def main() -> None:
    """Measures and writes."""
    rows, figures = [], {}
    for name, reminder in (("as asked", False), ("with the reminder", True)):
        runs = asyncio.run(answers(reminder))
        solved = sum(sure == 1.0 for sure, *_ in runs) / len(runs)
        tokens = [sum(made) for _, made, _, _ in runs]
        cut, joules = sum(each[2] for each in runs) / len(runs), sum(each[3] for each in runs) / len(runs)
        mean = sum(tokens) / len(tokens)
        half = 1.96 * sqrt(solved * (1 - solved) / len(runs))
        figures[name] = {"solved": solved, "output_tokens": tokens, "truncated": cut, "j": joules}
        rows.append([name, f"{mean:.1f}", f"{cut:.0%}", f"{joules:.1f}", f"{solved:.2f} ± {half:.2f}"])
        print(rows[-1], flush=True)
    heads = ["", "output tokens", "cut at the cap", "J", "right"]
    text = (
        f"# The conciseness reminder on the embedded model\n\n{(__doc__ or '').partition(chr(10))[0]}\n\n"
        f"{table(heads, rows)}\n\nThe reminder is {GuardConfig().reminder!r}. {QUESTIONS} questions of "
        f"arithmetic in words, at most {MOST} tokens each, temperature 0; "
        "interval of the share by the normal approximation."
    )
    write("gateway_reminder", figures, text, ("xllamacpp",))


if __name__ == "__main__":
    main()
