"""Sleep-time compute on the embedded model: from how many queries a context notes pay, predicted and then measured.

`python benchmarks/sleep_time.py` asks live, through the gateway's contexts, writes the evidence `contexts`, which
ships, and results/sleep_time.{json,md}. `python benchmarks/sleep_time.py again` only reads that evidence.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from comptroller.books.ledger import CallLedger
from comptroller.books.query import rows as booked
from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.checking import ANSWERS, last_number
from comptroller.gateway.config import EMBEDDED, ConfiguredTokenPrice, single_service_config
from comptroller.gateway.contexts import ContextRequest
from comptroller.gateway.formats import RequestOptions
from comptroller.gateway.live import run
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.strategies.bindings import solving_roles
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.sleep_break_even import SleepBreakEven, recorded_break_even
from comptroller.strategies.spelling import parse
from comptroller.work.evidence import SLEEPER, SOLVER, Evidence
from comptroller.work.evidence_readers import SHIPPED, read_evidence
from comptroller.work.evidence_readers.parquet import write_evidence
from comptroller.work.evidence_rows import RawEvidence, evidence_of_rows
from record import table, write

CONTEXTS, QUERIES, NOTES_TOKENS, ANSWER_TOKENS = 16, 5, 96, 24
MODEL, FORMAT = "SmolLM2-135M-Instruct", "Q4_1"
INPUT_USD, OUTPUT_USD = 0.10e-6, 0.40e-6
"""Declared dollars a token: output at four times the input, as price lists commonly have it."""
GOODS = (
    "lamps",
    "chairs",
    "tables",
    "mirrors",
    "carpets",
    "clocks",
    "shelves",
    "vases",
    "stools",
    "beds",
    "desks",
    "pots",
)
TOWNS = (
    "Metz",
    "Namur",
    "Oslo",
    "Porto",
    "Aberdeen",
    "Bergen",
    "Cadiz",
    "Delft",
    "Espoo",
    "Faro",
    "Ghent",
    "Halle",
    "Ivrea",
    "Jena",
    "Kiel",
    "Lund",
)
Floats = npt.NDArray[np.float64]
EVIDENCE = SHIPPED / "contexts.parquet"


def shop(number: int) -> tuple[str, list[tuple[str, int]]]:
    """A text about a shop, and queries on it with their answers, the same each time."""
    dice = random.Random(number)
    goods = dice.sample(GOODS, 8)
    price, sold = ({name: dice.randint(2, 40) for name in goods} for _ in range(2))
    lines = [
        f"The shop in {TOWNS[number]} sold {sold[name]} {name} in May, each at {price[name]} euros." for name in goods
    ]
    asked = goods[:QUERIES]
    queries = [
        (f"How many {name} were sold in May?", sold[name])
        if place % 2
        else (f"What was the price of one of the {name}, in euros?", price[name])
        for place, name in enumerate(asked)
    ]
    return " ".join((*lines, f"It is run by the family that opened it in {dice.randint(1900, 1990)}.")), queries


def row(call: Mapping[str, Any], about: Mapping[str, Any], content: str) -> dict[str, Any]:
    """A row of evidence of a call."""
    read, made = float(call["input_tokens"]), float(call["output_tokens"])  # a prompt with what of it was cached
    return {
        "id": None, "parent": None, "text": None, "context": None, "answer": None, "score": None, "task": "shops",
        "model": MODEL, "format": FORMAT, "temperature": None, "content": content,
        "finish": "length" if call["finish"] == "length" else "stop",
        "input_tokens": read, "output_tokens": made, "usd": read * INPUT_USD + made * OUTPUT_USD,
    } | about  # fmt: skip


async def answered(gateway: GatewayRuntime, turns: list[dict[str, str]], context: str, spelled: str) -> tuple[Any, str]:
    """The call and the text of an answer to a query."""
    body = {"model": EMBEDDED, "messages": turns, "max_tokens": ANSWER_TOKENS, "temperature": 0}
    options = RequestOptions(context=context or None, answer="number")
    asked = GatewayRequest("chat/completions", body, 8000, options, GatewayCaller(), gateway.desk.books.new_id())
    await gateway.contexts.apply(asked)
    job = gateway.run(asked, parse(spelled))
    assert job is not None
    played = await run(job.drive, job.world)
    return asdict(job.world.attempts[-1].call), played.answer.content


async def noted(gateway: GatewayRuntime, text: str) -> Any:
    """A context whose notes are made; questions get the notes alone."""
    wanted = ContextRequest(
        model=EMBEDDED, context=text, budget="1 usd", max_tokens=NOTES_TOKENS, keep=False, compare=0.0
    )
    made = await gateway.contexts.add(GatewayCaller(), wanted)
    while (made := await gateway.contexts.get(GatewayCaller(), made.id)).status == "pending":
        await asyncio.sleep(0.1)
    assert made.notes, made.why
    return made


async def live(folder: Path) -> list[dict[str, Any]]:
    """Every query with notes and without, as rows of evidence."""
    config = single_service_config("embedded")
    service = replace(config.services[EMBEDDED], price=ConfiguredTokenPrice("0.1", "0.4"))
    gateway = GatewayRuntime(replace(config, books=str(folder / "books.sqlite"), services={EMBEDDED: service}))
    await gateway.start()
    rows, notes = list[dict[str, Any]](), list[dict[str, Any]]()
    try:
        for number in range(CONTEXTS):
            text, queries = shop(number)
            context, name = await noted(gateway, text), f"shop {number}"
            about = {"id": f"notes {number}", "question": name, "text": text, "role": SLEEPER, "finish": "stop"}
            notes.append(about | {"content": context.notes})
            for place, (query, right) in enumerate(queries):
                turns = [{"role": "user", "content": query}]
                bare = [{"role": "system", "content": text}, *turns]
                for spelled, asked, which in (("once", bare, ""), ("sleep_time", turns, context.id)):
                    call, said = await answered(gateway, asked, which, spelled)
                    about = {"question": f"{name} {place}", "context": name, "text": query, "role": SOLVER}
                    about |= {"parent": f"notes {number}" if which else None, "answer": ANSWERS["number"](said)}
                    about |= {"score": float(last_number(said) == right)}
                    rows.append(row(call, about, said))
            print(f"{number + 1} of {CONTEXTS} contexts", flush=True)
    finally:
        await gateway.stop()
    calls = made_notes(folder / "books.sqlite")
    return [*(row(call, about, "") | about for call, about in zip(calls, notes, strict=True)), *rows]


def made_notes(books: Path) -> list[dict[str, Any]]:
    """The calls that made notes, as they are booked, in their order."""
    with CallLedger.open(str(books)) as ledger:
        found = [item for item in booked(ledger) if item["role"] == SLEEPER]
    return sorted(found, key=lambda item: item["arrival_s"])


def measured(bare: Floats, noted: Floats, notes: Floats) -> float:
    """Queries after which contexts with notes have taken no more than those without, by adding up.

    bare, noted: (contexts, queries), of each query.  notes: (contexts,).  Between two whole numbers the share
    of the query that is still needed; after the last query the mean goes on.
    """
    saved = (bare - noted).sum(axis=0)
    left = float(notes.sum())
    for place, more in enumerate([*saved.tolist(), *[float(saved.mean())] * 1000]):
        if more >= left:
            return place + left / more
        left -= more
    return float("inf")


def by_query(evidence: Evidence, amount: str) -> tuple[Floats, Floats, Floats, dict[str, float]]:
    """Dollars or tokens of each query without notes and with them, of the notes, and the share solved of both."""
    spent = evidence.rows.usd if amount == "usd" else evidence.rows.input_tokens + evidence.rows.output_tokens
    rows, places = evidence.rows, [item.context for item in evidence.items]
    names = list(dict.fromkeys(filter(None, places)))
    asked = {name: [at for at, place in enumerate(places) if place == name] for name in names}
    usd = {}
    for kind, bare in (("bare", True), ("noted", False)):
        use = (rows.role == SOLVER) & ((rows.parent < 0) == bare)
        of = dict(zip(rows.question[use].tolist(), spent[use].tolist(), strict=True))
        usd[kind] = np.array([[of[at] for at in asked[name]] for name in names])
    made = {evidence.items[at].id: cost for at, cost in zip(rows.question, spent, strict=True)
            if evidence.items[at].id in asked}  # fmt: skip
    solved = {kind: float(rows.score[(rows.role == SOLVER) & ((rows.parent < 0) == bare)].mean())
              for kind, bare in (("without notes", True), ("with notes", False))}  # fmt: skip
    return usd["bare"], usd["noted"], np.array([made[name] for name in names]), solved


def halves(found: SleepBreakEven, bare: Floats, noted: Floats, notes: Floats) -> list[tuple[float, float]]:
    """Predicted on one half of the contexts by the formula, and measured on the other by adding up; both ways."""
    order = np.random.default_rng(0).permutation(len(notes))
    parts = order[: len(order) // 2], order[len(order) // 2 :]
    return [
        (found.of(one.tolist()).queries(), measured(bare[other], noted[other], notes[other]))
        for one, other in (parts, parts[::-1])
    ]


def report(evidence: Evidence) -> None:
    """The results from the evidence."""
    arm = evidence.arms[0]
    replay = EvidenceReplay(evidence, {role: RecordedService(arm) for role in solving_roles({"solver": arm})})
    rows, figures = list[list[str]](), dict[str, Any]()
    for amount, unit in (("tokens", "tokens"), ("usd", "dollars")):
        found = recorded_break_even(parse("sleep_time"), replay, replay.covered().tolist(), amount)
        bare, with_notes, notes, solved = by_query(evidence, amount)
        ways = halves(found, bare, with_notes, notes)
        low, high = found.interval(np.random.default_rng(0))
        for place, (said, seen) in enumerate(ways, 1):
            rows.append([f"{unit}, half {place}", f"{said:.2f}", f"{seen:.2f}", f"{said / seen - 1:+.1%}"])
        figures[unit] = {"halves": ways, "all": found.queries(), "interval": (low, high), "notes": notes.mean(),
                         "bare": bare.mean(), "with notes": with_notes.mean()}  # fmt: skip
    figures |= {"solved": solved, "contexts": len(notes)}
    told = f"notes pay from {found.queries():.2f} queries on [{low:.2f}, {high:.2f}]"
    text = "\n\n".join((
        f"# Sleep-time compute, live\n\n{(__doc__ or '').partition(chr(10))[0]}",
        table(["contexts", "predicted on the others", "measured", "off by"], rows),
        f"All {len(notes)} contexts, in dollars: {told}, where idle hours cost a tenth from "
        f"{found.queries(10.0):.2f}. Notes cost ${notes.mean() * 1e6:.1f} a million contexts, "
        f"a query ${bare.mean() * 1e6:.1f} without and "
        f"${with_notes.mean() * 1e6:.1f} with them. Right: {solved['without notes']:.0%} without, "
        f"{solved['with notes']:.0%} with notes alone: a model of 135 million parameters writes poor notes, so "
        "here they save money and lose answers.",
        f"{len(notes)} texts of nine sentences about a shop, {bare.shape[1]} queries on each, greedy; notes of at most "
        f"{NOTES_TOKENS} tokens, made by the gateway when nobody asks (`keep: false`), answers of at most "
        f"{ANSWER_TOKENS}. Declared prices: ${INPUT_USD * 1e6:.2f} and ${OUTPUT_USD * 1e6:.2f} per million tokens, "
        "cached prompts at the full price. Predicted: notes over saving per query, on the other half of the contexts "
        f"(`costs.inference_units.sleep_break_even`); measured: added up query by query, beyond {bare.shape[1]} "
        "queries with their mean.",
    ))  # fmt: skip
    write("sleep_time", figures, text, ("xllamacpp",))
    print(text)


def main() -> int:
    """Asks where the evidence is not to be read again, then writes."""
    if sys.argv[1:] != ["again"]:
        with tempfile.TemporaryDirectory() as folder:
            rows = asyncio.run(live(Path(folder)))
        columns = {name: [cells[name] for cells in rows] for name in rows[0]}
        source = f"contexts: {MODEL} on the CPU, see benchmarks/results/sleep_time.md"
        write_evidence(evidence_of_rows(RawEvidence(range(1, len(rows) + 1), columns, source), EVIDENCE), EVIDENCE)
    evidence = read_evidence("contexts")
    assert isinstance(evidence, Evidence)
    report(evidence)
    return 0


if __name__ == "__main__":
    sys.exit(main())
