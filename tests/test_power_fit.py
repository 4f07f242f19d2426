import os
from pathlib import Path

import numpy as np
import pytest

from comptroller.facts.power import power_facts
from comptroller_lab.energy import read_energy
from comptroller_lab.harness import NUISANCES, EnergyBench, plan_calibration, shipped_serving
from comptroller_lab.power_fit import (
    PRIOR,
    LeastSquaresSolution,
    PowerShareFit,
    bench_points,
    fit_all,
    fit_shares,
    huber,
    leave_out,
    span_points,
)
from comptroller_lab.splitwise_power import read_splitwise_power, spans

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data"))
ENERGY, SPLITWISE = DATA / "energy/ml_energy_known.csv", DATA / "serving/splitwise_known.csv"
needs_data = pytest.mark.skipif(not ENERGY.is_file(), reason=f"no measured data at {DATA}")

FITTED_ROWS = 711
"""Rows of the energy data that the shipped shares were fitted on (facts/calibration/power.toml)."""


def _rows() -> int:
    return len(ENERGY.read_text(encoding="utf-8").splitlines()) - 1 if ENERGY.is_file() else 0


fitted_data = pytest.mark.skipif(
    _rows() != FITTED_ROWS,
    reason=f"the shares were fitted on {FITTED_ROWS} rows, there are {_rows()}: refit with benchmarks/fit_power.py",
)


@pytest.fixture(scope="module")
def bench():
    return EnergyBench.of(read_energy(ENERGY)[0], plan_calibration())


@pytest.fixture(scope="module")
def a100():
    return span_points(spans(read_splitwise_power(SPLITWISE)[0], plan_calibration()))


@needs_data
def test_shares_are_recovered_from_power_they_made(bench):
    predicted = bench.predict(shipped_serving())
    made = bench_points(bench, predicted)
    families = tuple(sorted(set(made.device_family.tolist())))
    truth = PowerShareFit(np.array([0.22, 0.12, 0.2, 0.3, 0.45, 0.9, *[0.0] * len(families)]), families)
    exact = bench_points(bench, predicted)
    exact = type(exact)(exact.phases, made.predicted(truth), exact.weight, exact.device_family)
    found = fit_shares(((exact, np.ones(exact.share.size, bool)),))
    assert np.abs(exact.predicted(found) / exact.share - 1).max() < 0.03
    assert np.abs(found.values[: len(PRIOR)] - truth.values[: len(PRIOR)]).max() < 0.1


@needs_data
def test_shipped_shares_predict_a100_power_that_has_no_part_in_hopper_or_blackwell(a100):
    facts = power_facts()
    values = np.array([getattr(facts.shares, name).fraction for name in PRIOR])
    error = np.abs(a100.predicted(PowerShareFit(values, ())) / a100.share - 1)
    assert error.mean() < 0.12


@needs_data
def test_measured_time_that_the_model_does_not_explain_is_waiting(bench):
    predicted = bench.predict(shipped_serving())
    known = predicted.measured_in(bench.data.token_s)
    total = known.decoding.total_s + known.prefilling.total_s
    assert np.allclose(total, bench.data.token_s)
    assert (known.decoding.busy_s <= known.decoding.total_s * (1 + 1e-9)).all()


@fitted_data
@pytest.mark.slow
def test_a_refit_gives_the_shipped_numbers(bench, a100):
    solution, fitted = fit_all(bench, (a100,))
    facts = power_facts()
    for name, value in zip(PRIOR, fitted.values, strict=False):
        shipped = getattr(facts.shares, name)
        assert value == pytest.approx(shipped.fraction, abs=shipped.error), name
    for name, value in zip(fitted.families, np.exp(fitted.values[len(PRIOR) :]), strict=True):
        assert value == pytest.approx(facts.families[name].fraction, abs=facts.families[name].error), name
    names = [item.name for item in NUISANCES]
    assert names == [item.name for item in facts.serving]
    for item, value in zip(facts.serving, solution.values, strict=True):
        assert value == pytest.approx(np.log(item.fitted), abs=max(item.error, 0.05)), item.name


@fitted_data
@pytest.mark.slow
def test_llama_left_out_is_predicted_within_its_interval(bench, a100):
    """Published anchor: Llama-3.1-8B on one H100, 64 in flight, 0.119 J per token and 610 W."""
    data = bench.data
    held = leave_out(bench, data.family == "Llama-3", (a100,))
    at = np.flatnonzero(
        (data.family == "Llama-3")
        & (data.device == "h100_sxm")
        & (np.abs(data.token_j - 0.119) < 0.001)
        & (np.round(data.batch) == 64)
    )
    assert at.size == 1
    assert abs(np.log(held.token_j[at[0]] / 0.119)) <= held.halves["token_j"][at[0]]
    assert abs(np.log(held.known_w[at[0]] / 610.3)) <= held.halves["known_w"][at[0]]
    test = data.family == "Llama-3"
    ours = np.abs(held.known_w[test] / data.device_w[test] - 1).mean()
    constant = np.abs(held.constant_w[test] / data.device_w[test] - 1).mean()
    assert ours < 0.12
    assert ours < constant / 1.5
    assert np.median(np.abs(held.token_j[test] / data.token_j[test] - 1)) < 0.2


def test_one_step_without_rows_solves_a_linear_problem_exactly():
    rng = np.random.default_rng(3)
    jacobian, truth = rng.normal(size=(40, 3)), np.array([0.3, -0.2, 0.1])
    target = jacobian @ truth + rng.normal(scale=0.1, size=40)
    full = np.linalg.lstsq(jacobian, target, rcond=None)[0]
    out = np.arange(40) < 10
    solution = LeastSquaresSolution(full, jacobian, jacobian @ full - target, np.arange(40))
    assert solution.without(out) == pytest.approx(np.linalg.lstsq(jacobian[10:], target[10:], rcond=None)[0])


def test_large_errors_count_linearly():
    assert huber(np.array([8.0]))[0] ** 2 == pytest.approx(15.0)
