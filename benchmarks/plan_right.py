"""Is there anything cheaper, and is what a plan tells true? Plans against every equal fleet and every mix of two kinds.

    python benchmarks/plan_right.py [--all] [--untold] [--only TEXT] [--workers N] [--write]

Writes results/plan_right.{json,md}. The workloads are examples/chat.toml with one number changed; with --all three
more of them, five models by four rates by three objectives, and shorter allow-lists. For each the plan stands beside
whatever cheaper fleet holds (`every_fleet.py`): of every deployment that is allowed, dominated or not, every count
that costs less, at the batch caps of the objectives, of less of them and of none; then of the cheapest deployment of
every device and layout all pairs of counts that cost less, each request to either kind by its share of their
throughput. In the grid no plan may cost more than one for more requests, for tighter objectives or with a shorter
allow-list. All that some of the plans tell is planned again (`right_checks.py`): a breakpoint is right within 2 % of
its place and 1 % of the cost.

A row takes a minute or so, and what is told of it up to an hour; each is kept in COMPTROLLER_ROWS
(~/.cache/comptroller/rows) and not made again while the sources stay as they are, so that a run can be stopped and
begun again. --write writes the results of the rows that are kept, without making any; what is missing is said.
--untold leaves out what is planned again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from comptroller.errors import InfeasibleError
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.solve.problem import pose_problem
from comptroller.work.workload import parse
from every_fleet import EveryFleet
from kept_rows import Row, path_of, rows_of
from record import table, write
from right_checks import checks
from right_workloads import ASKED, CHAT, EVERY, FEWER, MODELS, OBJECTIVES, RATES, ChangedWorkload

TOLD = "told by "
"""Before the name of a workload: the row of what its plan tells."""

CENT = 1e-5
"""Relative difference that counts as none: documents have six digits."""


def row_of(name: str) -> Row:
    """A workload planned and searched beside the plan; after `TOLD` in its name, planned again at what it tells."""
    if name.startswith(TOLD):
        document = EVERY[name.removeprefix(TOLD)].document
        return {"checks": list(checks(document, plan(parse(document, CHAT))))}
    workload = parse(EVERY[name].document, CHAT)
    try:
        made = plan(workload, quick=True)
    except InfeasibleError as error:
        return {"name": name, "infeasible": str(error)}
    usd, proof = made.totals.usd_per_h.value, made.verification
    every = EveryFleet(pose_problem(workload, shipped_calibration()))
    known, line = every.cheaper(usd)
    return {
        "name": name,
        "steady_usd_per_h": proof.steady_usd_per_h if proof else usd,
        "plan_usd_per_h": usd,
        "known_usd_per_h": known,
        "fleet": [f"{service.id} x{service.deployment.pools[0].replicas}" for service in made.services],
        "known": line,
        "fleets": every.tried,
        "complete": bool(proof and proof.complete),
        "checks": [],
    }


def asked_of(all_of_them: bool, only: str) -> dict[str, ChangedWorkload]:
    """The workloads of a run."""
    chosen = EVERY if all_of_them or only else {one.name: one for one in ASKED}
    return {name: one for name, one in chosen.items() if only in name}


def dearer(row: Mapping[str, Any]) -> float:
    """How much dearer the plan is than what is known, relative."""
    return float(row["plan_usd_per_h"] / row["known_usd_per_h"] - 1.0)


def disorders(rows: Mapping[str, Row]) -> Iterator[str]:
    """Neighbours in the grid of which the one that is asked less costs more."""
    cost = {
        EVERY[name].place: math.inf if "infeasible" in row else float(row["plan_usd_per_h"])
        for name, row in rows.items()
        if EVERY[name].place
    }
    for model, rate, number in product(MODELS, RATES, range(len(OBJECTIVES))):
        here = cost.get((model, rate, number, ""))
        more = [(model, other, number, "") for other in RATES if other > rate][:1]
        tighter = [(model, rate, number + 1, "")]
        fewer = [(model, rate, number, which) for which in FEWER]
        for place in (*more, *tighter, *fewer):
            there = cost.get(place)
            if here is not None and there is not None and here > there * (1 + CENT):
                yield f"{model} {rate:g}/s, objectives {number + 1}: ${here:.2f}; {place[1:]}: ${there:.2f}"


def text(rows: Mapping[str, Row]) -> str:
    """The results as Markdown."""
    about = " ".join((__doc__ or "").partition("Writes results/plan_right.{json,md}.")[2].split())
    planned = [row for row in rows.values() if "infeasible" not in row]
    cells = [
        [row["name"], f"${row['steady_usd_per_h']:.2f}", f"${row['plan_usd_per_h']:.2f}",
         f"${row['known_usd_per_h']:.2f}", f"{dearer(row):.0%}", str(row["fleets"]), "" if row["complete"] else "cut"]
        for row in planned
    ]  # fmt: skip
    heads = ["changed", "steady state", "plan", "known to hold", "dearer", "fleets tried beside it", "search"]
    return "\n\n".join(
        part
        for part in (
            "# Is there anything cheaper?",
            about,
            "" if len(rows) == len(EVERY) else f"**Partial: {len(rows)} of {len(EVERY)} workloads were run.**",
            table(heads, cells),
            *verdicts(rows, planned),
        )
        if part
    )


def verdicts(rows: Mapping[str, Row], planned: Sequence[Row]) -> Iterator[str]:
    """What came of it, in sentences and a table."""
    figures = figures_of(rows)
    yield f"Dearer than what is known to hold: {figures['dearer']} of {len(planned)} plans."
    placed = sum(EVERY[name].place is not None for name in rows)
    yield f"Out of order among the {placed} workloads of the grid: {len(figures['disorders'])}."
    yield "\n".join(f"- {one}" for one in figures["disorders"])
    for name, row in rows.items():
        if "infeasible" in row:
            yield f"{name}: no plan, {row['infeasible']}"
    found = [(row["name"], one) for row in planned for one in row["checks"]]
    if found:
        kinds = {"amount": 0, "place": 0, "sign": 0}
        wrong = {kind: sum(not one[kind] for _, one in found) for kind in kinds}
        yield (
            f"Told and planned again: {len(found)} figures of {len({name for name, _ in found})} plans; amount off by "
            f"more than 1 %: {wrong['amount']}, place by more than 2 %: {wrong['place']}, sign wrong: {wrong['sign']}."
        )
        cells = [
            [f"{name}: {one['what']}", _usd(one["told"]), _usd(one["found"]),
             ", ".join(kind for kind in kinds if not one[kind]) or "none"]
            for name, one in found
        ]  # fmt: skip
        yield table(["figure", "told", "planned again", "wrong"], cells)


def _usd(value: float | str) -> str:
    return f"${float(value):.2f}" if math.isfinite(float(value)) else "infeasible"


def figures_of(rows: Mapping[str, Row]) -> dict[str, Any]:
    """The results as a document."""
    planned = [row for row in rows.values() if "infeasible" not in row]
    return {
        "rows": [_finite(row) for row in rows.values()],
        "dearer": sum(dearer(row) > CENT for row in planned),
        "disorders": list(disorders(rows)),
        "told": sum(len(row["checks"]) for row in planned),
        "told_wrong": sum(not (one["amount"] and one["place"] and one["sign"]) for r in planned for one in r["checks"]),
    }


def _finite(value: Any) -> Any:
    """The same with `None` for what is infinite, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def in_order(rows: Mapping[str, Row], names: Iterable[str]) -> dict[str, Row]:
    """The rows in the order of the workloads."""
    return {name: rows[name] for name in names if name in rows}


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="every workload; else six")
    parser.add_argument("--untold", action="store_true", help="plan nothing again that a plan tells")
    parser.add_argument("--only", default="", help="of every workload those whose name holds this")
    parser.add_argument("--workers", type=int, default=1, help="rows that are made at once")
    parser.add_argument("--write", action="store_true", help="write what is kept, make nothing")
    given = parser.parse_args()
    asked = asked_of(given.all, given.only)
    work = {name: {"document": one.document} for name, one in asked.items()}
    if not given.untold:
        work |= {TOLD + name: {"document": one.document} for name, one in asked.items() if one.told}
    if given.write:
        work = {name: what for name, what in work.items() if path_of("plan_right", name, what).exists()}
    rows: dict[str, Row] = {}
    for name, row in rows_of("plan_right", work, row_of, given.workers):
        rows[name] = row
        told = (
            row.get("infeasible")
            or f"{row.get('plan_usd_per_h', 0.0):.2f}, known {row.get('known_usd_per_h', 0.0):.2f}"
        )
        print(f"{len(rows)}/{len(work)} {name}: {told}", flush=True)
    for name in asked.keys() & rows.keys():
        rows[name] |= rows.get(TOLD + name, {})
    rows = in_order(rows, asked)
    print(write("plan_right", figures_of(rows), text(rows)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
