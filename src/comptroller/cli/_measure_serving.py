"""`comptroller measure serving URL`: time a running engine, and write what it takes as a calibration."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from comptroller.cli._calibration import CalibrationRequest, fit_calibration
from comptroller.cli._measurement import MeasureCommandOutput
from comptroller.cli._output import check, write
from comptroller.cli._progress import ProgressBar
from comptroller.costs.own_calibration import OwnCalibration, calibration_of_folder
from comptroller.errors import InputError
from comptroller.measure.run_observations import FactLookup, ServerStatement, require_statement
from comptroller.measure.run_rows import RunFile, RunRow
from comptroller.measure.serving_comparison import compare
from comptroller.measure.serving_run import ServingLoad, loads_up_to, measure, table_of
from comptroller.measure.serving_target import ServingTarget
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.report import serving_circle

REQUESTS = 60
"""Over all loads: fifteen at each of four, whose mean is within a quarter of a request's spread. Twice as many take
twice the time of an engine that may be serving."""

PROMPT_TOKENS, OUTPUT_TOKENS = 128, 48
"""Of requests where no plan says: a short chat, a minute of an engine on one core. Twice as long take twice that."""

LEAST_SHARE = 8
"""Requests for each client of the largest load where none is asked for: two for each of four loads."""

RUNS = "runs.csv"
"""The measured runs, beside the calibration that was fitted to them."""


@dataclass(frozen=True, slots=True)
class MeasureServingOptions:
    """The options of a measured engine. tokens: means of prompts and outputs.  plan, service: what was planned."""

    requests: int
    clients: tuple[int, ...]
    tokens: tuple[int | None, int | None]
    seed: int
    plan: Path | None
    service: str
    served_model: str
    key_env: str
    statement: ServerStatement

    def on(self, said: ServerStatement) -> MeasureServingOptions:
        """The options with what else is said of the server."""
        return replace(self, statement=replace(said, given=dict(said.given) | dict(self.statement.given)))


def measure_serving_options(
    plan: Annotated[
        Path | None, typer.Option(help="Serving: the plan that it was started from, JSON.", show_default=False)
    ] = None,
    service: Annotated[
        str, typer.Option(help="Serving: the plan's service, where there are several.", show_default=False)
    ] = "",
    model: Annotated[str, typer.Option(help="Serving: which model it is, without a plan.", show_default=False)] = "",
    served_model: Annotated[
        str, typer.Option(help="Serving: the model's name there.", show_default="the first that is listed")
    ] = "",
    key_env: Annotated[str, typer.Option(help="Serving: the variable that holds the key.", show_default=False)] = "",
    requests: Annotated[int, typer.Option(help="Serving: over all loads.", min=1)] = REQUESTS,
    clients_at_once: Annotated[
        list[int] | None, typer.Option("--load", help="Serving: requests in flight, again for others.", min=1)
    ] = None,
    input_tokens: Annotated[
        int | None, typer.Option(help="Serving: mean of a prompt.", show_default="the plan's, else 128")
    ] = None,
    output_tokens: Annotated[
        int | None, typer.Option(help="Serving: mean of an output.", show_default="the plan's, else 48")
    ] = None,
    prompt_seed: Annotated[int, typer.Option(help="Serving: of prompts and lengths.", min=0)] = 0,
) -> MeasureServingOptions:
    """What is sent to a running engine, and what it was started from."""
    tokens = input_tokens, output_tokens
    clients = tuple(clients_at_once or ())
    said = ServerStatement({"model": model} if model else {})
    return MeasureServingOptions(requests, clients, tokens, prompt_seed, plan, service, served_model, key_env, said)


def measure_serving(url: str, asked: MeasureServingOptions, out: Path | None, words: Console) -> MeasureCommandOutput:
    """Time an engine and write its calibration; what was predicted, and what is predicted now, beside what it took.

    Raises:
        InputError: nothing answers, it is not said what server it is, or there is no folder to write to.
    """
    if out is None:
        raise InputError("measure serving: --out FOLDER says where the runs and their calibration are written")
    out.mkdir(parents=True, exist_ok=True)
    check(out / RUNS)
    plan = load_plan(asked.plan) if asked.plan else None
    statement, lookup, planned = asked.statement, None, None
    if plan is not None:
        planned = _service_of(plan, asked.service)
        statement, lookup = planned_statement(planned, asked.statement), FactLookup.of(plan.library)
    load = _load(asked, planned)
    require_statement(RunFile(out / RUNS, "measured", (RunRow(1, {}, clients=1.0),)), statement)
    target = ServingTarget.of(url, asked.served_model, _key(asked.key_env))
    with ProgressBar("requests", "last request", words) as bar:
        found = measure(target, load, bar)
    write(out / RUNS, table_of(found.rows))
    if found.remark:
        words.print(f"[yellow]{escape(found.remark)}[/]", soft_wrap=True)
    request = CalibrationRequest([out / RUNS], "", statement, lookup=lookup)
    priced = calibration_of_plan(plan) if plan else calibration_of_folder(None)
    fit_calibration(request, out, False, words)
    loads = compare(request.read().observations, priced, OwnCalibration.of_folder(out))
    subject = f"{target.model} at {target.url}"
    about = f"{subject}: {load.each} requests at each of {len(found.rows)} loads; {serving_circle.verdict(loads)}"
    return MeasureCommandOutput(
        (serving_circle.sheet(loads, subject),),
        about,
        picture=lambda: serving_circle.picture(loads, subject),
        calibration=None,
        whole_page=lambda: serving_circle.page(loads, subject, about),
    )


def _key(variable: str) -> str:
    """The key that a variable holds.

    Raises:
        InputError: it is not set.
    """
    if variable and not os.environ.get(variable):
        raise InputError(f"--key-env {variable}: the variable is not set")
    return os.environ.get(variable, "") if variable else ""


def _load(asked: MeasureServingOptions, planned: ServiceDocument | None) -> ServingLoad:
    """What is sent: as asked, else requests as the plan expects them, up to its full batch.

    Raises:
        InputError: too few requests for the loads.
    """
    tokens, most, replicas = (PROMPT_TOKENS, OUTPUT_TOKENS), asked.requests // LEAST_SHARE, 1
    if planned is not None:
        rate, (pool,) = sum(each.rate_per_s for each in planned.slices), planned.deployment.pools
        prompt = sum(each.input_tokens * each.rate_per_s for each in planned.slices) / rate
        output = sum(each.output_tokens * each.rate_per_s for each in planned.slices) / rate
        tokens, replicas = (round(prompt), round(output)), pool.replicas
        most = min(most, planned.deployment.engine.max_batch * replicas)
    clients = asked.clients or tuple(sorted({max(x, replicas) for x in loads_up_to(most)}))
    first, second = (given or usual for given, usual in zip(asked.tokens, tokens, strict=True))
    return ServingLoad(asked.requests, clients, first, second, asked.seed, replicas)


def _service_of(plan: Plan, service: str) -> ServiceDocument:
    """The service of a plan that is measured.

    Raises:
        InputError: the plan has several services and none is named, or not this one; or its pools are apart.
    """
    known = {each.id: each for each in plan.services}
    if service not in known and (service or len(known) != 1):
        raise InputError(f"--service {service or 'ID'}: the plan has {', '.join(known) or 'none of its own'}")
    found = known[service or next(iter(known))]
    if len(found.deployment.pools) > 1:
        raise InputError(f"{found.id}: prefill and decode run apart, which one address does not tell")
    return found


def planned_statement(planned: ServiceDocument, said: ServerStatement) -> ServerStatement:
    """What a plan states of the server that it started; options beside it win."""
    deployment = planned.deployment
    (pool,), engine, recipe = deployment.pools, deployment.engine, deployment.recipe
    stated = {
        **{"model": deployment.model, "accelerator": pool.accelerator, "engine": engine.id, "version": engine.version},
        **{"weights": recipe.weights, "experts": recipe.experts, "activations": recipe.activations, "kv": recipe.kv},
        **{"tp": pool.tp, "pp": pool.pp, "dp": pool.dp, "ep": pool.ep},
        **{"max_batch": engine.max_batch, "chunk_tokens": engine.chunk_tokens},
        **{"memory_fraction": engine.memory_fraction},
    }
    return replace(said, given={name: str(value) for name, value in stated.items()} | dict(said.given))
