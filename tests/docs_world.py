"""The folder of somebody who follows the docs: every file that their command lines name, small."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from safetensors.numpy import save_file

from agent_runs import write_runs
from comptroller.planning.ground.plan_document import load_plan
from comptroller.work.arrow import write_columns
from comptroller.work.traces import plain
from dashboard_books import fill
from docs_commands import ROOT, python_snippets, workload_blocks
from evidence_files import swe_agent
from quality_models import TEXT, write_gguf
from simulate_worlds import stream
from spot_worlds import record_file

WORKLOAD = """name = "chat"
models = ["llama_3_1_8b"]
rate_per_s = 5
lengths = { input = { fixed = 300 }, output = { fixed = 50 } }
objectives.ttft = { p = 95, max = 2, unit = "s" }
[allow]
accelerators = ["l40s", "h100_sxm"]
sites = ["us_neocloud"]
engines = ["vllm"]
"""
CURRENT = """[[services]]
model = "llama_3_1_8b"
accelerator = "l40s"
site = "us_neocloud"
engine = "vllm"
term = "on_demand"
replicas = 3
"""
OWN_STRATEGY = """from __future__ import annotations

from dataclasses import dataclass

from comptroller.strategies.rules.once import OnceStrategy


@dataclass(frozen=True)
class Mine(OnceStrategy):
    note: str = "mine"
"""
OWN_READER = """from comptroller.work.evidence_readers.openai_log import table
from comptroller.work.evidence_rows import EvidenceReader


def read(path):
    cells = [line.split() for line in path.read_text().splitlines()]
    rows = [dict(zip(("question", "model", "score"), each)) for each in cells]
    return table(path, list(range(1, len(rows) + 1)), [[row] for row in rows])


READER = EvidenceReader("mine", "question, model and score in a line", lambda preview: True, read)
"""
OWN_MODEL = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 16, "vocab_size": 128256,
    "max_position_embeddings": 32768, "hidden_act": "silu", "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
FACTS = ROOT / "src" / "comptroller" / "facts"
LOADS = """model,accelerator,engine,input_tokens,output_tokens,clients,ttft_ms,tpot_ms
llama_3_1_8b,h100_sxm,vllm,1024,512,8,120,9.1
llama_3_1_8b,h100_sxm,vllm,1024,512,32,180,11.5
"""
QUESTIONS, SAMPLES = 120, 9
PUT_AWAY, COMPARED = datetime(2026, 6, 30, 18, tzinfo=UTC), datetime(2026, 10, 2, 18, tzinfo=UTC)
"""Last days in the books: of those that go into an archive, and of those around the month that `books change` compares;
others end today, for what reads the last thirty days."""


def made(folder: Path) -> Path:
    """Every file that the pages name, but what takes a command to make."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    golden = ROOT / "tests" / "golden" / "chat.json"
    for name in ("chat.json", "plan.json"):
        shutil.copy(golden, folder / name)
    (folder / "chat.toml").write_text(WORKLOAD)
    (folder / "workload.toml").write_text(WORKLOAD.replace('"l40s", ', "") + 'formats = ["bf16"]\n')
    (folder / "current.toml").write_text(CURRENT)
    (folder / "mine.py").write_text(OWN_STRATEGY)
    (folder / "reader.py").write_text(OWN_READER)
    (folder / "runs.log").write_text("a small 1\nb small 0\n")
    (folder / "result.json").write_text(LOADS)
    (folder / "my-model").mkdir()
    (folder / "my-model" / "config.json").write_text(json.dumps(OWN_MODEL))
    for name, shipped in (("our_l40s", "accelerators/l40s"), ("cellar", "sites/own_us")):
        shutil.copy(FACTS / f"{shipped}.toml", folder / f"{name}.toml")
    for last, days in ((PUT_AWAY, 2), (COMPARED, 4), (datetime.now(UTC), 1)):
        fill(folder / "books.sqlite", load_plan(golden), days=days, now_us=int(last.timestamp() * 1e6))
    _traces(folder)
    _loads(folder)
    _answers(folder)
    _weights(folder)
    return folder


