"""From a plan to an engine that runs here, and back: what is served, measured, calibrated and refused."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pytest

from comptroller.cli import main
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.errors import InputError, UnsupportedError
from comptroller.export import service_launches
from comptroller.facts.accelerator import accelerator
from comptroller.gateway.planned_engines import planned_config
from comptroller.launch import require_version
from comptroller.measure.host import FAMILIES, HostMeasurement
from comptroller.measure.serving_run import ServingLoad, ServingRequest, measure, stream_timing
from comptroller.measure.serving_target import ServingTarget
from comptroller.planning.ground.plan_document import Plan
from export_plans import GOLDEN, WIDE, plan_of, served

PACE_S = 0.002
SERVER = ("--model", "llama_3_1_8b", "--accelerator", "h100_sxm", "--engine", "vllm")


class PacedEngine(BaseHTTPRequestHandler):
    """An engine that says a word every `PACE_S`, as OpenAI's API streams it."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._reply(json.dumps({"data": [{"id": "paced"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["model"] != "paced":
            self.send_error(404, "no such model")
            return
        self.send_response(200)
        self.end_headers()
        for _ in range(body["max_tokens"]):
            time.sleep(PACE_S)
            self._event({"choices": [{"text": "word"}]})
        usage = {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": body["max_tokens"]}
        self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, document: Any) -> None:
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")

    def _reply(self, data: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)


