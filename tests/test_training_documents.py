"""Packed documents and attention servers: pairs by hand, measured steps, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.costs.document_packing import DocumentLengths, PackedStream, step_balance
from comptroller.costs.training_layout import LayoutGrid, StateSharding, TrainingLayout
from comptroller.costs.training_pace import training_pace
from comptroller.costs.training_time import step_ingredients, training_step_time
from comptroller.costs.training_work import KINDS, ForwardTable, TrainingJob
from comptroller.errors import FactError, UnsupportedError
from comptroller.export.runs import export_run
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.training.document import load_training, parse_training
from comptroller.training.planner import plan_training

STEPS = json.loads((Path(__file__).parent / "data" / "attention_servers.json").read_text(encoding="utf-8"))["steps"]
"""Steps that DistCA's authors measured, with the documents of every sequence (source in the file)."""

SEQ, RANKS, ROUNDS = 131072, 4, 2


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(2, 16))
def test_pairs_are_those_of_a_walk_over_tokens(lengths: list[int], seq: int) -> None:
    before, walked = 0, [0.0]
    for length in lengths:
        place = 0
        for _ in range(length):
            place = 0 if before % seq == 0 else place
            place, before = place + 1, before + 1
            walked.append(walked[-1] + place)
    found = PackedStream.of(lengths, seq).pairs_before(np.arange(before + 1))
    assert found.tolist() == walked


def measured(step: dict[str, Any]) -> tuple[float, float]:
    """Pairs of the busiest rank and of all in the mean, over those of one sequence of one document."""
    stream = PackedStream.of([one for sequence in step["documents"] for one in sequence], SEQ)
    found = step_balance(stream, SEQ, (RANKS, 1, ROUNDS))
    return found.busiest, found.mean


def test_measured_steps_take_what_the_busiest_rank_does_and_with_servers_the_mean() -> None:
    """One line through both kinds of step: uneven pairs are all that plain data parallelism loses."""
    loads = np.array([measured(step) for step in STEPS])
    times = np.array([(step["plain_ms"], step["servers_ms"]) for step in STEPS])
    line = np.polynomial.Polynomial.fit(loads.ravel(), times.ravel(), 1)
    assert (np.abs(line(loads) / times - 1).mean(), np.abs(line(loads) / times - 1).max()) < (0.01, 0.02)


def layers_of(count: int) -> TrainingJob:
    whole = model("llama_3_1_8b")
    return TrainingJob(replace(whole, blocks=(replace(whole.blocks[0], count=count),)), accelerator("h100_sxm"), SEQ)


def test_published_speed_ups_follow_from_pairs_and_the_shipped_constants() -> None:
    """Llama 8B of 4 layers, tp 8: attention and all else by the cost model, unevenness by the documents."""
    job = layers_of(4)
    grid = LayoutGrid.of([TrainingLayout(dp=RANKS, tp=8, sharding=StateSharding.OPTIMIZER)])
    made = step_ingredients(ForwardTable(job), grid, RANKS * ROUNDS)
    time = training_step_time(made, training_pace("megatron_bridge", job.device))
    attention = float(time.kinds[KINDS.index("attention"), 0])
    rest = float(time.total_s[0]) - attention
    ours = np.array([[rest + attention * load for load in measured(step)] for step in STEPS])
    ratio = ours[:, 0].sum() / ours[:, 1].sum()
    known = np.array([(step["plain_ms"], step["servers_ms"]) for step in STEPS]) / 1e3
    assert ratio == pytest.approx(known[:, 0].sum() / known[:, 1].sum(), rel=0.05)
    assert np.abs(ours / known - 1).mean() < 0.15


def test_even_documents_need_no_servers_and_uneven_ones_cost_the_busiest_rank() -> None:
    even, uneven = DocumentLengths((float(SEQ),)), DocumentLengths((float(SEQ), *([1024.0] * 128)))
    grid = LayoutGrid.of([TrainingLayout(dp=8, tp=8, sharding=StateSharding.OPTIMIZER)])
    seconds = {}
    for name, documents, servers in (("whole", None, False), ("even", even, False), ("plain", uneven, False),
                                     ("served", uneven, True)):  # fmt: skip
        job = replace(layers_of(4), documents=documents, servers=servers)
        made = step_ingredients(ForwardTable(job), grid, 16)
        seconds[name] = float(training_step_time(made, training_pace("megatron_bridge", job.device)).total_s[0])
    assert seconds["whole"] == pytest.approx(seconds["even"])
    assert seconds["served"] < seconds["plain"] < seconds["whole"]


def document(**documents: Any) -> dict[str, Any]:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [64]}
    run = {"model": "llama_3_1_8b", "tokens": 2e9, "seq": SEQ, "global_batch": 32, "allow": allow}
    return {"name": "long", "training": {**run, "documents": {"file": "documents.csv", **documents}}}


EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_plan_says_what_servers_would_save() -> None:
    plain = plan_training(parse_training(document(), EXAMPLES / "workload.toml")).packing
    served = plan_training(parse_training(document(servers=True), EXAMPLES / "workload.toml")).packing
    assert plain is not None and served is not None
    assert plain.step_s == pytest.approx(served.other_step_s) and plain.step_s > served.step_s
    assert "would save a factor of" in plain.sentence and plain.busiest > 1
    assert plan_training(load_training(EXAMPLES / "documents.toml")).packing is not None


@pytest.mark.parametrize(("text", "why"), [("length\n5\n", "no such column"), ("tokens\n0\n", "no number of tokens")])
def test_wrong_files_are_refused_by_place(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "documents.csv").write_text(text, encoding="utf-8")
    with pytest.raises(FactError, match=why):
        plan_training(parse_training(document(), tmp_path / "workload.toml"))


def test_what_cannot_be_priced_is_refused() -> None:
    with pytest.raises(FactError, match="no such file"):
        plan_training(parse_training(document(file="none.csv"), EXAMPLES / "workload.toml"))
    windows = document()
    windows["training"] |= {"model": "gemma_3_12b"}
    with pytest.raises(UnsupportedError, match="do not attend over whole documents"):
        plan_training(parse_training(windows, EXAMPLES / "workload.toml"))
    other = document(servers=True)
    other["training"] |= {"program": "torchtitan"}
    with pytest.raises(FactError, match="has no attention servers"):
        parse_training(other)


def test_no_export_forgets_servers() -> None:
    plan = plan_training(parse_training(document(servers=True), EXAMPLES / "workload.toml"))
    with pytest.raises(UnsupportedError, match="names attention servers"):
        export_run("megatron", plan)
