"""Small files of every format that evidence is read from, and where measured data lies."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from agent_runs import write_runs

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "evidence"


def measured(name, folder="evidence"):
    path = DATA.parent / folder / name
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


def routerarena(folder):
    row = {
        "global_index": "AIME_112",
        "llm_selected": "small",
        "generated_answer": "so 982",
        "token_usage": {"input_tokens": 349, "output_tokens": 120, "total_tokens": 469},
        "success": True,
        "evaluation_result": {"extracted_answer": "982", "score": 0.0, "inference_cost": 0.00023},
    }
    right = {"extracted_answer": "610", "score": 1.0, "inference_cost": 0.002}
    return lines(folder / "cached.jsonl", [row, row | {"llm_selected": "large", "evaluation_result": right}])


def routerbench(folder):
    path = folder / "routerbench_0shot.csv"
    path.write_text(
        "sample_id,prompt,eval_name,small,small|model_response,small|total_cost,large,large|total_cost,oracle\n"
        "mmlu.1,two?,mmlu,0.0,A,0.0001,1.0,0.002,large\nmmlu.2,three?,mmlu,1.0,B,0.0001,1.0,0.002,small\n"
    )
    return path


ISSUES = ("astropy__astropy-1", "astropy__astropy-2", "django__django-3")


def swe_bench(folder):
    home = folder / "20260101_agent"
    (home / "results").mkdir(parents=True)
    lines(home / "all_preds.jsonl", [{"instance_id": issue, "model_patch": "x"} for issue in ISSUES])
    path = home / "results" / "results.json"
    path.write_text(json.dumps({"no_generation": [], "no_logs": [ISSUES[1]], "resolved": [ISSUES[0]]}, indent=1))
    return path


def swe_agent(folder):
    home = folder / "20260102_agent"
    (home / "trajs").mkdir(parents=True)
    (home / "results.json").write_text(json.dumps({"no_generation": [], "no_logs": [], "resolved": [ISSUES[2]]}))
    for issue, status in zip(ISSUES, ("submitted", "exit_cost (1)", "submitted"), strict=True):
        stats = {"instance_cost": 0.5, "tokens_sent": 90000, "tokens_received": 1500, "api_calls": 12}
        info = {"exit_status": status, "submission": "diff", "model_stats": stats}
        whole = {"trajectory": [], "history": [], "info": info}
        (home / "trajs" / f"{issue}.traj").write_text(json.dumps(whole, indent=1))
    return home


def agent_calls(folder):
    path = folder / "agent_calls.csv"
    write_runs(path, runs=3)
    return path


def openhands(folder):
    usage = {"prompt_tokens": 1000, "completion_tokens": 50, "cache_read_tokens": 600, "cache_write_tokens": 0}
    run = {
        "instance_id": ISSUES[0],
        "metadata": {"agent_class": "CodeActAgent", "llm_config": {"model": "small"}},
        "metrics": {"accumulated_cost": 0.3, "accumulated_token_usage": usage},
        "test_result": {"git_patch": "diff", "report": {"resolved": True}},
        "error": None,
    }
    return lines(folder / "output.jsonl", [run, run | {"instance_id": ISSUES[2], "test_result": {}}])


def helm(folder):
    def stat(name, mean):
        return {"name": {"name": name, "split": "test"}, "count": 1, "sum": mean, "mean": mean}

    entry = {"instance_id": "id7", "train_trial_index": 0}
    entry["stats"] = [stat("exact_match", 1.0), stat("prefix_exact_match", 0.0), stat("num_prompt_tokens", 40.0)]
    entry["stats"] += [stat("num_completion_tokens", 3.0), stat("inference_runtime", 0.5)]
    path = folder / "per_instance_stats.json"
    noisy = entry | {"perturbation": {"name": "typos"}}
    path.write_text(json.dumps([entry, noisy, entry | {"train_trial_index": 1}], indent=1))
    (folder / "run_spec.json").write_text(
        json.dumps({"name": "mmlu:subject=a", "adapter_spec": {"model": "org/small"}})
    )
    return path


def langfuse(folder):
    call = {
        "id": "obs-1",
        "traceId": "trace-1",
        "type": "GENERATION",
        "model": "gpt-5-mini",
        "input": [{"role": "user", "content": "6 times 7?"}],
        "output": {"role": "assistant", "content": "42"},
        "startTime": "2026-01-02T03:04:05.000Z",
        "completionStartTime": "2026-01-02T03:04:05.250Z",
        "endTime": "2026-01-02T03:04:07.000Z",
        "usageDetails": {
            "input": 36,
            "input_cached_tokens": 64,
            "output": 20,
            "output_reasoning_tokens": 30,
            "total": 150,
        },
        "calculatedTotalCost": 0.00125,
        "level": "DEFAULT",
    }
    span = {"id": "s", "traceId": "trace-1", "type": "SPAN", "startTime": None, "endTime": None}
    return lines(folder / "observations.jsonl", [call, span])


def openrouter(folder):
    path = folder / "openrouter_activity.csv"
    path.write_text(
        "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,"
        "model_permaslug,provider_name,finish_reason_normalized,generation_time_ms,time_to_first_token_ms\n"
        "gen-1,2026-01-02 03:04:05,0.00125,100,50,30,64,openai/gpt-5-mini,OpenAI,stop,2000,250\n"
    )
    return path


MAKERS = (
    plain_csv, plain_jsonl, plain_counts, openai_log, openai_batch, litellm_spend,
    inspect_json, inspect_eval, lm_eval, routerarena, routerbench, swe_bench, swe_agent, openhands, helm, langfuse,
    openrouter, agent_calls,
)  # fmt: skip
