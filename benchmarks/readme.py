"""Put figures where the markers of README and docs are: the example's output, its picture, the tables of results.

`python benchmarks/readme.py` rewrites them from tests/golden and benchmarks/results; a test holds them to it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from comptroller.planning.ground.plan_document import load_plan
from comptroller.report.decision import accelerator_chart
from comptroller.report.drawing import ChartPicture
from comptroller.report.terminal import WIDTH, print_plan

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("start", "benchmarks", "dashboard", "install")),
)
PICTURE = ROOT / "docs" / "pictures" / "chat.svg"
RESULTS = ROOT / "benchmarks" / "results"
GOLDEN = ROOT / "tests" / "golden" / "chat.json"
MARKED = re.compile(r"(<!-- (?P<name>[\w-]+):begin -->\n).*?(<!-- (?P=name):end -->)", re.DOTALL)


def example() -> str:
    """What `comptroller plan examples/chat.toml` prints."""
    page = io.StringIO()
    print_plan(load_plan(GOLDEN), Console(file=page, width=WIDTH, highlight=False))
    lines = (line.rstrip() for line in page.getvalue().splitlines())
    return "```text\n" + "\n".join(lines).strip() + "\n```"


def picture() -> bytes:
    """The decision of the example: the best plan of each accelerator alone."""
    chart = accelerator_chart(load_plan(GOLDEN))
    assert chart is not None
    return ChartPicture((chart,), "20 requests/s of Llama 3.1 70B").svg()


def figures(name: str) -> Any:
    """The figures of a result."""
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found.get("figures", found)


def headlines() -> str:
    """Five lines on accuracy and speed, the misses among them."""
    joint = f"{joint_headline()} ([joint plans](docs/benchmarks.md))."
    lines = (*accuracy_lines("docs/accuracy.md"), *speed_lines(), joint)
    return "\n".join(f"- {line}" for line in lines)


def accuracy_lines(page: str) -> tuple[str, ...]:
    """What predictions miss by, held out. page: of all figures, as seen from where the lines stand."""
    held = figures("accuracy_plan")
    medians = {
        quantity: [
            f"{held[left_out][quantity]['servers']['median']:.0f} %" for left_out in ("model", "accelerator", "date")
        ]
        for quantity in ("tpot", "ttft")
    }
    tpot, ttft = (medians[quantity] for quantity in ("tpot", "ttft"))
    others, amd = (f"{held['source']['tpot'][judged]['median']:.0f} %" for judged in ("published", "AMD"))
    return (
        f"Time per token, held out: {tpot[0]} median error on models never seen, {tpot[1]} on accelerators, {tpot[2]} "
        f"on later dates; time to the first token {ttft[0]}, {ttft[1]} and {ttft[2]} ([accuracy]({page})).",
        f"On twenty other sources, one left out at a time, {others}, and on AMD's devices {amd}: old builds of "
        "engines run slower than those fitted.",
    )


def speed_lines() -> tuple[str, ...]:
    """What a plan and a request take."""
    waits, gateway = figures("plan_process"), figures("gateway_overhead")
    chat, node = waits["chat.toml"], waits["one 8-GPU node type, 70B, all formats"]
    ratios = {each["name"]: each["reached"] for each in gateway["ratios"]}
    less = [f"{ratios[f'CPU per request, json, {n} connections: LiteLLM{chr(39)}s over ours']:.0f}" for n in (1, 16)]
    return (
        f"`examples/chat.toml` is answered after {chat['answer_s']:.1f} s and all reasons are there after "
        f"{chat['whole_s']:.1f} s; a node type in all formats takes {node['whole_s']:.0f} s, where 10 s was the aim.",
        f"The gateway takes {less[0]} times less CPU per request than the LiteLLM proxy at one connection, {less[1]} "
        "times at 16.",
    )


JOINT_TITLES: Mapping[str, str] = {
    "joint_mmlu": "MMLU by subject",
    "joint_swebench": "SWE-bench Verified",
    "joint_apis": "maths and science",
    "joint_pythia": "sampling Pythia",
    "joint_own": "seven tasks by SmolLM2",
}


def points(share: float) -> str:
    """Points with their sign, without one where they round to nothing.

    >>> points(-0.004), points(0.12)
    ('0', '+12')
    """
    return f"{100 * share:+.0f}" if abs(share) >= 0.005 else "0"


def joint_headline() -> str:
    """The joint plan beside its best rival on every workload: at equal share solved of other questions, and at the
    target that both were asked for, the first of the workload."""
    told = []
    for name, found in figures("joint").items():
        lines = found["lines"]
        target = lines[0]["target"]
        near = [each for each in lines if each["target"] == target and each["solved"] >= 0.9 * target]
        rivals = [each for each in near if each["saving"] is not None]
        best = min(rivals, key=lambda each: each["saving"], default=None)
        if best is not None:
            costs = f"{points(-best['saving'])} % at equal share, {points(-best['at_target'])} % at the target"
            told.append(f"{JOINT_TITLES[name]} {costs} ({best['planner']})")
    return (
        "Chosen on half of the questions and judged on the other, the joint plan costs, beside the best of five "
        f"planners tuned by the same folds: {'; '.join(told)}"
    )


def plan_right_headline() -> str:
    """Whether plans are the cheapest that holds, what they tell comes true, and they hold on other draws."""
    right, holds, stands = figures("plan_right"), figures("plan_holds")["summary"], figures("plan_stands")["rows"]
    further = holds["a further draw"]
    growth = max(row["ratio"] for row in stands)
    told = (
        f"{right['told_wrong']} of {right['told']} told figures were not" if right["told"] else "none was planned again"
    )
    return (
        f"- Of {len(right['rows'])} workloads planned beside every cheaper equal fleet and mix of two kinds on the "
        f"same draws, {right['dearer']} plans are dearer than what is known to hold; {len(right['disorders'])} "
        f"neighbours are out of order (more asked for less money). Planned again, {told} right to 1 % of the cost "
        "and 2 % of the place ([plan_right.md](../benchmarks/results/plan_right.md)).\n"
        f"- {further['held']:.1%} of {further['runs']:.0f} draws that no planner had seen held, in the worst workload "
        f"{further['least']:.0%}; {further['more_than_needed']:.0f} of {further['asked_less']:.0f} plans would have "
        "held as often with one replica less ([plan_holds.md](../benchmarks/results/plan_holds.md)).\n"
        f"- TTFT at p95 in the last quarter of a steady hour is at most {growth:.2f} times that of the first, of "
        f"{len(stands)} fleets, five without a latency objective "
        "([plan_stands.md](../benchmarks/results/plan_stands.md))."
    )


def results(name: str) -> str:
    """The tables of a result without its title; a plain sentence where it has not been measured yet."""
    path = RESULTS / f"{name}.md"
    if not path.exists():
        return f"Not measured yet: `benchmarks/results/{name}.md` is not there."
    return re.sub(r"\A# .*\n+", "", path.read_text(encoding="utf-8")).strip()


BLOCKS: Mapping[str, Callable[[], str]] = {
    "example": example,
    "headlines": headlines,
    "accuracy_lines": lambda: "\n".join(f"- {line}" for line in accuracy_lines("accuracy.md")),
    "joint_headline": joint_headline,
    "plan_right_headline": plan_right_headline,
}
"""Marker -> what fills it; every other is the result of its name."""


def filled(text: str) -> str:
    """A page with every marked block renewed."""

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        content = BLOCKS[name]() if name in BLOCKS else results(name)
        return f"{found[1]}{content}\n{found[3]}"

    return MARKED.sub(block, text)


if __name__ == "__main__":
    PICTURE.write_bytes(picture())
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"wrote {page}")
