"""Held-out accuracy of power per device and energy per output token.

    python benchmarks/accuracy_energy.py        (data at ../shared/data or COMPTROLLER_DATA)

Prints one table and writes benchmarks/results/accuracy_energy.{md,json}. `energy_lines` returns its lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import ComptrollerError
from comptroller_lab.power_fit import HoldoutPredictions, fit_all, hold_out
from energy_data import EnergyData, data_folder, load
from record import write

Array = npt.NDArray[np.float64]

GIVEN = (
    "As plans predict: the shipped serving calibration. Given: the mean batch and output length of each row. Fitted "
    "on training rows, beside the shares of power: what the generation of the engine (vLLM 0.11.1) slows, the input "
    "length of each task, what preparing an image or a video takes"
)


@dataclass(frozen=True)
class Line:
    """One line of the table; errors are shares of the measured value, coverage that of 80 % intervals."""

    quantity: str
    split: str
    rows: int
    median: float
    mean: float
    bias: float
    within_10: float
    within_20: float
    coverage: float | None
    half_width: float | None


def line(quantity: str, split: str, pair: tuple[Array, Array], half: Array | None = None) -> Line:
    """A line from predictions and truths; `half` are half-widths of log ratios."""
    predicted, truth = pair
    ratio = predicted / truth
    error = np.abs(ratio - 1)
    return Line(
        quantity,
        split,
        int(truth.size),
        float(np.median(error)),
        float(error.mean()),
        float(np.exp(np.median(np.log(ratio))) - 1),
        float((error <= 0.1).mean()),
        float((error <= 0.2).mean()),
        None if half is None else float((np.abs(np.log(ratio)) <= half).mean()),
        None if half is None else float(np.median(np.expm1(half))),
    )


def energy_lines(folder: Path, say: Callable[[str], None]) -> list[Line]:
    """All lines of the table.

    Raises:
        InputError: a data file is missing or malformed.
    """
    found = load(folder)
    for name, report in found.left_out.items():
        for reason in report.lines():
            say(f"{name}: left out {reason}")
    families = hold_out(found.bench, found.rows.family, (found.a100,), say)
    devices = hold_out(found.bench, found.rows.device, (found.a100,), say)
    return [
        *_split(found, families, "leave one model family out"),
        *_split(found, devices, "leave one device out", each=False),
        _ampere(found),
    ]


def _split(found: EnergyData, held: HoldoutPredictions, split: str, each: bool = True) -> list[Line]:
    rows, lines = found.rows, []
    flat_j = held.token_j * held.constant_w / held.predicted_w
    parts = [("", np.ones(rows.rows, bool))]
    if each:
        parts += [(f", {name}", rows.device == name) for name in sorted(set(rows.device.tolist()))]
    for suffix, chosen in parts:
        for quantity, predicted, truth, half in (
            ("power per device, step times measured", held.known_w, rows.device_w, held.halves["known_w"]),
            ("  constant share of the limit", held.constant_w, rows.device_w, None),
            ("power per device, all predicted", held.predicted_w, rows.device_w, held.halves["predicted_w"]),
            ("energy per output token, all predicted", held.token_j, rows.token_j, held.halves["token_j"]),
            ("  constant share of the limit over predicted time", flat_j, rows.token_j, None),
            ("  time per output token, predicted", held.token_s, rows.token_s, held.halves["token_s"]),
        ):
            pair = (predicted[chosen], truth[chosen])
            lines.append(line(quantity + suffix, split, pair, None if half is None else half[chosen]))
    return lines


def _ampere(found: EnergyData) -> Line:
    """A100 readings predicted by shares that saw Hopper and Blackwell only."""
    _, fitted = fit_all(found.bench, ())
    pair = (found.a100.predicted(fitted), found.a100.share)
    return line("power per A100, step times measured", "fitted on H100 and B200", pair)


def markdown(lines: list[Line]) -> str:
    """The table."""
    head = "| quantity | split | rows | median | mean | bias | in 10 % | in 20 % | coverage | half-width |"
    body = [
        f"| {x.quantity} | {x.split} | {x.rows} | " + " | ".join(map(_percent, astuple(x)[3:])) + " |" for x in lines
    ]
    return "\n".join([head, "|---" * 10 + "|", *body])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def main() -> int:
    """Print and write the table."""
    try:
        lines = energy_lines(data_folder(), lambda text: print(text, file=sys.stderr, flush=True))
    except ComptrollerError as error:
        print(f"accuracy_energy: {error}", file=sys.stderr)
        return 2
    text = f"{GIVEN}.\n\n{markdown(lines)}\n"
    print(text)
    write("accuracy_energy", {"lines": [asdict(each) for each in lines]}, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
