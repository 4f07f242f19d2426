"""Drawn runs of an agent, of which those that fail repeat themselves: small, and the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HEAD = (
    "source,run,model,instance,step,input_tokens,cached_tokens,output_tokens,reasoning_tokens,cost_usd,llm_s,tool_s,"
    "to_next_call_s,observation_chars,resolved"
)
RUNS, GROUPS = 120, 6


def write_runs(path: Path, runs: int = RUNS, seed: int = 0, model: str = "small") -> None:
    """Writes runs of a model on six repositories. A third fail: from their eighth call on those read and say little."""
    rng = np.random.default_rng(seed)
    lines = [HEAD]
    for run in range(runs):
        fails = rng.uniform() < 1 / 3
        steps = int(rng.integers(24, 32) if fails else rng.integers(10, 18))
        prompt, cached = 1000, 0
        for step in range(steps):
            stuck = fails and step >= 8
            output = int(rng.integers(15, 40) if stuck else rng.integers(60, 240))
            seen = int(rng.integers(20, 60) if stuck else rng.integers(300, 3000))
            usd = 2e-6 * (prompt - cached) + 2e-7 * cached + 1.2e-5 * output
            tool_s = 0.3 + rng.exponential(1.0)
            cells = [
                "drawn", run, model, f"repo{run % GROUPS}__task-{run}", step, prompt, cached, output, 0, f"{usd:.6f}",
                f"{1 + 0.01 * output:.2f}", f"{tool_s:.2f}", "", seen, str(not fails).lower(),
            ]  # fmt: skip
            lines.append(",".join(map(str, cells)))
            cached, prompt = prompt, prompt + output + seen // 4
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
