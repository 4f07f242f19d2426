"""Every strategy in every world: by what it was run on records, in a drawn world, and live on the embedded model.

`python benchmarks/strategy_worlds.py` writes results/strategy_worlds.{json,md} and, by docs/generate.py, the table of
docs/strategies.md and a line of claims.py. Recorded: the first public or shipped record that has the strategy's inputs,
or its own live runs, replayed ask by ask. Live: one question, scored by log-probabilities or by the model as judge.
`python benchmarks/strategy_worlds.py NAME ...` runs some and puts them into the result.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace as changed

from comptroller.errors import UnsupportedError
from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.config import EMBEDDED, ConfiguredTokenPrice, single_service_config
from comptroller.gateway.contexts import ContextRequest
from comptroller.gateway.formats import RequestOptions
from comptroller.gateway.live import run
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.strategies.bindings import SOLVERS
from comptroller.strategies.drive import FinishedRun
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.spelling import names, parse, spell
from comptroller.strategies.world_inputs import needs, require_inputs
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from comptroller_lab.drawn_replies import DrawnWorld, drawn_run
from comptroller_lab.recorded_runs import replay_of_runs
from record import RESULTS, table, write

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "agents"
MOST = 20
"""Questions of a record that a strategy is replayed on: enough to see that it runs, and by what."""
SMALL: Mapping[str, Any] = {
    "n": 2, "width": 2, "depth": 2, "cap": 2, "s": 2, "v": 1, "chains": 2, "rounds": 1, "steps": 2, "trials": 2,
    "expansions": 2, "branch": 2, "outlines": 1, "parts": 2, "fast_tokens": 24, "slow_tokens": 32, "first": 12,
    "limit": 24, "final_tokens": 12, "chunk": 24, "chunks": 2, "probe_tokens": 8, "most": 2, "tiers": (16, 24, 32),
    "teams": 2, "members": 1, "keep": 1, "max_tokens": 0,
}  # fmt: skip
"""Parameters of a live run: the least at which a strategy still does all that it is."""
TEXT = "Anna has 7 red apples. She buys 5 green ones at the market. Ben has 3 pears."
QUESTIONS = ("How many green apples does Anna buy?",)
STEPS = " Answer in two short lines, with an empty line between them."


@dataclass(frozen=True, slots=True)
class RecordedSource:
    """A record that strategies may be replayed on. by: sources of a score in turn.  told: parameters that it binds."""

    name: str
    replay: EvidenceReplay
    by: tuple[str, ...] = ("", "likelihood")
    told: Mapping[str, Any] = field(default_factory=dict)


def _evidence(path: str | Path) -> Evidence:
    found = read_evidence(path)
    assert isinstance(found, Evidence)
    return found


def sources() -> Iterator[RecordedSource]:
    """Records in the order in which they are tried: what ships first."""
    own = _evidence("own")
    small, large = (RecordedService(own.find(f"SmolLM2-135M-Instruct {name} direct")) for name in ("Q4_0", "Q8_0"))
    roles = dict.fromkeys(("weak", "fast", "draft"), small) | dict.fromkeys(
        (*SOLVERS, "strong", "slow", "target"), large
    )
    yield RecordedSource("own evidence", EvidenceReplay(own, {**roles, "checker": ModelledChecker(0.9, 0.2)}))
    contexts = _evidence("contexts")
    who = RecordedService(contexts.arms[0])
    yield RecordedSource("contexts", EvidenceReplay(contexts, dict.fromkeys(SOLVERS, who)), told={"n": 1})
    if not DATA.exists():
        return
    scored = ("score",)
    for file, by in (("tree24_nodes.csv", scored), ("code_search.csv", ("",)), ("tree_crosswords.csv", scored)):
        records = _evidence(DATA / file)
        who = RecordedService(records.arms[0])
        yield RecordedSource(file, EvidenceReplay(records, dict.fromkeys((*SOLVERS, "draft", "target"), who)), by)


def variant(name: str, by: str = "", **told: Any) -> Any:
    """A strategy with the least parameters; by: in place of what scores by a role."""
    strategy = parse(name)
    own = {item.name: getattr(strategy, item.name) for item in fields(strategy)}
    small = {key: value for key, value in SMALL.items() if key in own and own[key] != 0 and own[key] != value}
    small |= {key: value for key, value in told.items() if key in own}
    if by and own.get("by") in ("reward", "score", "likelihood"):
        small["by"] = by
    return replace(strategy, **small)


def recorded(name: str, tried: Sequence[RecordedSource], live: Sequence[FinishedRun]) -> str:
    """By which record a strategy was replayed, and on how many questions; own live runs are the last resort."""
    for source, by in ((one, by) for one in tried for by in one.by):
        strategy = variant(name, by, **source.told)
        try:
            require_inputs(strategy, source.replay, spell(strategy))
            asked = _asked(strategy, source.replay)
            done = replay_strategy(strategy, source.replay, asked)
        except UnsupportedError:
            continue
        return f"{source.name}, {len(done.score)} questions: `{spell(strategy)}`"
    if not live:
        return ""
    strategy = variant(name, "likelihood")
    return f"its own live runs, {agreeing(strategy, live)} of {len(live)} ask by ask"


def _asked(strategy: Any, replay: EvidenceReplay) -> list[int]:
    """The first questions that a record may answer; those on contexts where the strategy reads one."""
    found = replay.covered(needs_rows(strategy)).tolist()
    on_context = {"context", "passage"} & set(needs(strategy))
    return [number for number in found if not on_context or replay.evidence.items[number].context][:MOST]


def needs_rows(strategy: Any) -> tuple[str, ...]:
    """Roles of which a question needs rows."""
    return tuple(role for role in getattr(strategy, "uses", ()) if role in SOLVERS)


def agreeing(strategy: Any, runs: Sequence[FinishedRun]) -> int:
    """Runs that a replay of their record makes again: as many asks, and the same answer."""
    _, again = replay_of_runs(strategy, runs)
    return sum(
        len(again[one.question.id].replies) == len(one.replies)
        and again[one.question.id].answer.content == one.answer.content
        for one in runs
    )


def drawn(name: str) -> str:
    """Runs in a drawn world, replayed and simulated by the conformance tests."""
    strategy = parse(name)
    runs = [drawn_run(strategy, number, DrawnWorld(number)) for number in range(3)]
    answered = sum(one.answer.reply is not None for one in runs)
    return f"{answered} of {len(runs)} answered, {sum(len(one.replies) for one in runs) // len(runs)} asks"


async def on_context(gateway: GatewayRuntime) -> str:
    """The id of a context whose notes are made."""
    wanted = ContextRequest(model=EMBEDDED, context=TEXT, budget="1 usd", max_tokens=32, compare=0.0)
    made = await gateway.contexts.add(GatewayCaller(), wanted)
    while (made := await gateway.contexts.get(GatewayCaller(), made.id)).status == "pending":
        await asyncio.sleep(0.1)
    return made.id


async def live_run(gateway: GatewayRuntime, name: str, question: str, seed: int) -> FinishedRun:
    """One run on the embedded model."""
    strategy = variant(name, "likelihood", ends="", checker="checker")
    steps = "step" in needs(strategy)
    turns = [{"role": "user", "content": TEXT}, {"role": "assistant", "content": "I have read it."}]
    if "passage" not in needs(strategy):
        question = question if "context" in needs(strategy) else f"{TEXT} {question}"
        turns = []
    turns.append({"role": "user", "content": question + (STEPS if steps else "")})
    body = {"model": EMBEDDED, "messages": turns, "max_tokens": 12, "seed": seed}
    options = RequestOptions(answer="text", roles={"checker": EMBEDDED}, question=f"q{seed}")
    if "context" in needs(strategy):
        options.context = await on_context(gateway)
    asked = GatewayRequest("chat/completions", body, 2000, options, GatewayCaller(), gateway.desk.books.new_id())
    await gateway.contexts.apply(asked)
    job = gateway.run(asked, strategy)
    assert job is not None
    return await run(job.drive, job.world)


async def live_runs(chosen: Sequence[str], told: Callable[[str, Sequence[FinishedRun]], None]) -> None:
    """Runs of each strategy on the embedded model, one for each question."""
    with tempfile.TemporaryDirectory() as folder:
        config = single_service_config("embedded")
        service = changed(config.services[EMBEDDED], price=ConfiguredTokenPrice("0.1", "0.4"), first_s=600.0)
        gateway = GatewayRuntime(changed(config, books=f"{folder}/books.sqlite", services={EMBEDDED: service}))
        await gateway.start()
        try:
            for name in chosen:
                told(name, [await live_run(gateway, name, text, at) for at, text in enumerate(QUESTIONS)])
        finally:
            await gateway.stop()


def scored_by(strategy: Any) -> str:
    """What scores or judges a live run."""
    reads = needs(strategy)
    by = [word for word, there in (
        ("log-probabilities", "likelihood" in reads),
        ("the model as " + ", ".join(role for role in reads if role in (*SOLVERS, "checker") and role != "step"),
         any(role in (*SOLVERS, "checker") and role != "step" for role in reads)),
    ) if there]  # fmt: skip
    return " and ".join(by) or "answers alone"


def live_cell(name: str, runs: Sequence[FinishedRun]) -> str:
    """What came of live runs."""
    strategy = variant(name, "likelihood", ends="", checker="checker")
    answered = sum(one.answer.reply is not None for one in runs)
    calls = np.mean([len(one.replies) for one in runs])
    return f"{answered} of {len(runs)} answered, {calls:.0f} calls, by {scored_by(strategy)}: `{spell(strategy)}`"


def main() -> int:
    """Runs all strategies, or some, and writes the table."""
    chosen = sys.argv[1:] or list(names())
    path = RESULTS / "strategy_worlds.json"
    before = json.loads(path.read_text(encoding="utf-8"))["figures"] if sys.argv[1:] and path.exists() else {}
    found: dict[str, dict[str, str]] = {name: cells for name, cells in before.items() if name in names()}
    tried = list(sources())

    def told(name: str, runs: Sequence[FinishedRun]) -> None:
        found[name] = {"recorded": recorded(name, tried, runs), "drawn": drawn(name), "live": live_cell(name, runs)}
        print(name, found[name], flush=True)
        write("strategy_worlds", dict(sorted(found.items())), told_text(found), ("xllamacpp",))

    asyncio.run(live_runs(chosen, told))
    return 0


def told_text(found: Mapping[str, Mapping[str, str]]) -> str:
    """The result as a page."""
    worlds = ("recorded", "drawn", "live")
    rows = [[f"`{name}`", *(found[name][world] for world in worlds)] for name in sorted(found)]
    return "\n\n".join((
        f"# Strategies in their worlds\n\n{(__doc__ or '').partition(chr(10))[0]}",
        table(["strategy", *worlds], rows),
        "Recorded: at most 20 questions of the first record that has the inputs; where none has, the strategy's own "
        "live runs as evidence, replayed ask by ask. Drawn: replies from a seed. Live: SmolLM2-135M by the "
        "gateway, least parameters. That a strategy runs and answers is shown here, not that it is right.",
    ))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
