"""Budgeted memory live: notes in place of a context, at each tier and routed, beside answers that read the context.

`python benchmarks/memory_live.py` asks the embedded model through the gateway and writes results/memory_live.{json,md}:
tokens, dollars, joules and answers that are right, and whether the memory was shorter than the text it was made of.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.checking import last_number
from comptroller.gateway.config import EMBEDDED, ConfiguredTokenPrice, single_service_config
from comptroller.gateway.formats import RequestOptions
from comptroller.gateway.live import run
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.strategies.spelling import parse
from comptroller.strategies.success_prediction import SuccessPredictor, success_predictor, text_signals
from comptroller.strategies.training import TrainingOutcomes, fit
from record import table, write

SHOPS, LINES, ANSWER_TOKENS, TIERS = 8, 30, 24, (16, 32, 64)
GOODS = (
    *("lamps", "chairs", "tables", "mirrors", "carpets", "clocks", "shelves", "vases", "stools", "beds"),
    *("desks", "pots", "spoons", "plates", "cups", "bowls", "rugs", "sofas", "frames", "candles"),
    *("forks", "knives", "pans", "baskets", "pillows", "blankets", "towels", "hooks", "brooms", "ladders"),
)
PRICE = ConfiguredTokenPrice("0.1", "0.4", source="declared")
"""Declared dollars per million tokens: output at four times the input, cached tokens as others."""
INSTRUCTION = "Answer with a number."
Row = dict[str, Any]


def shop(number: int) -> tuple[str, list[tuple[str, int]]]:
    """A text, two questions of one sentence of it and one of two, with their answers; the same each time."""
    dice = random.Random(number)
    goods = dice.sample(GOODS, LINES)
    sold = {name: dice.randint(2, 40) for name in goods}
    text = " ".join(f"In May the shop sold {sold[name]} {name}." for name in goods)
    one, two, three, four = dice.sample(goods, 4)
    asked = [(f"How many {name} did the shop sell in May?", sold[name]) for name in (one, two)]
    both = f"How many {three} and {four} together did the shop sell in May?"
    return text, [*asked, (both, sold[three] + sold[four])]


async def answered(gateway: GatewayRuntime, text: str, question: str, right: int, spelled: str) -> Row:
    """What one run took and whether its answer is right."""
    turns = [
        {"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text},
        {"role": "assistant", "content": "I have read it."}, {"role": "user", "content": question},
    ]  # fmt: skip
    body = {"model": EMBEDDED, "messages": turns, "max_tokens": ANSWER_TOKENS, "seed": 0}
    options = RequestOptions(answer="number")
    asked = GatewayRequest("chat/completions", body, 8000, options, GatewayCaller(), gateway.desk.books.new_id())
    job = gateway.run(asked, parse(spelled))
    assert job is not None
    played = await run(job.drive, job.world)
    calls = [attempt.call for attempt in job.world.attempts]
    notes = [call for call in calls if call.role == "memory"]
    answers = [call for call in calls if call.role != "memory"]
    return {
        "question": question,
        "right": float(last_number(played.answer.content) == right),
        "read": sum(call.input_tokens for call in calls), "cached": sum(call.cached_tokens for call in calls),
        "made": sum(call.output_tokens for call in calls), "usd": sum(call.usd for call in calls),
        "j": sum(call.j_prefill + call.j_decode for call in calls),
        "notes": sum(call.output_tokens for call in notes),
        "context": sum(call.input_tokens for call in notes) or answers[0].input_tokens,
        "answer_prompt": sum(call.input_tokens for call in answers) / len(answers),
    }  # fmt: skip


def router(rows: list[Row], folder: Path) -> tuple[Path, tuple[float, ...]]:
    """A predictor of answers that are right, fitted to recorded ones, and thirds of its difficulties."""
    signals = [text_signals(row["question"]) for row in rows]
    part = fit(TrainingOutcomes.of(signals, [row["right"] for row in rows], np.arange(len(rows))))
    about: Row = {"data": "answers of the other half of the shops", "command": "python benchmarks/memory_live.py"}
    path = folder / "router.json"
    SuccessPredictor(part.signals, part.centre, part.scale, part.weights, part.intercept, about=about).save(path)
    hard = [1 - success_predictor(str(path)).chance(each) for each in signals]
    return path, tuple(round(float(level), 4) for level in np.quantile(hard, (1 / 3, 2 / 3)))


async def measured(folder: Path) -> tuple[dict[str, list[Row]], dict[int, int]]:
    """Rows by strategy on the second half of the shops, and how often the router chose each tier."""
    config = single_service_config("embedded")
    service = replace(config.services[EMBEDDED], price=PRICE, first_s=600.0, idle_s=600.0)
    gateway = GatewayRuntime(replace(config, books="", services={EMBEDDED: service}))
    await gateway.start()
    try:
        taught = [
            await answered(gateway, text, question, right, "once")
            for text, asked in map(shop, range(SHOPS)) for question, right in asked
        ]  # fmt: skip
        path, levels = router(taught, folder)
        routed = f"budget_memory(n=4,tiers={TIERS},levels={levels},by={path})".replace(" ", "")
        spelled = {
            "once": "once", "sample_and_vote(n=4)": "sample_and_vote(n=4)",
            **{f"budget_memory(n=4), {tier} tokens": f"budget_memory(n=4,tiers={(tier,) * 3})" for tier in TIERS[1:]},
            "budget_memory(n=4), routed": routed,
            f"budget_memory(n=1), {TIERS[1]} tokens": f"budget_memory(n=1,tiers={(TIERS[1],) * 3})",
        }  # fmt: skip
        found: dict[str, list[Row]] = {name: [] for name in spelled}
        for text, asked in map(shop, range(SHOPS, 2 * SHOPS)):
            for question, right in asked:
                for name, one in spelled.items():
                    found[name].append(await answered(gateway, text, question, right, one))
        choice: Any = parse(routed)
        chosen = [choice.tier(row["question"]) for row in found["once"]]
        return found, {tier: chosen.count(tier) for tier in TIERS}
    finally:
        await gateway.stop()


def interval(rows: list[Row], beside: list[Row]) -> tuple[float, float, float]:
    """The difference of shares that are right and its 90 % interval over resampled questions."""
    gap = np.array([one["right"] - other["right"] for one, other in zip(rows, beside, strict=True)])
    draws = np.random.default_rng(0).choice(gap, (2000, len(gap))).mean(axis=1)
    return float(gap.mean()), *(float(value) for value in np.quantile(draws, (0.05, 0.95)))


def means_of(rows: list[Row]) -> dict[str, float]:
    """Means of all numbers."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name != "question"}


