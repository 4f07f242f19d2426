"""Chat, chains of thought, a tree and two agents on one fleet; caches in tool waits; tools' share of an agent's time.

`python benchmarks/agent_designs.py` plans one A100 for an 8B model, simulates every design's recorded calls, and writes
results/agent_designs.{json,md} and the table of docs/traces.md. Recorded are calls, tokens, waits, what was solved, by
other models (GPT-4 on the Game of 24; Gemini 3 Pro, and models of 2024 on Java issues); times, joules and dollars are
the fleet's. Accuracies compare designs on the same puzzles only: another model would solve others.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.costs.inference_units import at_rate_w, per_solved
from comptroller.costs.money import host_w
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import CacheTierDocument
from comptroller.planning.planner import plan
from comptroller.planning.simulation import TraceReplaySettings, simulate_plan
from comptroller.planning.tool_gaps import ToolGapComparison, compare_tool_gaps
from comptroller.report.task_figures import task_record
from comptroller.work.rows import TraceReadOptions
from comptroller.work.trace import RequestTrace
from comptroller.work.trace_tasks import TraceTasks
from comptroller.work.traces import read_trace
from comptroller.work.trajectory_files import read_trajectories
from comptroller.work.workload import parse
from record import table, write

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data")) / "agents"
PAGE = Path(__file__).parents[1] / "docs" / "traces.md"
BEGIN, END = "<!-- agents:begin -->", "<!-- agents:end -->"
WH = 3600.0
CHAT = (161, 338)
"""Mean tokens of a ShareGPT prompt and reply (Kwon et al., arXiv 2309.06180, figure 11), the usual chat."""

PUBLISHED_WH = 0.32
"""Of a chat query with an 8B model (Cost of Dynamic Reasoning, arXiv 2506.04301)."""

PUBLISHED_RATIOS = {"Reflexion": 41.53 / 0.32, "LATS": 22.76 / 0.32}
WAIT_FACTORS = (1, 30, 100, 300, 1000)


def fleet() -> Plan:
    """One A100 for the 8B model, with room for the longest recorded prompt."""
    document = {
        "name": "designs", "models": ["llama_3_1_8b"], "rate_per_s": 0.5,
        "lengths": {"input": {"fixed": 8000}, "output": {"fixed": 338}},
        "objectives": {"ttft": {"p": 95, "max": 5, "unit": "s"}},
        "allow": {"accelerators": ["a100_80_sxm"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["bf16"]},
    }  # fmt: skip
    made = plan(parse(document), quick=True)
    (service,) = made.services
    engine = service.deployment.engine.model_copy(update={"context_tokens": 131072})
    deployment = service.deployment.model_copy(update={"engine": engine})
    return made.model_copy(update={"services": (service.model_copy(update={"deployment": deployment}),)})


def single_calls(prompts: Any, replies: Any, scores: Any, gap_s: float) -> RequestTrace:
    """Tasks of one call each, one every so many seconds."""
    count = len(prompts)
    tasks = TraceTasks(np.full(count, -1), np.zeros(count), np.asarray(scores, float), np.full(count, np.nan))
    return RequestTrace(
        np.arange(count) * gap_s, np.asarray(prompts, np.int64), np.asarray(replies, np.int64), tasks=tasks
    )


def game_of_24(method: str, gap_s: float) -> RequestTrace:
    """The puzzles by one answer, by one chain of thought, or by the tree: three rounds of proposals and of verdicts,
    whose tokens are spread over as many calls as the recorded tree has nodes."""
    runs = [row for row in csv.DictReader((DATA / "tree24_runs.csv").open()) if row["method"] == method]
    if method != "tree_bfs_width5":
        each = [float(row["samples"]) for row in runs]
        prompts = [max(round(float(row["prompt_tokens"]) / one), 1) for row, one in zip(runs, each, strict=True)]
        replies = [max(round(float(row["completion_tokens"]) / one), 1) for row, one in zip(runs, each, strict=True)]
        return single_calls(prompts, replies, [float(row["correct"]) / float(row["samples"]) for row in runs], gap_s)
    widths: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in csv.DictReader((DATA / "tree24_nodes.csv").open()):
        widths[row["puzzle"]][int(row["depth"])] += 1
    rows: list[tuple[float, int, int, int, float]] = []
    for number, run in enumerate(runs):
        stages = [
            size
            for depth in sorted(widths[run["puzzle"]])
            for size in (1 if depth == 0 else 5, widths[run["puzzle"]][depth])
        ]
        calls = sum(stages)
        prompt, reply = (max(round(float(run[name]) / calls), 1) for name in ("prompt_tokens", "completion_tokens"))
        before = -1
        for size in stages:
            rows += [(number * gap_s, prompt, reply, before, float(run["solved"] == "True"))] * size
            before = len(rows) - 1
    start, prompts, replies, parent, score = (np.array(column) for column in zip(*rows, strict=True))
    unknown = np.full(len(rows), np.nan)
    tasks = TraceTasks(parent.astype(np.int64), np.zeros(len(rows)), score, unknown)
    return RequestTrace(start, prompts.astype(np.int64), replies.astype(np.int64), tasks=tasks)


def of_source(source: str, rate_per_s: float) -> RequestTrace:
    """The recorded runs of one source that were judged, as traffic."""
    file = DATA / "agent_calls.parquet"
    trace = read_trace(file, TraceReadOptions(rate_per_s=rate_per_s))
    calls = read_trajectories(file)
    inside = np.array([run.source == source and np.isfinite(run.score) for run in calls.runs])
    assert trace.session is not None
    rows = np.flatnonzero(inside[trace.session])
    return trace.take(rows)


def figures_of(made: Plan, trace: RequestTrace) -> dict[str, Any]:
    """What came of a design: its tasks' seconds, joules of its calls, joules and dollars of the fleet per solved."""
    found = simulate_plan(made, trace, TraceReplaySettings(routing="session_affinity"))
    record, outcome = task_record(found), found.outcome
    own_j = float((outcome.request_j + outcome.waste_j).sum())
    ended = record["tasks"]
    solved = record["solved"] / max(record["judged"], 1)
    wh_per_solved = per_solved(own_j / WH / ended, solved) if solved else np.nan
    return {
        "tasks": ended, "calls": record["calls_per_task"], "solved": solved,
        "p50_s": record["task_s"]["p50"], "p95_s": record["task_s"]["p95"], "time": record["time"],
        "wh": own_j / WH / ended, "wh_per_solved": wh_per_solved,
        "task_w": record["task_w"], "w_at_rate": at_rate_w(wh_per_solved * WH),
        "usd_per_solved": per_solved(float(outcome.requests.usd.sum()) / ended, solved) if solved else np.nan,
        "cached": record["cached"],
    }  # fmt: skip


