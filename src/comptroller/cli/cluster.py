"""`comptroller cluster`: jobs on GPUs under policies, on spot before a deadline, services over nodes."""

from __future__ import annotations

import json as documents
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from comptroller.cli._cluster_shift import add_commands
from comptroller.cli._faults import node_fault_options
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._output import check, say, write_all
from comptroller.cluster.balance_run import balance as balance_services
from comptroller.cluster.balance_run import service_table
from comptroller.cluster.balancing import BALANCERS
from comptroller.cluster.job_faults import JobFaults
from comptroller.cluster.job_files import jobs_of_file
from comptroller.cluster.job_outcome import JobOutcome
from comptroller.cluster.job_run import (
    goodput_of_jobs,
    jobs_in_tiers,
    kind_speeds,
    node_kinds,
    node_sizes,
    quotas,
    serving_share,
)
from comptroller.cluster.job_simulation import JobCluster, JobSettings
from comptroller.cluster.job_table import WHOLE, JobTable
from comptroller.errors import InputError
from comptroller.report.cluster_tables import (
    balance_records,
    balance_sheet,
    job_records,
    jobs_page,
    jobs_picture,
    jobs_sheet,
    tiers_sheet,
)
from comptroller.report.terminal import console, print_sheet

app = typer.Typer(no_args_is_help=True, help="Simulate jobs on the GPUs of a cluster, and balance services over nodes.")
DAY_S = 86400.0
add_commands(app)
AsJson = Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")]


def speed_options(
    speed: Annotated[
        list[str] | None,
        typer.Option(
            help="Speed of jobs on a kind of GPU, as k80=0.25, or of a tenant's, as team/k80=0.1.", show_default="1"
        ),
    ] = None,
) -> list[str]:
    """The words, as they are."""
    return speed or []


def goodput_options(
    goodput: Annotated[
        Path | None,
        typer.Option(
            help="How what jobs train goes on more or fewer GPUs: CSV with a row for each model.", show_default=False
        ),
    ] = None,
) -> Path | None:
    """The file, as it is."""
    return goodput


def column_options(
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="What a column is called, as gpus=devices. Roles: submitted, duration, end, gpus, gpu_share, tenant, "
            "model.",
            show_default=False,
        ),
    ] = None,
) -> list[str]:
    """The words, as they are."""
    return column or []


