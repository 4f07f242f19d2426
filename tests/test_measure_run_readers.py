"""Files of measured runs, as their tools write them. Every reader has a folder of its name in tests/run_files, with a
file of its tool and `expected.json`: where the file is from, whether it is real, and what is read from it."""

from __future__ import annotations

import json
import pkgutil
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

import comptroller.measure.run_readers as folder
from comptroller.costs.deployment import ParallelLayout
from comptroller.errors import ComptrollerError, FactError, InputError
from comptroller.measure.run_observations import RunData, ServerStatement, read_runs
from comptroller.measure.run_readers import read_run_file, reader_of, readers

FILES = Path(__file__).parent / "run_files"
NAMES = sorted(item.name for item in pkgutil.iter_modules(folder.__path__))
OPTIONS = {"model": "llama_3_1_8b", "accelerator": "h100_sxm", "engine": "vllm"}


def expected(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FILES / name / "expected.json").read_text(encoding="utf-8"))
    return document


def sample(name: str) -> Path:
    return FILES / name / str(expected(name)["file"])


def read(name: str, **more: str) -> RunData:
    document = expected(name)
    return read_runs([sample(name)], ServerStatement({**document["options"], **more}, document.get("clients")))


def put(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_has_a_file_that_says_where_it_is_from(name: str) -> None:
    document = expected(name)
    assert document["source"] and isinstance(document["real"], bool)
    assert document["licence"] or not document["real"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_told_from_its_content_by_one_reader_alone(name: str, tmp_path: Path) -> None:
    module = __import__(f"{folder.__name__}.{name}", fromlist=["READER"])
    copy = put(tmp_path, "a_file_without_a_telling_name", sample(name).read_text(encoding="utf-8"))
    assert reader_of(copy) is module.READER
    preview = folder.preview_of(copy)
    assert [r.name for r in readers() if r.recognises(preview) and not r.general] == [
        r.name for r in [module.READER] if not r.general
    ]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_what_the_tool_measured(name: str) -> None:
    document, found = expected(name), read_run_file(sample(name), {})
    assert len(found.rows) == len(document["rows"])
    for row, wanted in zip(found.rows, document["rows"], strict=True):
        for figure in ("input_tokens", "output_tokens", "clients", "ttft_s", "tpot_s"):
            value = nan if wanted[figure] is None else wanted[figure]
            assert getattr(row, figure) == pytest.approx(value, rel=1e-6, nan_ok=True), figure
        assert {key: row.stated.get(key) for key in wanted["stated"]} == wanted["stated"]
    assert (len(found.log) if found.log else 0) == document.get("log", 0)
    reasons = [reason for _, reason in found.left_out]
    assert len(reasons) == len(document.get("left_out", []))
    for reason, part in zip(reasons, document.get("left_out", []), strict=True):
        assert part in reason
    for part in document.get("remarks", []):
        assert any(part in remark for remark in found.remarks)


@pytest.mark.parametrize("name", NAMES)
def test_with_what_the_file_does_not_state_it_becomes_runs_of_a_server(name: str) -> None:
    document, data = expected(name), read(name)
    assert data.observations
    left_out = [reason for _, reason in data.left_out.rows]
    assert len(left_out) == len(document.get("left_out", []))
    run = data.observations[0]
    if "accelerator" in document["options"]:
        assert run.replica.device.id == document["options"]["accelerator"]
    assert not (isnan(run.ttft_s) and isnan(run.tpot_s))


@pytest.mark.parametrize("name", [name for name in NAMES if "accelerator" in expected(name)["options"]])
def test_what_nobody_states_is_asked_for_by_the_name_of_its_option(name: str) -> None:
    document = expected(name)
    options = {key: value for key, value in document["options"].items() if key != "accelerator"}
    with pytest.raises(InputError, match=r"does not state .*accelerator.*: give .*--accelerator"):
        read_runs([sample(name)], ServerStatement(options, document.get("clients")))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_file_that_is_cut_short_is_an_error_or_fewer_rows(name: str, share: float, tmp_path: Path) -> None:
    text = sample(name).read_text(encoding="utf-8")
    cut = put(tmp_path, sample(name).name, text[: int(len(text) * share)])
    try:
        found = read_run_file(cut, {})
    except ComptrollerError as error:
        assert cut.name in str(error)
    else:
        assert len(found.rows) <= max(len(expected(name)["rows"]), 1)


@pytest.mark.parametrize(
    ("name", "tokens_per_s"), [("bench.csv", 119.915244), ("bench.json", 118.881588), ("bench.md", 120.60)]
)
def test_llama_bench_prints_the_same_in_three_forms(name: str, tokens_per_s: float) -> None:
    found = read_run_file(FILES / "llama_bench" / name, {})
    assert found.rows[0].tpot_s == pytest.approx(1 / tokens_per_s)
    assert isnan(found.rows[0].ttft_s)
    assert {row.stated["weights"] for row in found.rows} == {"q4_k"}


def test_a_row_that_does_not_fit_its_header_is_left_out(tmp_path: Path) -> None:
    text = (FILES / "llama_bench" / "bench.csv").read_text(encoding="utf-8").replace('"512","0","0"', '"512","0"')
    found = read_run_file(put(tmp_path, "b.csv", text), {})
    assert "not as many cells" in found.left_out[0][1]
    text = sample("table").read_text(encoding="utf-8").replace("110,15,warm", "110,15")
    assert "not as many cells" in read_run_file(put(tmp_path, "t.csv", text), {}).left_out[0][1]


def test_llama_bench_behind_a_context_and_partly_on_the_processor() -> None:
    found = read_run_file(FILES / "llama_bench" / "bench.md", {})
    assert [row.input_tokens for row in found.rows] == [1, 512]
    data = read_runs([FILES / "llama_bench" / "bench.md"], ServerStatement(expected("llama_bench")["options"]))
    assert [run.input_tokens for run in data.observations] == [1, 512]


def test_layers_that_ran_on_the_processor_are_no_run_of_the_accelerator(tmp_path: Path) -> None:
    text = (FILES / "llama_bench" / "bench.md").read_text(encoding="utf-8").replace("-1 |", "20 |")
    data = read_runs([put(tmp_path, "b.md", text)], ServerStatement(expected("llama_bench")["options"]))
    assert not data.observations
    assert any("only 20 of 28 layers" in reason for _, reason in data.left_out.rows)


def test_a_scrape_of_vllm() -> None:
    (row,) = read_run_file(FILES / "prometheus" / "vllm.prom", {}).rows
    assert (row.input_tokens, row.output_tokens) == (10, 16)
    assert row.ttft_s == pytest.approx(0.03233122825622559)
    assert row.tpot_s == pytest.approx(0.04501533508300781 / 15)
    assert row.stated == {"engine": "vllm", "model": "vllm_model"}


def test_a_scrape_does_not_say_how_many_ran_at_once() -> None:
    with pytest.raises(InputError, match=r"Prometheus\) does not state clients: give --clients"):
        read_runs([sample("prometheus")], ServerStatement({"accelerator": "h100_sxm"}))


def test_a_scrape_of_two_models_or_none_is_refused(tmp_path: Path) -> None:
    text = sample("prometheus").read_text(encoding="utf-8")
    both = text + text.replace("Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct")
    with pytest.raises(FactError, match="serves several models"):
        read_run_file(put(tmp_path, "both.prom", both), {})
    idle = "vllm:time_to_first_token_seconds_count 0\n"
    with pytest.raises(FactError, match="no finished request"):
        read_run_file(put(tmp_path, "idle.prom", idle), {})


def test_a_log_of_aiperf_is_its_profiled_requests(tmp_path: Path) -> None:
    found = read_run_file(FILES / "request_log" / "profile_export.jsonl", {})
    assert found.log is not None and len(found.log) == 2
    assert found.log.ttft_s.tolist() == pytest.approx([0.255886568, 0.2])
    assert [number for number, _ in found.left_out] == [3]


VLLM = {
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "date": "20260301-101010",
    "completed": 100,
    "total_input_tokens": 102400,
    "total_output_tokens": 51200,
    "request_throughput": 2.0,
    "mean_ttft_ms": 100.0,
    "mean_tpot_ms": 10.0,
    "request_rate": "inf",
    "max_concurrency": 16,
}


@pytest.mark.parametrize(
    ("changes", "clients"),
    [
        ({}, 16.0),
        ({"request_rate": 2.0, "max_concurrency": None}, 2.0 * (0.1 + 511 * 0.01)),
        ({"request_rate": 2.0, "max_concurrency": 256}, 2.0 * (0.1 + 511 * 0.01)),
        ({"mean_e2el_ms": 4000.0, "request_rate": 2.0}, 8.0),
    ],
)
def test_requests_in_flight_by_cap_or_by_littles_law(changes: dict[str, Any], clients: float, tmp_path: Path) -> None:
    (row,) = read_run_file(put(tmp_path, "r.json", json.dumps({**VLLM, **changes})), {}).rows
    assert row.clients == pytest.approx(clients)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_concurrency": None}, "sent at once"),
        ({"completed": 0}, "finished requests"),
        ({"total_output_tokens": 3}, "number of tokens"),
        ({"mean_ttft_ms": None, "mean_tpot_ms": None}, "neither"),
    ],
)
def test_what_is_no_steady_run_is_left_out_with_the_reason(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    lines = [json.dumps(VLLM), json.dumps({**VLLM, **changes})]
    found = read_run_file(put(tmp_path, "appended.jsonl", "\n".join(lines)), {})
    assert len(found.rows) == 1
    assert [number for number, _ in found.left_out] == [2] and reason in found.left_out[0][1]


def test_an_option_and_a_file_may_not_contradict_each_other(tmp_path: Path) -> None:
    path = put(tmp_path, "r.json", json.dumps(VLLM))
    data = read_runs([path], ServerStatement({**OPTIONS, "model": "llama_3_1_70b"}))
    assert (
        "model is meta-llama/Llama-3.1-8B-Instruct in the file and llama_3_1_70b by --model"
        in (data.left_out.rows[0][1])
    )
    same = read_runs([path], ServerStatement({**OPTIONS, "weights": "fp8_e4m3"}))
    assert same.observations[0].replica.recipe.weights == "fp8_e4m3"
    row = (
        "model,accelerator,engine,tp,input_tokens,output_tokens,clients,tpot_ms\nllama_3_1_8b,h100_sxm,vllm,2,9,9,1,5\n"
    )
    left_out = read_runs([put(tmp_path, "t.csv", row)], ServerStatement({"tp": "4"})).left_out
    assert "tp is 2 in the file and 4 by --tp" in left_out.rows[0][1]


def test_a_served_name_that_is_no_model_is_asked_for() -> None:
    options = {**expected("aiperf")["options"]}
    options.pop("model")
    data = read_runs([sample("aiperf")], ServerStatement(options))
    assert "the file's model 'qwen3.6-nvfp4' is none that is known here: --model" in data.left_out.rows[0][1]


def test_a_table_by_the_users_own_column_names(tmp_path: Path) -> None:
    path = put(tmp_path, "t.csv", "prompt,answer,users,first ms\n1000,100,4,90\n")
    columns = {"input_tokens": "prompt", "output_tokens": "answer", "clients": "users", "ttft_ms": "first ms"}
    (run,) = read_runs([path], ServerStatement({**OPTIONS, "tp": "2"}, None, columns)).observations
    assert (run.input_tokens, run.concurrency, run.ttft_s) == (1000, 4, pytest.approx(0.09))
    assert run.replica.layout == ParallelLayout(2)
    with pytest.raises(InputError, match="no column 'prompts'; it has prompt, answer"):
        read_runs([path], ServerStatement(OPTIONS, None, {"input_tokens": "prompts"}))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            {"metadata": {"guidellm_version": "0.5.0"}, "benchmarks": [{"type_": "generative_benchmark"}]},
            "this is GuideLLM 0.5.0 without time_to_first_token_ms",
        ),
        (
            {"aiperf_version": "0.10.0", "request_throughput": {"avg": 1}, "request_latency": {"unit": "ms", "avg": 9}},
            "AIPerf 0.10.0 without time_to_first_token and inter_token_latency: the run did not stream",
        ),
        (
            [{"ttft_s": 0.1, "end_to_end_latency_s": 2.0, "number_output_tokens": 100}],
            "LLMPerf's individual responses, which state no number of clients",
        ),
        ({"rows": 3}, "no measured runs in a known format"),
    ],
)
def test_what_cannot_be_read_is_named(document: Any, problem: str, tmp_path: Path) -> None:
    with pytest.raises(FactError, match=problem):
        read_run_file(put(tmp_path, "r.json", json.dumps(document)), {})