def main() -> None:
    """Measures and writes."""
    with tempfile.TemporaryDirectory() as folder:
        found, tiers = asyncio.run(measured(Path(folder)))
    means = {name: means_of(rows) for name, rows in found.items()}
    base = means["sample_and_vote(n=4)"]
    rows, saved = [], {}
    for name, mean in means.items():
        gap = interval(found[name], found["sample_and_vote(n=4)"])
        saved[name] = {"gap": gap, **{kind: 1 - mean[kind] / base[kind] for kind in ("read", "usd", "j")}}
        rows.append([
            f"`{name}`", f"{mean['right']:.0%}", f"{gap[0]:+.0%} [{gap[1]:+.0%}, {gap[2]:+.0%}]",
            f"{mean['answer_prompt']:.0f}", f"{mean['notes']:.0f}", f"{mean['read']:.0f}", f"{mean['cached']:.0f}",
            f"{mean['made']:.0f}", f"{1e6 * mean['usd']:.0f}", f"{mean['j']:.1f}",
        ])  # fmt: skip
    heads = (
        "live",
        "right",
        "beside vote of 4",
        "prompt of an answer",
        "notes",
        "read",
        "cached",
        "made",
        "$/million",
        "J",
    )
    middle = means[f"budget_memory(n=4), {TIERS[1]} tokens"]
    chosen = ", ".join(f"{tier} tokens {count} times" for tier, count in tiers.items())
    text = "\n\n".join((
        f"# Budgeted memory, live\n\n{(__doc__ or '').partition(chr(10))[0]}",
        table(heads, rows),
        f"{len(found['once'])} questions on {SHOPS} texts of {LINES} sentences that the router has not seen, a third "
        "of them on two sentences; SmolLM2-135M on the CPU, tokens a question, $ per million questions at a declared "
        "$0.1 and $0.4 per million tokens, joules by CPU seconds of a busy machine. The memory is shorter: "
        f"{middle['notes']:.0f} tokens of notes for a prompt of {middle['context']:.0f}, and an answer reads "
        f"{middle['answer_prompt']:.0f} tokens in place of {base['answer_prompt']:.0f}. The router, fitted to answers "
        f"on {SHOPS} other texts, chose {chosen}; the one that ships, trained on MMLU, sends all of them to the "
        "highest tier.",
        "One answer by the same model cannot save: to write the notes the text is read once, as much as the answer "
        "itself would read. Before, nothing was saved at all, for two reasons: the answers read the text beside the "
        "notes, since it stood in turns that a fresh prompt left in place, and the strategy was told of no context, "
        "so that its notes were on the question alone.",
    ))  # fmt: skip
    write("memory_live", {"means": means, "saved": saved, "tiers": tiers}, text, ("xllamacpp",))


if __name__ == "__main__":
    main()
