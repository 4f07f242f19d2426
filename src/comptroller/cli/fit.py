"""`comptroller fit`: laws, routers, gates, monitors, rollouts, forecasts of loads, calibration from measured runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._calibration import CalibrationRequest, fit_calibration, server_statement
from comptroller.cli._evidence_laws import fit_grids, fit_laws
from comptroller.cli._evidence_options import EvidenceMap, evidence_map
from comptroller.cli._forecasts import ForecastOptions, fit_forecasts, forecast_options
from comptroller.cli._gates import PARTS, PartFitOptions
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._rollouts import fit_rollouts
from comptroller.cli._scaling_laws import LossLawOptions, fit_losses, scaling_options
from comptroller.errors import InputError, UnknownIdError
from comptroller.measure.run_observations import ServerStatement
from comptroller.report.terminal import console
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws import LawQuery

File = Path | None
SUBJECTS = ("laws", "routers", "gates", "monitors", "rollouts", "calibration", "forecasts")


@with_shared_options
def run(
    subject: Annotated[str, typer.Argument(help="What: " + ", ".join(SUBJECTS) + ".", show_default=False)],
    evidence: Annotated[
        list[str],
        typer.Argument(
            help="Replies or counts (a file, or `own`); a load; or files of measured runs.", show_default=False
        ),
    ],
    server: Annotated[ServerStatement, SharedOptions(server_statement)],
    columns: Annotated[EvidenceMap, SharedOptions(evidence_map)],
    losses: Annotated[LossLawOptions, SharedOptions(scaling_options)],
    ahead: Annotated[ForecastOptions, SharedOptions(forecast_options)],
    only: Annotated[
        list[str] | None, typer.Option("--law", help="Only this law; again for others.", show_default=False)
    ] = None,
    at: Annotated[
        list[int] | None,
        typer.Option(help="So many samples, rollouts; % of solved runs a monitor may stop.", show_default=False),
    ] = None,
    beyond: Annotated[
        bool, typer.Option("--beyond", help="Extrapolate past the range in which the error could be measured.")
    ] = False,
    margin: Annotated[float, typer.Option(help="Difference in score that does not matter.")] = 0.02,
    level: Annotated[float, typer.Option(help="Level of intervals.")] = 0.9,
    draws: Annotated[int, typer.Option(help="Resamples behind an interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.", min=0)] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to route among, again for others; or the measured one.", show_default=False),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Router: win, linear, nearest, domain; gate: question, reply; monitor.", show_default=False),
    ] = None,
    cost: Annotated[
        list[float] | None,
        typer.Option(help="What a call of each --model costs, where not as recorded.", show_default=False),
    ] = None,
    calibration: Annotated[
        File, typer.Option(help="Calibration: refit this one, a folder, and keep its runs.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    png: Annotated[
        File,
        typer.Option(
            help="Write a picture, PNG or .svg: coverage and forecasts; of a calibration, predicted against measured.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[File, typer.Option(help="Write a self-contained page.", show_default=False)] = None,
    out: Annotated[
        File, typer.Option(help="Folder of a calibration; file of a router, gate, monitor or law.", show_default=False)
    ] = None,
    table: Annotated[
        File, typer.Option(help="Write the findings, .csv, .md, .tex or .parquet.", show_default=False)
    ] = None,
) -> None:
    """Fit laws to evidence, with intervals; routers, gates and monitors, held out; or a calibration."""
    if subject not in SUBJECTS:
        raise UnknownIdError("subject", subject, SUBJECTS)
    if subject == "calibration":
        if len(model or ()) > 1:
            raise InputError("fit calibration: one --model, that of all the files")
        asked = CalibrationRequest([Path(file) for file in evidence], "".join(model or ()), server, calibration)
        return fit_calibration(asked, out, json, console(), {"png": png, "html": html})
    if len(evidence) > 1:
        raise InputError(f"fit {subject}: one file of evidence, not {len(evidence)}")
    files = {"png": png, "html": html, "table": table}
    if subject == "forecasts":
        return fit_forecasts(evidence[0], ahead, {**files, "out": out}, json)
    if subject in PARTS:
        wish = PartFitOptions(model or [], kind or [], cost or [], at or [], seed, columns)
        return PARTS[subject](evidence[0], wish, out, files, json)
    query = LawQuery(tuple(at or ()), beyond, margin, level, draws, seed)
    if subject == "rollouts":
        return fit_rollouts((evidence[0], columns), model or [], query, files, json)
    of, laws = evidence[0], only or []
    if fit_losses((of, laws), losses, query, {**files, "out": out}, json) or fit_grids((of, laws), query, files, json):
        return
    fit_laws(read_evidence(of, columns), laws, query, files, json)
