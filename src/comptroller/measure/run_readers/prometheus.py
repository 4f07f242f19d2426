"""A scrape of `/metrics` of vLLM or SGLang, in Prometheus' text format: one run, since the server started.

Sums and counts of their histograms give the means; all label sets of one model are added up. A scrape does not say how
many requests ran at once: the gauges hold for its moment alone, so `--clients` is asked for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from math import nan
from pathlib import Path

from comptroller.errors import FactError
from comptroller.measure.run_rows import RunFile, RunFilePreview, RunFileReader, RunRow, per_token_s, without_empty
from comptroller.work.tabular import open_text

NAME = "Prometheus"
LINE = re.compile(r"^(vllm|sglang):(\w+?)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?\s*$")
MODEL = re.compile(r'model(?:_name)?="([^"]*)"')
FIRST = "time_to_first_token_seconds"
BETWEEN = ("request_time_per_output_token_seconds", "inter_token_latency_seconds", "time_per_output_token_seconds")
"""Histograms of the time per token: of a request, or of every token."""
WHOLE = "e2e_request_latency_seconds"
PROMPTS, ANSWERS = ("request_prompt_tokens", "prompt_tokens"), ("request_generation_tokens", "generation_tokens")
REMARK = "a scrape counts from the start of the server, warm-up and idle hours among it"

Totals = Mapping[str, float]


def _totals(path: Path) -> tuple[str, set[str], Totals]:
    """Engine, models, and the sum of each series over its labels; buckets and other servers' lines are passed over."""
    totals: dict[str, float] = defaultdict(float)
    engines, models = set[str](), set[str]()
    with open_text(path) as text:
        for line in text:
            if (found := LINE.match(line)) and not found[2].endswith(("_bucket", "_created")):
                engines.add(found[1])
                models |= set(MODEL.findall(found[3] or ""))
                totals[found[2]] += float(found[4])
    if len(engines) > 1:
        raise FactError(path.name, "file", "holds metrics of both vLLM and SGLang", "one server a file")
    return engines.pop(), models, totals


def _mean(totals: Totals, name: str) -> float:
    count = totals.get(f"{name}_count", 0.0)
    return totals[f"{name}_sum"] / count if count and f"{name}_sum" in totals else nan


def _tokens(totals: Totals, names: tuple[str, str], requests: float) -> float:
    """Mean tokens of a request: of the histogram, or of the counter over the requests."""
    mean = _mean(totals, names[0])
    return mean if mean > 0 else totals.get(f"{names[1]}_total", nan) / requests if requests else nan


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    engine, models, totals = _totals(path)
    requests = totals.get(f"{WHOLE}_count") or totals.get(f"{FIRST}_count") or 0.0
    if not requests:
        raise FactError(path.name, FIRST, f"this scrape of {engine} holds no finished request", f"{FIRST}_sum, _count")
    if len(models) > 1:
        problem = f"serves several models: {', '.join(sorted(models))}"
        raise FactError(path.name, "model_name", problem, "a scrape of one model")
    ttft_s, inputs, outputs = _mean(totals, FIRST), *(_tokens(totals, names, requests) for names in (PROMPTS, ANSWERS))
    between = next((mean for name in BETWEEN if (mean := _mean(totals, name)) > 0), nan)
    tpot_s = between if between > 0 else per_token_s(_mean(totals, WHOLE), ttft_s, outputs)
    stated = without_empty(engine=engine, model=models.pop() if models else "")
    return RunFile(path, NAME, (RunRow(1, stated, inputs, outputs, nan, ttft_s, tpot_s),), remarks=(REMARK,))


def _recognises(preview: RunFilePreview) -> bool:
    return any(LINE.match(line) for line in preview.head.splitlines())


READER = RunFileReader(NAME, f"text with vllm: or sglang:{FIRST}_sum and _count", _recognises, _read)
