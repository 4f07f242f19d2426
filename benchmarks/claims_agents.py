"""Claims about trees, worlds, contexts and agents, as benchmarks last found them; `claims.py` writes the table."""

from __future__ import annotations

from claims_fleets import found
from claims_strategies import Claim
from comptroller_lab.tree_claims import tree_rows

TREES = ("trees", "recorded_searches", "steps_live", "trees_persistent")
"""Benchmarks behind the claims on search over steps."""
TREE_DATA = {
    "recorded": "trees and searches of others, replayed (recorded_searches.md, trees.md)",
    "drawn": "drawn trees with the errors of recorded reward models (trees.md, trees_persistent.md)",
    "drawn, simulated": "drawn trees on a simulated device (trees.md, trees_persistent.md)",
    "live": "the embedded model through the gateway (steps_live.md)",
}


def searches() -> list[Claim]:
    """Search over steps, as the strategies' page has it."""
    rows = tree_rows(*(found(name) for name in TREES))
    return [Claim(claim, said, here, TREE_DATA[trees], trees.partition(",")[0]) for claim, said, here, trees in rows]


def worlds() -> list[Claim]:
    """In which worlds every strategy was run, and by what."""
    cells = found("strategy_worlds")
    own = sorted(name for name, one in cells.items() if "live runs" in one["recorded"])
    rests = f"strategy_worlds.md: {len(cells)} strategies, least parameters; that they run, not that they are right"
    live = f"{sum(one['live'].startswith('1 of 1 answered') for one in cells.values())} of {len(cells)} answer"
    drawn = f"{sum(one['drawn'].startswith('3 of 3 answered') for one in cells.values())} of {len(cells)} answer"
    recorded = f"{len(cells) - len(own)} of {len(cells)}; of the other {len(own)} nobody publishes what they ask"
    again = f"{', '.join(own)}: their own live runs, replayed ask by ask"
    told = (("replayed on a record", recorded, "recorded"), ("replayed, if not on a record", again, "live"),
            ("played in a drawn world", drawn, "drawn"), ("run live on the embedded model", live, "live"))  # fmt: skip
    return [Claim(f"every strategy is {way}", "–", here, rests, standing) for way, here, standing in told]


def contexts() -> list[Claim]:
    """Notes on a context: when they pay, and what a memory in place of a context saves."""
    sleep, memory = found("sleep_time"), found("memory_live")
    halves = "; ".join(
        f"{unit} {' and '.join(f'{said:.2f} for {seen:.2f}' for said, seen in sleep[unit]['halves'])}"
        for unit in ("tokens", "dollars")
    )
    saved, means = memory["saved"], memory["means"]
    name, base = next(name for name in saved if name.startswith("budget_memory(n=4)")), "sample_and_vote(n=4)"
    gap = saved[name]["gap"]
    return [
        Claim(
            "from how many queries a context notes pay, predicted from other contexts", "–",
            f"predicted for measured: {halves}; right {sleep['solved']['without notes']:.0%} from the text, "
            f"{sleep['solved']['with notes']:.0%} from the notes",
            f"sleep_time.md: the embedded model, {sleep['contexts']} contexts", "live",
        ),
        Claim(
            "a memory within a budget in place of the context", "lower cost at no loss (BudgetMem, arXiv 2602.06025)",
            f"`{name}` reads {saved[name]['read']:.0%} fewer tokens and costs {saved[name]['usd']:.0%} less than "
            f"`{base}`; right {means[name]['right']:.0%} for {means[base]['right']:.0%} ({gap[0]:+.0%} [{gap[1]:+.0%}, "
            f"{gap[2]:+.0%}])",
            "memory_live.md: the embedded model, 24 questions", "live",
        ),
    ]  # fmt: skip


