"""Writes `facts/calibration/utilisation.toml`: MFU of measured training runs by family of accelerators and bits.

    python benchmarks/fit_utilisation.py        (data at ../shared/data or COMPTROLLER_DATA)

Percentiles are over rows in which every group (a model, or a page) weighs alike, so that a table with many rows of one
model does not decide. vTrain's small models on one node are left out: no run that a rule asks about is of their kind.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from comptroller.costs.compute_count import OPERAND_BITS
from comptroller.errors import ComptrollerError
from comptroller.facts.reader import folder
from comptroller.facts.utilisation import ANY_ACCELERATOR
from comptroller.training.activity import matrix_arithmetic
from comptroller_lab.training_rows import READERS, MeasuredStep
from energy_data import data_folder
from fit_training import FOOTER

LEFT_OUT = "megatron_deepspeed_node"
LEVELS = (0.1, 0.5, 0.9)
HEADER = """\
# MFU of measured training runs by family and bits of the arithmetic. Command: python benchmarks/fit_utilisation.py
# low, middle, high: 10th percentile, median, 90th percentile of rows, every group of equal weight.
"""


def main() -> None:
    """Read all rows and write the file."""
    try:
        data = data_folder() / "training"
    except ComptrollerError as error:
        sys.exit(str(error))
    steps = [step for name, reader in READERS.items() if name != LEFT_OUT for step in reader(data)]
    kinds = sorted({(step.family, _bits(step)) for step in steps})
    wanted = [*kinds, *((ANY_ACCELERATOR, bits) for bits in sorted({bits for _, bits in kinds}))]
    lines = [_line(family, bits, steps) for family, bits in wanted]
    text = HEADER + f'\ndate = {datetime.now(UTC).date()}\ncommand = "python benchmarks/fit_utilisation.py"\n\n'
    text += "shares = [\n" + "\n".join(lines) + "\n]\n" + FOOTER
    path = Path(folder("calibration")) / "utilisation.toml"
    path.write_text(text, encoding="utf-8")
    print(text.partition("[sources")[0])


def _bits(step: MeasuredStep) -> int:
    return OPERAND_BITS[matrix_arithmetic(step.job)]


def _mfu(step: MeasuredStep) -> float:
    """Model FLOPs over the dense peak of the arithmetic in which matrices are multiplied, as plans define it."""
    flops = step.job.flops_per_token() * step.job.seq * step.global_batch
    return flops / step.seconds / step.layout.devices / step.job.device.peak(matrix_arithmetic(step.job))


def _line(family: str, bits: int, steps: Sequence[MeasuredStep]) -> str:
    own = [step for step in steps if _bits(step) == bits and family in (step.family, ANY_ACCELERATOR)]
    rows = Counter(step.group for step in own)
    shares = np.array([_mfu(step) for step in own])
    order = np.argsort(shares)
    weights = np.array([1.0 / rows[step.group] for step in own])[order]
    places = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    low, middle, high = np.interp(LEVELS, places, shares[order])
    return (
        f'  {{ family = "{family}", bits = {bits}, low = {low:.3f}, middle = {middle:.3f}, high = {high:.3f}, '
        f"rows = {len(own)}, groups = {len(rows)} }},"
    )


if __name__ == "__main__":
    main()
