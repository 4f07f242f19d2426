"""A cache tier of a workload: what the steady state takes of prompts, what the plan says of it, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.costs.capacity import PrefillOverhead, SlicedLoad, prompts
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe, PrefixStore
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.prefix_store import prefix_places, stored_prompt_s
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.split_pools import pool_prompts
from comptroller.costs.steady import UniformRequests
from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.cache_tier import cache_tier
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.planning.offer.cache_tiers import check_tiers
from comptroller.planning.offer.engine_choices import settings_refusal
from comptroller.planning.offer.replica_fit import FitQuery
from comptroller.planning.offer.split_groups import split_refusal
from comptroller.planning.prove.simulated_fleet import fleet_of
from comptroller.serving.state import PoolRole
from comptroller.work.workload import parse
from lever_workloads import planned, problem_of, workload

SHIPPED = FittedCalibration.shipped()
BATCHES = np.array([1.0, 16.0])
GROUP_TOKENS = 6400.0


def replica(gb: float, tier: str = "host_memory", device: str = "h100_sxm") -> ModelReplica:
    store = PrefixStore(cache_tier(tier), gb * 1e9, tier) if gb else None
    engine = replace(EngineSettings.default(engine_facts("vllm")), prefix_store=store)
    return ModelReplica(model("llama_3_1_8b"), accelerator(device), PrecisionRecipe(), ParallelLayout(), engine)


def long_prompts(working_tokens: float, cached: float = GROUP_TOKENS) -> SlicedLoad:
    sizes = UniformRequests(np.array([8000.0]), np.array([200.0]), np.array([cached]))
    return SlicedLoad(sizes, np.ones(1), 1.0, 8200.0, working_tokens)


def taken(one: ModelReplica, working_tokens: float, cached: float = GROUP_TOKENS) -> PrefillOverhead:
    return prompts(replica_timer(one, SHIPPED), long_prompts(working_tokens, cached), BATCHES)


def apart(one: ModelReplica, working_tokens: float, cached: float = GROUP_TOKENS) -> PrefillOverhead:
    return pool_prompts(replica_timer(one, SHIPPED), long_prompts(working_tokens, cached), len(BATCHES))


@given(st.floats(1.0, 1e12), st.lists(st.floats(-1e9, 1e12), min_size=1, max_size=4), st.floats(0.0, 1e12))
def test_shares_of_beginnings_add_up_and_none_is_negative(working: float, room: list[float], store: float) -> None:
    found = prefix_places(working, np.array(room), store)
    for share in (found.device, found.store, found.anew):
        assert (share >= -1e-12).all() and (share <= 1.0 + 1e-12).all()
    larger = prefix_places(working, np.array(room), 2.0 * store)
    assert (larger.anew <= found.anew + 1e-12).all() and (larger.device == found.device).all()


def test_a_tier_costs_nothing_where_the_device_has_room_and_saves_more_the_larger_it_is() -> None:
    endless, few = taken(replica(0.0), 1e4), taken(replica(10.0), 1e4)
    assert few.solo_s == pytest.approx(endless.solo_s) and few.marginal_s == pytest.approx(endless.marginal_s)
    small, middle, large = (taken(replica(gb), 3e6).solo_s for gb in (1.0, 100.0, 1000.0))
    anew = taken(replica(0.0), 3e6, cached=0.0).solo_s
    assert (anew > small).all() and (small > middle).all() and (middle > large).all()
    assert (large >= endless.solo_s).all()


def test_a_pool_of_prompts_has_the_tier_and_more_room_of_its_own() -> None:
    """No sequence decodes there, so that its device holds more beginnings than a replica that does both."""
    assert split_refusal(replica(10.0)) == ""
    anew, endless = apart(replica(0.0), 3e6, cached=0.0), apart(replica(0.0), 3e6)
    small, large, slow = (apart(replica(*tier), 3e6) for tier in ((10.0,), (1000.0,), (1000.0, "nvme_pcie5")))
    assert (anew.solo_s > small.solo_s).all() and (small.solo_s > large.solo_s).all()
    assert (slow.solo_s > large.solo_s).all() and (large.solo_s >= endless.solo_s).all()
    assert (anew.marginal_s > small.marginal_s).all() and (small.marginal_s > endless.marginal_s).all()
    share = (anew.marginal_s - small.marginal_s) / (anew.marginal_s - endless.marginal_s)
    crowded = taken(replica(0.0), 3e6, cached=0.0).marginal_s, taken(replica(10.0), 3e6).marginal_s
    both = (crowded[0] - crowded[1]) / (crowded[0] - taken(replica(0.0), 3e6).marginal_s)
    assert (share >= both - 1e-9).all()


def test_a_slower_tier_is_a_later_first_token_and_steps_do_not_wait_for_it() -> None:
    host, drive = (taken(replica(10_000.0, tier), 3e6) for tier in ("host_memory", "nvme_pcie5"))
    assert (drive.solo_s > 1.2 * host.solo_s).all()
    assert drive.marginal_s == pytest.approx(host.marginal_s)


def test_a_prompt_from_a_tier_takes_what_the_command_fits_says() -> None:
    """`fits --cached` and the planner price one prompt by one formula."""
    one = replica(1000.0)
    found = check_tiers(FitQuery(one, 8000, 200), int(GROUP_TOKENS), ("host_memory",), SHIPPED)
    mine = stored_prompt_s(one, one.engine.prefix_store, np.array([GROUP_TOKENS]), np.array([found.device_s]))  # type: ignore[arg-type]
    assert mine[0] == pytest.approx(found.loads[0].prompt_s)


def asked(groups: int, gb: float | None, **allow: Any) -> dict[str, Any]:
    document = workload(4.0, (4000, 100), 4000, 60, **allow) | {"prefix": {"share": 0.8, "groups": groups}}
    return document | ({"cache_tier": {"tier": "host_memory", "gb": gb}} if gb else {})


def test_a_plan_has_the_tier_and_its_first_token_is_between_endless_caches_and_none() -> None:
    endless, plenty, little = (planned(asked(2000, gb)) for gb in (None, 2000.0, 1.0))
    assert endless.services[0].deployment.cache_tiers == ()
    assert [(one.tier, one.gb) for one in plenty.services[0].deployment.cache_tiers] == [("host_memory", 2000.0)]
    assert any(note.startswith("cache_tier:") for note in plenty.notes)
    ends, holds, lacks = (plan.services[0].ttft_s.value for plan in (endless, plenty, little))
    assert ends <= holds < lacks


@pytest.mark.slow
def test_a_plan_of_split_pools_loads_beginnings_where_prompts_are_computed() -> None:
    endless, plenty, little = (planned(asked(2000, gb, pools=["split"])) for gb in (None, 2000.0, 1.0))
    assert all(len(plan.services[0].deployment.pools) == 2 for plan in (endless, plenty, little))
    ends, holds, lacks = (plan.services[0].ttft_s.value for plan in (endless, plenty, little))
    assert ends <= holds < lacks
    loads = {one.pool: len(one.stores) for _, one in fleet_of(plenty.services, SHIPPED, plenty.library).replicas()}
    assert loads == {PoolRole.PROMPT: 1, PoolRole.TOKEN: 0}


def test_what_cannot_be_meant_is_refused_by_name() -> None:
    stated = {"tier": "host_memory", "gb": 10.0}
    with pytest.raises(FactError, match=r"cache_tier.*with prefix, or trace"):
        parse(workload(4.0, (4000, 100), 4000, 60) | {"cache_tier": stated})
    for wrong, named in (({"tier": "host_memory"}, "gb"), (stated | {"gb": 0}, "gb"), (stated | {"gib": 1}, "gib")):
        with pytest.raises(FactError, match=named):
            parse(asked(5, None) | {"cache_tier": wrong})
    with pytest.raises(UnknownIdError, match="tape"):
        problem_of(asked(5, None) | {"cache_tier": {"tier": "tape", "gb": 1.0}})


def test_a_tier_that_no_link_reaches_is_no_candidate() -> None:
    lost = replace(replica(10.0), device=replace(accelerator("h100_sxm"), host=None))
    assert settings_refusal(replica(10.0)) is None
    refused = settings_refusal(lost)
    assert refused and refused[0] == "cannot load from its tier" and "no link" in refused[1]