def alone_wh(made: Plan) -> tuple[float, float]:
    """A chat query's watt-hours one at a time: at the meter, and of the device alone, without host and PUE."""
    trace = single_calls([CHAT[0]] * 20, [CHAT[1]] * 20, [1.0] * 20, 60.0)
    outcome = simulate_plan(made, trace, TraceReplaySettings()).outcome
    meter_j = float((outcome.request_j + outcome.waste_j).mean())
    pue = made.library.site(made.services[0].deployment.site).pue
    busy_s = float(np.nanmean(outcome.e2e_s - outcome.outside_s - outcome.queue_s))
    return meter_j / WH, (meter_j / pue - host_w(1) * busy_s) / WH


def gaps(made: Plan) -> list[tuple[int, ToolGapComparison]]:
    """The agent's caches in tool waits as recorded and longer, at the same calls a second."""
    trace = of_source("mini-swe-agent", 0.5)
    assert trace.tasks is not None and trace.session is not None
    first = np.flatnonzero(trace.session < 120)
    trace = trace.take(first)
    found = []
    for factor in WAIT_FACTORS:
        assert trace.tasks is not None
        slower = replace(trace, tasks=replace(trace.tasks, wait_s=factor * trace.tasks.wait_s))
        tiers = (CacheTierDocument(tier="host_memory", gb=256), CacheTierDocument(tier="nvme_pcie5", gb=2000))
        settings = TraceReplaySettings(routing="session_affinity")
        found.append((factor, compare_tool_gaps(made, slower, settings, tiers)))
    return found


EXECUTION_S = {"claude-code/claude-3.5-haiku": 352.0, "claude-code/glm-4.7-flash-q4-local": 664.0}
"""Mean seconds of a task, start included: the 30 tasks that both agents did, in AgentCgroup's repository
(eunomia-bpf/agentcgroup, analysis/haiku_vs_qwen_report.md at 7675fa4a)."""

INSIDE_S = {
    "claude-code/claude-3.5-haiku": (
        348, 64, 475, 98, 368, 64, 214, 76, 116, 635, 130, 123, 167, 158, 99, 320, 327, 260, 87, 123, 103, 81, 144,
        240, 264, 68, 171, 211, 144, 76,
    ),
    "claude-code/glm-4.7-flash-q4-local": (
        610, 738, 816, 140, 921, 687, 115, 562, 660, 647, 422, 138, 352, 1459, 526, 944, 308, 70, 326, 104, 771, 131,
        237, 600, 935, 885, 294, 737, 509, 536,
    ),
}  # fmt: skip
"""Of these the seconds in the running container, task by task, from the same page; the rest is start."""

