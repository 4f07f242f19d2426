"""What every policy needs and does not get is refused by name: columns of a trace, tiers, quotas, seasons, watts."""

from __future__ import annotations

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.cluster.job_simulation import JobCluster, JobSettings
from comptroller.cluster.policies import JOB_POLICIES
from comptroller.errors import InputError
from comptroller.planning.fleet_sharing import SHARING_ROLES
from comptroller.serving.elastic_rows import scale_in_rows
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import module, names
from comptroller.serving.power import LevelTables, simulate_rows
from comptroller.serving.power_rows import PowerConditions
from comptroller.serving.scaling import ScalingSettings
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from comptroller.work.forecast_scores import forecast_series
from comptroller.work.forecasts import FORECASTS, fit_forecast, is_seasonal
from comptroller.work.load_frame import ForecastFrame
from comptroller.work.load_series import LoadSeries
from export_plans import GOLDEN, plan_of
from test_cluster_jobs import table
from test_serving_power import clocked

COLUMN_NEEDS = [
    (kind, name, need)
    for kind in ("routing", "scheduling", "power")
    for name in names(kind)
    for need in getattr(module(kind, name), "NEEDS", ())
    if need in SHARING_ROLES
]
"""Each need of a column that any policy of these kinds states."""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A plan's service and a trace of lengths alone."""
    place = tmp_path_factory.mktemp("bare")
    (place / "plan.json").write_text(plan_of(GOLDEN.services[0]).model_dump_json(), encoding="utf-8")
    rows = "".join(f"{second},400,20\n" for second in range(20))
    (place / "trace.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}", encoding="utf-8")
    return ["simulate", str(place / "plan.json"), "--trace", str(place / "trace.csv")]


def test_each_role_is_needed_by_some_policy() -> None:
    assert {need for _, _, need in COLUMN_NEEDS} == set(SHARING_ROLES)


@pytest.mark.parametrize(("kind", "name", "need"), COLUMN_NEEDS)
def test_a_policy_that_needs_a_column_is_refused_where_the_trace_lacks_it(
    bare: list[str], capsys: pytest.CaptureFixture[str], kind: str, name: str, need: str
) -> None:
    budget = ["--row-budget", "1e6"] if kind == "power" else []
    with pytest.raises(SystemExit) as ended:
        main([*bare, f"--{kind}", name, *budget])
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2 and name in said and f"'{need}'" in said and "trace.csv" in said


@pytest.mark.parametrize("name", JOB_POLICIES.names())
def test_a_policy_of_jobs_is_refused_without_what_it_needs_and_runs_otherwise(name: str) -> None:
    """Durations stand in every table of jobs; tiers and quotas do not."""
    needs = set(getattr(JOB_POLICIES.module(name), "NEEDS", ())) - {"durations"}
    jobs, how = table([(0, 5, 1, 0), (1, 5, 1, 1)], tiers=False), JobSettings((4, 4), name)
    if not needs:
        assert JobCluster(jobs, how).run().turnaround_s.size == 2
        return
    (need,) = needs
    words = {
        "tiers": "tiers with a promise: --tier a=premium",
        "quota": "a quota for each tenant: --quota a=GPUS",
        "goodput": "the throughput and the gradient noise scale of what jobs train: --goodput FILE",
    }
    with pytest.raises(InputError, match=f"policy {name} needs {words[need]}"):
        JobCluster(jobs, how)


SHORT = LoadSeries("short", 60.0, np.arange(40.0))


@pytest.mark.parametrize("name", FORECASTS.names())
def test_a_horizon_longer_than_the_data_is_refused_with_the_longest(name: str) -> None:
    season = 4 if is_seasonal(name) else 0
    with pytest.raises(InputError, match=r"short: a horizon of 400 steps .* is longer"):
        forecast_series(SHORT, name, ForecastFrame(400, season))


@pytest.mark.parametrize("name", [name for name in FORECASTS.names() if is_seasonal(name)])
def test_a_season_that_is_not_seen_twice_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"forecast {name}: 1.6 seasons of 25 steps .* needed: 2"):
        fit_forecast(name, SHORT.values, ForecastFrame(4, 25))


FLEET = SimulatedFleet.uniform(linear(max_batch=8), 4)
CALLS = CallTable.of(
    arrival_s=np.arange(20.0), input_tokens=np.tile([40, 2000], 10), output_tokens=np.full(20, 5),
    priority=np.tile([0.0, 1.0], 10),
)  # fmt: skip


@pytest.mark.parametrize("name", names("power"))
def test_a_budget_below_idle_is_refused_with_what_is_needed(name: str) -> None:
    """Of rows that stand, and of rows whose replicas come and go."""
    says = (
        r"row budget of 700 W is below what 4 replicas draw idle, 800 W; at least as much is needed, or at most 3 repl"
    )
    conditions, levels = PowerConditions(name, 700.0, tpot_s=0.05), LevelTables(clocked)
    with pytest.raises(InputError, match=says):
        simulate_rows(FLEET, CALLS, conditions, levels)
    with pytest.raises(InputError, match=says):
        scale_in_rows(FLEET, CALLS, ScalingSettings("kpa", 4.0, 4.0, first=2), conditions, levels)
