"""The energy rows' latencies as serving runs: a closed loop of the recorded batch at its measured output rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from comptroller.measure.observations import ExclusionReport, RunObservation
from comptroller_lab.energy import ENGINE_VERSION, TASKS, read_energy
from comptroller_lab.harness import MODALITY, shipped_serving
from comptroller_lab.published import UNSTATED

SOURCE = "ml-energy/leaderboard"
PICTURES = "sizes of images and videos are not stated, and what preparing them takes is not priced"


def read_energy_runs(path: Path) -> tuple[list[RunObservation], ExclusionReport]:
    """The rows of text tasks; input lengths, which are not recorded, as `benchmarks/fit_power.py` fitted them.

    Raises:
        RecordError, InputError: as `read_energy` has them.
    """
    rows, report = read_energy(path)
    replica_of = np.empty(rows.rows, dtype=np.int64)
    for place, member in enumerate(rows.members):
        replica_of[member] = place
    inputs, runs = shipped_serving().values, []
    for i, task in enumerate(TASKS[index] for index in rows.task):
        number, batch = int(rows.number[i]), float(rows.batch[i])
        if task in MODALITY:
            report.add(number, PICTURES)
            continue
        runs.append(
            RunObservation(
                number=number,
                replica=rows.replicas[replica_of[i]],
                input_tokens=inputs[f"input {task}"],
                output_tokens=float(rows.output_tokens[i]),
                concurrency=batch,
                ttft_s=float("nan"),
                tpot_s=float("nan"),
                source=SOURCE,
                group=f"ml_energy {number}",
                version=ENGINE_VERSION,
                tokens_per_s=batch / float(rows.token_s[i]),
                spread=UNSTATED,
            )
        )
    return runs, report
