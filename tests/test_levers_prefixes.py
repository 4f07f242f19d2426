"""Prompts that begin alike, declared or of a trace, in the steady state and in the proof; routing as a choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.errors import FactError
from comptroller.planning.offer.requests import load_of, traffic_of
from comptroller.planning.planner import plan
from comptroller.planning.prove.arrivals import block_bootstrap
from comptroller.work.demand import demand_of, requests
from comptroller.work.prefix_sharing import BLOCK_TOKENS, PrefixSharing, tokens_seen_before
from comptroller.work.trace import RequestTrace, TracePrefixBlocks
from comptroller.work.workload import parse
from lever_workloads import cost, planned, workload


def asked(share: float | None = None, groups: int = 1, **more: Any) -> dict[str, Any]:
    document = workload(12.0, (4000.0, 60.0), 1200.0, 15.0, **more)
    return document if share is None else {**document, "prefix": {"share": share, "groups": groups}}


def trace_of(blocks: Sequence[Sequence[int]], tokens: int = 16) -> RequestTrace:
    counts = [len(each) for each in blocks]
    offsets, ids = np.concatenate(([0], np.cumsum(counts))), np.array([b for each in blocks for b in each])
    sizes = np.array(counts) * tokens + 5
    return RequestTrace(
        np.arange(len(blocks), dtype=float), sizes, sizes, blocks=TracePrefixBlocks(offsets, ids, tokens)
    )


def test_declared_prefixes_are_those_of_groups() -> None:
    lengths = np.full(400, 1000)
    blocks = PrefixSharing(share=0.5, groups=4).blocks(lengths, np.random.default_rng(0))
    assert (np.diff(blocks.offsets) == 500 // BLOCK_TOKENS).all()
    first = blocks.ids[blocks.offsets[:-1]]
    assert len(np.unique(first)) == 4 and np.bincount(first // first[first > 0].min()).min() > 60
    assert len(np.unique(blocks.ids)) == 4 * (500 // BLOCK_TOKENS)


def test_tokens_that_were_seen_before_are_counted_in_order() -> None:
    trace = trace_of([(1, 2), (1, 2), (1, 3), (4, 5, 6), (1, 3, 7)])
    assert tokens_seen_before(trace).tolist() == [0.0, 32.0, 16.0, 0.0, 32.0]
    found = demand_of(trace, grid=(1, 1)).cached_tokens
    assert found is not None and found.tolist() == [16.0]
    load = load_of(demand_of(trace, grid=(1, 1)))
    assert load.requests.fresh_tokens.tolist() == [load.requests.input_tokens[0] - 16.0]


def test_drawn_requests_and_demand_agree() -> None:
    named = parse(asked(0.6, 20))
    drawn = requests(named, np.random.default_rng(1), 4000)
    traffic = traffic_of(named)
    assert traffic.cached_tokens is not None
    told = float(traffic.sizes.weight @ traffic.cached_tokens)
    assert tokens_seen_before(drawn).mean() == pytest.approx(told, rel=0.06)


def test_without_prefixes_nothing_changes() -> None:
    plain = parse(asked())
    assert traffic_of(plain).cached_tokens is None
    one, other = (requests(parse(asked(*a)), np.random.default_rng(1), 50) for a in ((), (0.6, 20)))
    assert one.blocks is None and (one.input_tokens == other.input_tokens).all()


def test_windows_that_are_drawn_twice_know_each_other_not() -> None:
    trace = trace_of([(1, 2), (1, 2), (1, 2), (1, 2)])
    drawn = block_bootstrap(trace, 2.0, np.random.default_rng(3))
    assert drawn.blocks is not None and len(drawn) == 4
    assert tokens_seen_before(drawn).tolist() == [0.0, 32.0, 0.0, 32.0]


def test_what_is_found_is_not_computed_and_makes_the_plan_cheaper() -> None:
    costs = [cost(asked(*share)) for share in ((), (0.5, 1), (0.9, 1))]
    assert costs[2] < costs[0] and costs[0] >= costs[1] >= costs[2]


@pytest.mark.slow
def test_routing_is_chosen_among_those_allowed_and_told() -> None:
    """Many groups: who sends a group to the replica that knows it finds more."""
    several = planned(asked(0.9, 400, routing=["least_request", "prefix_load"]))
    each = [planned({**asked(0.9, 400), "policies": {"routing": name}}) for name in ("least_request", "prefix_load")]
    usd = [one.totals.usd_per_h.value for one in each]
    assert several.totals.usd_per_h.value == min(usd)
    chosen = ("least_request", "prefix_load")[usd.index(min(usd))]
    assert all(dict(service.deployment.policies)["routing"] == chosen for service in several.services)
    assert several.notes[0].startswith(f"routing {chosen}, of the policies that were allowed")
    assert any("one of 400" in note for note in several.notes)


def test_a_note_says_proven_only_of_what_was_simulated() -> None:
    document = parse(asked(0.5, 4, routing=["least_request", "prefix_load"]))
    told = plan(document, rehearsal=None, quick=True)
    assert told.verification is None
    assert "compared in the steady state" in told.notes[0] and "proven" not in told.notes[0]


@pytest.mark.parametrize("wrong", [{"share": 1.0}, {"share": 0.0}, {"groups": 0, "share": 0.5}, {}])
def test_bad_input_names_the_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(FactError, match=r"prefix\."):
        parse({**asked(), "prefix": wrong})


def test_a_trace_says_itself_what_it_shares(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("arrival_s,input_tokens,output_tokens\n0,10,5\n1,20,5\n")
    document = {key: value for key, value in asked(0.5).items() if key not in ("rate_per_s", "lengths")}
    with pytest.raises(FactError, match=r"prefix.*already given by the trace"):
        parse({**document, "trace": str(log)}, tmp_path / "w.toml")
