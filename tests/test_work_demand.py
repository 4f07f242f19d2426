"""Draws have the rate, variability and lengths asked for; buckets lose no request and no token."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.errors import FactError
from comptroller.work.arrivals import gamma_arrivals, window_cv, window_rates
from comptroller.work.demand import demand, demand_of, recorded_trace, requests
from comptroller.work.lengths import LengthBucketEdges, bucketed_sizes, edges_of, lognormal_strata, points, within
from comptroller.work.sizes import LengthDistributions, LengthHistogram
from comptroller.work.trace import NO_SESSION, RequestTrace, TracePrefixBlocks
from comptroller.work.traces.plain import write
from comptroller.work.workload import PeakQuantile, Workload, parse

TOKENS = st.integers(1, 200_000)
REQUESTS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=300)
GRID = st.tuples(st.integers(1, 8), st.integers(1, 8))


def workload(**fields: Any) -> Workload:
    return parse({"name": "w", "models": ["llama_3_1_8b"], **fields})


def trace_of(arrivals: Any, **columns: Any) -> RequestTrace:
    arrival_s = np.asarray(arrivals, np.float64)
    return RequestTrace(arrival_s, np.arange(len(arrival_s)) + 1, np.full(len(arrival_s), 5), **columns)


@given(rows=REQUESTS, grid=GRID)
def test_buckets_conserve_requests_and_tokens(rows: list[tuple[int, int]], grid: tuple[int, int]) -> None:
    inputs, outputs = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    sizes = points(inputs, outputs)
    seen = bucketed_sizes(sizes, edges_of(sizes, grid))
    assert 1 <= len(seen.weight) <= grid[0] * grid[1]
    assert (seen.weight > 0).all()
    assert seen.weight.sum() == pytest.approx(1, rel=1e-12)
    assert seen.weight @ seen.input_tokens == pytest.approx(inputs.mean(), rel=1e-9)
    assert seen.weight @ seen.output_tokens == pytest.approx(outputs.mean(), rel=1e-9)
    assert (seen.input_tokens <= seen.input_most * (1 + 1e-12)).all()
    assert seen.input_most.max() == inputs.max()
    assert seen.output_most.max() == outputs.max()


@given(rows=REQUESTS, grid=GRID, quantile=st.floats(0.01, 1), seed=st.integers(0, 9))
def test_rates_over_buckets_add_up_to_the_rate_to_hold(
    rows: list[tuple[int, int]], grid: tuple[int, int], quantile: float, seed: int
) -> None:
    inputs, outputs = (np.array(column) for column in zip(*rows, *rows, strict=True))
    arrivals = gamma_arrivals(3.0, 1.5, len(inputs), np.random.default_rng(seed))
    asked = demand_of(RequestTrace(arrivals, inputs, outputs), PeakQuantile(quantile=quantile, window_s=10.0), grid)
    assert sum(bucket.rate_per_s for bucket in asked) == pytest.approx(asked.rate_per_s, rel=1e-12)
    assert asked.rate_per_s <= asked.busiest_rate_per_s
    assert asked.mean_input_tokens == pytest.approx(inputs.mean(), rel=1e-9)
    assert asked.longest_tokens >= (inputs + outputs).max()


def test_a_bucket_stands_at_its_mean_and_not_at_its_middle() -> None:
    sizes = points([10, 11, 12, 1000, 1900], [1, 1, 1, 1, 1])
    seen = bucketed_sizes(sizes, LengthBucketEdges(np.array([100.0, 1500.0]), np.empty(0)))
    assert seen.input_tokens.tolist() == pytest.approx([11, 1000, 1900])
    assert seen.weight.tolist() == pytest.approx([0.6, 0.2, 0.2])


@pytest.mark.parametrize(("rate", "cv"), [(20.0, 1.0), (0.1, 0.0), (5.0, 0.3), (100.0, 3.0), (2.5, 8.0)])
def test_arrivals_have_the_rate_and_variability_asked_for(rate: float, cv: float) -> None:
    arrivals = gamma_arrivals(rate, cv, 400_000, np.random.default_rng(11))
    trace = trace_of(arrivals)
    assert trace.rate_per_s == pytest.approx(rate, rel=0.05)
    assert trace.cv == pytest.approx(cv, rel=0.05, abs=1e-6)
    assert (np.diff(arrivals) >= 0).all()


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(gamma_arrivals(4.0, 1.0, 200_000, np.random.default_rng(2)))
    for level in (0.1, 0.5, 0.9, 0.99):
        assert np.quantile(gaps, level) == pytest.approx(-np.log1p(-level) / 4, rel=0.03)


@settings(max_examples=60)
@given(rate=st.floats(0.01, 1e4), cv=st.floats(0, 10), n=st.integers(1, 200), seed=st.integers(0, 2**32), mean=TOKENS)
def test_the_same_seed_gives_the_same_requests(rate: float, cv: float, n: int, seed: int, mean: int) -> None:
    asked = workload(rate_per_s=rate, cv=cv, lengths={"input": {"fixed": mean}, "output": {"fixed": 7}})
    one, two = (requests(asked, np.random.default_rng(seed), n) for _ in range(2))
    assert one.arrival_s.tobytes() == two.arrival_s.tobytes()
    assert len(one) == n
    assert set(one.input_tokens.tolist()) == {mean}


@given(
    edges=st.lists(st.integers(1, 10_000), min_size=2, max_size=6, unique=True).map(sorted),
    where=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_histogram_draws_stay_in_their_bins(edges: list[int], where: float, seed: int) -> None:
    means = [low + where * (high - 1 - low) for low, high in pairwise(edges)]
    table = LengthHistogram(
        input_edges=tuple(edges),
        output_edges=(1, 2),
        weights=tuple((1.0,) if i % 2 == 0 else (0.0,) for i in range(len(means))),
        input_means=tuple(means),
    )
    inputs, outputs = table.draw(50, np.random.default_rng(seed))
    bins = np.searchsorted(edges, inputs, side="right") - 1
    assert set(bins.tolist()) <= set(range(0, len(means), 2))
    assert set(outputs.tolist()) == {1}
    sizes = table.points()
    assert sizes.weight.sum() == pytest.approx(1)
    assert sizes.weight @ sizes.input_tokens == pytest.approx(np.mean(means[::2]))


@given(low=st.floats(1, 100), width=st.floats(0, 1000), where=st.floats(0, 1))
@settings(max_examples=20)
def test_values_within_a_bin_have_its_mean(low: float, width: float, where: float) -> None:
    mean, n = low + where * width, 40_000
    drawn = within(np.full(n, low), np.full(n, low + width), np.full(n, mean), np.random.default_rng(4))
    assert drawn.min() >= low - 1e-9
    assert drawn.max() <= low + width + 1e-9
    assert drawn.mean() == pytest.approx(mean, abs=5 * width / np.sqrt(n) + 1e-9)


def test_drawn_lengths_have_the_means_the_planner_uses() -> None:
    tables: list[dict[str, Any]] = [
        {"input": {"median": 1000, "mean": 1500, "most": 16000}, "output": {"median": 150, "p99": 900, "most": 2000}},
        {"input_edges": [1, 100, 5000], "output_edges": [1, 9, 90], "weights": [[3, 1], [0, 4]]},
        {"input": {"fixed": 512}, "output": {"median": 2, "mean": 3, "most": 20}},
    ]
    for lengths in tables:
        asked = workload(rate_per_s=5.0, lengths=lengths)
        drawn, planned = requests(asked, np.random.default_rng(6), 300_000), demand(asked)
        assert drawn.input_tokens.mean() == pytest.approx(planned.mean_input_tokens, rel=0.02)
        assert drawn.output_tokens.mean() == pytest.approx(planned.mean_output_tokens, rel=0.04)
        assert drawn.input_tokens.max() <= planned.sizes.input_most.max()
        assert drawn.output_tokens.max() <= planned.sizes.output_most.max()
        assert min(drawn.input_tokens.min(), drawn.output_tokens.min()) >= 1


def test_a_lognormal_keeps_its_mean_until_it_is_cut() -> None:
    sizes = LengthDistributions.model_validate(
        {"input": {"median": 800, "mean": 1200, "most": 10_000_000}, "output": {"fixed": 3}}
    ).points()
    assert sizes.weight @ sizes.input_tokens == pytest.approx(1200, rel=1e-9)
    cut = lognormal_strata(800.0, 0.9, 1000.0)
    draws = np.minimum(800 * np.exp(0.9 * np.random.default_rng(0).standard_normal(2_000_000)), 1000)
    assert cut.weight @ cut.tokens == pytest.approx(draws.mean(), rel=2e-3)
    assert cut.most.max() == pytest.approx(1000)


def test_windows_count_what_arrives_in_them() -> None:
    arrivals = np.array([5.0, 5.5, 6.0, 6.1, 6.2, 7.0, 7.4])
    assert window_rates(arrivals, 1.0).tolist() == [2.0, 3.0]
    assert window_rates(arrivals, 100.0).tolist() == pytest.approx([6 / 2.4])


def test_variability_inside_windows_leaves_out_changes_of_the_rate() -> None:
    rng = np.random.default_rng(8)
    slow, fast = gamma_arrivals(1.0, 1.0, 6000, rng), gamma_arrivals(30.0, 1.0, 180_000, rng)
    arrivals = np.concatenate([slow, slow[-1] + fast])
    assert trace_of(arrivals).cv > 3
    assert window_cv(arrivals, 60.0) == pytest.approx(1.0, abs=0.05)
    assert window_cv(np.array([0.0, 1.0, 2.0]), 60.0) == pytest.approx(0.0)


def test_the_rate_to_hold_is_a_quantile_of_the_minutes() -> None:
    arrivals = np.concatenate([60 * minute + np.arange(rate * 60) / rate for minute, rate in enumerate([1, 2, 4, 8])])
    trace = trace_of(np.append(arrivals, 240.0))
    assert demand_of(trace, PeakQuantile(quantile=1.0)).rate_per_s == pytest.approx(8.0)
    assert demand_of(trace, PeakQuantile(quantile=0.5)).rate_per_s == pytest.approx(3.0)
    assert demand_of(trace).mean_rate_per_s == pytest.approx(900 / 240)


def recorded_workload(folder: Path, trace: RequestTrace, **fields: Any) -> Workload:
    write(trace, folder / "t.csv")
    document = {"name": "w", "models": ["llama_3_1_8b"], "trace": "t.csv", **fields}
    return parse(document, folder / "w.toml")


def test_a_trace_too_sparse_for_its_windows_is_refused() -> None:
    hours = 3600.0 * np.arange(24, dtype=np.float64)
    with pytest.raises(FactError, match="of the windows of 60 s hold no request"):
        demand_of(RequestTrace(hours, np.full(24, 9), np.full(24, 9), source="sparse"))
    assert demand_of(RequestTrace(hours, np.full(24, 9), np.full(24, 9)), PeakQuantile(quantile=1.0)).rate_per_s > 0


def test_a_trace_is_replayed_scaled_cut_and_begun_again(tmp_path: Path) -> None:
    trace = trace_of(np.arange(11) * 2.0)
    plain = recorded_workload(tmp_path, trace)
    assert requests(plain, np.random.default_rng(0), 5).arrival_s.tolist() == [0, 2, 4, 6, 8]
    assert recorded_trace(recorded_workload(tmp_path, trace, scale=4)).rate_per_s == pytest.approx(2.0)
    assert recorded_trace(recorded_workload(tmp_path, trace, rate_per_s=10)).rate_per_s == pytest.approx(10.0)
    part = recorded_trace(recorded_workload(tmp_path, trace, part={"start": 4, "end": 10, "unit": "s"}))
    assert part.input_tokens.tolist() == [3, 4, 5]
    twice = requests(plain, np.random.default_rng(0), 22)
    assert twice.arrival_s.tolist() == (np.arange(22) * 2.0).tolist()
    assert twice.input_tokens[11:].tolist() == twice.input_tokens[:11].tolist()


def test_later_laps_share_no_prefix_and_no_session(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    row = '{{"timestamp": {}, "input_length": 900, "output_length": 5, "hash_ids": [4, {}]}}\n'
    path.write_text(row.format(0, 7) + row.format(1000, 8))
    asked = parse({"name": "w", "models": ["llama_3_1_8b"], "trace": "m.jsonl"}, tmp_path / "w.toml")
    laps = requests(asked, np.random.default_rng(0), 4).blocks
    assert laps is not None
    assert laps.reuse == pytest.approx(1 / 4)
    assert not set(laps.ids[:4].tolist()) & set(laps.ids[4:].tolist())
    assert demand(asked).block_reuse == pytest.approx(1 / 4)


def test_taking_rows_takes_their_blocks_and_sessions() -> None:
    blocks = TracePrefixBlocks(np.array([0, 1, 3, 3]), np.array([5, 6, 7]), 512)
    trace = trace_of([0.0, 1.0, 2.0], blocks=blocks, session=np.array([0, NO_SESSION, 0]))
    part = trace.between(1.0, 3.0)
    assert part.blocks is not None
    assert part.session is not None
    assert (part.blocks.ids.tolist(), part.blocks.offsets.tolist()) == ([6, 7], [0, 2, 2])
    assert part.session.tolist() == [NO_SESSION, 0]
    assert part.arrival_s.tolist() == [0.0, 1.0]


def test_a_trace_without_a_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FactError, match="at least two requests at different times"):
        demand(recorded_workload(tmp_path, trace_of([0.0])))
    with pytest.raises(FactError, match="at least two requests at different times"):
        demand(recorded_workload(tmp_path, trace_of([3.0, 3.0])))
