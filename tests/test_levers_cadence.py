"""Steps between two looks at the queue and tokens of a streamed piece: facts of engines, levers of a plan."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.serving_time import first_token
from comptroller.errors import FactError, InfeasibleError, InputError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.launch import CADENCE, cadence_words, command, engines, statement
from comptroller.planning.ground.deployment_levers import DeploymentLevers
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.prove.services import launch_of
from comptroller.planning.prove.simulated_fleet import StepTableCache
from comptroller.planning.reasons.current_fleet import deployment_of
from comptroller.planning.reasons.launch_fleet import LaunchPlace, fleet_of_lines
from comptroller.work.workload import parse
from export_plans import GOLDEN
from lever_workloads import problem_of, workload

SETS = {"poll_steps": ["sglang"], "stream_interval": ["sglang", "vllm"]}
"""Interval -> engines whose command sets it, as their documentation has it."""

STEPS = st.integers(1, 1000)


def replica(engine: str, layout: ParallelLayout | None = None, version: str = "", **set_to: int) -> ModelReplica:
    facts = engine_facts(engine)
    settings = replace(EngineSettings.at_version(facts, version or facts.version), **set_to)
    return ModelReplica(
        model("llama_3_1_8b"), accelerator("h100_sxm"), PrecisionRecipe(), layout or ParallelLayout(), settings
    )


@pytest.mark.parametrize("engine", engines())
def test_every_engine_starts_with_a_look_each_step_and_a_piece_each_token(engine: str) -> None:
    facts = engine_facts(engine)
    assert (facts.poll_steps, facts.stream_interval) == (1, 1)
    assert cadence_words(replica(engine)) == []


@given(steps=STEPS, tokens=STEPS)
def test_what_a_line_sets_is_read_back_as_the_engine_was_set(steps: int, tokens: int) -> None:
    asked = {"poll_steps": steps, "stream_interval": tokens}
    for engine in ("sglang", "vllm"):
        own = {name: value for name, value in asked.items() if engine in SETS[name]}
        line = command(replica(engine, **own), 4000)
        said = statement(line)
        assert {name: said.count(name) for name in own} == own and not said.unread
        (service,) = fleet_of_lines([("", 1, "", line)], LaunchPlace("h100_sxm", "us_neocloud")).fleet.services
        settings = deployment_of(service, GOLDEN.library).replica.engine
        assert {name: getattr(settings, name) for name in own} == own


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("name", CADENCE)
def test_an_interval_that_a_command_does_not_set_is_refused_by_name(engine: str, name: str) -> None:
    told = replica(engine, **{name: 7})
    if engine in SETS[name]:
        assert cadence_words(told)[1] == 7
    else:
        with pytest.raises(
            UnsupportedError, match=f"{engine}: .* 7 .* is not known; of {' and '.join(SETS[name])} it is"
        ):
            cadence_words(told)


def test_a_version_and_a_layout_that_cannot_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"versions from 0\.12 on do"):
        cadence_words(replica("vllm", version="0.11", stream_interval=20))
    with pytest.raises(UnsupportedError, match="data-parallel attention"):
        cadence_words(replica("sglang", ParallelLayout(dp=2), poll_steps=10))
    assert cadence_words(replica("sglang", ParallelLayout(dp=2), stream_interval=10))


@pytest.mark.parametrize("flag", ["--scheduler-recv-interval 0", "--stream-interval often"])
def test_a_line_with_no_such_interval_names_its_flag(flag: str) -> None:
    line = f"python -m sglang.launch_server --model-path meta-llama/Llama-3.1-8B {flag}"
    with pytest.raises(InputError, match=flag.split(maxsplit=1)[0]):
        fleet_of_lines([("", 1, "", line)], LaunchPlace("h100_sxm", "us_neocloud"))


@given(few=STEPS, more=STEPS)
def test_a_first_token_is_later_the_seldomer_the_queue_is_looked_at(few: int, more: int) -> None:
    few, more = sorted((few, more))
    often, seldom = (FittedCalibration.shipped().serving(replica("sglang", poll_steps=n)) for n in (few, more))
    solo, token = np.array([0.1]), np.array([0.02])
    ttft = [first_token(serving, 8.0, solo, 0 * solo, token).total_s for serving in (often, seldom)]
    assert ttft[0] <= ttft[1] if few == more else ttft[0] < ttft[1]
    unseen = float(seldom.unseen_steps)
    assert 0 <= unseen <= more - 1, "the mean wait is below the longest there is"
    assert ttft[1] - ttft[0] == pytest.approx((unseen - float(often.unseen_steps)) * 0.02)


def test_pieces_change_neither_steps_nor_the_first_token() -> None:
    plain, pieces = (replica_timer(replica("vllm", stream_interval=n), FittedCalibration.shipped()) for n in (1, 50))
    assert plain.serving == pieces.serving
    batch = np.array([1.0, 64.0])
    assert (plain.decode(batch, 500 * batch).total_s == pieces.decode(batch, 500 * batch).total_s).all()


def test_a_simulated_first_token_waits_for_the_look_as_the_steady_one_does() -> None:
    service = GOLDEN.services[0].model_copy(update={"batch": 16.0})
    tables = StepTableCache(FittedCalibration.shipped(), GOLDEN.library)
    found = []
    for steps in (None, 2, 30):
        engine = service.deployment.engine.model_copy(
            update={"id": "sglang", "version": "0.5", "max_batch": 32, "poll_steps": steps}
        )
        told = service.model_copy(update={"deployment": service.deployment.model_copy(update={"engine": engine})})
        found.append(tables.of(told, told.deployment.pools[0]))
    prompt, none = np.array([1000.0]), np.zeros(1)
    plain, two, thirty = (float(table.outside_s(prompt, none)[0]) for table in found)
    assert found[0].unseen_s == 0.0 and plain < two < thirty
    step_s = found[2].decode_step_s(16, found[2].usual_kv_tokens)
    assert thirty - plain == pytest.approx(float(found[2].serving.unseen_steps) * step_s)
    idle = replace(found[2], in_flight=0.0)
    assert idle.unseen_s == 0.0, "an engine without decode steps looks at once"


def asked(**allow: Any) -> dict[str, Any]:
    return workload(2.0, (800.0, 150.0), 3000.0, 60.0, **allow)


def test_a_workload_that_names_them_is_planned_with_them_alone() -> None:
    told = asked(engines=["vllm", "sglang"], poll_steps=[10], stream_interval=[1, 20])
    (offers,) = problem_of(told).space.offers.values()
    assert {item.replica.engine.id for item in offers.deployments} == {"sglang"}, "vllm has no such flag"
    for item in offers.deployments:
        words, tokens = shlex.split(launch_of(item, 2000)), item.replica.engine.stream_interval
        assert words[words.index("--scheduler-recv-interval") + 1] == "10" and ".poll10." in f"{item.id}."
        assert ("--stream-interval" in words) == (tokens == 20) == ("streams 20 tokens a piece" in item.label)
    assert len({item.id for item in offers.deployments}) == len(offers.deployments)
    with pytest.raises(InfeasibleError, match="look at its queue every 10 steps is not known; of sglang it is"):
        problem_of(asked(poll_steps=[10]))


def test_a_plan_holds_what_is_not_the_engines_own() -> None:
    document = GOLDEN.services[0].deployment
    assert document.engine.poll_steps is None and document.engine.stream_interval is None
    own = replica_of_pool(document, document.pools[0], GOLDEN.library)
    assert DeploymentLevers.of(own, None, None).is_plain
    told = document.model_copy(update={"engine": document.engine.model_copy(update={"stream_interval": 20})})
    settings = replica_of_pool(told, told.pools[0], GOLDEN.library).engine
    assert settings == replace(own.engine, stream_interval=20)


def test_an_own_engine_file_sets_them_and_its_line_says_so(tmp_path: Path) -> None:
    shipped = Path(engine_facts.__code__.co_filename).parent / "engines" / "sglang.toml"
    text = shipped.read_text(encoding="utf-8").replace("\npoll_steps = 1\n", '\npoll_steps = 12\nprogram = "sglang"\n')
    file = tmp_path / "seldom.toml"
    file.write_text(text, encoding="utf-8")
    facts = engine_facts(str(file))
    told = replace(replica("sglang"), engine=EngineSettings.default(facts))
    assert cadence_words(told) == ["--scheduler-recv-interval", 12]


@pytest.mark.parametrize("name", CADENCE)
@pytest.mark.parametrize("wrong", [[0], [1001], ["2"], [1.5], 3])
def test_bad_input_names_the_field(name: str, wrong: Any) -> None:
    with pytest.raises(FactError, match=rf"allow\.{name}"):
        parse(asked(**{name: wrong}))
