"""Second copies of late calls and coded copies of groups, by the command: first tokens, work, what nobody heard.

`python benchmarks/fleet_redundancy.py` writes a plan and runs `comptroller simulate PLAN --trace TRACE --json` with the
options of copies, as a user does. Recorded: arrivals and lengths (Azure 2023, conversation). Modelled: three replicas
of Llama 3.1 8B on L40S, the first of them three times as slow, as a neighbour makes it. Coded copies need replies of
one token, so that they, and hedging beside them, are played on the same prompts with such replies.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.cli import main as command
from comptroller.errors import FactError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import plan
from comptroller.work.traces import plain
from comptroller.work.workload import parse
from record import table, write
from served import recorded

REPLICAS, SLOWED = 3, 3
DELAYS_S, SHARES = (0.3, 0.5, 1.0), (0.01, 0.05)
CODES = ("2of3", "4of5")
RATE_PER_S = 5.5
"""That of the trace."""
HEADS = ("served", "TTFT p50", "TTFT p99", "E2E p99", "copies sent", "won", "replicas' time", "unheard", "error grows")


def fleet() -> Plan:
    """Three replicas."""
    document = {
        "name": "copies", "models": ["llama_3_1_8b"], "rate_per_s": RATE_PER_S,
        "lengths": {
            "input": {"median": 1020, "p99": 4142, "most": 14050}, "output": {"median": 129, "p99": 601, "most": 1000},
        },
        "objectives": {"ttft": {"p": 95, "max": 2, "unit": "s"}},
        "allow": {"accelerators": ["l40s"], "sites": ["us_neocloud"], "engines": ["vllm"]},
    }  # fmt: skip
    made = plan(parse(document), quick=True)
    (service,) = made.services
    pools = (service.deployment.pools[0].model_copy(update={"replicas": REPLICAS}),)
    deployment = service.deployment.model_copy(update={"pools": pools})
    return made.model_copy(update={"services": (service.model_copy(update={"deployment": deployment}),)})


def told(words: Sequence[str]) -> list[dict[str, Any]]:
    """What the command prints of each kind of redundancy."""
    said = StringIO()
    try:
        with redirect_stdout(said):
            command(list(words))
    except SystemExit as ended:
        if ended.code:
            raise
    rows: list[dict[str, Any]] = json.loads(said.getvalue())["redundancy"]
    return rows


def told_rows(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The rows of the table."""
    return [
        [row["redundancy"], *(f"{row[name]:.3g} s" for name in ("ttft_p50_s", "ttft_p99_s", "e2e_p99_s")),
        f"{row['sent']:,}", f"{row['won']:,}", f"{row['replica_time']:.3f} x", f"{row['unheard']:.1%}",
        f"{row['error_growth']:.2g} x"] for row in rows
    ]  # fmt: skip


def main() -> int:
    """Run, print and write."""
    try:
        trace = recorded("azure_2023_conv.csv")
    except FactError as error:
        print(f"fleet_redundancy: {error}", file=sys.stderr)
        return 2
    hedges = [word for delay in DELAYS_S for word in ("--hedge", f"{delay:g}")]
    hedges += [word for share in SHARES for word in ("--hedge-share", f"{share:g}")]
    codes = [word for code in CODES for word in ("--coded", code)]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plan.json").write_text(fleet().to_json(), encoding="utf-8")
        plain.write(trace, Path(folder) / "whole.csv")
        plain.write(replace(trace, output_tokens=np.ones(len(trace), np.int64)), Path(folder) / "one.csv")
        asked = ["simulate", f"{folder}/plan.json", "--slowed", f"{SLOWED}", "--json", "--trace"]
        whole = told([*asked, f"{folder}/whole.csv", *hedges])
        one = told([*asked, f"{folder}/one.csv", *hedges[:2], *codes])
    text = (
        f"# Copies of calls\n\nRecorded: arrivals and lengths (Azure 2023, conversation, {len(trace):,} calls). "
        f"Modelled: {REPLICAS} replicas of Llama 3.1 8B on L40S, the first {SLOWED} times as slow. By "
        f"`comptroller simulate --slowed {SLOWED}` with `--hedge`, `--hedge-share` and `--coded`; replicas' time over "
        "that without copies; unheard: share of it whose tokens nobody heard.\n\n## Replies as recorded\n\n"
        f"{table(HEADS, told_rows(whole))}\n\n## The same prompts, replies of one token\n\n"
        f"{table(HEADS, told_rows(one))}"
    )
    print(text)
    write("fleet_redundancy", {"as_recorded": whole, "one_token": one}, text, ("numpy", "numba"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
