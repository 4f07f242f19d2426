"""Laws of the loss on eight iso-FLOP families: the budgets of most compute predicted by laws of the others, averaged.

    python benchmarks/loss_laws.py              (data at ../shared/data or COMPTROLLER_DATA)

Writes benchmarks/results/loss_laws.{md,json}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from comptroller.errors import ComptrollerError
from comptroller.work.law_comparison import LawComparison, compare_laws
from comptroller.work.loss_points import read_losses
from comptroller.work.scaling_fit import fit_scaling
from comptroller.work.scaling_law import CHINCHILLA
from energy_data import data_folder
from record import table, write

LAWS = ("chinchilla", "equal_exponents", "outer_exponent", "kaplan")
DROPPED, FLOPS = 5, 5.76e23


def main() -> None:
    """Compare, print and write."""
    try:
        data = data_folder() / "training"
    except ComptrollerError as error:
        sys.exit(str(error))
    points = read_losses(data / "isoflops.csv")
    found = [compare_laws(points.of(name)) for name in points.families]
    means = [100 * one.average_mean for one in found]
    head = ("family", "runs", "times the compute", *(f"{name}, %" for name in LAWS), "average, %", "worst, %")
    text = "\n\n".join([
        "# Laws of the loss, the runs of most compute left out",
        "Mean error of the loss on the fifth of the runs of most compute, by laws of the others; the weights of the "
        "average are of the fifth before, fitted without it.",
        table(head, [_row(one) for one in found]),
        f"Average: {sum(means) / len(means):.2f} % over the families, at most {max(means):.2f} %.",
        "## Chinchilla's points", _chinchilla(data),
    ])  # fmt: skip
    print(write("loss_laws", {one.family: one.record for one in found}, text).read_text(encoding="utf-8"))


def _row(one: LawComparison) -> list[str]:
    by_name = {standing.law: standing.mean for standing in one.standings}
    laws = [f"{100 * by_name[name]:.2f}" for name in LAWS]
    worst = f"{100 * one.average_worst:.2f}"
    return [one.family, str(one.runs), f"{one.ratio:.1f}", *laws, f"{100 * one.average_mean:.2f}", worst]


def _chinchilla(data: Path) -> str:
    """What of Epoch's refit follows from the points that are at hand."""
    points = read_losses(data / "chinchilla_points.csv")
    kept = points.take(points.loss.argsort()[:-DROPPED])
    own = fit_scaling(kept, robust=False).law
    rows = []
    for name, law in (("Epoch, 240 points", CHINCHILLA), (f"{len(kept.loss)} points at hand", own)):
        params, tokens = law.optimum(FLOPS)
        error = abs(law.loss(kept.params, kept.tokens) / kept.loss - 1).mean()
        values = (f"{law.a:,.1f}", f"{law.b:,.1f}", f"{law.floor:.4f}", f"{law.alpha:.4f}", f"{law.beta:.4f}")
        rows.append([name, *values, f"{float(tokens / params):.1f}", f"{100 * error:.2f}"])
    head = ("law", "A", "B", "E", "alpha", "beta", f"D / N at {FLOPS:g}", "error on them, %")
    return (
        f"{len(points.loss)} of Epoch's 245 points are at hand, all up to {points.flops.max():.2g} FLOP; the others, "
        f"of more compute, are not. Without them the exponent of tokens and with it the split are others, while losses "
        f"are predicted alike: parameters of a law are not what a fit knows.\n\n" + table(head, rows)
    )


if __name__ == "__main__":
    main()
