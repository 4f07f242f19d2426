"""Speculative decoding of a mixture of experts: the greatest speed-up over the batch, beside MoESD's measurements.

    python benchmarks/speculation.py

No constant is fitted to these runs. Writes benchmarks/results/speculation.{md,json}.
"""

from __future__ import annotations

import numpy as np

from comptroller.costs.deployment import SpeculativeDecoding
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.facts.config import model
from comptroller_lab.published_drafts import BATCHES, published_speedups, speedups
from record import table, write

GENERATIONS = ("v0", "")
"""vLLM as it was measured, and as it is now, of which nobody published such a sweep."""

HEAD = ("task", "A800", "drafted", "measured", "predicted", "error, %", "at a batch of", "present vLLM")
SHOWN = (1, 4, 16, 32, 60, 100)
"""Batches of the table of whole curves."""


def main() -> None:
    """Predict and write."""
    shipped = FittedCalibration.shipped()
    rows, figures = [], []
    for one in published_speedups():
        curves = [one.predicted(shipped, generation) for generation in GENERATIONS]
        old, new = (float(curve.max()) for curve in curves)
        place = int(BATCHES[curves[0].argmax()])
        figures.append({"task": one.task, "devices": one.devices, "drafted": one.drafted, "measured": one.speedup,
                        "predicted": old, "batch": place, "present": new})  # fmt: skip
        error = f"{100 * (old / one.speedup - 1):+.0f}"
        rows.append([one.task, f"{one.devices}", f"{one.drafted}", f"{one.speedup:.2f}", f"{old:.2f}", error,
                     f"{place}", f"{new:.2f}"])  # fmt: skip
    errors = np.array([each["predicted"] / each["measured"] - 1 for each in figures])
    logs = np.log([[each[name] for each in figures] for name in ("predicted", "measured")])
    summary = {"median_error": float(np.median(errors)), "correlation": float(np.corrcoef(logs)[0, 1])}
    text = (
        f"Error of {len(rows)} peaks: {summary['median_error']:+.0%} in the median, correlation of their logs "
        f"{summary['correlation']:.2f}.\n\n{table(HEAD, rows)}\n\n{curves_table(shipped)}\n{WHY}"
    )
    print(write("speculation", {"summary": summary, "peaks": figures}, text).read_text(encoding="utf-8"))


def curves_table(shipped: FittedCalibration) -> str:
    """Whole curves of a mixture of experts and of a dense model of as much arithmetic, three tokens drafted."""
    head = ("batch", *map(str, SHOWN))
    places = [int(np.flatnonzero(batch == BATCHES)[0]) for batch in SHOWN]
    rows = []
    for name, drafts in (
        ("qwen2_57b_a14b", SpeculativeDecoding(3, 0.8, model("qwen2_5_0_5b"))),
        ("qwen2_5_14b", SpeculativeDecoding(3, 0.8, model("qwen2_5_0_5b"))),
    ):
        for generation in GENERATIONS:
            found = speedups(name, 2, drafts, shipped, generation)[places]
            rows.append([f"{name}, vLLM {generation or 'now'}", *(f"{each:.2f}" for each in found)])
    return f"Two A800, three tokens drafted, of which 80 % are kept:\n\n{table(head, rows)}"


WHY = """
- The shape is MoESD's: with few sequences each drafted token brings experts of its own, with more all are read anyway,
  with many arithmetic is the limit. A dense model's speed-up only falls. Published peaks lie at batches of tens.
- Attempt 1: verification as one pass over sequences, the host counting sequences: +26 % in the median, 35 % on two
  devices, 22 on four. Attempt 2, kept: the engine before V1 makes a sequence of every drafted token where graphs are
  captured, so that its host and its attention count (k + 1) times as many (`draft_expansion` of the engine's facts).
- Left: the measured time ends when the last sequence of a batch does, and those whose drafts are kept less go on in
  ever smaller batches; the time of rejection is not priced. Next: the paper's curves, of which only peaks are tables.
"""


if __name__ == "__main__":
    main()
