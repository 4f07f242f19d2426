"""Monitors live: fitted to an agent's runs in the books, then stopping the next ones; what is spared, and what is lost.

`python benchmarks/monitors_live.py` runs ReAct on the embedded model through the gateway: runs that teach, then further
runs without a monitor and with each. Writes results/monitors_live.{json,md}.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from comptroller.books.agent_runs import booked_stops, calls_of_runs
from comptroller.books.ledger import CallLedger
from comptroller.errors import UnsupportedError
from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.config import EMBEDDED, ConfiguredTokenPrice, MonitorConfig, single_service_config
from comptroller.gateway.formats import CheckerOptions, RequestOptions
from comptroller.gateway.live import run
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.strategies.monitor_file import judge_file, read_monitor, train_monitor
from comptroller.strategies.monitor_study import judge
from comptroller.strategies.spelling import parse
from comptroller.work.trajectory_files import read_trajectories
from record import table, write

TAUGHT, TESTED, TOKENS, MOST_LOST = 36, 36, 64, 0.1
AGENT = "react(steps=8)"
MONITORS = ("agent_stop", "step_budget", "dollar_budget")
"""Those that need nothing of what tools give back, which a strategy's checks do not tell."""
ASKED = " Answer with a number alone."
"""Behind every question: a reply that is cut at its limit of tokens is no answer, and would end the run."""
PRICE = ConfiguredTokenPrice("0.1", "0.4", source="declared")
Row = dict[str, Any]


def task(number: int) -> tuple[str, str, int]:
    """The kind, the question and the answer of a task; six kinds in turn, the same each time."""
    dice = random.Random(number)
    a, b = dice.randint(2, 9), dice.randint(2, 9)
    kinds = (
        ("apples", f"Anna has {a} apples and buys {b} more. How many apples does she have?", a + b),
        ("coins", f"There are {a + b} coins in a jar and {a} are taken out. How many coins are left?", b),
        ("rows", f"A hall has {a} rows of {b} chairs. How many chairs are there?", a * b),
        ("sums", f"What is {a} plus {b}?", a + b),
        ("differences", f"What is {a + b} minus {a}?", b),
        ("pens", f"{a} boxes hold {b} pens each, and {a} pens lie beside them. How many pens are there?", a * b + a),
    )
    return kinds[number % len(kinds)]


async def played(gateway: GatewayRuntime, number: int) -> tuple[int, Row]:
    """The request of a run and what came of it."""
    kind, question, right = task(number)
    body = {
        "model": EMBEDDED,
        "messages": [{"role": "user", "content": question + ASKED}],
        "max_tokens": TOKENS,
        "seed": number,
    }
    options = RequestOptions(answer="number", checker=CheckerOptions(number=float(right)), question=f"{kind}-{number}")
    own = gateway.desk.books.new_id()
    job = gateway.run(GatewayRequest("chat/completions", body, 2000, options, GatewayCaller(), own), parse(AGENT))
    assert job is not None
    done = await run(job.drive, job.world)
    solved = done.answer.reply is not None and done.answer.confidence >= 0.5
    usd = sum(attempt.call.usd for attempt in job.world.attempts)
    stop = job.world.record.stop
    return own, {"solved": solved, "calls": len(job.world.attempts), "usd": usd, "stopped": stop is not None}


async def runs(books: Path, numbers: range, monitors: Mapping[str, MonitorConfig] | None = None) -> list[Row]:
    """Runs one after the other, judged in the books."""
    config = single_service_config("embedded")
    service = replace(config.services[EMBEDDED], price=PRICE, first_s=600.0, idle_s=600.0)
    about = {"books": str(books), "services": {EMBEDDED: service}, "monitors": dict(monitors or {})}
    gateway = GatewayRuntime(replace(config, **about))
    await gateway.start()
    try:
        found = [await played(gateway, number) for number in numbers]
    finally:
        await gateway.stop()
    with CallLedger.open(str(books)) as ledger:
        for request, row in found:
            ledger.score(request, float(row["solved"]))
    return [row for _, row in found]