def _traces(folder: Path) -> None:
    for name in ("trace.csv", "day.csv", "azure_2023_code.csv"):
        plain.write(stream(60), folder / name)
    shutil.copy(ROOT / "tests" / "traces" / "azure.csv", folder / "azure_2023_conv.csv")
    shutil.copy(ROOT / "tests" / "traces" / "mooncake.jsonl", folder / "mooncake_conversation.jsonl")
    for part in ("arrivals", "lengths"):
        text = (ROOT / "tests" / "traces" / "servegen_tables" / f"pool_{part}.csv").read_text()
        (folder / f"servegen_{part}.csv").write_text(text.replace("small,1,", "m-small,27,"))
    head = "arrival_s,input_tokens,output_tokens,when,prompt,reply,customer"
    rows = [f"{n},{100 + n},{20 + n},2026-10-01T08:00:{n:02d}Z,{100 + n},{20 + n},c{n % 3}" for n in range(40)]
    (folder / "zones.csv").write_text(record_file(["a,0,5,4", "a,5,9,0", "a,9,60,4", "b,0,60,4"]))
    (folder / "requests.csv").write_text("\n".join([head, *rows]) + "\n")
    write_runs(folder / "agent_calls.csv", model="gemini-3-pro-preview")
    _images(folder / "genai_requests.parquet")


def _images(path: Path) -> None:
    """Requests for images with the columns of the recorded ones; one without a prompt."""
    rows = range(40)
    columns: dict[str, list[object]] = {
        "created": [f"2024-11-15 16:{n:02d}:00" for n in rows],
        "prompt_length": [None if n == 7 else 60 + n for n in rows],
        "steps": [30 + n % 3 for n in rows],
        "group": [f"G{n % 3}" for n in rows],
        "base_model": [f"M{n % 5}" for n in rows],
    }
    parquet.write_table(pa.table(columns), path)


def _loads(folder: Path) -> None:
    load = 6 - 4 * np.cos(2 * np.pi * np.arange(24 * 12) / 24) + np.random.default_rng(0).random(24 * 12)
    start = np.datetime64("2026-01-05T00:00")
    rows = [f"{start + np.timedelta64(place, 'h')},chat,{value:.3f}" for place, value in enumerate(load)]
    arrivals = np.cumsum(np.random.default_rng(1).exponential(2.0, 800))
    requests = [f"{second:.3f},300,50" for second in arrivals]
    (folder / "arrivals.csv").write_text("\n".join(["arrival_s,input_tokens,output_tokens", *requests]) + "\n")
    (folder / "load.csv").write_text("\n".join(["date,service,load", *rows]) + "\n")