class FaultyEngine(PacedEngine):
    """An engine that does not do what is asked of it; which fault, its model's name says."""

    def do_GET(self) -> None:
        if self.path.startswith("/page"):
            self._reply(b"<html>a page</html>")
        elif self.path.startswith("/none"):
            self._reply(b'{"data": null}')
        else:
            self._reply(json.dumps({"data": [{"id": "faulty"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fault, asked = body["model"], body["max_tokens"]
        usage = {"prompt_tokens": 5, "completion_tokens": asked}
        whole = {"choices": [{"text": "word " * asked}], "usage": usage}
        if fault == "unauthorised":
            self.send_error(401, "who are you")
            return
        self.send_response(200)
        self.send_header("content-type", "application/json" if fault == "whole" else "text/event-stream")
        if fault == "cut":
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if fault == "whole":
            self.wfile.write(json.dumps(whole, indent=2).encode())
            return
        if fault == "piece":
            self._event(whole)
            return
        if fault == "cut":
            self.wfile.write(b"40\r\ndata: {")
            return
        made = {"one": 1, "half": max(asked // 2, 2)}.get(fault, asked)
        for number in range(made):
            time.sleep(PACE_S)
            if fault == "midway" and number == 1:
                self._event({"error": {"message": "out of memory"}})
                return
            self.wfile.write(b"data: {not json\n\n" if fault == "garbled" else b": a comment\n\n")
            self._event({"choices": [{"text": "" if fault == "chat" else "word"}], "usage": None})
        if fault != "uncounted":
            self._event({"choices": None, "usage": {"prompt_tokens": 5, "completion_tokens": made}})
        self.wfile.write(b"data: [DONE]\n\n")


@pytest.fixture(scope="module")
def faulty() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FaultyEngine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), PacedEngine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_a_running_engine_is_measured_into_a_calibration(engine: str, tmp_path: Path) -> None:
    out = tmp_path / "own"
    loads = ("--requests", "24", "--load", "1", "--load", "3", "--input-tokens", "30", "--output-tokens", "10")
    assert run("measure", "serving", engine, *SERVER, "--out", out, *loads, "--html", tmp_path / "page.html") == 0
    with (out / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["clients"]) for row in rows] == [1.0, 3.0]
    for row in rows:
        assert 15 <= float(row["input_tokens"]) <= 45 and 5 <= float(row["output_tokens"]) <= 15
        assert float(row["tpot_s"]) > 0 and float(row["ttft_s"]) >= PACE_S
    assert "under vllm" in OwnCalibration.of_folder(out).scope()
    assert "predicted after" in (tmp_path / "page.html").read_text()


class BurstEngine(PacedEngine):
    """An engine whose prompts are a thousand tokens where they start together: the first of a loop of three."""

    prompts: ClassVar[list[str]] = []

    def _event(self, document: Any) -> None:
        if self.path.endswith("completions") and "usage" in document:
            place = len(self.prompts)
            document["usage"]["prompt_tokens"] = 1000 if place <= 4 else 10
        super()._event(document)

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        self.prompts.append(json.loads(body)["prompt"])
        self.rfile = BytesIO(body)
        super().do_POST()


def test_requests_that_start_together_and_those_that_fill_the_loop_do_not_count(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BurstEngine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    target = ServingTarget.of(f"http://127.0.0.1:{server.server_address[1]}", "paced")
    found = measure(target, ServingLoad(12, (3,), 30, 10), lambda done, of: None)
    server.shutdown()
    (row,) = found.rows
    assert row.input_tokens == 10
    assert len(BurstEngine.prompts) >= 1 + 2 * 3 + 12
    assert len(set(BurstEngine.prompts)) == len(BurstEngine.prompts)


def test_a_stream_is_timed_by_the_engines_own_count(engine: str) -> None:
    timing = stream_timing(ServingTarget.of(engine), ServingRequest("one two three", 5))
    assert (timing.input_tokens, timing.output_tokens) == (3, 5)
    assert timing.ttft_s >= PACE_S and timing.ttft_s + timing.going_s >= 5 * PACE_S


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("127.0.0.1:9", *SERVER, "--out", "x"), "is no address"),
        (("http://127.0.0.1:9", *SERVER, "--out", "x"), "does not answer"),
        (("ENGINE", *SERVER), "--out FOLDER"),
        (("ENGINE", "--out", "x"), "give --model --accelerator --engine"),
        (("ENGINE", *SERVER, "--out", "x", "--requests", "10", "--load", "8"), "--requests 16 or more"),
        (("ENGINE", *SERVER, "--out", "x", "--served-model", "other"), "answered 404"),
        (("ENGINE", *SERVER, "--out", "x", "--key-env", "NO_SUCH_KEY_HERE"), "is not set"),
    ],
)
def test_what_cannot_be_measured_says_why(
    words: tuple[str, ...], says: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run("measure", "serving", *(engine if word == "ENGINE" else word for word in words)) == 2
    assert says in " ".join(capsys.readouterr().err.split())


FEW = ("--requests", "8", "--load", "1", "--load", "2", "--input-tokens", "8", "--output-tokens", "8")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("whole", "does not stream: it answers application/json"),
        ("piece", "tokens of a reply came in one piece"),
        ("midway", 'a stream broke off: {"message": "out of memory"}'),
        ("cut", "a reply broke off"),
        ("uncounted", "does not count tokens (stream_options.include_usage); usage of a stream: none"),
        ("chat", "a stream has no text; chat may not be a model of completions"),
        ("one", "every output ends after one token"),
        ("unauthorised", "answered 401"),
    ],
)
def test_an_engine_that_does_not_do_what_is_asked_is_told_by_its_fault(
    fault: str, says: str, faulty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("measure", "serving", faulty, *SERVER, *FEW, "--served-model", fault, "--out", tmp_path)
    assert run(*words) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "serving.toml").exists()


def test_lines_that_are_no_events_are_passed_over_and_short_outputs_are_said(
    faulty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("measure", "serving", faulty, *SERVER, *FEW)
    assert run(*words, "--served-model", "garbled", "--out", tmp_path / "garbled") == 0
    assert "ended after" not in capsys.readouterr().err
    assert run(*words, "--served-model", "half", "--out", tmp_path / "half") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "of the tokens asked for: the engine does not heed ignore_eos" in said


@pytest.mark.parametrize(
    ("url", "says"),
    [("/page", "lists no model"), ("/none", "lists no model"), (":x1", "is no address"), (" here", "is no address")],
)
def test_an_address_of_something_else_is_told(
    url: str, says: str, faulty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "http://127.0.0.1" + url if says == "is no address" else faulty + url
    assert run("measure", "serving", where, *SERVER, "--out", tmp_path) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert says in said and "Traceback" not in said


def test_a_load_is_two_requests_for_each_client_or_more() -> None:
    assert ServingLoad(60, (1, 2, 4), 64, 32).each == 20
    with pytest.raises(InputError, match="--load 1 or more"):
        ServingLoad(60, (), 64, 32)


def test_a_core_of_a_machine_is_an_accelerator(tmp_path: Path) -> None:
    measured = HostMeasurement('a "core"', "Intel", FAMILIES["x86_64"], 8, 4e9, 1.25e10, 9e10)
    file = tmp_path / "host.toml"
    file.write_text(measured.as_toml("comptroller measure host cpu", date(2026, 11, 28)))
    found = accelerator(str(file))
    assert (found.kind, found.family, found.node_devices) == ("cpu", "x86", 8)
    assert found.peak("bf16") == found.peak("fp32") == 9e10 and found.memory_bytes_per_s == 1.25e10


def test_only_the_cpu_is_measured_as_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("measure", "host", "cuda") == 2
    assert "cpu is measured" in capsys.readouterr().err


# a plan served on this machine


def saved(plan: Plan, folder: Path) -> Path:
    path = folder / "plan.json"
    path.write_text(plan.to_json())
    return path


def program(folder: Path, name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of an engine's name that prints a version, first on the path."""
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_an_engine_that_is_not_installed_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert run("serve", saved(plan_of(served("vllm", tp=4, replicas=1)), tmp_path)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the plan is for vllm 0.12, which is not installed here" in said and "serving" not in said


def test_another_version_than_the_planned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "vllm", "vllm 0.16.1", monkeypatch)
    with pytest.raises(InputError, match=r"the plan is for vllm 0\.12, and 0\.16\.1 is installed"):
        planned_config(saved(plan_of(served("vllm", tp=4, replicas=1)), tmp_path))


def test_the_planned_version_is_started_with_the_plans_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "vllm", "0.12.3", monkeypatch)
    plan = plan_of(served("vllm", tp=4, replicas=1))
    (service,) = planned_config(saved(plan, tmp_path)).services.values()
    (launched,) = service_launches(plan)
    assert (
        service.backend == "command" and launched.words[: len(service.settings["words"])] == service.settings["words"]
    )
    require_version("vllm", "0.12")


@pytest.mark.parametrize(
    ("plan", "says"), [(GOLDEN, "replicas, and one is started here|not installed"), (plan_of(WIDE["vllm"]), "spans 2")]
)
def test_a_plan_for_more_than_this_machine_is_exported_instead(
    plan: Plan, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "vllm", "0.12.0", monkeypatch)
    with pytest.raises((InputError, UnsupportedError), match=says):
        planned_config(saved(plan, tmp_path))
