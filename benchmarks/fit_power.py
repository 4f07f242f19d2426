"""Fits `facts/calibration/power.toml` from the energy rows and the A100 readings.

    python benchmarks/fit_power.py              (data at ../shared/data or COMPTROLLER_DATA)

Errors are jackknifed over model families; the spreads are those of predictions of families left out.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import ComptrollerError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.reader import folder
from comptroller_lab.clock_points import fit_voltage
from comptroller_lab.harness import NUISANCES
from comptroller_lab.power_fit import (
    COVERAGE,
    PRIOR,
    TRUTHS,
    UNSEEN_HALF,
    HoldoutPredictions,
    LeastSquaresSolution,
    PowerShareFit,
    fit_all,
    hold_out,
)
from comptroller_lab.splitwise_power import idle_share
from energy_data import SPLITWISE, EnergyData, data_folder, load

Array = npt.NDArray[np.float64]

HEADER = """\
# Fitted power shares. Command: python benchmarks/fit_power.py   Report: benchmarks/results/accuracy_energy.md
# P / limit = f floor gap + busy cap(f (floor + (active t_kernel + communication t_collective
#   + sequence t_sequence) / t_busy + memory u_mem + compute sqrt(u_matrix)))       (costs/power.py)
# error: standard error, jackknifed over model families.  families: f of the measured device families.
# spread: half-widths of 80 % intervals as log ratios, on model families left out.
# serving: effects of the generation of vLLM 0.11.1, and input lengths in the energy rows (comptroller_lab/harness.py).
name = "Power of a device as shares of its limit, by what it does"

[fit]
command = "python benchmarks/fit_power.py"
fitted = {fitted}

[sources.ml_energy]
title = "ML.ENERGY leaderboard v3, steady-state GPU power of vLLM 0.11.1 on H100 and B200 ({energy} rows)"
url = "https://github.com/ml-energy/leaderboard"
date = 2026-02-27
licence = "Apache-2.0 (dataset card of ml-energy/benchmark-v3)"

[sources.splitwise]
title = "SplitwiseSim, mean power of Llama-2-70B and BLOOM-176B batches on A100 ({a100} configurations)"
url = "https://github.com/Mutinifni/splitwise-sim"
date = 2026-11-21
licence = "MIT"

[sources.perseus]
title = "Perseus, time and energy of pipeline stages at locked clocks on A100 SXM and A40"
url = "https://github.com/ml-energy/zeus/tree/38cb3f90c30d9041d4b141cfe5c922dba55baa45/sosp24_data/emulation/stage_profile"
date = 2024-10-07
licence = "Apache-2.0"

[sources.idle]
title = "Idle shares of H200 (its file: {h200:.3f}) and A100 (lowest mean power in SplitwiseSim: {ampere:.3f})"
url = "https://github.com/Mutinifni/splitwise-sim"
date = 2026-11-21

