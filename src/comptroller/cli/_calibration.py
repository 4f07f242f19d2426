"""`comptroller fit calibration FILE...`: refit the shipped calibration to a user's own measurements."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._output import check, write, write_all
from comptroller.errors import InputError
from comptroller.facts.calibration_document import CalibrationDocument
from comptroller.facts.serving import ANY
from comptroller.measure.calibrate import UserCalibration, fit
from comptroller.measure.calibration_accuracy import QUANTITIES, CalibrationAccuracy, accuracy
from comptroller.measure.run_observations import FactLookup, RunData, ServerStatement, read_runs
from comptroller.report.predicted_runs import page, picture

NOTHING: Mapping[str, Path | None] = {}


def server_statement(
    accelerator: Annotated[str, typer.Option(help="Calibration: where it ran.", show_default=False)] = "",
    engine: Annotated[str, typer.Option(help="Calibration: under which engine.", show_default=False)] = "",
    engine_version: Annotated[str, typer.Option(help="Calibration: of which version.", show_default=False)] = "",
    measured: Annotated[str, typer.Option(help="Calibration: on which day, as 2026-11-28.", show_default=False)] = "",
    weights: Annotated[str, typer.Option(help="Calibration: format of the weights.", show_default=False)] = "",
    experts: Annotated[str, typer.Option(help="Calibration: format of the experts.", show_default=False)] = "",
    activations: Annotated[str, typer.Option(help="Calibration: format of activations.", show_default=False)] = "",
    kv: Annotated[str, typer.Option(help="Calibration: format of the cache.", show_default=False)] = "",
    tp: Annotated[int, typer.Option(help="Calibration: tensor parallel devices.", show_default=False)] = 0,
    pp: Annotated[int, typer.Option(help="Calibration: pipeline stages.", show_default=False)] = 0,
    dp: Annotated[int, typer.Option(help="Calibration: data-parallel ranks.", show_default=False)] = 0,
    ep: Annotated[int, typer.Option(help="Calibration: expert-parallel devices.", show_default=False)] = 0,
    clients: Annotated[
        float, typer.Option(help="Calibration: requests in flight, where a file does not say.", show_default=False)
    ] = 0.0,
    max_batch: Annotated[
        int, typer.Option(help="Calibration: sequences in a step, of all ranks.", show_default=False)
    ] = 0,
    chunk_tokens: Annotated[
        int, typer.Option(help="Calibration: tokens of a step, of all ranks.", show_default=False)
    ] = 0,
    memory_fraction: Annotated[
        float, typer.Option(help="Calibration: share of memory the engine took.", show_default=False)
    ] = 0.0,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Calibration: read OURS from a column THEIRS; again for others.", metavar="OURS=THEIRS"),
    ] = None,
) -> ServerStatement:
    """What a user says of the server that was measured."""
    said = {
        **{"accelerator": accelerator, "engine": engine, "version": engine_version, "measured": measured},
        **{"weights": weights, "experts": experts, "activations": activations, "kv": kv},
        **{"tp": tp, "pp": pp, "dp": dp, "ep": ep},
        **{"max_batch": max_batch, "chunk_tokens": chunk_tokens, "memory_fraction": memory_fraction},
    }
    _require_day(measured)
    pairs = [text.partition("=")[::2] for text in column or []]
    if wrong := [ours for ours, theirs in pairs if not ours or not theirs]:
        raise InputError(f"--column {wrong[0]}: is no pair; write OURS=THEIRS, as input_tokens=prompt_len")
    return ServerStatement({name: str(value) for name, value in said.items() if value}, clients or None, dict(pairs))


def _require_day(measured: str) -> None:
    try:
        date.fromisoformat(measured or "2026-01-01")
    except ValueError as error:
        raise InputError(f"--measured {measured}: is no day; write it as 2026-11-28") from error


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """What is to be fitted: files, the model they are of where they do not say, and the server.

    base: folder of an own calibration that is refitted in place of the shipped one.  lookup: where names become facts;
    the catalogue where none is given.
    """

    files: Sequence[Path]
    model: str
    statement: ServerStatement
    base: Path | None = None
    lookup: FactLookup | None = None

    def read(self) -> RunData:
        """The runs of all files."""
        given = dict(self.statement.given) | ({"model": self.model} if self.model else {})
        return read_runs(
            self.files, ServerStatement(given, self.statement.clients, self.statement.columns), self.lookup
        )


def fit_calibration(
    asked: CalibrationRequest,
    out: Path | None,
    as_json: bool,
    words: Console,
    pictures: Mapping[str, Path | None] = NOTHING,
) -> None:
    """Fit, say what was left out, how far predictions were and are, and write the two files into a folder.

    pictures: where predicted against measured is drawn, `png` and `html`.

    Raises:
        InputError: no folder to write to, no usable run, or something of the server that nobody states.
        FactError, RecordError: a file is none of measured runs, or lacks what is needed.
    """
    if out is None:
        raise InputError("fit calibration: --out FOLDER says where serving.toml and residual.csv are written")
    out.mkdir(parents=True, exist_ok=True)
    for path in (out / "serving.toml", *filter(None, pictures.values())):
        check(path)
    data = asked.read()
    if not data.observations:
        raise InputError(f"no usable run: {'; '.join(data.left_out.lines()) or 'the files hold none'}")
    names = " ".join(path.name for path in asked.files)
    base = CalibrationDocument.of_folder(asked.base) if asked.base else None
    fitted = fit(data.observations, f"comptroller fit calibration {names}", date.today(), names, base)
    found = accuracy(fitted.runs, base)
    for name, text in fitted.document.content.items():
        write(out / name, text)
    subject = f"{names}: {_runs(found.rows)}, predicted against measured"
    write_all(pictures, {"png": lambda: picture(found, subject), "html": lambda: page(found, subject)})
    if as_json:
        typer.echo(json.dumps(_document(data, fitted, found), indent=2, ensure_ascii=False))
        return
    _say(data, fitted, words)
    _say_accuracy(found, words)
    words.print(f"wrote {escape(str(out))}/serving.toml and residual.csv", soft_wrap=True)


def _document(data: RunData, fitted: UserCalibration, found: CalibrationAccuracy) -> Mapping[str, Any]:
    """Everything that is said, for programs; what is unknown is null."""
    errors = {"before": found.before, "after": found.after}
    return {
        "rows": fitted.fitted.rows,
        "digest": fitted.document.digest,
        "left_out": [*data.left_out.lines(), *fitted.excluded.lines()],
        "remarks": list(data.remarks),
        "median_absolute_error": {name: _record(asdict(value)) if value else None for name, value in errors.items()},
        "learning_curve": [{"rows": rows, **_record(asdict(value))} for rows, value in found.curve],
        "advice": found.advice(),
    }


def _record(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if isnan(value) else round(value, 6) for name, value in values.items()}


def _say(data: RunData, fitted: UserCalibration, words: Console) -> None:
    for remark in data.remarks:
        words.print(f"[dim]{escape(remark)}[/]", soft_wrap=True)
    for line in (*data.left_out.lines(), *fitted.excluded.lines()):
        words.print(f"[yellow]left out:[/] {escape(line)}", soft_wrap=True)
    servers = dict.fromkeys(f"{run.replica} under {run.replica.engine.id}" for run in fitted.runs.observations)
    words.print(f"fitted to {_runs(fitted.fitted.rows)} of {escape('; '.join(servers))}", soft_wrap=True)
    engines = {run.replica.engine.id for run in fitted.runs.observations}
    for parameter in fitted.facts.parameters:
        if parameter.identified and parameter.engine in engines | {ANY}:
            spread = f"{parameter.value:.4g} {parameter.unit} (error {parameter.error:.2g})"
            words.print(f"  {parameter.name} ({parameter.engine}): {spread}")
    names = sorted({f"{p.name} ({p.engine})" for p in fitted.unidentified if p.engine in engines | {ANY}})
    words.print(f"the data cannot tell: {', '.join(names) or 'nothing is left open'}", soft_wrap=True)


def _say_accuracy(found: CalibrationAccuracy, words: Console) -> None:
    """Errors by quantity, before and after on runs held out, and the learning curve."""
    words.print("median error, before (shipped calibration) -> after (runs held out):")
    after = found.after.all if found.after else (float("nan"),) * len(QUANTITIES)
    for name, old, new in zip(QUANTITIES, found.before.all, after, strict=True):
        words.print(f"  {name}: {_percent(old)} -> {_percent(new)}")
    for rows, errors in found.curve:
        each = ", ".join(f"{name} {_percent(one)}" for name, one in zip(QUANTITIES, errors.all, strict=True))
        words.print(f"  learnt from {_runs(rows)}: {each}")
    words.print(escape(found.advice()), soft_wrap=True)


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _percent(share: float) -> str:
    return "not measured" if isnan(share) else f"{share * 100:.3g} %"
