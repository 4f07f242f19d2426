"""The learning curve through the command line: a recorded run's first requests are fitted, the others are predicted.

    python benchmarks/calibration_door.py

For each recorded vLLM run of the data folder (LLMServingSim's bench/examples, MIT), `comptroller fit calibration` gets
its 300 requests as a log in which only the first k have times, the others being load by arrival and length; the
calibration that it writes is then read back as `--calibration` does, and the whole run is replayed under it. Judged are
the last 150 requests, which no fit saw. Results go to benchmarks/results/calibration_door.{json,md}.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.cli import main as comptroller
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.measure.log_replay import replay
from comptroller.measure.request_log import RequestLog
from record import write
from vllm_runs import Run, read_run

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
LEARNT = (25, 50, 100, 150)
HELD_OUT = 150
QUANTITIES = ("TPOT", "TTFT", "E2E")


@dataclass(frozen=True)
class Errors:
    """Of the held-out requests, as shares: error of the mean, signed, and mean absolute error of a request."""

    mean: tuple[float, float, float]
    each: tuple[float, float, float]


def errors(run: Run, calibration: TimingCalibration) -> Errors:
    """The run replayed under a calibration, judged on its last requests."""
    seen, _ = replay(log_of(run), run.replica, calibration)
    pairs = zip(times(seen), times(log_of(run)), strict=True)
    found = [compared(ours[-HELD_OUT:], theirs[-HELD_OUT:]) for ours, theirs in pairs]
    return Errors(*zip(*found, strict=True))


def times(log: RequestLog) -> tuple[npt.NDArray[np.float64], ...]:
    """TPOT, TTFT and E2E of every request."""
    return (log.e2e_s - log.ttft_s) / (log.output_tokens - 1), log.ttft_s, log.e2e_s


def compared(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Error of the mean, and mean absolute error of a request."""
    return float(ours.mean() / theirs.mean() - 1), float(np.abs(ours / theirs - 1).mean())


def log_of(run: Run) -> RequestLog:
    """The run as a log."""
    inputs, outputs = (values.astype(float) for values in (run.input_tokens, run.output_tokens))
    return RequestLog(run.arrival_s, inputs, outputs, run.ttft_s, run.e2e_s)


def words(run: Run, file: Path, out: Path) -> list[str]:
    """The command line that a user would type."""
    replica = run.replica
    layout, engine = replica.layout, replica.engine
    return [
        *("fit", "calibration", str(file), "--out", str(out), "--model", replica.model.id),
        *("--accelerator", replica.device.id, "--engine", engine.id, "--engine-version", engine.version),
        *("--tp", str(layout.tp), "--dp", str(layout.dp), "--ep", str(layout.ep)),
        *("--max-batch", str(engine.max_batch), "--chunk-tokens", str(engine.chunk_tokens)),
        *("--memory-fraction", str(engine.memory_fraction)),
    ]


def learnt(path: Path, run: Run, requests: int, folder: Path) -> OwnCalibration:
    """What the command makes of the first requests."""
    file, out = folder / f"first_{requests}.csv", folder / f"calibration_{requests}"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    load = [",".join([*row.split(",")[:3], "", "", "", ""]) for row in rows[requests:]]
    file.write_text("\n".join([head, *rows[:requests], *load]) + "\n", encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        comptroller(words(run, file, out))
    return OwnCalibration.of_folder(out)


def judge(path: Path) -> Iterator[tuple[int, Errors]]:
    """Errors on the held-out requests, by how many were learnt from."""
    run = read_run(path)
    yield 0, errors(run, FittedCalibration.shipped())
    with tempfile.TemporaryDirectory() as folder:
        for requests in LEARNT:
            yield requests, errors(run, learnt(path, run, requests, Path(folder)))


def table(name: str, found: list[tuple[int, Errors]]) -> list[str]:
    """One run as Markdown."""
    head = " | ".join(f"{q} mean | {q} of a request" for q in QUANTITIES)
    lines = [f"## {name}", "", f"| learnt from | {head} |", "|---" + "|---:" * 2 * len(QUANTITIES) + "|"]
    for requests, one in found:
        cells = [f"{m * 100:+.1f} % | {e * 100:.1f} %" for m, e in zip(one.mean, one.each, strict=True)]
        label = f"{requests} requests" if requests else "nothing (shipped calibration)"
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return [*lines, ""]


def run() -> None:
    """Judge every recorded run and write the results."""
    paths = sorted((DATA / "serving").glob("vllm_run_*.csv"))
    if not paths:
        sys.exit(f"no recorded runs in {DATA / 'serving'}")
    found = {path.stem.removeprefix("vllm_run_"): list(judge(path)) for path in paths}
    text = [
        "# From the command line to a calibrated prediction",
        "",
        "Made by `python benchmarks/calibration_door.py`. The times of a recorded run's first requests, of the others "
        "arrivals and lengths alone, go to `comptroller fit calibration LOG.csv`; the folder it writes prices a replay "
        f"of the whole run, and its last {HELD_OUT} of 300 requests are judged: signed error of the mean, and mean "
        "absolute error of a request. What is learnt is a few constants and one factor each for steps and first "
        "tokens; TTFT of a run in overload is a queue, which follows from the steps.",
        "",
    ]
    for name, one in found.items():
        text += table(name, one)
    figures = {
        name: [{"learnt": k, **dict(zip(("mean", "each"), astuple(e), strict=True))} for k, e in one]
        for name, one in found.items()
    }
    write("calibration_door", figures, "\n".join(text))


if __name__ == "__main__":
    run()