REPOSITORY_TOOLS = {
    "claude-code/claude-3.5-haiku": 3571.3 / 12322,
    "claude-code/glm-4.7-flash-q4-local": 19819.3 / 74853,
}
"""Seconds of all tools over those of all tasks, start included, of the repository's 33 and 111 tasks
(analysis/haiku_figures/report.md, analysis/qwen3_figures/report.md at 7675fa4a)."""

PUBLISHED_OUTSIDE = (0.56, 0.74)
"""Share of tools and of the start of container and agent in a task's latency (AgentCgroup, arXiv 2602.09345)."""


def tool_shares() -> dict[str, dict[str, float]]:
    """Of AgentCgroup's agents, by its histograms: tools in the seconds of turns and tools, and, with the starts of its
    repository, what the operating system does in a task's latency, which its abstract has.

    Seconds are counts times the middles of their bins. `tools` and `outside` are ratios of sums, `mean_of_sessions`
    and `outside_mean` means of the shares of sessions and of tasks; o = s + (1 - s) t, t the share of tools inside the
    container and s that of the start. Starts are published as a mean alone: every task has it.  repository_outside: the
    start and all tools over all tasks, as the repository's pages add up.
    """
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    counts: dict[tuple[str, str], float] = defaultdict(float)
    named: dict[str, float] = defaultdict(float)
    for row in csv.DictReader((DATA / "agentcgroup_histograms.csv").open()):
        middle_s = int(row["count"]) * (float(row["low"]) + float(row["high"])) / 2
        if row["name"] == "all":
            seconds[row["agent"], row["quantity"]] += middle_s
            counts[row["agent"], row["quantity"]] += int(row["count"])
        elif row["quantity"] == "tool_s":
            named[row["agent"]] += middle_s
    shares = {}
    for agent, whole_s in EXECUTION_S.items():
        inside_s = np.array(INSIDE_S[agent], float)
        start_s = whole_s - inside_s.mean()
        start, starts = start_s / whole_s, float((start_s / (start_s + inside_s)).mean())
        tools_s, turns_s = seconds[agent, "tool_s"], seconds[agent, "llm_turn_s"]
        tools = tools_s / (tools_s + turns_s)
        mean = seconds[agent, "tool_share_of_session"] / counts[agent, "tool_share_of_session"]
        shares[agent] = {
            "tools": tools, "named_tools": named[agent] / (tools_s + turns_s), "mean_of_sessions": mean,
            "start": start, "start_mean": starts,
            "outside": start + (1 - start) * tools, "outside_mean": starts + (1 - starts) * mean,
            "repository_outside": start + REPOSITORY_TOOLS[agent],
        }  # fmt: skip
    return shares


DESIGNS = (
    "chat",
    "direct answer",
    "chain of thought",
    "tree of thoughts",
    "agent, Python issues",
    "agent, Java issues",
)


def main() -> None:
    """Simulate, write the results and the table of the page."""
    made = fleet()
    rng = np.random.default_rng(0)
    lengths = (rng.poisson(mean, 600) for mean in CHAT)
    chat = single_calls(*lengths, [np.nan] * 600, 0.5)
    traces = (
        chat, game_of_24("direct_answer", 1.0), game_of_24("chain_of_thought", 2.0),
        game_of_24("tree_bfs_width5", 20.0),
        of_source("mini-swe-agent", 0.5), of_source("swe-agent-java", 0.5),
    )  # fmt: skip
    designs = {name: figures_of(made, trace) for name, trace in zip(DESIGNS, traces, strict=True)}
    for name, one in designs.items():
        print(name, one, flush=True)
    alone = alone_wh(made)
    found = gaps(made)
    shares = tool_shares()
    text = page_text(designs, alone, found, shares)
    figures = {
        "designs": designs, "chat_alone_wh": alone[0], "chat_alone_device_wh": alone[1],
        "published_wh": PUBLISHED_WH, "tool_share": shares,
        "gaps": [
            {"factor": factor, "survival_s": one.survival_s, "outlived": one.outlived, "best": one.best.name,
             "foretold": one.foretold,
             **{way.name: {"cached": way.cached, "prefill_s": way.prefill_s} for way in one.outcomes}}
            for factor, one in found
        ],
    }  # fmt: skip
    write("agent_designs", figures, f"# Agents beside chat on one fleet\n\n{text}")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")
    print(text)