def _answers(folder: Path) -> None:
    rng = np.random.default_rng(0)
    right = {"small": rng.beta(1, 2, QUESTIONS), "large": rng.beta(2, 1, QUESTIONS)}
    rows, counts = [], []
    for model, solved in right.items():
        for question, share in enumerate(solved):
            usd = {"small": 0.001, "large": 0.01}[model]
            told = f"q{question},add {question} and {question % 7},{model}"
            counts.append(f"q{question},{model},200,{rng.binomial(200, share)}")
            for sample, score in enumerate(rng.random(SAMPLES) < share):
                answer = 42 if score else int(rng.integers(100))
                rows.append(f"{told},{sample},{float(sample > 0)},{int(score)},{answer},{100 + sample},{usd},stop")
    head = "question,text,model,sample,temperature,score,answer,output_tokens,usd,finish"
    (folder / "answers.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "counts.csv").write_text("\n".join(["question,model,n,correct", *counts]) + "\n")
    _verdicts(folder)
    _studies(folder)
    _logs(folder)


def _verdicts(folder: Path) -> None:
    numbers = [2**n for n in range(6)]
    cells = {f"({s}, {v})": 0.3 + 0.05 * np.log2(s) + 0.02 * np.log2(v) for s in numbers for v in numbers}
    grids = {"pair": {"best_of_k": cells, "majority_voting": {str(n): 0.35 for n in numbers}}}
    (folder / "genrm_grids.json").write_text(json.dumps(grids))
    rng, rows = np.random.default_rng(3), ["id,parent,question,model,role,sample,answer,score,judgement"]
    for q, s in np.ndindex(12, 8):
        right = int(rng.random() < 0.4)
        rows.append(f"{q}/{s},,{q},small,solver,{s},{42 if right else s},{right},")
        told = (rng.random(8) < 0.3 + 0.4 * right).astype(int)
        rows += [f"{q}/{s}/{v},{q}/{s},{q},small,verifier,{v},,,{verdict}" for v, verdict in enumerate(told)]
    (folder / "verdicts.csv").write_text("\n".join(rows) + "\n")


def _studies(folder: Path) -> None:
    """Public studies as their files are, small: solutions and verdicts, issues with dollars, trajectories."""
    rng, rows = np.random.default_rng(4), []
    for q, s in np.ndindex(24, 16):
        right = float(rng.random() < 0.3 + 0.02 * q)
        one = {"id": f"{q}-{s}", "parent": "", "question": f"gpqa-{q}", "task": "gpqa", "model": "llama-3.3-70b"}
        told = {"role": "", "sample": float(s), "finish": "stop", "answer": "A" if right else "BCD"[s % 3]}
        rows.append(one | told | {"score": right, "judgement": None})
        judged = {"role": "verifier", "finish": "stop", "answer": "", "score": None}
        for v in range(8 * (s < 12)):
            verdict = float(rng.random() < 0.3 + 0.3 * right)
            named = {"id": f"{q}-{s}-{v}", "parent": f"{q}-{s}", "sample": float(v)}
            rows.append(one | judged | named | {"judgement": verdict})
    write_columns(folder / "genrm_gpqa_llama70b_known.parquet", _columns(rows), {})
    solved, usd = {"gpt-5-mini": 0.58, "sonnet-4-5": 0.7}, {"gpt-5-mini": 0.036, "sonnet-4-5": 0.58}
    issues = [
        {"question": f"django__django-{q}", "task": "swe-bench-verified", "model": model,
         "score": float(rng.random() < share), "usd": usd[model] * rng.uniform(0.5, 1.5), "api_calls": 20.0}
        for model, share in solved.items() for q in range(60)
    ]  # fmt: skip
    write_columns(folder / "swebench_verified_known.parquet", _columns(issues), {})
    (swe_agent(folder) / "trajs").rename(folder / "trajs")
    for name, text in workload_blocks(ROOT / "docs" / "evidence.md").items():
        (folder / name).write_text(text)


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _logs(folder: Path) -> None:
    logged = {"global_index": 1, "llm_selected": "small", "evaluation_result": {"score": 1.0}}
    (folder / "log.jsonl").write_text(json.dumps(logged) + "\n")
    (folder / "runs.csv").write_text("id,llm,correct,cost,ms\nq1,small,1,0.001,250\nq2,small,0,0.002,900\n")
    sizes, tokens = np.geomspace(1e8, 1e10, 6), np.geomspace(1e9, 1e11, 6)
    losses = [f"{n},{d},{1.7 + 400 / n**0.34 + 410 / d**0.28}" for n in sizes for d in tokens]
    (folder / "losses.csv").write_text("\n".join(["params,tokens,loss", *losses]) + "\n")
    repeated = [f"{row},{float(row.split(',')[1]) / (1 + place % 4)}" for place, row in enumerate(losses)]
    (folder / "repeated.csv").write_text("\n".join(["params,tokens,loss,unique_tokens", *repeated]) + "\n")


def _weights(folder: Path) -> None:
    write_gguf(folder / "model.gguf", heads=2, kv_heads=1)
    (folder / "wiki.txt").write_text(TEXT)
    tensor = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    save_file({"dense": tensor}, folder / "model.safetensors")
    (policy,) = python_snippets(ROOT / "docs" / "simulator.md")
    (folder / "prefix_unless_busy.py").write_text(policy)
