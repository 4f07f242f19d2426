"""Two engines on the devices of a plan's service, by the command: what they share, what is told, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_ends import ends
from comptroller.errors import UnsupportedError
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.planning.shared_phases import SharedPhaseConditions, simulate_shared_phases
from comptroller.serving.engine import simulate
from comptroller.work.trace import RequestTrace
from export_plans import plan_of
from golden_replicas import replicated, replicated_plan, written

FULL_AT = 0.4
SHARED = SharedPhaseConditions((0.5, 0.8), FULL_AT)


@pytest.fixture(scope="module")
def trace() -> RequestTrace:
    """Calls that two replicas are busy with."""
    arrivals = np.sort(np.random.default_rng(0).uniform(0, 120, 400))
    return RequestTrace(arrivals, np.full(arrivals.size, 2000), np.full(arrivals.size, 100))


def test_every_replica_becomes_two_engines_on_its_devices_at_its_price(trace: RequestTrace) -> None:
    whole, even, prompts = simulate_shared_phases(replicated_plan(2), trace, SHARED)
    assert [one.prompt_share for one in (whole, even, prompts)] == [None, 0.5, 0.8]
    for one in (even, prompts):
        pairs = [replica for _, replica in one.outcome.fleet.replicas()]
        assert [replica.storage for replica in pairs] == [0, 0, 1, 1] and one.outcome.done.all()
        assert one.outcome.meter_usd / one.outcome.horizon_s == pytest.approx(
            whole.outcome.meter_usd / whole.outcome.horizon_s
        )
        ranks = one.outcome.requests
        assert (ranks.token_rank == ranks.prompt_rank + 1).all(), "the cache stays where it is"
    assert prompts.outcome.percentile("ttft_s", 50) < even.outcome.percentile("ttft_s", 50)
    assert prompts.outcome.percentile("tpot_s", 50) > even.outcome.percentile("tpot_s", 50)


def test_the_first_row_is_the_service_as_it_is(trace: RequestTrace) -> None:
    plan = replicated_plan(2)
    whole, *_ = simulate_shared_phases(plan, trace, SHARED)
    fleet = fleet_of(plan.services, calibration_of_plan(plan), plan.library, 0)
    plain = simulate(fleet, calls_of(plan.services, trace, np.random.default_rng(0)))
    assert whole.outcome.requests.tobytes() == plain.requests.tobytes()


def test_an_engine_alone_at_work_is_as_fast_as_its_cap(trace: RequestTrace) -> None:
    """One call: its prompt on its share alone, its tokens on all the multiprocessors, as in the service as it is."""
    one = trace.take(np.array([0]))
    whole, even, prompts = simulate_shared_phases(replicated_plan(1), one, SHARED)
    assert even.outcome.tpot_s[0] == pytest.approx(whole.outcome.tpot_s[0], rel=0.02)
    assert even.outcome.ttft_s[0] > prompts.outcome.ttft_s[0] > whole.outcome.ttft_s[0]


def test_the_command_tells_each_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, trace = written(tmp_path, 2, np.random.default_rng(0).uniform(0, 60, 200))
    words = ["simulate", plan, "--trace", trace, "--shared-phases", 0.7, "--bandwidth-full-at", 0.4]
    assert ends([*words, "--json"]) == 0
    whole, shared = json.loads(capsys.readouterr().out)["shared_phases"]
    assert whole["prompt_share"] is None and shared["prompt_share"] == 0.7
    assert 0 <= shared["within"] <= 1 and shared["ttft_p50_s"] > 0 and shared["j"] > 0
    assert ends(words) == 0
    assert "70% for prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shared-phases", "0.7"], "--bandwidth-full-at go together"),
        (["--bandwidth-full-at", "0.4"], "--bandwidth-full-at go together"),
        (["--shared-phases", "1", "--bandwidth-full-at", "0.4"], "each between 0 and 1"),
        (["--shared-phases", "0.7", "--bandwidth-full-at", "2"], "--bandwidth-full-at 2: allowed: above 0, to 1"),
        (["--shared-phases", "0.7", "--bandwidth-full-at", "0.4", "--hedge", "1"], "each is a simulation of its own"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trace = written(tmp_path, 2, np.arange(20.0))
    assert ends(["simulate", plan, "--trace", trace, *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_replicas_that_cannot_be_two_engines_are_refused_by_name(trace: RequestTrace) -> None:
    service = replicated(2)
    pools = tuple(pool.model_copy(update={"dp": 2}) for pool in service.deployment.pools)
    ranked: ServiceDocument = service.model_copy(
        update={"deployment": service.deployment.model_copy(update={"pools": pools})}
    )
    with pytest.raises(UnsupportedError, match=r"two engines .* are not simulated with data-parallel ranks"):
        simulate_shared_phases(plan_of(ranked), trace, replace(SHARED, scale=2.0))
