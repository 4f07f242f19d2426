"""Strategies over live backends: the same objects and the same core as in replay, with real calls under them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

import comptroller
from comptroller.gateway.config import config_from_document
from comptroller.gateway.guard import repeats
from gateway_houses import GUARD_S, House, config, held, rows, running, until
from gateway_upstream import WORDS, Upstream, upstream

ASK: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 6 x 7?"}]


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def dice(folder: Path, answers: list[str], **about: Any) -> dict[str, Any]:
    """A gateway whose one service gives answers in turn by the seed."""
    service = {"backend": "echo", "settings": {"answers": answers} | about.pop("settings", {})}
    price = {"input": "1", "output": "2"}
    return {"services": {"dice": service | {"price": price, "max_output_tokens": 50}}, "port": 0,
            "books": str(folder / "books.sqlite"), **about}  # fmt: skip


async def solved(house: House, strategy: str, **options: Any) -> tuple[str, dict[str, Any]]:
    reply = await house.client().chat.completions.create(
        model=f"comptroller/{strategy}", messages=ASK, seed=0, extra_body={"comptroller": options}
    )
    return str(reply.choices[0].message.content), reply.model_extra["comptroller"]


def test_votes_best_of_n_and_stopping_on_success(tmp_path: Path) -> None:
    async def work() -> None:
        answers = ["It is 41.", "It is 42.", "I say 42", "43"]
        async with running(dice(tmp_path, answers)) as house:
            text, told = await solved(house, "sample_and_vote:n=4", answer="number")
            assert text == "It is 42." and told["calls"] == 4 and told["confidence"] == 0.5
            text, told = await solved(house, "best_of_n:n=4", checker={"exact": "43"})
            assert text == "43" and told["confidence"] == 1.0
            text, told = await solved(house, "stop_on_success:cap=4", checker={"number": 42})
            assert text == "It is 42." and told["calls"] == 2, "the second was accepted, no more were asked"
            text, told = await solved(house, "repair:rounds=2", checker={"regex": r"\b42\b"})
            assert "42" in text and told["calls"] == 2
            text, told = await solved(house, "difficulty_gate(slow=sample_and_vote(n=2))")
            assert told["calls"] in (1, 2)
            usage = await house.client().chat.completions.create(model="comptroller/sample_and_vote:n=3", messages=ASK)
            assert usage.usage is not None and usage.usage.prompt_tokens == 3 * 7, "every call counts"

    asyncio.run(work())
    found = rows(tmp_path / "books.sqlite")
    checked = [row for row in found if row["kind"] == "released"]
    made = [row for row in found if row["kind"] == "settled"]
    assert len(made) >= 16 and all(row["charged_pusd"] > 0 for row in made)
    assert len(checked) == 8, "four candidates of best_of_n, two until one was accepted, two before and after a repair"
    assert {row["parent"] for row in checked} <= {row["id"] for row in made} and all(row["wait_s"] for row in checked)
    assert held(tmp_path / "books.sqlite") == 0


def test_a_request_makes_no_more_calls_than_it_may(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(dice(tmp_path, ["4", "5"], max_calls=6)) as house:
            _, told = await solved(house, "sequential_revision:rounds=4,chains=4")
            assert told["calls"] == 6
            with pytest.raises(openai.BadRequestError, match="7 is more than the 6 calls"):
                await solved(house, "sample_and_vote:n=7")

    asyncio.run(work())


def test_early_stop_cancels_the_upstream_and_books_what_it_made(up: Upstream, tmp_path: Path) -> None:
    """Eight in flight, of which one ends at once with the answer; the others run for ever and are cut."""
    about = {"running_usage": True, "max_output_tokens": 8000}
    services = config(tmp_path, up.url, "endless", "fine", endless=about)
    services["roles"] = {"weak": "fine"}

    async def work() -> None:
        async with running(services) as house:
            before, seen = up.stopped["endless"], len(up.seen.get("endless", ()))
            reply = await house.client().chat.completions.create(
                model="comptroller/adaptive_consistency:cap=8,width=4,threshold=0.9", messages=ASK, max_tokens=8000,
                extra_body={"comptroller": {"budget": "0.4 s", "roles": {"solver": "endless"}}},
            )  # fmt: skip
            told = reply.model_extra["comptroller"]
            assert told["budget_spent"] and told["calls"] == 4
            await until(lambda: up.stopped["endless"] - before == len(up.seen["endless"]) - seen)
            assert await house.gateway.desk.drained(GUARD_S)
            found = rows(tmp_path / "books.sqlite")
            assert {row["finish"] for row in found} == {"cancelled"}
            assert all(row["charged_pusd"] == (11 + 2 * row["output_tokens"]) * 10**6 for row in found)

    asyncio.run(work())


@pytest.mark.parametrize("budget", ["60 tokens", "0.0001 usd"])
def test_budgets_cut_calls_that_run(up: Upstream, tmp_path: Path, budget: str) -> None:
    async def work() -> None:
        services = config(tmp_path, up.url, "endless", endless={"running_usage": True})
        async with running(services) as house:
            reply = await house.client().chat.completions.create(
                model="comptroller/sample_and_vote:n=2", messages=ASK,
                extra_body={"comptroller": {"budget": budget}},
            )  # fmt: skip
            told = reply.model_extra["comptroller"]
            assert told["budget_spent"] and told["calls"] == 2
            spent = told["cost"]["tokens"]["output"] + told["cost"]["tokens"]["input"]
            assert 40 <= spent <= 120, "soon after the budget was reached; 3000 tokens would have come"

    asyncio.run(work())


def test_a_strategy_streams_progress_then_its_answer(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(dice(tmp_path, ["one two three four"], settings={"token_s": 0.3})) as house:
            body = {"model": "comptroller/sample_and_vote:n=2", "messages": ASK, "stream": True}
            where = f"{house.url}/v1/chat/completions"
            async with aiohttp.ClientSession() as session, session.post(where, json=body) as reply:
                lines = (await reply.text()).splitlines()
            assert any(line.startswith(": sample_and_vote(n=2): 0 of 2 calls") for line in lines)
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
            assert events[0]["choices"][0]["delta"]["content"] == "one two three four"
            assert events[-1]["usage"]["completion_tokens"] == 8 and lines[-2] == "data: [DONE]"
            stream = await house.client().chat.completions.create(model="comptroller/once", messages=ASK, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert text == "one two three four"

    asyncio.run(work())


def test_another_model_judges_and_cheap_ones_come_first(up: Upstream, tmp_path: Path) -> None:
    services = dice(tmp_path, ["6 x 7 is 41.", "", "6 x 7 is 42."])["services"]
    services["judge"] = {"backend": "echo", "settings": {"answers": ["Yes.", "No, it is wrong.", "No."]}}
    services["big"] = {"backend": "echo", "settings": {"answers": ["42"]}}

    async def work() -> None:
        async with running({"services": services, "books": str(tmp_path / "b.sqlite"), "port": 0}) as house:
            text, told = await solved(house, "stop_on_success:cap=3", checker={"model": "judge"})
            assert text == "6 x 7 is 42." and told["confidence"] == 1.0
            assert told["services"] == ["dice", "judge"]
            text, told = await solved(house, "cascade:threshold=1.0", roles={"weak": "dice", "strong": "big"})
            assert text == "42" and told["services"] == ["big", "dice"]

    asyncio.run(work())


def test_steps_go_on_from_each_other_and_a_role_scores_them(up: Upstream, tmp_path: Path) -> None:
    services = dice(tmp_path, ["First, 6 x 7.", "Then it is 42. Done."])["services"]
    services["judge"] = {"backend": "echo", "settings": {"answers": ["Yes.", "No.", "Yes."]}}
    services["writer"] = {"backend": "openai", "url": up.url, "model": "writer", "prefill": True,
                          "price": {"input": "1", "output": "2"}}  # fmt: skip

    async def work() -> None:
        async with running({"services": services, "books": str(tmp_path / "b.sqlite"), "port": 0}) as house:
            for rule in ("beam_search:width=2,keep=1,depth=3", "ets:width=2,depth=3", "mcts:rounds=3,branch=2"):
                text, told = await solved(house, f"{rule},ends=Done", roles={"solver": "dice", "reward": "judge"})
                assert text.endswith("Then it is 42. Done.") and told["services"] == ["dice", "judge"]
            text, _ = await solved(
                house, "rebase:width=1,depth=3,ends=never", roles={"solver": "writer", "reward": "judge"}
            )
            assert text.count("\n\n") == 2

    asyncio.run(work())
    first, second, third = (body["messages"] for body in up.seen["writer"])
    assert all(body["stop"] == ["\n\n"] for body in up.seen["writer"])
    assert first == ASK and second[-1]["role"] == third[-1]["role"] == "assistant"
    assert second[-1]["content"].endswith("\n\n") and third[-1]["content"].count("\n\n") == 2


def test_the_guard_ends_what_repeats_itself(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "loops", "fine")) as house:
            stream = await house.client().chat.completions.create(
                model="loops", messages=ASK, stream=True, extra_body={"comptroller": {"stop_repetition": True}}
            )
            chunks = [chunk async for chunk in stream]
            told = chunks[-1].model_extra["comptroller"]
            assert told["guard"] == ["repetition"] and len(chunks) < 300
            await house.client().chat.completions.create(
                model="fine", messages=ASK, extra_body={"comptroller": {"reminder": True}}
            )
            assert up.seen["fine"][-1]["messages"][-1]["content"].endswith("as it takes.")

    asyncio.run(work())
    (row, _) = rows(tmp_path / "books.sqlite")
    assert row["finish"] == "length" and "repetition" in row["note"]


def test_repetition_is_found_and_ordinary_text_is_not() -> None:
    assert repeats("Let me check that again. " * 40) and repeats("ab" * 300)
    prose = Path(comptroller.__file__).with_name("errors.py").read_text(encoding="utf-8")
    assert not any(repeats(prose[at : at + 2000]) for at in range(0, len(prose), 500))


def test_solve_without_a_server(tmp_path: Path) -> None:
    document = dice(tmp_path, ["41", "42", "42"])
    document["services"]["dice"]["price"] = {"input": "1", "output": "2"}
    books = str(tmp_path / "solve.sqlite")
    found = comptroller.solve(
        "What is 6 x 7?",
        "stop_on_success(cap=5)",
        config_from_document(document),
        {"checker": {"number": 42}},
        {"seed": 0},
        books,
    )
    assert found.answer.content == "42" and found.answer.confidence == 1.0
    assert [call.usd for call in found.calls] == [7e-6, 7e-6] and found.cost.usd == 14e-6
    booked = rows(books)
    assert [row["charged_pusd"] for row in booked if row["role"] == "solver"] == [7 * 10**6] * 2
    assert [row["charged_pusd"] for row in booked if row["role"] == "checker"] == [0] * 2
    with pytest.raises(comptroller.ComptrollerError, match="unknown strategy"):
        comptroller.solve("x", "nonsense", config_from_document(document))


def test_every_call_of_a_failing_run_is_booked_and_the_reason_told(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "broken", "busy")) as house:
            with pytest.raises(openai.InternalServerError, match="broken answered 500"):
                await solved(house, "sample_and_vote:n=3", roles={"solver": "broken"})
            with pytest.raises(openai.RateLimitError, match="slow down"):
                await solved(house, "sample_and_vote:n=2", roles={"solver": "busy"})

    asyncio.run(work())
    assert [row["kind"] for row in rows(tmp_path / "books.sqlite")] == ["released"] * 5
    assert len(WORDS) == 6


HISTORY: list[Any] = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "The shop sold 8 lamps. " * 20},
    {"role": "assistant", "content": "I have read it."}, {"role": "user", "content": "How many lamps?"},
]  # fmt: skip


def test_answers_from_a_memory_do_not_read_what_it_was_made_of(up: Upstream, tmp_path: Path) -> None:
    """The notes are made after the turns as they were, once; the answers get instructions, notes, and the question."""

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", "memory", roles={"memory": "memory"})) as house:
            await house.client().chat.completions.create(
                model="comptroller/budget_memory:n=2", messages=HISTORY, extra_body={"comptroller": {}}
            )

    up.seen.clear()
    asyncio.run(work())
    (noted,) = up.seen["memory"]
    assert noted["messages"][:3] == HISTORY[:3] and noted["messages"][3]["content"].startswith("How many lamps? Copy")
    said = "".join(WORDS)
    for answered in up.seen["fine"]:
        assert answered["messages"] == [HISTORY[0], {"role": "system", "content": said}, HISTORY[3]]
    assert len(up.seen["fine"]) == 2
    with pytest.raises(openai.BadRequestError, match="needs a context of the question"):
        asyncio.run(_bare(up, tmp_path))


async def _bare(up: Upstream, folder: Path) -> None:
    async with running(config(folder, up.url, "fine")) as house:
        await house.client().chat.completions.create(model="comptroller/budget_memory", messages=ASK)
