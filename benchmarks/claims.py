"""Every claim beside what our data gives: claim, published, ours, data, standing.

    python benchmarks/claims.py        (data at ../shared/data or COMPTROLLER_DATA)
    python benchmarks/claims.py results (the lines of fleets, trees, worlds and agents alone, from the last results of
                                         their benchmarks)

Writes results/claims.{md,json}. Standing: `recorded` rests on recorded outcomes alone; `drawn` on replies, trees and
scores from a seed, in the proportions that the line states; `live` on the embedded model through the gateway;
`modelled` on declared assumptions, listed with the line; `not reproducible here` needs what we lack. Only `recorded`
and `live` count as reproduced.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import claims_agents
import claims_evidence
import claims_fleets
import claims_strategies
from claims_strategies import Claim
from record import RESULTS, table, write

ABSENT = (
    Claim("prefill-token equivalents follow wall time, r = 0.925", "0.925 (arXiv 2604.05404)", "–",
          "needs tool-use trajectories with wall times on several devices", "not reproducible here"),
)  # fmt: skip

ALONE = "results"
"""Word that asks for the lines alone that other benchmarks' results give."""


def strategies() -> list[Claim]:
    """Claims about strategies."""
    known = claims_strategies.counts()
    return [
        *claims_strategies.own(),
        *claims_strategies.stop_on_success(known),
        *claims_strategies.allocation(known),
        *claims_strategies.kinetics(known),
        *claims_strategies.verification(),
        *claims_strategies.by_difficulty(),
        *claims_strategies.sleep_time(),
    ]


def kept() -> tuple[list[Claim], str]:
    """The lines of the last table that are computed here, and the day on which they were."""
    before = json.loads((RESULTS / "claims.json").read_text(encoding="utf-8"))["figures"]
    lines = [Claim(**line) for line in before["claims"]]
    return [line for line in lines if line.claim in before["computed"]], before["computed_on"]


def main() -> None:
    """Computes every line, or with `results` only those of other benchmarks, and writes the table."""
    if sys.argv[1:] == [ALONE]:
        computed, on = kept()
    else:
        computed, on = [*claims_evidence.lines(), *strategies()], datetime.now(UTC).date().isoformat()
    claims = [*computed, *claims_agents.lines(), *claims_fleets.lines(), *ABSENT]
    heads = ["claim", "published", "ours", "data", "standing"]
    text = "# Claims\n\n" + table(heads, [claim.row for claim in claims])
    text += (
        f"\n\nThe lines from `{computed[0].claim}` to `{computed[-1].claim}` were computed on {on}; those behind them "
        "are the last results of other benchmarks."
    )
    figures = {"claims": [asdict(claim) for claim in claims], "computed": [line.claim for line in computed]}
    print(write("claims", figures | {"computed_on": on}, text).read_text())


if __name__ == "__main__":
    main()
