"""Tasks of agents in a simulation: how long they take, where the time goes, and what a solved one costs."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from comptroller.costs.inference_units import at_rate_w, per_solved
from comptroller.planning.simulation import PlanSimulation
from comptroller.report.figures import dollars, number, seconds, with_prefix
from comptroller.report.sheet import UNKNOWN, Cell, ReportSheet, left, right

PARTS = {"queue": "queue_s", "prefill": "prefill_s", "decode": "decode_s", "tools": "tool_s", "start": "start_s"}
"""Parts of a task's time, by what they are called, added up over its calls; calls beside one another each count."""

PERCENTS = (50, 95)


def task_record(simulation: PlanSimulation) -> dict[str, Any]:
    """What came of the tasks of a trace; empty where nothing in it waits for replies.

    A task's seconds go from its start, before its first call where that is recorded, to the end of its last, tools
    between them included; `outside` is the share of tools and start, the operating system's (arXiv 2602.09345). Of
    the fleet's dollars, joules and grams all are paid for by the solved tasks, in proportion to the tasks that were
    judged; a judged task that the fleet did not do to its end is not solved by it. Watts: of a task, the joules of its
    calls over its seconds, tools' and start included; of the fleet, the meter over the simulated time.
    """
    tasks, outcome = simulation.trace.tasks, simulation.outcome
    if tasks is None or simulation.solved is not None:
        return {}
    _, place, calls = np.unique(tasks.task, return_inverse=True, return_counts=True)
    add = partial(np.bincount, place)
    first = np.nan_to_num(outcome.ttft_s - outcome.queue_s)
    parts = {
        "queue_s": add(np.nan_to_num(outcome.queue_s)),
        "prefill_s": add(first),
        "decode_s": add(np.nan_to_num(outcome.e2e_s - outcome.ttft_s)),
        "tool_s": add(np.where(tasks.parent >= 0, tasks.wait_s, 0.0)),
        "start_s": add(np.where(tasks.parent < 0, tasks.wait_s, 0.0)),
    }
    ended = add(outcome.done.astype(float)) == calls
    parts = {name: seconds_of[ended] for name, seconds_of in parts.items()}
    took = np.zeros(calls.size)
    np.maximum.at(took, place[outcome.done], tasks.path_s(outcome.e2e_s)[outcome.done])
    took = took[ended]
    whole_s = float(np.sum(list(parts.values())))
    shares = {name: float(parts[key].sum() / whole_s) if whole_s else np.nan for name, key in PARTS.items()}
    score = tasks.score[np.unique(tasks.task)]
    judged = np.isfinite(score)
    solved = np.where(ended, score, 0.0)[judged]
    share = float(judged.mean())
    own_j = add(outcome.request_j + outcome.waste_j)[ended]
    whole = {"usd": outcome.meter_usd, "j": outcome.meter_j, "gco2e": outcome.meter_gco2e}
    known = np.isfinite(tasks.cached)
    prompts = simulation.trace.input_tokens
    done = outcome.done
    return {
        "tasks": int(calls.size),
        "ended": int(ended.sum()),
        "calls_per_task": float(calls.mean()),
        "judged": int(judged.sum()),
        "solved": float(solved.sum()),
        "task_s": {f"p{p}": float(np.percentile(took, p)) if took.size else np.nan for p in PERCENTS},
        "time": shares,
        "outside": shares["tools"] + shares["start"],
        "cached": float(outcome.requests.cached[done].sum() / prompts[done].sum()) if done.any() else np.nan,
        "cached_as_recorded": float(tasks.cached[known].sum() / prompts[known].sum()) if known.any() else np.nan,
        "task_w": float(own_j.sum() / took.sum()) if took.sum() else np.nan,
        "fleet_w": outcome.meter_j / outcome.horizon_s,
        **{f"{name}_per_task": amount / calls.size for name, amount in whole.items()},
        **{
            f"{name}_per_solved": per_solved(amount * share, solved) if solved.any() else np.nan
            for name, amount in whole.items()
        },
    }


def tasks_sheet(simulation: PlanSimulation) -> ReportSheet:
    """The tasks of a trace, if it has any."""
    of = task_record(simulation)
    columns = (left("what", ""), right("value", ""))
    if not of:
        return ReportSheet("Tasks", columns, ())
    rows: list[tuple[Cell, ...]] = [
        ("tasks", of["tasks"]),
        ("done to the end", of["ended"]),
        ("calls each", number(of["calls_per_task"])),
        ("seconds of a task, p50", seconds(of["task_s"]["p50"])),
        ("seconds of a task, p95", seconds(of["task_s"]["p95"])),
        *((f"share of its time: {name}", _share(share)) for name, share in of["time"].items()),
        ("share of tools and start together", _share(of["outside"])),
        ("prompt tokens from the cache", _share(of["cached"])),
    ]
    if np.isfinite(of["cached_as_recorded"]):
        rows.append(("as the trace recorded them", f"{of['cached_as_recorded']:.1%}"))
    rows += [
        ("energy per task", with_prefix(of["j_per_task"], "J")),
        ("dollars per task", dollars(of["usd_per_task"])),
        ("mean power of a task, of its own calls", with_prefix(of["task_w"], "W")),
        ("mean power of the fleet", with_prefix(of["fleet_w"], "W")),
    ]
    if of["judged"]:
        solved = of["solved"] > 0
        rows += [
            ("solved of those judged", f"{of['solved']:g} of {of['judged']}"),
            ("energy per solved task", with_prefix(of["j_per_solved"], "J") if solved else UNKNOWN),
            (
                "power at a million solved tasks an hour",
                with_prefix(at_rate_w(of["j_per_solved"]), "W") if solved else UNKNOWN,
            ),
            ("dollars per solved task", dollars(of["usd_per_solved"]) if solved else UNKNOWN),
            ("emissions per solved task, CO2e", with_prefix(of["gco2e_per_solved"], "g") if solved else UNKNOWN),
        ]
    return ReportSheet("Tasks", columns, tuple(rows))


def _share(value: float) -> str:
    """A share in per cent, of nothing where no task was done to its end.

    >>> _share(0.5), _share(float("nan"))
    ('50.0%', '–')
    """
    return f"{value:.1%}" if np.isfinite(value) else UNKNOWN