@pytest.mark.parametrize("text", ["", "not json", "{broken", "\x00\x01"])
def test_files_that_hold_no_runs_are_refused_by_name(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"broken\.json"):
        read_run_file(put(tmp_path, "broken.json", text), {})


def test_guidellm_knows_its_loads(tmp_path: Path) -> None:
    (benchmark,) = json.loads(sample("guidellm").read_text(encoding="utf-8"))["benchmarks"]
    strategies = [{"type_": "synchronous"}, {"type_": "concurrent", "streams": 7}, {"type_": "throughput"}]
    report = {"benchmarks": [{**benchmark, "args": {"strategy": strategy}} for strategy in strategies]}
    found = read_run_file(put(tmp_path, "g.json", json.dumps(report)), {})
    assert [row.clients for row in found.rows] == [1.0, 7.0]
    assert "never steady" in found.left_out[0][1]


def test_sglang_states_its_server_and_speculation_is_left_out(tmp_path: Path) -> None:
    line = json.loads(sample("sglang_bench").read_text(encoding="utf-8"))
    server = {"model_path": "meta-llama/Llama-3.1-8B-Instruct", "tp_size": 2, "version": "0.5.7"}
    text = "\n".join(json.dumps({**line, **more}) for more in ({"server_info": server}, {"accept_length": 2.9}))
    data = read_runs([put(tmp_path, "s.jsonl", text)], ServerStatement({**OPTIONS, "engine": "sglang"}))
    assert data.observations[0].replica.layout == ParallelLayout(2)
    assert data.observations[0].version == "0.5.7"
    assert "speculative decoding (accept length 2.9)" in data.left_out.rows[0][1]


def test_several_files_are_one_set_of_runs_and_say_which_they_left_out(tmp_path: Path) -> None:
    first, second = put(tmp_path, "a.json", json.dumps(VLLM)), sample("table")
    data = read_runs([first, second], ServerStatement(OPTIONS))
    assert len(data.observations) == 1
    reasons = [reason for _, reason in data.left_out.rows]
    assert all(reason.startswith("runs.csv: ") for reason in reasons)
    assert any("ttft_ms is 'fast'" in reason for reason in reasons)
