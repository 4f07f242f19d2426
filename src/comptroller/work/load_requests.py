"""Requests drawn from a load at equal steps: in each step a Poisson stream of its rate."""

from __future__ import annotations

import numpy as np

from comptroller.errors import InputError
from comptroller.work.demand import requests
from comptroller.work.load_series import LoadSeries
from comptroller.work.trace import RequestTrace
from comptroller.work.workload import Workload


def requests_of_load(series: LoadSeries, workload: Workload, busiest_per_s: float, seed: int = 0) -> RequestTrace:
    """A trace whose rate follows a load, at a rate in its busiest step; lengths are those of a workload.

    The load is recorded, arrivals within its steps are not: they are drawn, independent of each other.

    Raises:
        InputError: the load is nowhere above 0, or below 0 somewhere.
        FactError: the workload has no lengths.
    """
    if not (series.values.max() > 0 and series.values.min() >= 0):
        raise InputError(
            f"{series.name}: values from {series.values.min():g} to {series.values.max():g}; a load is from 0, and "
            "somewhere above"
        )
    rng = np.random.default_rng(seed)
    counts = rng.poisson(series.values / series.values.max() * busiest_per_s * series.step_s)
    begins_s = np.repeat(np.arange(counts.size) * series.step_s, counts)
    arrival_s = np.sort(begins_s + rng.uniform(0.0, series.step_s, begins_s.size))
    sizes = requests(workload, rng, arrival_s.size)
    note = (
        f"arrivals drawn at the rates of {series.name}, {busiest_per_s:g}/s in the busiest {series.step_s:g} s; "
        "lengths of the workload"
    )
    return RequestTrace(arrival_s, sizes.input_tokens, sizes.output_tokens, source=series.name, notes=(note,))