async def measured(folder: Path) -> Row:
    """What the runs in the books teach, held out and live."""
    await runs(folder / "taught.sqlite", range(TAUGHT))
    with CallLedger.open(str(folder / "taught.sqlite")) as ledger, (folder / "runs.csv").open("w") as file:
        calls_of_runs(ledger, file)
    calls = read_trajectories(folder / "runs.csv")
    after = range(TAUGHT, TAUGHT + TESTED)
    bare = await runs(folder / "bare.sqlite", after)
    print(
        f"{np.nansum(calls.score):.0f} of {TAUGHT} solved, then {sum(row['solved'] for row in bare)} of {TESTED}",
        flush=True,
    )
    with CallLedger.open(str(folder / "bare.sqlite")) as ledger, (folder / "bare.csv").open("w") as file:
        calls_of_runs(ledger, file)
    found: Row = {}
    for name in MONITORS:
        train_monitor(name, calls, MOST_LOST, {"source": "monitors_live"}).save(folder / f"{name}.json")
        config = MonitorConfig(file=str(folder / f"{name}.json"), watches=("react",))
        live = await runs(folder / f"{name}.sqlite", after, {name: config})
        with CallLedger.open(str(folder / f"{name}.sqlite")) as ledger:
            stops = booked_stops(ledger)
        found[name] = compared(bare, live) | {
            "spared_predicted": sum(stop.spared_usd for stop in stops), "stops": len(stops),
            "held_out_cut": judge(name, "books", calls, MOST_LOST).cut,
            "replayed": of_file(folder / f"{name}.json", folder / "bare.csv"),
        }  # fmt: skip
        print(name, found[name], flush=True)
    taught = calls.score
    return {"taught": [len(taught), int(np.nansum(taught))], "monitors": found}


def of_file(monitor: Path, runs_without: Path) -> str:
    """What the file cuts of runs that went without it, or why they do not judge it: too few solved, say."""
    try:
        told = judge_file(read_monitor(monitor), "bare", read_trajectories(runs_without))
    except UnsupportedError as error:
        return str(error)
    return f"{told.cut:.0%}, {told.lost} lost"


def compared(bare: list[Row], live: list[Row]) -> Row:
    """Dollars and solved runs without and with a monitor, the same questions and seeds."""
    solved = np.array([row["solved"] for row in bare])
    spent, after = (np.array([row["usd"] for row in rows]) for rows in (bare, live))
    stopped = np.array([row["stopped"] for row in live])
    return {
        "runs": len(bare), "solved": int(solved.sum()), "solved_with": int(sum(row["solved"] for row in live)),
        "usd": float(spent.sum()), "usd_with": float(after.sum()), "failing_usd": float(spent[~solved].sum()),
        "spared_measured": float((spent - after)[stopped].sum()),
        "cut": float((spent - after)[~solved].sum() / spent[~solved].sum()),
    }  # fmt: skip


def main() -> None:
    """Measures and writes."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measured(Path(folder)))
    rows = []
    for name, one in figures["monitors"].items():
        per = [one[spent] / max(one[solved], 1) for spent, solved in (("usd", "solved"), ("usd_with", "solved_with"))]
        rows.append([
            name, f"{one['stops']} of {one['runs']}", f"{one['solved']} to {one['solved_with']}", f"{one['cut']:.0%}",
            one["replayed"], f"{one['held_out_cut']:.0%}",
            f"{1e6 * one['spared_predicted']:.0f} and {1e6 * one['spared_measured']:.0f}",
            f"{1e6 * per[0]:.0f} to {1e6 * per[1]:.0f}",
        ])  # fmt: skip
    heads = (
        "live", "stopped", "solved", "failing dollars cut", "the file on the runs without it", "held out before",
        "spared, predicted and measured, millionths of a dollar",
        "millionths of a dollar per solved",
    )  # fmt: skip
    count, solved = figures["taught"]
    text = "\n\n".join((
        f"# Monitors, live\n\n{(__doc__ or '').partition(chr(10))[0]}",
        table(heads, rows),
        f"`{AGENT}` with a checker as its tool on arithmetic in words, SmolLM2-135M on the CPU, $0.1 and $0.4 per "
        f"million tokens declared. {count} runs teach ({solved} solved), as `books export --as runs` has them: "
        "kinds of questions are held out as groups; a threshold may lose "
        f"{MOST_LOST:.0%} of the solved runs. Then {TESTED} other runs, with the same questions and seeds without a "
        "monitor and with each: a call that runs alone repeats with its seed, so that the run without the monitor "
        "measures what a stop spares.",
    ))  # fmt: skip
    write("monitors_live", figures, text, ("xllamacpp",))


if __name__ == "__main__":
    main()
