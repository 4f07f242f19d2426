"""Attention servers on packed documents: measured steps against predicted ones, and plans at 512k tokens.

    python benchmarks/attention_servers.py

Writes benchmarks/results/attention_servers.{md,json}. The steps are of DistCA's authors (their file is named in
tests/data/attention_servers.json): Llama 8B of 4 layers, tp 8, four ranks with two sequences each, with plain data
parallelism and with servers. Predicted are pairs of the documents, and seconds by the constants of Megatron-Bridge as
shipped; nothing was fitted to these steps, but that ranks take sequences i and i + 4 was read from them. Opponent: the
same model without unevenness, which expects no gain. The plans at 512k take the same documents, four times as long
(published: up to 1.35 times the throughput on 512 H200, arXiv 2510.18121).
"""

from __future__ import annotations

import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.costs.document_packing import PackedStream, step_balance
from comptroller.costs.training_layout import LayoutGrid, StateSharding, TrainingLayout
from comptroller.costs.training_pace import training_pace
from comptroller.costs.training_time import step_ingredients, training_step_time
from comptroller.costs.training_work import KINDS, ForwardTable, TrainingJob
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.training.document import parse_training
from comptroller.training.planner import plan_training
from record import table, write

ROOT = Path(__file__).parents[1]
STEPS = ROOT / "tests" / "data" / "attention_servers.json"
SEQ, RANKS, ROUNDS, LAYERS = 131072, 4, 2, 4
LONGER = 4


def main() -> None:
    """Predict, print and write."""
    rows, figures = _steps()
    head = ("step", "busiest rank", "mean", "measured", "predicted", "plain, s", "predicted", "servers, s", "predicted")
    text = "# Attention servers\n\n## Eight measured steps: throughput with servers over plain data parallelism\n\n"
    text += table(head, rows) + "\n\n"
    text += (
        f"Over all steps: measured {figures['measured']:.3f}, predicted {figures['predicted']:.3f} "
        f"({figures['predicted'] / figures['measured'] - 1:+.1%}); mean error of a step {figures['step_error']:.1%}, "
        f"of its seconds {figures['seconds_error']:.1%}. Without unevenness: 1.000 "
        f"({1 / figures['measured'] - 1:+.1%}).\n\n"
    )
    plans, found = _plans()
    head = ("model", "sequences a step", "without servers, s", "with, s", "times the throughput")
    text += "## Plans on 512 H200, sequences of 524,288 tokens\n\n" + table(head, plans)
    text += (
        "\n\nPublished: up to 1.35. The paper's documents are not at hand. Both ways take their fastest layout; "
        "context parallelism cuts every document evenly, so that what servers save is ranks and microbatches that wait."
    )
    print(write("attention_servers", {**figures, "plans": found}, text).read_text(encoding="utf-8"))


def _steps() -> tuple[list[list[str]], dict[str, Any]]:
    steps = json.loads(STEPS.read_text(encoding="utf-8"))["steps"]
    whole = model("llama_3_1_8b")
    few = replace(whole, blocks=(replace(whole.blocks[0], count=LAYERS),))
    job = TrainingJob(few, accelerator("h100_sxm"), SEQ)
    grid = LayoutGrid.of([TrainingLayout(dp=RANKS, tp=8, sharding=StateSharding.OPTIMIZER)])
    made = step_ingredients(ForwardTable(job), grid, RANKS * ROUNDS)
    time = training_step_time(made, training_pace("megatron_bridge", job.device))
    attention = float(time.kinds[KINDS.index("attention"), 0])
    rest = float(time.total_s[0]) - attention
    rows, known, ours = [], [], []
    for i, step in enumerate(steps):
        stream = PackedStream.of([one for sequence in step["documents"] for one in sequence], SEQ)
        found = step_balance(stream, SEQ, (RANKS, 1, ROUNDS))
        known.append((step["plain_ms"] / 1e3, step["servers_ms"] / 1e3))
        ours.append((rest + attention * found.busiest, rest + attention * found.mean))
        (plain, served), (guess, guess_served) = known[-1], ours[-1]
        rows.append([
            f"{i}", f"{found.busiest:.2f}", f"{found.mean:.2f}", f"{plain / served:.2f}", f"{guess / guess_served:.2f}",
            f"{plain:.2f}", f"{guess:.2f}", f"{served:.2f}", f"{guess_served:.2f}",
        ])  # fmt: skip
    a, b = np.array(known), np.array(ours)
    return rows, {
        "measured": float(a[:, 0].sum() / a[:, 1].sum()),
        "predicted": float(b[:, 0].sum() / b[:, 1].sum()),
        "step_error": float(np.abs(b[:, 0] / b[:, 1] / (a[:, 0] / a[:, 1]) - 1).mean()),
        "seconds_error": float(np.abs(b / a - 1).mean()),
    }


def _plans() -> tuple[list[list[str]], list[dict[str, Any]]]:
    rows, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        with (ROOT / "examples" / "documents.csv").open(encoding="utf-8") as file:
            lengths = [int(row["tokens"]) for row in csv.DictReader(file)]
        text = "".join(f"{LONGER * one}\n" for one in lengths)
        (here / "documents.csv").write_text(f"tokens\n{text}", encoding="utf-8")
        for name in ("llama_3_1_8b", "codellama_34b"):
            for batch in (32, 128):
                allow = {"accelerators": ["h200_sxm"], "devices": [512]}
                run = {"model": name, "tokens": 1e11, "seq": 524288, "global_batch": batch, "allow": allow}
                run["documents"] = {"file": "documents.csv", "servers": True}
                packing = plan_training(parse_training({"name": "512k", "training": run}, here / "w.toml")).packing
                assert packing is not None
                ratio = packing.other_step_s / packing.step_s
                found.append({"model": name, "batch": batch, **packing.model_dump(), "ratio": ratio})
                rows.append([name, f"{batch}", f"{packing.other_step_s:.1f}", f"{packing.step_s:.1f}", f"{ratio:.2f}"])
    return rows, found


if __name__ == "__main__":
    main()
