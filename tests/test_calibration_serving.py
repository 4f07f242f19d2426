"""The shipped serving calibration, its residual and intervals, and refits from a user's own runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from comptroller.costs.causes import QUANTITIES, effects, is_foreign
from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import GROUPS, FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.prediction import ClosedLoopLoad, ReplicaPredictor
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.residual import GaussianProcessResidual, ResidualIdentity, places
from comptroller.costs.steady import UniformRequests
from comptroller.errors import InputError, RecordError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.serving import anchors, read_anchors, serving_facts
from comptroller.measure.calibrate import fit, fit_some, start
from comptroller.measure.features import bank
from comptroller.measure.observations import ExclusionReport, RunObservation, groups
from comptroller.measure.residuals import ResidualPoints, points_from_anchors, train
from comptroller.measure.run_observations import read_runs
from comptroller.measure.serving_parameters import PRIORS, RunLatencyModel, prior_of

TODAY = date(2026, 11, 21)
LAYOUTS = (ParallelLayout(2), ParallelLayout(4), ParallelLayout(8))


def server(name: str = "llama_3_1_70b", device: str = "h100_sxm", layout: ParallelLayout | None = None) -> ModelReplica:
    return ModelReplica(
        model(name),
        accelerator(device),
        PrecisionRecipe(),
        layout or ParallelLayout(4),
        EngineSettings.default(engine_facts("vllm")),
    )


def load(*clients: float, input_tokens: float = 1024, output_tokens: float = 512) -> ClosedLoopLoad:
    count = np.array(clients, float)
    return ClosedLoopLoad(np.full(len(count), input_tokens), np.full(len(count), output_tokens), count)


def runs(
    factor: float, layouts: tuple[ParallelLayout, ...] = LAYOUTS, clients: tuple[int, ...] = (1, 8, 32)
) -> list[RunObservation]:
    """Runs of a server that is `factor` times as slow as the shipped physics."""
    found = []
    for layout in layouts:
        replica = server(layout=layout)
        predicted = ReplicaPredictor.shipped().predict(replica, load(*clients)).loop
        for i, count in enumerate(clients):
            number = len(found) + 1
            tpot, ttft = factor * predicted.tpot_s[i], factor * predicted.ttft_s[i]
            found.append(RunObservation(number, replica, 1024, 512, count, ttft, tpot, "mine", f"mine {number}"))
    return found


def test_the_shipped_file_names_unit_error_prior_and_source_of_every_parameter() -> None:
    facts = serving_facts()
    assert facts.command and facts.data and facts.sources and facts.rows > 1000
    names = {p.name for p in facts.parameters if not p.name.startswith(tuple(f"{q}." for q in QUANTITIES))}
    assert names == set(PRIORS) and {f"time.{group}" for group in GROUPS} <= names
    for p in facts.parameters:
        assert p.error <= p.prior_error * 1.001, f"{p.name} {p.engine}: the data widened a prior"
        assert p.unit == prior_of(p.name).unit


def test_an_engine_never_measured_takes_the_mean_of_the_others() -> None:
    facts = serving_facts()
    known = [p.value for p in facts.parameters if p.name == "host"]
    assert facts.value("host", "an_own_engine") == pytest.approx(np.exp(np.mean(np.log(known))))


@pytest.mark.parametrize(
    ("name", "layout", "recipe"),
    [
        ("llama_3_1_8b", ParallelLayout(1), PrecisionRecipe()),
        ("qwen3_32b", ParallelLayout(2), PrecisionRecipe()),
        ("deepseek_v3", ParallelLayout(8, 1, 1, 8), PrecisionRecipe("fp8_block", "fp8_block", "fp8_block")),
        ("deepseek_v3", ParallelLayout(1, 1, 8, 8), PrecisionRecipe("fp8_block", "fp8_block", "fp8_block")),
        ("minimax_m2_5", ParallelLayout(4), PrecisionRecipe("fp8_block", "fp8_block", "fp8_block")),
    ],
)
def test_the_fit_and_the_cost_model_are_the_same_equations(
    name: str, layout: ParallelLayout, recipe: PrecisionRecipe
) -> None:
    replica = ModelReplica(
        model(name), accelerator("h200_sxm"), recipe, layout, EngineSettings.default(engine_facts("sglang"))
    )
    loads = [(1024.0, 512.0, 1.0), (8192.0, 1024.0, 64.0), (20_000.0, 100.0, 3000.0)]
    observed = [
        RunObservation(i, replica, isl, osl, clients, 1.0, 0.01, "x", f"x{i}")
        for i, (isl, osl, clients) in enumerate(loads)
    ]
    found = bank(observed, ExclusionReport())
    belief = start(found, serving_facts())
    fitted = RunLatencyModel.of(found, belief.layout)
    inputs, outputs, clients = (np.array(column) for column in zip(*loads, strict=True))
    loop = closed_loop(
        replica_timer(replica, FittedCalibration.shipped()), memory(replica), UniformRequests(inputs, outputs), clients
    )
    assert np.exp(fitted.tpot(belief.logs)) == pytest.approx(loop.tpot_s, rel=1e-9)
    assert np.exp(fitted.ttft(belief.logs)) == pytest.approx(loop.ttft_s, rel=1e-9)


@pytest.mark.parametrize(
    ("engine", "version", "device", "layout"),
    [
        ("vllm", "0.6.1", "mi300x", ParallelLayout(4)),
        ("trtllm", "0.14", "a100_80_sxm", ParallelLayout(2, 4)),
        ("vllm", "", "rtx_4090", ParallelLayout(8)),
        ("llama_cpp", "", "mi300x", ParallelLayout(1, 8)),
    ],
)
def test_the_effects_of_causes_are_the_same_in_the_fit_and_in_the_cost_model(
    engine: str, version: str, device: str, layout: ParallelLayout
) -> None:
    settings = replace(EngineSettings.at_version(engine_facts(engine), version), poll_steps=10)
    replica = ModelReplica(model("llama_3_1_8b"), accelerator(device), PrecisionRecipe(), layout, settings)
    found = bank([RunObservation(1, replica, 1024, 512, 16, 1.0, 0.01, "x", "x1")], ExclusionReport())
    belief = start(found, serving_facts())
    fitted = RunLatencyModel.of(found, belief.layout)
    requests = UniformRequests(np.array([1024.0]), np.array([512.0]))
    loop = closed_loop(replica_timer(replica, FittedCalibration.shipped()), memory(replica), requests, np.array([16.0]))
    assert effects(replica) and is_foreign(replica) == (device != "rtx_4090")
    assert np.exp(fitted.tpot(belief.logs)) == pytest.approx(loop.tpot_s, rel=1e-9)
    assert np.exp(fitted.ttft(belief.logs)) == pytest.approx(loop.ttft_s, rel=1e-9)


def test_runs_that_state_no_settings_move_effects_and_not_what_all_servers_share() -> None:
    stated = runs(1.0)
    other = server("llama_3_1_8b", "mi300x", ParallelLayout(1))
    slow = ReplicaPredictor.shipped().predict(other, load(4, 32)).loop.tpot_s * 3.0
    foreign = [
        RunObservation(90 + i, other, 1024, 512, c, np.nan, slow[i], "table", f"t{i}", spread=0.3)
        for i, c in enumerate((4, 32))
    ]
    alone, both = fit(stated, "", TODAY, "").facts.table, fit([*stated, *foreign], "", TODAY, "").facts.table
    for key, parameter in alone.items():
        if "." not in key[0] or key[0].startswith("time."):
            assert both[key].value == pytest.approx(parameter.value, rel=1e-6), key
    assert both["pace.vendor.amd", "any"].value > 1.02


def test_effects_that_stated_runs_show_are_theirs() -> None:
    """A table of another source over the same kind of link, three times as slow, does not move what servers say."""
    stated = runs(1.0)
    old = replace(server(), engine=EngineSettings.at_version(engine_facts("vllm"), "0.6.1"))
    slow = ReplicaPredictor.shipped().predict(old, load(4, 32)).loop.tpot_s * 3.0
    table = [
        RunObservation(90 + i, old, 1024, 512, c, np.nan, slow[i], "table", f"t{i}", spread=0.3)
        for i, c in enumerate((4, 32))
    ]
    alone, both = fit(stated, "", TODAY, "").facts.table, fit([*stated, *table], "", TODAY, "").facts.table
    for key in (("wire.fabric", "any"), ("outside.dense", "vllm")):
        assert both[key].value == pytest.approx(alone[key].value, rel=1e-9), key
    assert both["pace.generation.v0", "vllm"].value > 1.02 * alone["pace.generation.v0", "vllm"].value


def test_an_old_build_on_another_vendor_s_device_has_both_causes_and_their_own() -> None:
    device = accelerator("mi300x")
    old = replace(server(device="mi300x"), engine=EngineSettings.at_version(engine_facts("vllm"), "0.6.1"))
    assert device.vendor == "AMD"
    assert {"pace.vendor.amd", "pace.vendor.amd.v0", "pace.generation.v0"} <= {name for name, _ in effects(old)}


def test_a_run_that_states_an_output_rate_alone_holds_its_own_prompt() -> None:
    replica = server(layout=ParallelLayout(8))
    rate = RunObservation(1, replica, 4096, 64, 8, np.nan, np.nan, "x", "x1", tokens_per_s=1000.0)
    token = replace(rate, number=2, group="x2", tpot_s=0.008)
    found = bank([rate, token], ExclusionReport())
    belief = start(found, serving_facts())
    of_rate, of_token = RunLatencyModel.of(found, belief.layout).tpot(belief.logs)
    assert found.features.tpot_s.tolist() == [0.008, 0.008]
    assert of_rate > of_token


def test_the_residual_is_silent_on_models_never_measured() -> None:
    found = ReplicaPredictor.shipped().predict(server("mistral_large_2411", layout=ParallelLayout(8)), load(1, 16, 64))
    assert found.novelty == "new"
    assert found.tpot_s.value == pytest.approx(found.loop.tpot_s)
    assert found.ttft_s.value == pytest.approx(found.loop.ttft_s)


def test_the_residual_fades_far_from_what_was_measured() -> None:
    predictor = ReplicaPredictor.shipped()
    anchor = next(
        a for a in anchors() if a.engine == "vllm" and a.accelerator == "h100_sxm" and "151936" in a.architecture
    )
    identity = ResidualIdentity(anchor.engine, anchor.architecture, anchor.formats, anchor.accelerator, anchor.run)
    near = np.array([anchor.place])
    far = near + np.array([[40.0, 40.0, 40.0, 0, 0, 0]])
    close, distant = predictor.tpot.mean(identity, near)[0], predictor.tpot.mean(identity, far)[0]
    assert abs(distant) < 1e-6 < abs(close)
    spread = predictor.tpot.correction(identity, np.concatenate([near, far])).spread
    assert spread[0] < 0.5 * spread[1]


def test_intervals_hold_the_value_and_narrow_where_it_was_measured() -> None:
    predictor = ReplicaPredictor.shipped()
    new = predictor.predict(server("mistral_large_2411", layout=ParallelLayout(8)), load(16))
    run = next(a.run for a in anchors() if a.engine == "vllm" and a.architecture == "64x5120x151936")
    seen = predictor.predict(server("qwen3_32b", layout=ParallelLayout(4)), replace(load(16), run=run))
    for found in (new, seen):
        for figure in (found.tpot_s, found.ttft_s, found.output_tokens_per_s):
            assert figure.low[0] < figure.value[0] < figure.high[0]
    assert seen.novelty == "seen"
    assert seen.tpot_s.high / seen.tpot_s.low < new.tpot_s.high / new.tpot_s.low


def test_training_recovers_residuals_and_anchors_give_them_back() -> None:
    rng = np.random.default_rng(3)
    replica = server()
    at = places(replica, rng.integers(1, 256, 40).astype(float), np.full(40, 1024.0), np.full(40, 512.0))
    truth = 0.2 + 0.05 * np.sin(at[:, 0])
    identity = ResidualIdentity.of(replica, "1.0 2026-01-01")
    kernel = serving_facts().tpot_kernel
    trained = train(kernel, ResidualPoints.merged([identity] * 40, at, truth))
    assert trained.residual().mean(identity, at) == pytest.approx(truth, abs=0.03)
    back = points_from_anchors(kernel, trained.anchors(), list(trained.weights))
    assert back.residual == pytest.approx(trained.points.residual, abs=1e-9)
    assert GaussianProcessResidual.of(kernel, trained.anchors(), list(trained.weights)).novelty(identity) == "seen"


def test_a_few_runs_of_ones_own_correct_the_prediction_and_narrow_it(tmp_path: Path) -> None:
    found = fit(runs(1.3), "comptroller fit calibration mine.csv", TODAY, "mine.csv")
    constants, learned = tmp_path / "serving.toml", tmp_path / "residual.csv"
    constants.write_text(found.document.serving, encoding="utf-8")
    learned.write_text(found.document.residual, encoding="utf-8")
    before, after = ReplicaPredictor.shipped(), ReplicaPredictor.shipped(constants, learned)
    between = load(4, 16)
    old, new = (p.predict(server(layout=ParallelLayout(4)), between) for p in (before, after))
    assert old.novelty == "related" and new.novelty == "seen"
    assert new.tpot_s.value == pytest.approx(1.3 * old.tpot_s.value, rel=0.05)
    assert (new.tpot_s.high / new.tpot_s.low < old.tpot_s.high / old.tpot_s.low).all()
    other = after.predict(server("mistral_large_2411", layout=ParallelLayout(8)), between)
    plain = before.predict(server("mistral_large_2411", layout=ParallelLayout(8)), between)
    assert other.tpot_s.value == pytest.approx(plain.tpot_s.value, rel=0.15), "other models are pooled, not moved"


def test_a_fit_says_what_the_data_do_not_identify() -> None:
    found = fit(runs(1.1, layouts=(ParallelLayout(4),)), "c", TODAY, "d")
    unknown = {p.name for p in found.unidentified}
    assert {"time.experts_8bit", "ranks", "time.linear_attention"} <= unknown
    assert {(p.name, p.engine) for p in serving_facts().parameters} == {
        (p.name, p.engine) for p in found.facts.parameters
    }


def test_the_same_runs_give_the_same_files() -> None:
    first, second = (fit(runs(0.9), "c", TODAY, "d") for _ in range(2))
    assert first.document == second.document and first.document.digest == second.document.digest


def test_bad_runs_are_named_and_left_out() -> None:
    good = runs(1.0, layouts=(ParallelLayout(4),))
    bad = [
        replace(good[0], number=11, tpot_s=0.0),
        replace(good[0], number=12, tpot_s=float("nan"), ttft_s=float("nan")),
        replace(good[0], number=13, ttft_s=5000.0),
        replace(good[0], number=14, tpot_s=1000 * good[0].tpot_s),
        replace(good[0], number=15, ttft_s=1000 * good[0].ttft_s),
        replace(good[0], number=16, replica=server(layout=ParallelLayout(1))),
        replace(good[0], number=17, concurrency=0),
    ]
    found = fit([*good, *bad], "c", TODAY, "d")
    assert sorted(number for number, _ in found.excluded.rows) == [11, 12, 13, 14, 15, 16, 17]
    reasons = dict(found.excluded.rows)
    assert "not above 0" in reasons[11] and "another unit" in reasons[14] and "does not fit" in reasons[16]
    assert found.facts.rows == len(good)
    with pytest.raises(InputError, match=r"no usable run: .*not above 0"):
        fit(bad[:1], "c", TODAY, "d")


def test_runs_that_share_any_link_are_one_group() -> None:
    assert groups([("a", "x"), ("b", "y"), ("c", "x"), ("b", "z")]) == ["a", "b", "a", "b"]


HEADER = "model,accelerator,engine,tp,input_tokens,output_tokens,clients,ttft_ms,tpot_ms\n"


def test_tables_are_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        HEADER
        + "llama_3_1_70b,h100_sxm,vllm,4,1024,512,8,110,15\n"
        + "no_such,h100_sxm,vllm,4,1024,512,8,110,15\n"
        + "llama_3_1_70b,h100_sxm,vllm,many,1024,512,8,110,15\n"
        + "llama_3_1_70b,h100_sxm,vllm,4,1024,512,8,fast,15\n"
    )
    data = read_runs([path])
    (run,), report = data.observations, data.left_out
    assert run.replica.layout == ParallelLayout(4) and run.tpot_s == pytest.approx(0.015)
    assert [number for number, _ in report.rows] == [3, 4, 5]
    assert "no_such" in report.rows[0][1] and "tp is 'many'" in report.rows[1][1]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("model,accelerator,engine,output_tokens,clients,tpot_ms", "no column input_tokens"),
        (HEADER.strip().replace("ttft_ms", "tpot_s"), "tpot stands in two units"),
        ("model,accelerator,engine,input_tokens,output_tokens,clients", "no latency column"),
    ],
)
def test_tables_with_wrong_columns_are_refused(tmp_path: Path, header: str, problem: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(header + "\n")
    with pytest.raises(RecordError, match=problem):
        read_runs([path])


def test_a_residual_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "residual.csv"
    path.write_text("engine,weight\nvllm,1\n")
    with pytest.raises(RecordError, match="columns must be engine"):
        read_anchors(path)
    assert read_anchors(tmp_path / "absent.csv") == ()


def _step_s(device: str, version: str, calibration: FittedCalibration) -> float:
    engine = EngineSettings.default(engine_facts("vllm"))
    engine = replace(engine, version=version, generation=engine_facts("vllm").generation_of(version))
    replica = ModelReplica(model("llama_3_1_8b"), accelerator(device), PrecisionRecipe(), ParallelLayout(1), engine)
    timer = replica_timer(replica, calibration)
    return float(timer.decode_s(np.array([64.0]), np.array([64.0 * 512]))[0])


def test_a_build_that_waits_for_its_scheduler_is_slower_and_a_later_one_is_the_present_one() -> None:
    shipped = FittedCalibration.shipped()
    now, waiting, old = (_step_s("h100_sxm", version, shipped) for version in ("0.14.0", "0.11.1", "0.6.3"))
    assert _step_s("h100_sxm", "0.12.0", shipped) == now
    assert now < waiting < old


def test_a_vendors_build_of_a_generation_nobody_measured_keeps_what_is_known_of_the_vendor() -> None:
    shipped = FittedCalibration.shipped()
    names = {name for name, _ in shipped.facts.table}
    assert "pace.vendor.amd" in names
    assert "pace.vendor.amd.v1" not in names
    without = replace(shipped.facts, parameters=tuple(p for p in shipped.facts.parameters if ".vendor." not in p.name))
    slower = _step_s("mi300x", "0.11.1", shipped) / _step_s("mi300x", "0.11.1", FittedCalibration(without))
    assert slower == pytest.approx(
        _step_s("mi300x", "", shipped) / _step_s("mi300x", "", FittedCalibration(without)), rel=0.1
    )


def test_effects_fitted_alone_leave_every_other_parameter_where_it_was() -> None:
    engine = EngineSettings.at_version(engine_facts("vllm"), "0.11.1")
    slow = [replace(run, replica=replace(run.replica, engine=engine), spread=0.3) for run in runs(1.5)]
    seen = bank(slow, ExclusionReport())
    facts = serving_facts()
    neutral = replace(facts, parameters=tuple(p for p in facts.parameters if "generation.v1" not in p.name))
    before = start(seen, neutral)
    after = fit_some(seen, before, "generation.v1")
    moved = np.array(["generation.v1" in name for name, _ in before.layout.names])
    assert (after.logs[~moved] == before.logs[~moved]).all()
    gap = RunLatencyModel.of(seen, before.layout).tpot(after.logs) - np.log(seen.features.tpot_s)
    assert np.abs(gap).max() < 0.8 * np.log(1.5)


def test_an_old_build_slows_a_small_model_more_than_a_large_one() -> None:
    def slower(name: str, layout: ParallelLayout) -> float:
        now, old = (EngineSettings.default(engine_facts(engine)) for engine in ("vllm", "vllm@0.6.3"))
        times = []
        for engine in (now, old):
            replica = ModelReplica(model(name), accelerator("h100_sxm"), PrecisionRecipe(), layout, engine)
            timer = replica_timer(replica, FittedCalibration.shipped())
            times.append(float(timer.decode_s(np.array([128.0]), np.array([128.0 * 512]))[0]))
        return times[1] / times[0]

    small, large = slower("llama_3_1_8b", ParallelLayout(1)), slower("llama_3_1_70b", ParallelLayout(4))
    assert small > large > 1.0
    assert small - 1.0 > 1.3 * (large - 1.0)
