"""Which options each simulation of `comptroller simulate` uses; every other one that was given is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from comptroller.cli._cache_tiers import cache_tiers, replica_memory, shared_phase_options, tool_gaps
from comptroller.cli._faults import copy_options, fault_options
from comptroller.cli._option_groups import option_name, require_one
from comptroller.cli._power import power_options
from comptroller.cli._question_arrivals import question_arrivals
from comptroller.cli._spot import spot_options
from comptroller.cli._trace_input import trace_reading
from comptroller.errors import InputError

Names = frozenset[str]


def _of(*makers: Callable[..., Any]) -> Names:
    """The options that functions of shared options take."""
    return frozenset(name for make in makers for name in inspect.signature(make).parameters)


EVERY_SIMULATION = frozenset({"plan", "trace", "scale", "json", "calibration"}) | _of(trace_reading)
"""Options of the trace, the prices and the output, which all simulations use."""

_PICTURES = frozenset({"html", "png"})
_START_UP = frozenset({"start_up_s", "weights_from", "image_pulled"})
PLAIN = ""
"""The simulation of the plan's fleet as it is, which no option asks for."""

USES: dict[str, Names] = {
    PLAIN: _PICTURES | {"perfetto_", "calls", "routing", "batching", "scheduling", "slowdown"}
    | _of(question_arrivals, cache_tiers, replica_memory),
    "spot": _PICTURES | _START_UP | _of(spot_options),
    "faults": _START_UP | {"repeat"} | _of(fault_options),
    "hedge": _of(copy_options),
    "shared_phases": _of(shared_phase_options),
    "tool_gaps": frozenset({"routing", "batching", "scheduling"}) | _of(tool_gaps, cache_tiers, replica_memory),
    "power": _PICTURES | _of(power_options),
    "scaling": _PICTURES | _START_UP | {"scaling", "most_replicas", "fill", "shifts", "share"},
    "pools": _PICTURES | _START_UP | {"pools", "tp", "most_devices"},
}  # fmt: skip
"""Parameters of the command that each simulation uses beside those of every simulation, by what asks for it."""


def refuse_unused(context: typer.Context, said: Mapping[str, object]) -> None:
    """Refuse two simulations at once but scaling within a power budget, and options that none of those asked for uses.

    said: what was said of each simulation that an option asks for; empty where nothing was.

    Raises:
        InputError: there are some; each is named, with the simulations that use it.
    """
    require_one(**{name: what for name, what in said.items() if name != "power" or not said["scaling"]})
    asked = [name for name, what in said.items() if what] or [PLAIN]
    used = EVERY_SIMULATION.union(*(USES[name] for name in asked))
    unused = {
        param.opts[0]: _names_of([name for name, uses in USES.items() if param.name in uses])
        for param in context.command.params
        if param.name is not None and param.name not in used and _is_given(context, param.name)
    }
    if unused:
        with_what = " and ".join(map(_name_of, asked))
        raise InputError("; ".join(f"{one} is not used with {with_what}, only with {by}" for one, by in unused.items()))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _names_of(names: Sequence[str]) -> str:
    return " or ".join(map(_name_of, names))


def _name_of(name: str) -> str:
    return option_name(name) if name else "the fleet as it is"
