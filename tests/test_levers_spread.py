"""Experts over several nodes as candidates of a plan."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pytest

from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.network import leaves_node
from comptroller.costs.replica_timer import replica_timer
from comptroller.errors import FactError
from comptroller.planning.prove.services import launch_of
from comptroller.work.workload import parse
from lever_workloads import planned, problem_of


def asked(**allow: Any) -> dict[str, Any]:
    return {
        "name": "spread",
        "models": ["deepseek_r1"],
        "rate_per_s": 30.0,
        "lengths": {n: {"median": m, "mean": 1.2 * m, "most": 4 * m} for n, m in (("input", 1000), ("output", 400))},
        "objectives": {"tpot": {"p": 95, "max": 80, "unit": "ms"}},
        "allow": {
            "sites": ["us_neocloud"],
            "accelerators": ["h200_sxm"],
            "engines": ["sglang"],
            "formats": ["fp8_block"],
            **allow,
        },
        "kind_usd_per_h": 0.0,
    }


def test_spread_experts_are_candidates_with_a_line_that_names_the_exchange() -> None:
    (offers,) = problem_of(asked(expert_devices=[16, 32, 20])).space.offers.values()
    wide = [item for item in offers.deployments if item.replica.layout.is_wide]
    assert {item.replica.layout.devices for item in wide} == {16, 32}
    for item in wide:
        words = shlex.split(launch_of(item, 4000))
        assert words[words.index("--moe-a2a-backend") + 1] == "deepep"
        assert words[words.index("--ep-size") + 1] == str(item.replica.layout.ep)
        assert leaves_node(item.replica, "all_to_all", item.replica.layout.devices)


def test_more_devices_read_fewer_experts_each_and_hold_more_sequences() -> None:
    (offers,) = problem_of(asked(expert_devices=[16, 32])).space.offers.values()
    by_count = {item.devices: item for item in offers.deployments if item.replica.layout.dp > 1}
    rates, room = [], []
    for count in (8, 16, 32):
        ready = replica_timer(by_count[count].replica, FittedCalibration.shipped())
        batch = np.array([64.0 * count])
        rates.append(64.0 / float(ready.decode(batch, batch * 1200).total_s[0]))
        room.append(by_count[count].memory.cache_bytes / count)
    assert rates[2] > rates[1]
    assert room[0] < room[1] < room[2]


@pytest.mark.slow
def test_a_plan_takes_them_where_they_cost_less_and_says_what_stands_behind() -> None:
    plain, spread = planned(asked()), planned(asked(expert_devices=[16]))
    assert spread.totals.usd_per_h.value <= plain.totals.usd_per_h.value
    wide = [s.id for s in spread.services if s.deployment.pools[0].dp == 16]
    assert all(any(name in note and "spread over 16 devices" in note for note in spread.notes) for name in wide)


@pytest.mark.parametrize("wrong", [[8], [1000], [16.5]])
def test_bad_counts_name_the_field(wrong: list[Any]) -> None:
    with pytest.raises(FactError, match=r"allow\.expert_devices"):
        parse(asked(expert_devices=wrong))
