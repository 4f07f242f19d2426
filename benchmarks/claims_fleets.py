"""Claims about fleets, each as its own benchmark last found it; `claims.py` writes the table."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from claims_strategies import Claim
from fleet_spot import SpotRow
from record import RESULTS


def found(name: str) -> Any:
    """The figures of a benchmark's last result."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]


def _times(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f} times"


def semi_pd() -> list[Claim]:
    """Latency of a DeepSeek model, and calls within objectives of a Llama model, against SGLang."""
    claims = found("fleet_semi_pd")["claims"]
    how = "recorded lengths (Azure 2023, conversation); modelled: arrivals, steps, shares of devices, objectives"
    return [
        Claim(
            "semi-PD: mean end-to-end latency on DeepSeek models",
            "1.27 to 2.58 times better (arXiv 2504.19867)",
            f"{_times(claims['latency'])} better than prompts first, by rate (fleet_semi_pd.md)",
            how,
            "modelled",
        ),
        Claim(
            "semi-PD: more calls within objectives on Llama models",
            "1.55 to 1.72 times (arXiv 2504.19867)",
            f"{_times(claims['goodput_pools'])} against pools apart, {_times(claims['goodput'])} against prompts first,"
            " by objectives (fleet_semi_pd.md)",
            how,
            "modelled",
        ),
    ]


def faults() -> Claim:
    """C4's efficiency from what faults take."""
    figures = found("fleet_faults")
    return Claim(
        "C4: efficiency of training from faults seen and isolated sooner, and fewer collisions of flows",
        "30 to 45 % (arXiv 2406.04594)",
        f"30 to {figures['modelled']:.1%} with both losses by the fault model, to {figures['with_network']:.1%} with"
        " both as published (fleet_faults.md)",
        "recorded: faults of Llama 3's run, C4's 15 % and 30 % of communication; modelled: loss by faults",
        "modelled",
    )


def spot() -> Claim:
    """SkyServe's SpotHedge on recorded zones."""
    figures = found("fleet_spot")
    rows = [one["row"] for one in figures["judged"] if one["row"]["policy"] == "spot_hedge" and one["rule"] == "worst"]
    told = []
    for attempt in sorted({row["attempt"] for row in rows}):
        own = [SpotRow(**row) for row in rows if row["attempt"] == attempt]
        saved = [float(np.mean([row.saved(ratio) for row in own])) for ratio in figures["price_ratios"].values()]
        within = float(np.mean([row.within for row in own]))
        told.append(f"{min(saved):.0%} to {max(saved):.0%} with no more calls {attempt}, {within:.1%} within")
    return Claim(
        "SkyServe: SpotHedge costs less than replicas on demand",
        "43 % (arXiv 2411.01438)",
        f"{'; '.join(told)}, by the price of spot (fleet_spot.md)",
        "recorded: capacity of ten spot zones, arrivals and lengths, prices; modelled: steps, start-up, notice",
        "modelled",
    )


def lines() -> list[Claim]:
    """All of them."""
    return [*semi_pd(), faults(), spot()]
