"""Experts over several nodes: predicted beside published rates of SGLang on 96 H100 and of CloudMatrix384.

    python benchmarks/wide_experts.py

No constant is fitted to these rates; the load of the busiest device comes from a ratio of two other ones
(`costs.operations.BUSIEST`). Writes benchmarks/results/wide_experts.{md,json}.
"""

from __future__ import annotations

from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller_lab.wide_experts import published_rates
from record import table, write

HEAD = ("published by", "what", "tok/s a device", "predicted", "error, %")


def main() -> None:
    """Predict and write."""
    shipped, figures = FittedCalibration.shipped(), []
    for rate in published_rates():
        found = rate.predicted(shipped)
        figures.append((rate.source, rate.name, rate.per_s, found, 100 * (found / rate.per_s - 1)))
    rows = [[a, b, f"{c:,.0f}", f"{d:,.0f}", f"{e:+.0f}"] for a, b, c, d, e in figures]
    print(write("wide_experts", {"rates": figures}, table(HEAD, rows)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
