"""What the benchmarks of tenants, adapters and cache tiers say, on a part of their recorded data."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

pytest.importorskip("pyarrow")
import fleet_adapters  # noqa: E402
import fleet_cache  # noqa: E402
import fleet_fairness  # noqa: E402
import served  # noqa: E402
from comptroller.serving.engine import simulate  # noqa: E402
from comptroller.serving.jobs import calls_of, fleet_for_trace  # noqa: E402

TRACES = fleet_adapters.FOLDER.parent / "traces"
mooncake = pytest.mark.skipif(
    not (TRACES / fleet_cache.TRACES[0]).is_file(), reason="the Mooncake traces are not beside the project"
)
azure = pytest.mark.skipif(not (TRACES / fleet_fairness.TRACE).is_file(), reason="the Azure traces are not here")
genai = pytest.mark.skipif(
    not (fleet_adapters.FOLDER / "genai_metrics.parquet").is_file(), reason="the image requests are not here"
)


@mooncake
@pytest.mark.parametrize("name", fleet_cache.TRACES)
def test_a_pool_reaches_nine_tenths_of_the_bound(name: str) -> None:
    trace, one = served.recorded(name), served.step_table()
    part = trace.take(np.arange(1000))
    choice = fleet_cache.TierChoice("pool", "least_request", (("rdma_pool", fleet_cache.POOL_GB),))
    calls = calls_of(part)
    found = simulate(fleet_for_trace(fleet_cache.fleet_of(one, choice, part), part), calls)
    bound = fleet_cache.reuse(calls)
    assert fleet_cache.line(choice, found, calls, bound).of_bound >= fleet_cache.GOAL


@mooncake
def test_alone_the_first_token_changes_by_what_is_spared_less_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_cache, "APART", 600)
    for each in fleet_cache.apart(served.recorded(fleet_cache.TRACES[1]), served.step_table()):
        assert each.change_s == pytest.approx(each.load_s - each.spared_s, abs=1e-9)


@azure
def test_a_light_tenant_is_shielded_by_replicas_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter flood: first come first served many times as late, shuffle sharding within a tenth of alone or so."""
    monkeypatch.setattr(fleet_fairness, "SPAN_S", 120.0)
    one, trace = served.step_table(), served.recorded(fleet_fairness.TRACE)
    calls = fleet_fairness.crowd(trace, 360.0, 0)
    fcfs, shard = (
        fleet_fairness.line(policy, one, calls, 360.0)
        for policy in (fleet_fairness.POLICIES[0], fleet_fairness.SHARDED)
    )
    assert fcfs.ratio_p99 > 100 and shard.ratio_p99 < 1.2


@genai
def test_affinity_loads_as_often_as_was_recorded() -> None:
    seen = fleet_adapters.metrics()
    assert seen.per_request == pytest.approx(0.222, abs=0.001)
    lines = {(one.routing, one.slots): one for one in fleet_adapters.containers(replace(seen, load_s=seen.load_s))}
    assert lines["adapter_affinity", 1].loads == pytest.approx(seen.per_request, rel=0.2)
    assert lines["least_request", 1].loads > 3 * seen.per_request
