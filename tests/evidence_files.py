"""Small files of every format that evidence is read from, and where measured data lies."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "evidence"


def measured(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"measured data is absent: {path}")
    return path


def chat(content, finish="stop", usage=None, **more):
    reply = {"object": "chat.completion", "model": "gpt-5-mini", **more}
    reply["choices"] = [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}]
    return reply | ({"usage": usage} if usage else {})


USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
ASKED = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "6 times 7?"}], "reasoning_effort": "low"}


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plain_csv(folder):
    path = folder / "mine.csv"
    path.write_text(
        "question,model,effort,score,output_tokens,usd,finish\n"
        "a,m,low,1,10,0.001,stop\na,m,low,0,12,0.001,stop\nb,m,low,true,900,0.09,length\n"
    )
    return path


def plain_jsonl(folder):
    rows = [
        {"id": "r1", "question": "a", "model": "m", "sample": 0, "score": 1, "answer": "42", "temperature": 0},
        {"id": "v1", "parent": "r1", "role": "verifier", "question": "a", "model": "m", "judgement": 0.75, "sample": 0},
        {"id": "r2", "question": "a", "model": "m", "sample": 0, "score": 0, "logprobs": [-0.5, -0.25]},
    ]
    return lines(folder / "mine.jsonl", rows)


def plain_counts(folder):
    path = folder / "counts.csv"
    path.write_text("question,model,n,correct\na,m,100,3\nb,m,100,0\n")
    return path


def openai_log(folder):
    paired = {"request": ASKED, "response": chat("42", usage=USAGE)}
    again = {"request": ASKED, "response": chat("41", "length", usage=USAGE)}
    return lines(folder / "requests.jsonl", [paired, again])


def openai_batch(folder):
    done = {"custom_id": "q1", "response": {"status_code": 200, "body": chat("42", usage=USAGE)}, "error": None}
    lost = {"custom_id": "q2", "response": {"status_code": 500, "body": {"model": "gpt-5-mini"}}, "error": None}
    return lines(folder / "batch_output.jsonl", [done, lost])


def litellm_spend(folder):
    row = {
        "request_id": "chatcmpl-1",
        "call_type": "acompletion",
        "spend": 0.00125,
        "total_tokens": 150,
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "startTime": "2026-10-10T08:00:00.000Z",
        "completionStartTime": "2026-10-10T08:00:00.500Z",
        "endTime": "2026-10-10T08:00:02.250Z",
        "model": "gpt-5-mini",
        "messages": ASKED["messages"],
        "response": chat("42"),
        "status": "success",
        "metadata": json.dumps({"usage_object": USAGE}),
    }
    path = folder / "spend.json"
    path.write_text(json.dumps([row, {**row, "request_id": "chatcmpl-2", "status": "failure", "response": "{}"}]))
    return path


def sample(number, epoch, value, stop="stop"):
    return {
        "id": number,
        "epoch": epoch,
        "input": [{"role": "user", "content": f"question {number}"}],
        "target": "42",
        "output": {
            "model": "openai/gpt-5-mini",
            "completion": "42",
            "choices": [{"message": {"role": "assistant", "content": "42"}, "stop_reason": stop}],
        },
        "scores": {"match": {"value": value, "answer": "42"}},
        "model_usage": {
            "openai/gpt-5-mini": {
                "input_tokens": 36,
                "output_tokens": 50,
                "total_tokens": 150,
                "input_tokens_cache_read": 64,
                "reasoning_tokens": 30,
                "total_cost": 0.002,
            }
        },
        "total_time": 2.5,
    }


HEADER = {
    "version": 2,
    "status": "success",
    "eval": {
        "task": "sums",
        "model": "openai/gpt-5-mini",
        "model_generate_config": {"temperature": 0.7, "reasoning_effort": "high"},
    },
}
SAMPLES = [sample(1, 1, "C"), sample(1, 2, "I"), sample(2, 1, "P", "max_tokens")]


def inspect_json(folder):
    path = folder / "log.json"
    path.write_text(json.dumps({**HEADER, "samples": SAMPLES}))
    return path


def inspect_eval(folder):
    path = folder / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(HEADER))
        for one in SAMPLES:
            archive.writestr(f"samples/{one['id']}_epoch_{one['epoch']}.json", json.dumps(one))
    return path


def lm_eval(folder):
    home = folder / "EleutherAI__pythia-160m"
    home.mkdir()
    rows = [
        {
            "doc_id": number,
            "doc": {},
            "target": "42",
            "arguments": {"gen_args_0": {"arg_0": f"question {number}", "arg_1": {"do_sample": False}}},
            "resps": [[f"so 4{number}"]],
            "filtered_resps": [f"4{number}"],
            "filter": kept,
            "metrics": ["exact_match"],
            "exact_match": float(number == 2),
        }
        for kept in ("strict-match", "flexible-extract")
        for number in (1, 2)
    ]
    return lines(home / "samples_gsm8k_2026-01-01T00-00-00.000000.jsonl", rows)


MAKERS = (
    plain_csv, plain_jsonl, plain_counts, openai_log, openai_batch, litellm_spend,
    inspect_json, inspect_eval, lm_eval,
)  # fmt: skip
