"""Steps without captured graphs: what they take, how sure that is, and as a lever of a plan."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.eager import LAUNCH_ERROR, LAUNCH_S, PUBLISHED
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.reserve import graph_bytes
from comptroller.errors import FactError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.launch import eager_words
from comptroller.planning.offer.intervals import Z80, ReplicaIntervals, is_timed
from comptroller.planning.prove.services import launch_of
from comptroller.work.workload import parse
from lever_workloads import cost, problem_of, workload

SHIPPED = FittedCalibration.shipped()


def replica(eager: bool, name: str = "llama_3_1_8b", device: str = "h100_sxm", tp: int = 1) -> ModelReplica:
    engine = replace(EngineSettings.default(engine_facts("vllm")), eager=eager)
    return ModelReplica(model(name), accelerator(device), PrecisionRecipe(), ParallelLayout(tp), engine)


def decoded_s(one: ModelReplica, batch: float) -> float:
    return float(replica_timer(one, SHIPPED).decode(np.array([batch]), np.array([batch * 512])).total_s[0])


@pytest.mark.parametrize(("known", "asked", "device", "name", "measured"), [
    (0, 1, "a800_80_sxm", "qwen2_5_7b", 22.5e-3),
    (1, 0, "h100_sxm", "llama_3_1_8b", 8.4e-3),
])  # fmt: skip
def test_one_published_host_tells_the_step_of_the_other_within_what_hosts_differ(
    known: int, asked: int, device: str, name: str, measured: float
) -> None:
    """The step of a model on a host that was left out, from the launches of the other: off by a factor of three."""
    calls = replica_timer(replica(True, name, device), SHIPPED).operations.count.sum()
    assert measured / calls == pytest.approx(PUBLISHED[asked], rel=0.15)
    left_out = calls * PUBLISHED[known]
    assert abs(np.log(left_out / measured)) < 2 * Z80 * LAUNCH_ERROR
    assert decoded_s(replica(False, name, device), 1.0) < measured


def test_a_small_step_waits_for_launches_and_a_large_one_hides_them() -> None:
    small, large = (decoded_s(replica(True), b) / decoded_s(replica(False), b) for b in (1.0, 256.0))
    assert small > 1.5
    assert small > large >= 1.0
    assert decoded_s(replica(True, "llama_3_1_70b", tp=8), 1.0) > 600 * LAUNCH_S
    assert graph_bytes(replica(True)) == 0.0 < graph_bytes(replica(False))


def test_its_interval_is_as_wide_as_hosts_differ_and_nobody_timed_it() -> None:
    plain, eager = (ReplicaIntervals.of(replica(x), SHIPPED).tpot for x in (False, True))
    assert np.log(eager.high) == pytest.approx(np.hypot(np.log(plain.high), Z80 * LAUNCH_ERROR))
    assert is_timed(replica(False), SHIPPED) and not is_timed(replica(True), SHIPPED)


def asked_for(**allow: Any) -> dict[str, Any]:
    return workload(2.0, (800.0, 150.0), 3000.0, 60.0, **allow)


def test_it_is_a_candidate_with_its_flag_and_costs_no_less() -> None:
    (offers,) = problem_of(asked_for(eager=True)).space.offers.values()
    eager = [item for item in offers.deployments if item.replica.engine.eager]
    assert len(eager) == len(offers.deployments) / 2
    assert all("--enforce-eager" in shlex.split(launch_of(item, 2000)) and ".eager." in item.id for item in eager)
    assert cost(asked_for(eager=True)) == cost(asked_for())
    engine = EngineSettings.default(engine_facts("trtllm"))
    with pytest.raises(UnsupportedError, match="not known"):
        eager_words(replace(engine, eager=True))


def test_bad_input_names_the_field() -> None:
    with pytest.raises(FactError, match=r"allow\.eager"):
        parse(asked_for(eager="yes"))
    with pytest.raises(FactError, match="graphs"):
        parse(asked_for(graphs=[1]))
