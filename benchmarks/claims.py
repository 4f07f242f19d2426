"""Every claim beside what our data gives: claim, published, ours, data, standing.

    python benchmarks/claims.py        (data at ../shared/data or COMPTROLLER_DATA)
    python benchmarks/claims.py fleets (the lines of fleets alone, from the last results of their benchmarks)

Writes results/claims.{md,json}. Standing: `recorded` rests on recorded outcomes alone; `modelled` on declared
assumptions, listed with the line; `not reproducible here` needs what we lack. Only `recorded` counts as reproduced.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import claims_evidence
import claims_fleets
import claims_strategies
from claims_strategies import Claim
from record import RESULTS, table, write

ABSENT = (
    Claim("ETS keeps 1.8x less KV cache than REBASE", "1.8x (arXiv 2502.13575)", "–",
          "needs tree-search traces with a process reward model", "not reproducible here"),
    Claim("prefill-token equivalents follow wall time, r = 0.925", "0.925 (arXiv 2604.05404)", "–",
          "needs tool-use trajectories with wall times on several devices", "not reproducible here"),
)  # fmt: skip


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


def last() -> Any:
    """The last table with its date."""
    return json.loads((RESULTS / "claims.json").read_text(encoding="utf-8"))


def kept(fresh: list[Claim]) -> list[Claim]:
    """The lines of the last table but those that are written anew."""
    before = [Claim(**line) for line in last()["figures"]["claims"]]
    anew = {line.claim for line in (*fresh, *ABSENT)}
    return [line for line in before if line.claim not in anew]


def main() -> None:
    """Computes every line, or with `fleets` those alone, and writes the table."""
    fleets = claims_fleets.lines()
    rest = kept(fleets) if sys.argv[1:] == ["fleets"] else [*claims_evidence.lines(), *strategies()]
    claims = [*rest, *fleets, *ABSENT]
    heads = ["claim", "published", "ours", "data", "standing"]
    text = "# Claims\n\n" + table(heads, [claim.row for claim in claims])
    if sys.argv[1:] == ["fleets"]:
        text += f"\n\nAnew are the lines of fleets; the others are those of {last()['date']}."
    print(write("claims", {"claims": [asdict(claim) for claim in claims]}, text).read_text())


if __name__ == "__main__":
    main()