def page_text(
    designs: dict[str, dict[str, Any]],
    alone: tuple[float, float],
    found: list[tuple[int, ToolGapComparison]],
    shares: Any,
) -> str:
    """The tables and their sentences."""
    base = designs["chat"]["wh"]
    rows = []
    for name, one in designs.items():
        known = name != "chat"
        rows.append([
            name, f"{one['calls']:.3g}", f"{one['solved']:.0%}" if known else "", f"{one['p50_s']:.3g}",
            f"{one['p95_s']:.3g}", f"{one['time']['tools']:.0%}", f"{one['wh']:.3g}", f"{one['wh'] / base:.3g}",
            f"{one['task_w']:.3g}",
            f"{one['wh_per_solved']:.3g}" if known else "", f"{one['w_at_rate'] / 1e6:.3g}" if known else "",
            f"{one['usd_per_solved']:.3g}" if known else "",
        ])  # fmt: skip
    heads = (
        "design",
        "calls",
        "solved",
        "p50, s",
        "p95, s",
        "tools",
        "Wh",
        "to chat",
        "W of a task",
        "Wh per solved",
        "MW at 1 M solved/h",
        "$ per solved, at work",
    )
    ways = [way.name for way in found[0][1].outcomes]
    lines = [
        [f"x {factor}", f"{one.survival_s:.0f}", f"{one.outlived:.1%}",
         *(f"{way.cached:.0%}, {way.prefill_s:.0f}" for way in one.outcomes), one.foretold, one.best.name]
        for factor, one in found
    ]  # fmt: skip
    ratio = alone[1] / PUBLISHED_WH
    return (
        f"One A100 80 GB, Llama 3.1 8B in BF16, simulated; calls, tokens, tools and what was solved as recorded.\n\n"
        f"{table(heads, rows)}\n\n"
        f"Wh are those of the design's own calls at the meter, beside others on the device; W of a task are "
        f"its joules over its seconds, tools included; $ for the time that it worked. "
        f"A chat query alone takes {alone[0]:.3g} Wh at the meter (host and PUE in it), {alone[1]:.3g} of the device, "
        f"{ratio:.2f} times the published {PUBLISHED_WH} (arXiv 2506.04301, an 8B model; taken as of GPUs alone); "
        f"beside others, at 2 a second, {base:.3g} at the meter. Published ratios to chat are "
        f"{', '.join(f'{name} {one:.0f}' for name, one in PUBLISHED_RATIOS.items())}, on HotpotQA, whose calls are not "
        f"among the records.\n\nCaches while tools run, {len(ways)} ways (share found cached, seconds of prefill), the "
        f"waits as recorded and longer:\n\n"
        f"{table(('waits', 'kept up to, s', 'longer', *ways, 'least by arithmetic', 'simulated'), lines)}\n\n"
        f"The wait that a kept cache outlives is of the mean load, shorter where tasks crowd.\n\n{share_text(shares)}"
    )


def share_text(shares: dict[str, dict[str, float]]) -> str:
    """The two definitions of tools' share, and the published one from the histograms."""
    rows = [
        [agent, *(f"{one[key]:.0%}" for key in (
            "tools", "named_tools", "mean_of_sessions", "start", "start_mean", "outside", "outside_mean",
            "repository_outside"))]
        for agent, one in shares.items()
    ]  # fmt: skip
    heads = (
        "agent", "tools, of turns and tools", "named tools alone", "mean of sessions", "start, of the task",
        "mean of tasks", "tools and start, of the task", "mean of tasks", "as its repository adds up",
    )  # fmt: skip
    told = [one[key] for one in shares.values() for key in ("outside", "outside_mean")]
    haiku = shares["claude-code/claude-3.5-haiku"]
    unnamed = 1 - haiku["named_tools"] / haiku["tools"]
    low, high = PUBLISHED_OUTSIDE
    return (
        f"Two shares are told of an agent's tools. Of *turns and tools* (what a trace of calls holds, the column "
        f"`tools` above); and of a *task's latency from the start of its container on*, tools and start together: what "
        f"the operating system does, {low:.0%} to {high:.0%} in AgentCgroup's abstract, 55 to 60 % in a later version. "
        f"Both from its histograms, with the starts of 30 tasks of its repository:\n\n"
        f"{table(heads, rows)}\n\n"
        f"That is {min(told):.0%} to {max(told):.0%}. It differs from the abstract for three reasons: sums weigh long "
        f"tasks, means of tasks all alike; {unnamed:.0%} of Haiku's tool seconds are of no named tool, sub-agents "
        f"among them, whose time is a model's; the start of each session is not published, so that every task has the "
        f"mean one. A simulated trace has the second share where its runs say `start_up_s`.\n"
    )


if __name__ == "__main__":
    main()
