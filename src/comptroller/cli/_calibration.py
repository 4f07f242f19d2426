"""`comptroller fit calibration DATA`: refit the shipped calibration to a user's own measurements."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from comptroller.cli._output import check, write
from comptroller.errors import InputError
from comptroller.facts.serving import ANY
from comptroller.measure.calibrate import UserCalibration, fit
from comptroller.measure.run_table import read_table


def fit_calibration(data: Path, out: Path | None, words: Console) -> None:
    """Fit, say what was left out and what the data cannot tell, and write the two files into a folder.

    Raises:
        InputError: no folder to write to, or no usable run.
        RecordError: columns are missing or unknown.
    """
    if out is None:
        raise InputError("fit calibration: --out FOLDER says where serving.toml and residual.csv are written")
    files = {name: out / name for name in ("serving.toml", "residual.csv")}
    out.mkdir(parents=True, exist_ok=True)
    for path in files.values():
        check(path)
    rows, left_out = read_table(data)
    for line in left_out.lines():
        words.print(f"[yellow]left out:[/] {escape(line)}", soft_wrap=True)
    fitted = fit(rows, f"comptroller fit calibration {data.name}", date.today(), data.name)
    _say(fitted, {row.replica.engine.id for row in rows}, words)
    write(files["serving.toml"], fitted.constants)
    write(files["residual.csv"], fitted.learned)
    words.print(f"wrote {escape(str(out))}/serving.toml and residual.csv", soft_wrap=True)


def _say(fitted: UserCalibration, engines: set[str], words: Console) -> None:
    for line in fitted.excluded.lines():
        words.print(f"[yellow]left out:[/] {escape(line)}", soft_wrap=True)
    words.print(f"fitted to {fitted.fitted.rows} runs")
    for parameter in fitted.facts.parameters:
        if parameter.identified and parameter.engine in engines | {ANY}:
            spread = f"{parameter.value:.4g} {parameter.unit} (error {parameter.error:.2g})"
            words.print(f"  {parameter.name} ({parameter.engine}): {spread}")
    names = sorted({f"{p.name} ({p.engine})" for p in fitted.unidentified if p.engine in engines | {ANY}})
    words.print(f"the data cannot tell: {', '.join(names) or 'nothing is left open'}", soft_wrap=True)
