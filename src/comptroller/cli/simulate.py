"""`comptroller simulate`: a plan's fleet serves a recorded trace, request by request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli._cache_tiers import (
    CacheTiers,
    SharedPhaseOptions,
    cache_tiers,
    one_routing,
    replica_memory,
    shared_phase_options,
    show_tool_gaps,
    tool_gaps,
)
from comptroller.cli._faults import CallCopyOptions, ReplicaFaultOptions, copy_options, fault_options
from comptroller.cli._option_groups import SharedOptions, with_shared_options
from comptroller.cli._plan_calibration import plan_with_calibration
from comptroller.cli._power import RowPowerOptions, power_options
from comptroller.cli._question_arrivals import AskedQuestions, question_arrivals, say_gates, simulation_choices
from comptroller.cli._scaling import ReplicaScalingOptions, scaling_options
from comptroller.cli._simulation_output import print_simulations, simulation_document, writable, write_files
from comptroller.cli._simulation_uses import refuse_unused
from comptroller.cli._spot import ReplicaSpotOptions, spot_options
from comptroller.cli._trace_input import trace_reading, trace_requests
from comptroller.planning.fleet_sharing import slowdowns_of
from comptroller.planning.simulation import ReplicaMemorySettings, TraceReplaySettings, simulate_plan
from comptroller.report.requests import writer_of
from comptroller.work.rows import TraceReadOptions

File = Path | None
SAMPLES = 240
"""Points of the time line over the span of the arrivals: one for six minutes of a day. Twice as many double the
points that a page holds."""

Policy = Annotated[str, typer.Option(help="Another policy than the plan's, named likewise.", show_default=False)]


@with_shared_options
def run(
    context: typer.Context,
    plan: Annotated[Path, typer.Argument(help="The plan, as `comptroller plan --out` wrote it.", show_default=False)],
    trace: Annotated[str, typer.Option(help="The requests: a trace file, by path or by name.", show_default=False)],
    scaling: Annotated[ReplicaScalingOptions, SharedOptions(scaling_options)],
    spot: Annotated[ReplicaSpotOptions, SharedOptions(spot_options)],
    faults: Annotated[ReplicaFaultOptions, SharedOptions(fault_options)],
    copies: Annotated[CallCopyOptions, SharedOptions(copy_options)],
    questions: Annotated[AskedQuestions, SharedOptions(question_arrivals)],
    power: Annotated[RowPowerOptions, SharedOptions(power_options)],
    phases: Annotated[SharedPhaseOptions, SharedOptions(shared_phase_options)],
    tiers: Annotated[CacheTiers, SharedOptions(cache_tiers)],
    memory: Annotated[ReplicaMemorySettings | None, SharedOptions(replica_memory)],
    gaps: Annotated[bool, SharedOptions(tool_gaps)],
    reading: Annotated[TraceReadOptions, SharedOptions(trace_reading)],
    scale: Annotated[float, typer.Option(help="Replay this many times as fast.")] = 1.0,
    routing: Annotated[
        list[str] | None,
        typer.Option(
            help="Route by this policy, by its id, the path to its file or its dotted path; again for others to "
            "compare. [default: the plan's]",
            show_default=False,
        ),
    ] = None,
    batching: Policy = "",
    scheduling: Policy = "",
    slowdown: Annotated[
        str, typer.Option(help="Who was slowed by whom: tenant, priority or adapter, each alone and left out.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    html: Annotated[File, typer.Option(help="Write the time line, a self-contained page.", show_default=False)] = None,
    png: Annotated[File, typer.Option(help="Write the time line, PNG or .svg.", show_default=False)] = None,
    perfetto_: Annotated[
        File, typer.Option("--perfetto", help="Write a trace for ui.perfetto.dev.", show_default=False)
    ] = None,
    calls: Annotated[
        File, typer.Option(help="Write one row per request, .csv or .parquet.", show_default=False)
    ] = None,
    calibration: Annotated[
        File, typer.Option(help="A folder that `fit calibration` wrote.", show_default=False)
    ] = None,
) -> None:
    """Simulate a plan under a trace: latencies, objectives, dollars, joules and emissions, request by request."""
    paths = writable({"html": html, "png": png, "perfetto": perfetto_, "calls": calls})
    asked = {"spot": spot.policies, "faults": faults.conditions, "hedge": copies.conditions.any, "tool_gaps": gaps}
    asked |= {"shared_phases": phases.conditions.any, "power": power.policies}
    refuse_unused(context, asked | {"scaling": scaling.policies, "pools": scaling.pools.policies})
    as_calls = writer_of(calls) if calls else None
    fleet_plan, priced = plan_with_calibration(plan, calibration)
    requests = trace_requests(trace, plan, reading, fleet_plan)
    if spot.policies:
        return spot.show(fleet_plan, requests, scaling.start_up(scale), priced, json, {"html": html, "png": png})
    if faults.conditions:
        start_up = replace(scaling.start_up(scale), repeat=spot.conditions.repeat)
        return faults.show(fleet_plan, requests, start_up, priced, json)
    if beside := next((one for one in (copies, phases) if one.conditions.any), None):
        return beside.show(fleet_plan, requests, scale, priced, json)
    if power.policies:
        how = (scaling.compared, scaling.conditions(scale)) if scaling.policies else None
        return power.show(fleet_plan, requests, scale, priced, json, {"html": html, "png": png}, how)
    if scaling.policies or scaling.pools.policies:
        return scaling.show(fleet_plan, requests, scale, priced, json, paths)
    samples = SAMPLES if html or png or perfetto_ or json else 0
    settings = TraceReplaySettings(scale, "", batching, scheduling, samples, cache_tiers=tiers, memory=memory)
    if gaps:
        return show_tool_gaps(fleet_plan, requests, replace(settings, routing=one_routing(routing)), priced, json)
    simulations = [
        simulate_plan(fleet_plan, requests, replace(settings, routing=name), priced, asked_for)
        for name, asked_for in simulation_choices(routing, questions)
    ]
    say_gates(questions, [one.solved for one in simulations])
    slowdowns = slowdowns_of(simulations, slowdown)
    write_files(simulations, paths, as_calls)
    if json:
        typer.echo(simulation_document(simulations, slowdowns), nl=False)
    else:
        print_simulations(simulations, slowdowns)
