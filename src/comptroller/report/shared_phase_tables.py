"""A service as it is and with two engines on shares of its devices, side by side: a table, and records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from comptroller.planning.shared_phases import SharedPhaseSimulation
from comptroller.quantities import short
from comptroller.report.figures import seconds, with_prefix
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def _name(one: SharedPhaseSimulation) -> str:
    return "as planned" if one.prompt_share is None else f"{one.prompt_share:.0%} for prompts"


def _quantile(name: str, percent: float) -> Callable[[SharedPhaseSimulation], str]:
    return lambda one: seconds(one.outcome.percentile(name, percent))


def shared_phase_sheet(simulations: Sequence[SharedPhaseSimulation]) -> ReportSheet:
    """A row for each share, the first for the service as it is."""
    columns: SheetColumns[SharedPhaseSimulation] = (
        left("multiprocessors", None, _name),
        right("within", "within objectives", lambda one: f"{one.attainment:.2%}"),
        right("ttft_p50", "TTFT p50", _quantile("ttft_s", 50)),
        right("ttft_p99", "p99", _quantile("ttft_s", 99)),
        right("tpot_p50", "TPOT p50", _quantile("tpot_s", 50)),
        right("tpot_p99", "TPOT p99", _quantile("tpot_s", 99)),
        right("e2e_p99", "whole reply p99", _quantile("e2e_s", 99)),
        right("energy", "energy", lambda one: with_prefix(one.outcome.meter_j, unit="J")),
    )
    calls = len(simulations[0].outcome)
    return ReportSheet.of(f"Two engines on the same devices, {calls:,} calls", columns, simulations)


def shared_phase_records(simulations: Sequence[SharedPhaseSimulation]) -> list[dict[str, Any]]:
    """A record for each share."""
    return [
        {
            "prompt_share": one.prompt_share, "within": short(one.attainment),
            **{
                f"{name[:-2]}_p{percent}_s": short(one.outcome.percentile(name, percent))
                for name in ("ttft_s", "tpot_s", "e2e_s")
                for percent in (50, 95, 99)
            },
            "j": short(one.outcome.meter_j), "usd": short(one.outcome.meter_usd),
            "gco2e": short(one.outcome.meter_gco2e),
        }
        for one in simulations
    ]  # fmt: skip
