"""Logs written by the current releases of other tools, read here: `make test-readers` has them in an environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_readers import read_evidence, reader_of

TASK = """
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs: {{until: ["."], do_sample: false}}
metric_list:
  - metric: exact_match
"""


def test_a_log_of_inspect_ai_is_read(tmp_path: Path) -> None:
    """Answers come from a solver: the counter of the model that inspect_ai ships for tests fetches its vocabulary."""
    inspect_ai = pytest.importorskip("inspect_ai")
    dataset, model, scorer, solver = (
        pytest.importorskip(f"inspect_ai.{name}") for name in ("dataset", "model", "scorer", "solver")
    )

    @solver.solver
    def two() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            state.output = model.ModelOutput.from_content("mockllm/model", "2")
            return state

        return solve

    samples = [dataset.Sample(input=f"{n} plus 0?", target=str(n), id=n) for n in range(3)]
    scorers = [scorer.match(), scorer.includes()]
    task = inspect_ai.Task(dataset.MemoryDataset(samples), solver=two(), scorer=scorers, name="sums", epochs=2)
    (log,) = inspect_ai.eval(task, model="mockllm/model", log_dir=str(tmp_path), log_format="eval", display="none")
    path = Path(log.location.removeprefix("file://"))
    assert log.status == "success" and reader_of(path).name == "inspect_ai"
    read = read_evidence(path, EvidenceColumnNames({"score": "match"}))
    assert len(read.items) == 3 and len(read.rows) == 6 and [arm.model for arm in read.arms] == ["mockllm/model"]
    assert read.rows.score.tolist() == [0, 0, 0, 0, 1, 1] and (read.rows.sample == [0, 1] * 3).all()


def test_samples_of_lm_evaluation_harness_are_read(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    rows = [{"text": f"{n} plus 0 is", "target": str(n)} for n in range(3)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sums.yaml").write_text(TASK.format(file=file))
    words = ["--model", "dummy", "--tasks", "sums", "--include_path", str(tmp_path), "--log_samples"]
    subprocess.run(
        [sys.executable, "-m", "lm_eval", *words, "--output_path", str(tmp_path / "out")],
        check=True, capture_output=True, env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    (path,) = (tmp_path / "out").rglob("samples_sums_*.jsonl")
    assert reader_of(path).name == "lm_eval"
    read = read_evidence(path)
    assert len(read.items) == 3 and {item.text for item in read.items} == {row["text"] for row in rows}
    assert set(read.rows.score.tolist()) <= {0.0, 1.0} and (read.rows.temperature == 0).all()
