"""Every shipped strategy in every world: played, recorded, replayed, on a fleet, live; refused where an input lacks."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as changed

from comptroller.errors import ComptrollerError, UnsupportedError
from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.config import config_from_document
from comptroller.gateway.contexts import ContextRequest
from comptroller.gateway.formats import CheckerOptions, RequestOptions
from comptroller.gateway.live import run as play_live
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.ticks import linear
from comptroller.serving.world import QuestionStream, SimulatedStrategy, solve
from comptroller.strategies.prepared_contexts import offline_of
from comptroller.strategies.protocol import Reply
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.results import replay_strategy
from comptroller.strategies.spelling import names, parse, spell
from comptroller.strategies.world_inputs import INPUTS, lacking_inputs, needs, require_inputs
from comptroller.work.evidence import SOLVER, RecordedModel
from comptroller.work.evidence_readers import read_evidence
from comptroller_lab.drawn_replies import DrawnWorld, drawn_run
from comptroller_lab.recorded_runs import evidence_of_runs, replay_of_runs
from strategy_worlds import signature

MODEL = RecordedModel("recorded")
SHIPPED = [parse(name) for name in names()]
FLEET = SimulatedFleet.uniform(linear(max_batch=32), 1)


def drawn_runs(strategy, count=3, truncated=0.3):
    """Runs on questions in a world of drawn replies, with what is prepared where the strategy prepares."""
    return [drawn_run(strategy, number, DrawnWorld(number, truncated=truncated)) for number in range(count)]


@pytest.mark.parametrize("strategy", SHIPPED, ids=spell)
def test_a_recorded_run_is_replayed_ask_by_ask(strategy):
    runs = drawn_runs(strategy)
    _, found = replay_of_runs(strategy, runs)
    for run in runs:
        again = found[run.question.id]
        first, second = ([signature(reply.ask) for reply in one.replies] for one in (run, again))
        assert first == second
        assert again.answer.answer == run.answer.answer
        assert again.cost.tokens.total == run.cost.tokens.total


@pytest.mark.parametrize("strategy", SHIPPED, ids=spell)
def test_a_fleet_makes_the_calls_of_the_replay(strategy):
    runs = drawn_runs(strategy)
    replay, found = replay_of_runs(strategy, runs)
    asked = [number for number, item in enumerate(replay.evidence.items) if item.id in found]
    stream = QuestionStream(
        (SimulatedStrategy(strategy, replay),), 1e4 * (1.0 + np.arange(len(asked))), np.array(asked)
    )
    done = solve(FLEET, stream)
    notes = len(asked) if offline_of(strategy) else 0
    assert len(done.calls) == notes + sum(len(run.replies) for run in found.values())
    assert np.isfinite(done.answer_s).all()


@pytest.mark.parametrize("strategy", [one for one in SHIPPED if needs(one)], ids=spell)
def test_where_inputs_lack_all_are_named_with_who_supplies_them(strategy):
    evidence = evidence_of_runs(drawn_runs(parse("once"), truncated=0.0))
    nothing = np.full(len(evidence), None, object)
    bare = replace(evidence, rows=replace(evidence.rows, answer=nothing, judgement=np.full(len(evidence), np.nan)))
    replay = EvidenceReplay(replace(bare, logprobs=None), {"solver": RecordedService(MODEL)})
    missing = [name for name in needs(strategy) if name != "resumption"]
    assert len(lacking_inputs(strategy, replay)) == len(missing)
    if missing:
        with pytest.raises(UnsupportedError) as refusal:
            require_inputs(strategy, replay, spell(strategy))
        assert all(INPUTS[name].what in str(refusal.value) for name in missing)
        assert all(INPUTS[name].recorded in str(refusal.value) for name in missing)


@pytest.mark.parametrize("strategy", [one for one in SHIPPED if not needs(one)], ids=spell)
def test_one_that_names_no_input_is_replayed_on_plain_replies(strategy):
    """Greedy replies and samples of a model are enough for it: what else it asks for, it has to name."""
    replies = read_evidence("own")
    rows = replies.rows
    plain = replace(replies, rows=rows.take(np.flatnonzero((rows.role == SOLVER) & (rows.arm == 0))))
    replay = EvidenceReplay(plain, dict.fromkeys(("solver", "weak", "strong"), RecordedService(replies.arms[0])))
    assert replay_strategy(strategy, replay, [0]).calls.min() >= 1


def test_the_table_of_worlds_says_of_every_strategy_by_what_it_was_run():
    """Written by `benchmarks/strategy_worlds.py`: none is left out, and none failed to answer."""
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "strategy_worlds.json"
    found = json.loads(path.read_text(encoding="utf-8"))["figures"]
    assert set(found) == set(names())
    for cells in found.values():
        assert set(cells) == {"recorded", "drawn", "live"} and all(cells.values())
        assert cells["drawn"].startswith("3 of 3 answered") and cells["live"].startswith("1 of 1 answered")


CONTEXT = "The shop sold 5 lamps in May."


async def answered(strategy, folder: Path, **told: Any) -> Any:
    """A run at a gateway whose one service repeats what it is told."""
    service = {"backend": "echo", "prefill": True, "price": {"input": "1", "output": "1"}}
    config = config_from_document({"services": {"echo": service}, "books": str(folder / "books.sqlite")})
    gateway = GatewayRuntime(changed(config, max_calls=512))
    await gateway.start()
    try:
        options = RequestOptions(answer="number", checker=CheckerOptions(number=5.0), **told)
        if "context" in needs(strategy):
            wanted = ContextRequest(model="echo", context=CONTEXT, budget="1 usd", max_tokens=32)
            made = await gateway.contexts.add(GatewayCaller(), wanted)
            while (made := await gateway.contexts.get(GatewayCaller(), made.id)).status == "pending":
                await asyncio.sleep(0.01)
            options.context = made.id
        turns = [{"role": "user", "content": CONTEXT}] if "passage" in needs(strategy) else []
        turns += [{"role": "user", "content": "1. How many lamps? It is 5."}]
        body = {"model": "echo", "messages": turns, "max_tokens": 64}
        asked = GatewayRequest("chat/completions", body, 400, options, GatewayCaller(), gateway.desk.books.new_id())
        await gateway.contexts.apply(asked)
        job = gateway.run(asked, strategy)
        assert job is not None
        return await play_live(job.drive, job.world)
    finally:
        await gateway.stop()


@pytest.mark.parametrize("strategy", SHIPPED, ids=spell)
def test_live_it_answers_or_says_what_lacks(strategy, tmp_path):
    if "likelihood" in needs(strategy):  # the echo tells no log-probabilities
        told = r"needs log-probabilities of tokens, which echo does not tell: a service that tells `logprobs`"
        with pytest.raises(ComptrollerError, match=told):
            asyncio.run(answered(strategy, tmp_path))
        return
    played = asyncio.run(answered(strategy, tmp_path))
    assert isinstance(played.answer.reply, Reply)
    assert played.answer.reply in played.replies


@pytest.mark.parametrize(
    ("spelled", "lack"),
    [
        ("sleep_time", r"needs a context and notes on it: POST /v1/contexts"),
        ("react", r"react\(steps=4\) needs verdicts: give comptroller.checker"),
        ("repair", r"needs verdicts: give comptroller.checker"),
        ("best_of_n", r"needs verdicts: give comptroller.checker"),
    ],
)
def test_live_what_lacks_is_asked_for_by_name(spelled, lack):
    """Before any call a strategy whose input is not there is refused with who supplies it."""
    strategy = parse(spelled)

    async def bare() -> None:
        config = config_from_document({"services": {"echo": {"backend": "echo"}}})
        gateway = GatewayRuntime(config)
        await gateway.start()
        try:
            body = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
            asked = GatewayRequest("chat/completions", body, 9, RequestOptions(), GatewayCaller(), 1)
            gateway.run(asked, strategy)
        finally:
            await gateway.stop()

    with pytest.raises(ComptrollerError, match=lack):
        asyncio.run(bare())