@app.command()
@with_shared_options
def jobs(
    file: Annotated[Path, typer.Argument(help="Jobs: a table, CSV, JSON lines or Parquet.", show_default=False)],
    nodes: Annotated[
        list[str],
        typer.Option(
            help="Nodes as 64x8 (64 of 8 GPUs) or v100:64x8, or a file; again for others.", show_default=False
        ),
    ],
    speed: Annotated[list[str], SharedOptions(speed_options)],
    column: Annotated[list[str], SharedOptions(column_options)],
    goodput: Annotated[Path | None, SharedOptions(goodput_options)],
    faults: Annotated[JobFaults | None, SharedOptions(node_fault_options)],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A policy, by its id, its file or its dotted path; again for others to compare. Ids: backfill, fcfs, "
            "first_fit, gang, gpu_fraction, hetero_max_min, least_service, max_min, pollux, shortest_remaining, "
            "static_quota.",
            show_default="fcfs",
        ),
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(help="GPUs of a tenant, as team=64; or `work`: by the GPU-hours of each.", show_default=False),
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            help="Tier of a tenant: premium (95 % of its GPU-hours), standard (70 %), basic, or a share, as team=0.8.",
            show_default="basic",
        ),
    ] = None,
    serving: Annotated[
        Path | None, typer.Option(help="GPUs that serving takes first: CSV with at_s and gpus.", show_default=False)
    ] = None,
    restart_s: Annotated[float, typer.Option("--restart", help="Seconds without progress after a change.")] = 60.0,
    checkpoint_s: Annotated[
        float, typer.Option("--checkpoint", help="Seconds between checkpoints: what serving stops goes back to one.")
    ] = 1800.0,
    from_day: Annotated[float, typer.Option(help="First day of the file that counts.")] = 0.0,
    until_day: Annotated[float, typer.Option(help="Day at which it ends.", show_default="the last")] = float("inf"),
    most_gpus: Annotated[
        float, typer.Option(help="Leave out jobs of more GPUs.", show_default="none is left out")
    ] = float("inf"),
    png: Annotated[
        Path | None, typer.Option(help="Write a picture over time, PNG or .svg.", show_default=False)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the same as a page.", show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """Jobs on a cluster under one policy or several: use of GPUs, waits, tiers, lost work."""
    for path in filter(None, (png, html)):
        check(path)
    table = jobs_in_tiers(
        _chosen_jobs(jobs_of_file(file, _columns(column)), from_day, until_day, most_gpus), tier or []
    )
    sizes, (names, kinds) = node_sizes(nodes), node_kinds(nodes)
    speeds = kind_speeds(speed, table.tenants, names)
    by_tenant = quotas(quota or [], table, sum(sizes))
    share = serving_share(serving) if serving else None
    growth = goodput_of_jobs(goodput, table, sizes) if goodput else None
    found: list[JobOutcome] = []
    for name in dict.fromkeys(policy or ["fcfs"]):
        settings = JobSettings(
            sizes, name, restart_s, checkpoint_s, quota=by_tenant, serving=share, faults=faults, kinds=kinds,
            speeds=speeds, goodput=growth,
        )  # fmt: skip
        found.append(JobCluster(table, settings).run())
    write_all({"png": png, "html": html}, {"png": lambda: jobs_picture(found), "html": lambda: jobs_page(found)})
    if json:
        typer.echo(documents.dumps({"notes": list(table.notes), "policies": job_records(found)}, indent=2))
        return
    for note in table.notes:
        say(note)
    print_sheet(jobs_sheet(found), console())
    if len(table.tiers) > 1:
        print_sheet(tiers_sheet(found), console())


def _columns(texts: list[str]) -> dict[str, str]:
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise InputError(f"--column {wrong[0]}: is not ROLE=NAME")
    return {role: name for role, _, name in (text.partition("=") for text in texts)}


def _chosen_jobs(table: JobTable, from_day: float, until_day: float, most_gpus: float) -> JobTable:
    keep = (table.submitted_s >= from_day * DAY_S) & (table.submitted_s < until_day * DAY_S)
    keep &= table.milli <= most_gpus * WHOLE
    if not keep.any():
        days = table.span_s / DAY_S
        raise InputError(
            f"no job from day {from_day:g} to {until_day:g} of at most {most_gpus:g} GPUs, of {days:.4g} days"
        )
    return table if keep.all() else table.rows(np.asarray(keep))


@app.command()
def balance(
    nodes: Annotated[Path, typer.Argument(help="CSV: node, and a column for each resource.", show_default=False)],
    services: Annotated[
        Path, typer.Argument(help="CSV: service, node, the same resources, move_cost.", show_default=False)
    ],
    balancer: Annotated[
        list[str] | None,
        typer.Option(
            help="A balancer, by its id, its file or its dotted path; again for others. Ids: agents, annealing, "
            "genetic, greedy, seeded_genetic, tabu.",
            show_default="all",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    json: AsJson = False,
) -> None:
    """Which services to move so that no node is overloaded, at the least cost of moves."""
    table = service_table(nodes, services)
    found = [balance_services(table, name, seed) for name in dict.fromkeys(balancer or BALANCERS.names())]
    if json:
        typer.echo(documents.dumps(balance_records(found), indent=2))
        return
    print_sheet(balance_sheet(found), console())
    best = min(found, key=lambda one: (one.after, one.cost))
    for service, old, new in best.move_names:
        console().print(f"{best.balancer}: {service} from {old} to {new}", markup=False)
