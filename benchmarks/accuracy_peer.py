"""Time per token and to the first token beside aiconfigurator, on rows that both can price.

    pip install --target PEER aiconfigurator==0.12.0
    python benchmarks/accuracy_peer.py PEER [DATA]      (default: COMPTROLLER_DATA or ../shared/data)

Every `EVERY`th usable measurement of servers. The peer gets the formats and the layout of the row as its own tables
name them, and no version, for which it takes its newest tables; its kernel tables were measured on the same
accelerators by the publisher of these rows. Ours has the row's model left out (the fold of `accuracy_plan.py`). Writes
benchmarks/results/accuracy_peer.{md,json}, from which docs/accuracy.md takes its table.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from accuracy_data import data_folder
from accuracy_plan import PREDICTORS, GroupError, HeldErrors, JudgedRuns, held_errors, kernels_alone, sampled_roofline
from comptroller.measure.calibrate import OVERLOAD_S, fit_stated, start
from comptroller.measure.features import FeatureBank
from comptroller_lab.calibration_runs import calibration_banks, weighed
from record import write

Array = npt.NDArray[np.float64]

EVERY = 5
"""Of the measurements of servers one in so many is asked: those for which a roofline is evaluated too."""

PEER = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from aiconfigurator.cli.api import cli_estimate
for line in sys.stdin:
    asked = json.loads(line)
    try:
        found = cli_estimate(**asked)
        told = {"tpot": found.tpot, "ttft": found.ttft}
    except (Exception, SystemExit) as error:
        told = {"fault": f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}"}
    print("TOLD " + json.dumps(told), flush=True)
"""
"""The peer's process: a question a line, an answer a line. Whatever it raises is an answer: the row that it refuses."""

MODES = ("gemm_quant_mode", "moe_quant_mode")


def question(row: Mapping[str, str]) -> dict[str, Any]:
    """What the peer is asked for a row."""
    sizes = {name: int(float(row[name])) for name in ("isl", "osl", "batch_size", "tp_size") if row[name]}
    for name in ("pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size"):
        if row[name]:
            sizes[name] = int(float(row[name]))
    modes = {name: row[name] for name in MODES if row[name]}
    return {
        "model_path": row["model_path"],
        "system_name": row["system"],
        "backend_name": row["backend"],
        **sizes,
        **modes,
    }


def answers(peer: Path, questions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The peer's answers, in order."""
    environment = {**os.environ, "PYTHONPATH": str(peer), "HF_HUB_OFFLINE": "1"}
    text = "".join(json.dumps(each) + "\n" for each in questions)
    found = subprocess.run(
        [sys.executable, "-c", PEER], input=text, capture_output=True, text=True, env=environment, check=True
    )
    for line in found.stdout.splitlines():
        if line.startswith("TOLD "):
            yield json.loads(line.removeprefix("TOLD "))


@dataclass(frozen=True)
class PeerErrors:
    """Log of measured over the peer's, NaN where it does not answer; and why it does not, by reason."""

    tpot: Array
    ttft: Array
    refused: Mapping[str, int]


def in_short(fault: str) -> str:
    """A refusal without folders and what the network said.

    >>> in_short("PerfDataNotAvailableError: GEMM data missing for 'int4_wo' at /peer/0.24.0; has: []")
    "PerfDataNotAvailableError: GEMM data missing for 'int4_wo'"
    """
    return re.sub(r" (at /|from HuggingFace).*", "", fault)[:120]


def peer_errors(peer: Path, table: list[dict[str, str]], runs: FeatureBank, index: npt.NDArray[np.int64]) -> PeerErrors:
    """The peer's errors on some of the runs; `number` of a run is the line of its row."""
    rows = [table[runs.observations[i].number - 2] for i in index]
    told = list(answers(peer, [question(row) for row in rows]))
    refused: dict[str, int] = {}
    for answer in told:
        if "fault" in answer:
            words = in_short(answer["fault"])
            refused[words] = refused.get(words, 0) + 1
    tpot, ttft = (np.array([answer.get(name) or np.nan for answer in told], float) / 1e3 for name in ("tpot", "ttft"))
    seen = runs.features
    first = np.where(seen.ttft_s <= OVERLOAD_S, seen.ttft_s, np.nan)
    return PeerErrors(np.log(seen.tpot_s[index] / tpot), np.log(first[index] / ttft), refused)


def lines(judged: JudgedRuns, held: HeldErrors, peer: PeerErrors, index: npt.NDArray[np.int64]) -> Iterator[str]:
    """The table: rows on which all answer."""
    head = ("quantity", "judged on", "rows", "ours", "bias", "aiconfigurator", "bias", *PREDICTORS[1:])
    yield f"| {' | '.join(head)} |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for quantity in ("tpot", "ttft"):
        theirs, ours = getattr(peer, quantity), getattr(held, quantity)
        known = np.isfinite(theirs) & np.all([np.isfinite(ours[name][index]) for name in PREDICTORS], axis=0)
        for name, chosen in _parts(judged, index):
            rows = known & chosen
            if rows.sum() < 5:
                continue
            mine, other = (GroupError.of(e[rows]) for e in (ours["ours"][index], theirs))
            rest = [GroupError.of(ours[p][index][rows]) for p in PREDICTORS[1:]]
            if mine and other:
                cells = " | ".join(f"{each.median:.1f}" if each else "" for each in rest)
                yield (
                    f"| {quantity.upper()} | {name} | {mine.rows} | {mine.median:.1f} | {mine.bias:+.0f} | "
                    f"{other.median:.1f} | {other.bias:+.0f} | {cells} |"
                )


def _parts(judged: JudgedRuns, index: npt.NDArray[np.int64]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    yield "all", np.ones(len(index), dtype=bool)
    for label in ("kind", "engine", "accelerator"):
        values = judged.labels[label][index]
        for value in np.unique(values):
            yield str(value), values == value


def main() -> None:
    """Ask, judge, write."""
    peer, data = Path(sys.argv[1]), data_folder(sys.argv[2:])
    judged = JudgedRuns.of(weighed(FeatureBank.joined([runs for runs, _ in calibration_banks(data).values()])))
    with (data / "serving" / "silicon_known.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    index = np.flatnonzero(judged.labels["set"] == "servers")
    index = index[index % EVERY == 0]
    found = peer_errors(peer, table, judged.runs, index)
    ideal = {"no fit": kernels_alone(judged.runs), "roofline": sampled_roofline(judged.runs)}
    whole = fit_stated(judged.runs, start(judged.runs, None))
    held = held_errors(judged, "model", ideal, whole)
    text = [
        "Median errors, per cent, on the rows that all of them price, every fifth measurement of servers.",
        "",
        *lines(judged, held, found, index),
        "",
        f"aiconfigurator 0.12.0 answers {int(np.isfinite(found.tpot).sum())} of {len(index)} rows; it refuses:",
        "",
        *(f"- {count} x {why}" for why, count in sorted(found.refused.items(), key=lambda item: -item[1])[:6]),
    ]
    write("accuracy_peer", {"rows": len(index), "refused": dict(found.refused), "lines": text}, "\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
