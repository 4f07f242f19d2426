"""The command's plan of a measured run has the step time that the benchmark of accuracy is about."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from comptroller_lab.training_rows import READERS

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from training_by_command import SAME, command_step

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "training"


@pytest.mark.skipif(not DATA.exists(), reason="needs the rows of ../shared/data")
@pytest.mark.parametrize(("program", "every"), [("torchtitan", 6), ("megatron_bridge", 9)])
def test_a_plan_in_the_layout_of_a_row_has_the_step_of_the_benchmark(program: str, every: int) -> None:
    found = [command_step(program, step) for step in READERS[program](DATA)[::every]]
    same = [one for one in found if one.outcome == SAME]
    assert len(same) >= 2
    for one in same:
        assert one.planned_s == pytest.approx(one.function_s, rel=1e-5)