def agents() -> list[Claim]:
    """Agents beside chat on one device, tools in their time, caches in the gaps, and runs that are stopped."""
    one, rows = found("agent_designs"), found("monitor_attempts")["rows"]
    designs = one["designs"]
    ratios = ", ".join(f"{name} {cells['wh'] / designs['chat']['wh']:.0f}" for name, cells in designs.items()
                       if cells["calls"] > 1)  # fmt: skip
    shares = "; ".join(
        f"{name} {each['tools']:.0%} of turns and tools, with its start {each['outside_mean']:.0%} (mean of tasks) to "
        f"{each['outside']:.0%} (of all seconds)"
        for name, each in one["tool_share"].items()
    )
    tools = ", ".join(f"{name} {cells['time']['tools']:.0%}" for name, cells in designs.items()
                      if cells["time"]["tools"])  # fmt: skip
    best = [f"x {gap['factor']} {gap['best']}" for gap in one["gaps"]]
    told = [f"x {gap['factor']} {gap['foretold']}" for gap in one["gaps"]]
    cut = max((row for row in rows if row["source"] == "mini-swe-agent" and row["lost"] <= 0.05 * row["successes"]),
              key=lambda row: row["cut"])  # fmt: skip
    how = "agent_designs.md: calls, tokens, tools as recorded; an A100 with Llama 3.1 8B simulated"
    return [
        Claim(
            "a chat query of an 8B model takes 0.32 Wh", "0.32 Wh (arXiv 2506.04301)",
            f"{one['chat_alone_device_wh']:.3f} Wh of the device alone, {one['chat_alone_wh']:.3f} at the meter with "
            f"host and PUE, {designs['chat']['wh']:.3f} beside others", how, "modelled",
        ),
        Claim(
            "energy of agent designs in multiples of a chat query", "Reflexion 130, LATS 71 (arXiv 2506.04301)",
            f"{ratios}, beside others on the device; other tasks, since the published ones are not recorded", how,
            "modelled",
        ),
        Claim(
            "tools and the operating system take 56 to 74 % of an agent's time", "56 to 74 % (AgentCgroup)",
            f"tools by its histograms and starts by its repository's means: {shares}; tools in simulated runs: {tools}",
            "recorded: agentcgroup_histograms.csv, starts of 30 tasks, waits of runs; agent_designs.md", "recorded",
        ),
        Claim(
            "the best place of a cache while a tool runs changes with the wait", "–",
            f"least prefill by recorded waits {', '.join(best)}; by arithmetic {', '.join(told)}", how, "modelled",
        ),
        Claim(
            "a monitor cuts failing runs at few solved ones lost", "15 % at 5 % (AgentStop, arXiv 2605.15206)",
            f"{cut['monitor']}: {cut['cut']:.1%} of failing dollars, {cut['lost']} of {cut['successes']} solved runs "
            "lost, repositories held out",
            "agent_calls.parquet, mini-swe-agent, without token probabilities (monitor_attempts.md)", "recorded",
        ),
    ]  # fmt: skip


def stops() -> Claim:
    """What a monitor that was fitted to runs in the books cuts of the next ones, live."""
    name, one = next(iter(found("monitors_live")["monitors"].items()))
    spared = 1e6 * one["spared_predicted"], 1e6 * one["spared_measured"]
    return Claim(
        "a monitor's file does live what it does on records", "–",
        f"{name}: {one['cut']:.0%} of failing dollars cut, {one['solved']} solved before and {one['solved_with']} "
        f"after; the file on the same runs {one['replayed']}; spared {spared[0]:.0f} millionths of a dollar predicted, "
        f"{spared[1]:.0f} measured",
        "monitors_live.md: the embedded model, arithmetic; most runs fail, so that a cut is easy", "live",
    )  # fmt: skip


def audit() -> Claim:
    """Q4_0 told from Q8_0."""
    figures = found("audit")
    told, again = figures["q4_0"], figures["q8_0, again"]
    return Claim(
        "Q4_0 is told from Q8_0 at 5 % false alarms, prompts said beforehand", "–",
        f"{figures['prompts']} prompts said; {told['told']} of {told['audits']} audits tell it, {again['told']} of "
        f"{again['audits']} of Q8_0 itself", "audit.md: the embedded model in both formats", "live",
    )  # fmt: skip


def lines() -> list[Claim]:
    """All of them."""
    return [*searches(), *worlds(), *contexts(), *agents(), stops(), audit()]