[sources.ecologits]
title = "EcoLogits 0.11, impacts/llm.py: power of an eight-GPU server without its GPUs"
url = "https://github.com/genai-impact/ecologits"
date = 2026-11-21
licence = "MPL-2.0"
"""


def errors(fits: dict[str, PowerShareFit], names: tuple[str, ...]) -> Array:
    """Jackknife standard errors: sqrt((k - 1) / k sum (v_i - mean)^2) over the left-out families.

    names: device families of the full fit; a fold that lacks one takes no part in its error.
    """
    size = len(PRIOR)
    folds = []
    for fit in fits.values():
        own = dict(zip(fit.families, fit.values[size:], strict=True))
        folds.append([*fit.values[:size], *(own.get(name, np.nan) for name in names)])
    table = np.array(folds)
    count = np.isfinite(table).sum(axis=0)
    return np.asarray(np.sqrt((count - 1) / count * np.nansum((table - np.nanmean(table, axis=0)) ** 2, axis=0)))


def _draw(where: str, value: float, error: float, rows: int, source: str) -> str:
    quantity = f'{{ value = {value:.4g}, unit = "1", source = "{source}" }}'
    return f"\n[{where}]\nfraction = {quantity}\nerror = {error:.2g}\nrows = {rows}\n"


def document(found: EnergyData, fit: tuple[LeastSquaresSolution, PowerShareFit], held: HoldoutPredictions) -> str:
    """The text of the calibration file."""
    rows, (solution, fitted) = found.rows, fit
    total, spreads = rows.rows + found.a100.share.size, errors(held.fits, fitted.families)
    h200 = accelerator("h200_sxm")
    idle = np.array([(h200.idle_w or np.nan) / h200.tdp_w, idle_share(data_folder() / SPLITWISE)])
    parts = [
        HEADER.format(
            fitted=datetime.now(UTC).date().isoformat(),
            energy=rows.rows,
            a100=found.a100.share.size,
            h200=idle[0],
            ampere=idle[1],
        )
    ]
    size = len(PRIOR)
    for name, value, error in zip(PRIOR, fitted.values[:size], spreads[:size], strict=True):
        parts.append(_draw(f"shares.{name}", value, error, total, "ml_energy"))
    device = np.array([r.device.family for r in rows.replicas])
    for name, value, error in zip(fitted.families, fitted.values[size:], spreads[size:], strict=True):
        own = sum(m.size for m, f in zip(rows.members, device, strict=True) if f == name)
        source = "ml_energy" if own else "splitwise"
        factor = float(np.exp(value))
        parts.append(_draw(f"families.{name}", factor, factor * error, own or found.a100.share.size, source))
    parts.append(_draw("idle", idle.mean(), idle.std(ddof=1), idle.size, "idle"))
    parts.append(_spread(found, held))
    voltage = fit_voltage()
    for name in ("floor", "knee"):
        share = getattr(voltage, name)
        parts.append(_draw(f"clocks.{name}", share.fraction, max(share.error, 1e-3), share.rows, "perseus"))
    parts.append('\n[host]\nnode_w = { value = 1.2, unit = "kW", source = "ecologits" }\n')
    parts.append(_serving(found, solution))
    return "".join(parts)


def _spread(found: EnergyData, held: HoldoutPredictions) -> str:
    half = {
        name: float(np.quantile(np.abs(np.log(getattr(held, name) / getattr(found.rows, truth))), COVERAGE))
        for name, truth in TRUTHS.items()
    }
    return (
        f"\n[spread]\nmeasured_steps = {half['known_w']:.3g}\npredicted_steps = {half['predicted_w']:.3g}\n"
        f"energy = {half['token_j']:.3g}\nunseen_device = {UNSEEN_HALF:.3g}\nrows = {found.rows.rows}\n"
    )


def _serving(found: EnergyData, solution: LeastSquaresSolution) -> str:
    covariance = np.linalg.inv(solution.jacobian.T @ solution.jacobian)
    lines = []
    for item, value, error in zip(NUISANCES, np.exp(solution.values), np.sqrt(np.diag(covariance)), strict=True):
        unit = "tokens" if item.name.startswith("input") else "1"
        unit = "s" if item.name.endswith("_s") and "/" not in item.name else unit
        lines.append(
            f'\n[[serving]]\nname = "{item.name}"\nfitted = {value:.4g}\nerror = {error:.2g}\nunit = "{unit}"\n'
        )
    return "".join(lines)


def main() -> int:
    """Fit and write the file."""
    try:
        found = load(data_folder())
    except ComptrollerError as error:
        print(f"fit_power: {error}", file=sys.stderr)
        return 2
    fit = fit_all(found.bench, (found.a100,))
    held = hold_out(found.bench, found.rows.family, (found.a100,), lambda text: print(text, file=sys.stderr))
    target: Path = folder("calibration") / "power.toml"
    target.write_text(document(found, fit, held))
    print(f"wrote {target.name}: {found.rows.rows} rows and {found.a100.share.size} A100 configurations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
