"""Measure how the package is built: names, functions, floors and arrows of planning, lines of each room.

`python docs/house.py` prints the tables and fails when a room has more lines than its bound; with `--write` it also
replaces the section between the markers of DESIGN.md. The figures to compare with stand in house_before.json; they are
those of the package of an older checkout: `python docs/house.py --package DIR --before COMMIT`.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "comptroller"
BEFORE = ROOT / "docs" / "house_before.json"
DESIGN = ROOT / "DESIGN.md"
BEGIN, END = "<!-- house:begin -->", "<!-- house:end -->"

ROOM_LINES = {
    # one program with its bounds, offers, reasons, risk, policies, the documents of it all; 1,000 lines of proof by a
    # search over simulated fleets: loads, pool, least counts, mixes, and what reasons read off; token prices beside
    # those of APIs; whether one replica fits, and what would make it; plans beside an own calibration; plans in parts,
    # and what is given up before it is simulated to the end; 750 lines of the odds of a choice: errors that deployments
    # share, break-evens, what timing is worth, what nobody timed; offers by seller and capacity, marketplaces; shapes
    # of several services, hours of questions; levers: pools apart, drafts, routing, adapters; the fleet of today from
    # launch lines; what pictures show, and what the pool answers at once (220 lines)
    # roles of a simulated strategy at the services of their models (100 lines)
    # rows within a power budget (130 lines)
    # who shares a simulated fleet, and who was slowed by whom (150 lines)
    # a fleet chosen over time (250 lines)
    # caches in tool waits (110 lines)
    # a plan's replicas under faults (115 lines), under copies of calls (140)
    # spot and power over time, the interval of what is saved, its document (500 lines)
    # the error of a reward model (45 lines)
    # two engines on the devices of a plan's service (105 lines)
    # a plan's requests in pools of their own layouts and clocks (280 lines)
    # one sample as a way, classes of one question, the target that is out of reach (90 lines)
    "planning": 18_290,
    # launch lines
    # 600 lines of what evidence supports: shrinkage, frontiers of ways, cross-fitting
    # what pictures show, and what the pool answers at once (220 lines)
    # a plan's service under scaling policies (130 lines)
    # workloads, also from users and use cases and written with comments, traces of twelve formats and of any table by
    # its columns, evidence of ten and of any table by its columns, laws and intervals over them; levers of serving with
    # their limits, prefixes
    # laws of the loss of pre-training, with what a fit is worth (400 lines)
    # laws of the loss of pre-training, with what a fit is worth (400 lines); declared prices of recorded models
    # laws of stages, laws as files, laws of the loss by file
    # recorded trees and scored steps (160 lines)
    # loads at equal steps, seven files of forecasts with intervals, their scores (600 lines)
    # trajectories of agents: their file, waits told, tasks of a trace, monitors (700 lines)
    # recorded depth-first searches and programs (130 lines)
    # requests drawn from a load (40 lines)
    # grids of scores by solutions and verdicts, and their law (340 lines)
    # data by difficulty (230 lines)
    # tables of clients' statistics, tenants and part of a trace (210 lines); hours of a recorded grid (110 lines)
    # runs of agents as evidence, predictions with results beside them, the map that leaves columns out (70 lines)
    # large evidence in arrays, the best of n over all choices (110 lines)
    # what each law needs of evidence, intervals of the law of saturation (115 lines)
    # the start of a task (10 lines)
    # tables of Parquet as traces (30 lines)
    # columns that part a series, short tables by name (60 lines)
    # trees of changed solutions, pools of models, what is recorded of steps (150 lines); shares of an agent's calls,
    # runs that a budget cuts (145); tools and notes of calls (20)
    # prompts cut to a length (60 lines)
    "work": 15_090,
    # the door, its desk and breakers, the router and its view, translation of four APIs, backends, checkers; what
    # holds against strangers: tables of fields, browsers, connections, replies of any shape, doubted usage, walls of
    # foreign code; who may call what; a plan's engines started on this machine
    # users, tags and claims on limits per minute; all faults of a configuration, by name and line
    # Anthropic's API as a service, counting of tokens, responses whole (700 lines)
    # contexts: notes made in idle capacity; hedged requests, with when and how often (170 lines)
    # keys in texts, thoughts within what is held, replies in other words
    # waits of tools and of checkers as rows (250 lines)
    # monitors of agents' runs, live: their records, stops and rows; what stands before a question (310 lines)
    # queues by the simulator's scheduling policies, with what a gateway counts for them (190 lines)
    "gateway": 9_750,
    # 20 strategies at about 100 lines, their drive, replay and training; 200 lines of deals and exact votes
    # search over steps: seven strategies, the levels they share, the program of ETS, rewards that err as recorded (800)
    # what trained parts were trained on beside what they are asked about, gates of one's own (340 lines)
    # monitors of agents' runs: five, and what each saves (400 lines)
    # thirteen strategies more (1,100 lines) and how alike texts are
    # agents: react, reflexion, plan and execute (210 lines)
    # strategies in closed form, in arrays over all questions, and their intervals (640 lines)
    # who plays which role, who may score, drawn rewards that leave a record (120 lines)
    # cascades on a check in closed form (145 lines)
    # stops at success and cascades by a predictor in closed form (450 lines); models on all of their own questions (40)
    "strategies": 10_330,
    # what each strategy needs and who supplies it in which world, contexts prepared once and when that pays (400 lines)
    # the event engine as one kernel, compiled or not, and every policy; 480 lines of call graphs of questions, recorded
    # once and played by the engine, call by call as live
    # replicas that come and go (280 lines), scaling policies (260) and what they see
    # stores of blocks outside the device, adapters in slots, counters of tenants, switches of contexts (650 lines);
    # what is written to them takes time (50)
    # replicas that change speed, samples of the step under way (150 lines)
    # contexts prepared on a fleet (50 lines)
    # replicas that come and go (400 lines), with a notice or without, scaling policies (260) and what they see
    # spot replicas in zones: policies, what they see, a run on a record (450 lines)
    # rows, samples of power and power policies (610 lines)
    # what followed moments like now (50 lines), HARMONY's decision
    # replicas that fault (230 lines); copies of calls and codes (360), the timer of hedges, which the gateway had (80)
    # rows within a power budget while replicas come and go, tier by tier (120 lines)
    # joules of replicas by the windows in which they are spent (60 lines)
    # shares of devices, which the lab had (175 lines)
    # pools of requests: policies, what they see, a run (370 lines)
    # replies that come after the server around the engine (35 lines)
    "serving": 9_920,
    # tables of a line per column, one chart, one page; every part of the memory of a replica
    # a measured engine beside its predictions; what stands behind a prediction
    # a total of reports, their currency and axis of time
    # pictures of a decision: bars with intervals, use of limits, waterfalls, spreads, operations under their roof
    # registers of training runs, laws and stages of training
    # which engine holds which format (110 lines)
    # tables by tenant, priority and adapter (140 lines)
    # charts over time, forecasts (200 lines)
    # tasks of agents, monitors, audits (300 lines)
    # rows within a power budget (190 lines)
    # jobs on a cluster
    # caches in tool waits side by side (70 lines)
    # jobs with a deadline, faults (135 lines)
    # work on hourly grids, jobs as a page (60 lines)
    # memory of a training run by stage, recipes of training (60 lines)
    # runs that monitors stopped (30 lines)
    # who waited for whom in the books (50 lines); scaling and power together (95 lines)
    # what stands behind a deployment, counted by kinship, and whose kernels and power it has (90 lines)
    # two engines on the same devices (55 lines)
    # a deployment as words (15 lines)
    # the start of a task (5 lines)
    # loads of adapters (5 lines)
    # strategies side by side (20 lines)
    # sessions of a trace (25 lines)
    "report": 9_310,
    # one function per physical quantity, each with its docstring of symbols, equation, source and example; reserves of
    # engines term by term, windows and states; what an own calibration measured; usage in the dialects of providers;
    # 600 lines of levers: split pools, speculative decoding, adapters; causes that a fit shares between replicas
    # 250 lines of experts over several nodes: what crosses a network, and what computing hides of it
    # FLOPs of a training run by two methods, what export controls count of a device (100 lines)
    # clocks and power limits, what a step asks of them (200 lines)
    # a replica that a neighbour slows (20 lines)
    # how long a cache outlives a wait (55 lines)
    # causes of faults with their counts (80 lines)
    # what training keeps outside of devices: timelines of resources, swapped activations, rates by power (330 lines)
    # pipeline schedules, activations by kind of layer, memory by stage, recipes of narrow training (390 lines)
    # packed documents and attention servers (200 lines)
    # experts that are padded or out of balance (110 lines)
    # a calibration of something else refused in one place, with what is not as it was measured (60 lines)
    "costs": 9_130,
    # ledger, holds, budgets, reports, migrations, two databases; names of services, invoices of four providers
    # plain SQL of the hot path and what a writer knows without asking (370 lines), limits that count what was before
    # them, limits per minute for all gateways, a clock that does not jump
    # latencies of the last calls
    # archives that keep the chain, pseudonyms, reports by zone, tag and currency (600 lines)
    # calls as traces, logs and evidence of the next plan
    # contexts that all gateways know, and who makes their notes (180 lines); names of meters (100)
    # drift of services (130 lines)
    # who waited for whom (110 lines)
    # calls of agents' runs, and what monitors stopped (130 lines)
    # patterns of tables of calls (35 lines)
    "books": 5_660,
    # one reader and one resolver, nine kinds of facts; configurations of models: fields, mixers, layers, quantisation,
    # what a checkpoint spares, and keys that look like structure, so that nothing of a user's own is passed over
    # what engines can load and what converts checkpoints, a table each; sellers and their kinds; prices that a workload
    # states, the faults of any document with their lines; machines that nobody rents
    # rules that speak of compute, utilisation of measured training runs (250 lines)
    # what the serving calibration was fitted to (100 lines)
    "facts": 5_950,
    # what formats lose on a real model, kernels timed, and the fit of a user's own calibration from the files of ten
    # tools, a reader of 60 to 100 lines each, with its errors before and after
    # a core of this machine, a closed loop of requests at a running engine; runs by source, and the effects of causes
    # audits of endpoints (650 lines)
    # what is wrong with a measured engine's answers, told apart (60 lines)
    "measure": 5_480,
    # a file per command (eleven), most of it options and their help; `new` asks
    # a fleet read from launch lines; a running engine measured from a plan; a workload by options, of `new` and `plan`;
    # columns of a table of evidence; refusals as JSON, completion, what `doctor` looks at, schemas, the dashboard
    # archives, zones and currencies of reports
    # the input of a plan from books; options of scaling, of simulate
    # registers of training runs
    # roles of simulated questions, gates
    # options of forecasts
    # judges and contexts of simulated questions
    # monitors and their files, audits (300 lines)
    # rows within a power budget (100 lines)
    # jobs on a cluster
    # tool waits of simulate (30 lines)
    # options of jobs with a deadline, of faults (150 lines)
    # scaling and power together, waits of keys (60 lines)
    # hours of a grid of a fleet over time (35 lines)
    # two engines on the same devices (50 lines)
    # pools of requests (90 lines)
    # strategies side by side (15 lines)
    # audits without prices (10 lines)
    # limits of runs as they are stated (20 lines)
    "cli": 7_335,
    # panels of books, plan and what-ifs; fields with their bounds, the process that plans again, addresses and keys
    "dashboard": 1_800,
    # options of scaling, of simulate
    # what each number format loses, in closed form and on samples
    "numerics": 1_150,
    # a training run from its document to its plan: layouts searched, options by device, count and offer, figures with
    # intervals, faults, what limits cost
    # registers of runs and the rules that they meet (400 lines)
    # controllers of reinforcement learning, replayed (450 lines)
    # lives of models: one budget over all stages (800 lines)
    # memory by stage, schedules (150 lines)
    # what lies outside of devices, packed documents (250 lines)
    # data that is made, and old data (230 lines)
    "training": 4_600,
    # targets of export, one file each; refusals of what-ifs and of weights that have to be made
    # compose and LeaderWorkerSet; recipes for pools apart, llm-d and Dynamo, 125 lines each
    # training runs: configurations of four programs, three kinds of jobs (380 lines)
    # who chooses among replicas: the tool's own policy, the gateway's, or a refusal (100 lines)
    # adapters, and what lies outside of devices (130 lines)
    # (torchtune, with what it builds: 90)
    "export": 1_890,
    # errors, all of a document among them, quantities, a user's own code, the exported names
    # how results are shown in Python, beside them; the solver, which strategies call too (150 lines)
    # one lookup in registries (25 lines)
    # one registry of plug-ins, for six folders (20 lines)
    ".": 870,
    # jobs on GPUs over time with nine policies, places by node and moves between them, readers of any table of jobs,
    # six balancers of services over nodes
    # jobs with a deadline on spot zones, three rules (380 lines); nodes that fault (210 lines);
    # kinds of GPUs and Gavel's program over them (210 lines)
    # a rule for deadlines that solves a program backwards from them (170 lines)
    # goodput of jobs on more or fewer GPUs, Pollux's rule over it (290 lines)
    "cluster": 3_190,
    # command lines of engines, one file each; which files they load, and how those are made; words of pools apart,
    # drafts and adapters, or which engine has none; lines read back by a table of flags for each engine, versions that
    # are installed; a fifth engine, which listens by flags of its own
    # manifests with what of them was not read, whole lines of a shell; policies that an engine follows (210 lines)
    # intervals of looks at the queue and of streams, and why one cannot be set (60 lines)
    "launch": 1_560,
}
"""Most lines of Python in each room. A room that passes its bound fails `make lint`: shrink it, or raise the bound here
and say in DESIGN.md what the lines are for."""

PLUG_INS = (
    "gateway.backends.",
    "cluster.policies.",
    "cluster.balancing.",
    "cluster.deadline_rules.",
    "serving.policies.",
    "strategies.rules.",
    "cli.",
)
"""Folders whose files are named by the id that a user writes (`weighted`, `chunked`): no rule of names for modules."""
PARTICIPLES = """
beaten become been begun bent bitten blown born bought bred broken brought built burnt caught chosen crept dealt done
drawn driven drunk dug eaten fallen fed felt fled flown forgotten fought found frozen given gone got gotten grown heard
held hidden hung kept known laid learnt led lent lit lost made meant met paid proven risen said seen sent sewn shaken
shown sold sought sown spent spoken spun stolen stood struck stuck sung sunk swept sworn swum taken taught thought
thrown told torn understood woken won worn woven written
"""
"""Past participles without -ed that are not also a noun of the field or a base form of a verb (`bound`, `set`)."""
NO_PARTICIPLES = """
bed bleed breed creed deed embed exceed feed greed heed hundred indeed need proceed red reed seed shed speed succeed
thread weed
"""
"""Words that end in -ed and are nouns or base forms of verbs."""
IRREGULAR, BASE_FORMS = frozenset(PARTICIPLES.split()), frozenset(NO_PARTICIPLES.split())
PREFIXES = ("un", "re", "over", "under", "out", "with", "fore", "mis", "pre", "up")
"""What may stand before an irregular participle: `rebuilt`, `unmet`, `withheld`."""


@dataclass(frozen=True)
class SourceFile:
    """One file of the package: its dotted name below the package (`planning.mix`), its text and its syntax tree."""

    name: str
    text: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree, walked once."""
        return list(ast.walk(self.tree))

    @property
    def room(self) -> str:
        """The folder of the package that holds the file; `.` for the files beside the rooms."""
        return self.name.partition(".")[0] if "." in self.name else "."

    @property
    def lines(self) -> int:
        """Physical lines."""
        return len(self.text.splitlines())


def source_files(package: Path = PACKAGE) -> list[SourceFile]:
    """Every file of the package in the order of paths; `planning/__init__.py` is `planning.__init__`."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    return [
        SourceFile(".".join(path.relative_to(package).with_suffix("").parts), text, ast.parse(text))
        for path, text in texts.items()
    ]


def words(name: str) -> list[str]:
    """The words of a name in camel or snake case, in lower case.

    >>> words("HTTPError"), words("_kept_rows"), words("Int4Grid")
    (['http', 'error'], ['kept', 'rows'], ['int4', 'grid'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+", name)]


def is_participle(name: str) -> bool:
    """Whether a name is one word and that word a past participle.

    >>> [name for name in ("Held", "_posed", "unmet", "seed", "held_rows", "Bound") if is_participle(name)]
    ['Held', '_posed', 'unmet']
    """
    parts = words(name)
    if len(parts) != 1:
        return False
    word = parts[0]
    bases = {word, *(word.removeprefix(prefix) for prefix in PREFIXES)}
    return bool(bases & IRREGULAR) or (word.endswith("ed") and not bases & BASE_FORMS)


def public_classes(files: Iterable[SourceFile]) -> dict[str, list[str]]:
    """Files that define each public class, nested classes included, by the name of the class."""
    homes: dict[str, list[str]] = defaultdict(list)
    for file in files:
        names = {node.name for node in file.nodes if isinstance(node, ast.ClassDef)}
        for name in sorted(names):
            if not name.startswith("_"):
                homes[name].append(file.name)
    return dict(homes)


def functions(file: SourceFile) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, methods and nested ones included."""
    for node in file.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(file: SourceFile, names: frozenset[str]) -> set[str]:
    """Modules of the package that a file imports anywhere: at the top, in functions, and for type checkers only.

    A name that is not a module is followed to the module that it is taken from.
    """
    targets: set[str] = set()
    for node in file.nodes:
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            targets |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    inside = {target.removeprefix("comptroller.") for target in targets if target.startswith("comptroller.")}
    packages = {f"{target}.__init__" for target in inside} & names
    taken = {target.rpartition(".")[0] for target in inside if target in names}
    return (inside & names) | {name for name in packages if name.removesuffix(".__init__") not in taken}


def arrows(files: Iterable[SourceFile], room: str) -> set[tuple[str, str]]:
    """Pairs (importer, imported) of files below one room."""
    everything = list(files)
    names = frozenset(file.name for file in everything)
    return {
        (file.name, target)
        for file in everything
        if file.name.startswith(f"{room}.")
        for target in imports(file, names)
        if target.startswith(f"{room}.") and target != file.name
    }


def between_rooms(edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Arrows with every sub-folder as one node: `planning.solve.rows` is `planning.solve`."""
    pairs = {tuple(".".join(name.split(".")[:2]) for name in edge) for edge in edges}
    return {(a, b) for a, b in pairs if a != b}


def reached(edges: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """What each node reaches along arrows, itself only where it lies on a cycle."""
    following: dict[str, set[str]] = defaultdict(set)
    for importer, imported in edges:
        following[importer].add(imported)
    reach: dict[str, set[str]] = {}
    for start in list(following):
        seen: set[str] = set()
        ahead = list(following[start])
        while ahead:
            node = ahead.pop()
            if node not in seen:
                seen.add(node)
                ahead += following.get(node, ())
        reach[start] = seen
    return reach


def floors(edges: Iterable[tuple[str, str]]) -> int:
    """Nodes of the longest chain of arrows, every cycle taken as one node.

    >>> floors({("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")})
    3
    """
    edges = set(edges)
    reach = reached(edges)
    nodes = {node for edge in edges for node in edge}
    below = {
        node: frozenset(other for other in reach.get(node, set()) if node not in reach.get(other, set()))
        for node in nodes
    }
    heights: dict[str, int] = {}
    for node in sorted(nodes, key=lambda node: len(below[node])):  # what lies below a node reaches less than it
        heights[node] = 1 + max((heights[other] for other in below[node]), default=0)
    return max(heights.values(), default=0)


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest value that at least this share of the values does not exceed.

    >>> percentile(range(1, 101), 0.95)
    95
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def comment_lines(file: SourceFile) -> int:
    """Lines with a comment, beside code or alone, without those that only speak to a tool (`# noqa`, `# type:`)."""
    tokens = tokenize.generate_tokens(io.StringIO(file.text).readline)
    comments = (token.string for token in tokens if token.type == tokenize.COMMENT)
    return sum(1 for comment in comments if not re.match(r"#\s*(noqa|type:|fmt:|pragma)", comment))


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether an except clause names nothing, `Exception` or `BaseException`."""
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in kinds)


def participles(files: Iterable[SourceFile]) -> dict[str, list[str]]:
    """Classes, module-level functions and modules, public and private, that are named by a bare participle."""
    named: dict[str, list[str]] = {"classes": [], "functions": [], "modules": []}
    for file in files:
        classes = [node.name for node in file.nodes if isinstance(node, ast.ClassDef)]
        tops = [node.name for node in file.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        stem = [] if file.name.startswith(PLUG_INS) else [file.name.rpartition(".")[2]]
        for kind, names in (("classes", classes), ("functions", tops), ("modules", stem)):
            named[kind] += [f"{file.name}: {name}" for name in names if is_participle(name)]
    return named


def room_lines(files: Iterable[SourceFile]) -> Counter[str]:
    """Lines of Python by room."""
    lines: Counter[str] = Counter()
    for file in files:
        lines[file.room] += file.lines
    return lines


def name_figures(files: list[SourceFile]) -> dict[str, float]:
    """Figures of names: classes, words, meanings, participles."""
    homes = public_classes(files)
    defined = [name for name, places in homes.items() for _ in places]
    named = participles(files)
    return {
        "classes": sum(isinstance(node, ast.ClassDef) for file in files for node in file.nodes),
        "one_word_percent": round(100 * sum(len(words(name)) == 1 for name in defined) / len(defined), 1),
        "names_with_several_meanings": sum(len(places) > 1 for places in homes.values()),
        **{f"participle_{kind}": len(names) for kind, names in named.items()},
    }


def size_figures(files: list[SourceFile]) -> dict[str, float]:
    """Figures of files, functions, comments and except clauses."""
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for file in files for node in functions(file)]
    handlers = [node for file in files for node in file.nodes if isinstance(node, ast.ExceptHandler)]
    lines, comments = sum(file.lines for file in files), sum(map(comment_lines, files))
    return {
        "files": len(files),
        "lines": lines,
        "file_lines_max": max(file.lines for file in files),
        "function_lines_median": median(lengths),
        "function_lines_p95": percentile(lengths, 0.95),
        "function_lines_max": max(lengths),
        "broad_excepts": sum(map(is_broad, handlers)),
        "comment_lines": comments,
        "comment_percent": round(100 * comments / lines, 2),
    }


def import_figures(files: list[SourceFile]) -> dict[str, float]:
    """Figures of imports: by file, of the whole package, and inside planning."""
    names = frozenset(file.name for file in files)
    targets = {file.name: imports(file, names) for file in files}
    counts = [len(found) for found in targets.values()]
    reach = reached((name, target) for name, found in targets.items() for target in found)
    inside = arrows(files, "planning")
    return {
        "imports_per_file_p95": percentile(counts, 0.95),
        "imports_per_file_max": max(counts),
        "files_on_import_cycles": sum(name in reach.get(name, set()) for name in names),
        "planning_files": sum(file.room == "planning" for file in files),
        "planning_floors": floors(inside),
        "planning_arrows": len(inside),
        "planning_room_floors": floors(between_rooms(inside)),
        "planning_room_arrows": len(between_rooms(inside)),
    }


def figures(files: list[SourceFile]) -> dict[str, float]:
    """Every figure of the table by its key."""
    return {**name_figures(files), **size_figures(files), **import_figures(files)}


MEASURES = {
    # key: (what is measured, goal, anchors)
    "classes": ("classes", "", ""),
    "one_word_percent": ("public class names of one word, %", "<= 25", "3-43"),
    "names_with_several_meanings": ("public class names in several files", "0", "0-14"),
    "participle_classes": ("participles as classes", "0", "0-1"),
    "participle_functions": ("participles as module-level functions", "0", "0-1"),
    "participle_modules": ("participles as modules", "0", ""),
    "files": ("files", "", "11-88"),
    "lines": ("lines", "<= 40,000", "1,404-44,001"),
    "file_lines_max": ("longest file, lines", "<= 400", "258-3,000"),
    "function_lines_median": ("function, median lines", "", "5-17"),
    "function_lines_p95": ("function, lines at p95", "", "23-110"),
    "function_lines_max": ("longest function, lines", "<= 80", "55-483"),
    "broad_excepts": ("broad except clauses", "", "1-25"),
    "comment_lines": ("lines with a comment", "", ""),
    "comment_percent": ("lines with a comment, %", "", "0.6-5.3"),
    "imports_per_file_p95": ("modules of the package imported by a file, p95", "<= 15", ""),
    "imports_per_file_max": ("modules of the package imported by a file, most", "<= 15", ""),
    "files_on_import_cycles": ("files on a cycle of imports, those for type checkers included", "0", ""),
    "planning_files": ("files of planning", "", ""),
    "planning_floors": ("floors of planning, by file", "", ""),
    "planning_arrows": ("arrows of planning, by file", "", ""),
    "planning_room_floors": ("floors of planning, a sub-folder as one room", "<= 10", ""),
    "planning_room_arrows": ("arrows of planning, a sub-folder as one room", "<= 80", ""),
}
NOTE = (
    "Before: commit 7374548. Anchors, lowest to highest, measured at their public versions of 2026: for names the "
    "codebases that the style is learned from; for sizes mini-swe-agent, nano-vllm, SimPy, starlette, httpx and PyPSA. "
    "The goal for imports of a file has a list of exceptions that only shrinks (`tests/test_house.py`)."
)


def table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table whose columns after the first are aligned to the right."""
    rule = ("---", *("---:" for _ in heading[1:]))
    return "\n".join("| " + " | ".join(row) + " |" for row in (heading, rule, *rows))


def spelling(value: float) -> str:
    """A figure with separators, without a fraction where it has none."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def section(files: list[SourceFile], before: Mapping[str, Mapping[str, float]]) -> str:
    """The two tables: figures before, now, wanted and elsewhere; lines of each room against its bound."""
    now, old = figures(files), before["figures"]
    rows = [(label, spelling(old[key]), spelling(now[key]), *rest) for key, (label, *rest) in MEASURES.items()]
    lines, were = room_lines(files), before["room_lines"]
    rooms = sorted({*lines, *were, *ROOM_LINES}, key=lambda room: (-lines[room], room))
    by_room = [
        (f"`{room}`", *(spelling(value) for value in (were.get(room, 0), lines[room], ROOM_LINES.get(room, 0))))
        for room in rooms
    ]
    total = ("all", spelling(sum(were.values())), spelling(lines.total()), spelling(sum(ROOM_LINES.values())))
    return "\n\n".join(
        (
            "<!-- written by docs/house.py --write -->",
            table(("measure", "before", "now", "goal", "anchors"), rows),
            NOTE,
            table(("room", "lines before", "now", "bound"), [*by_room, total]),
        )
    )


def passed_bounds(files: Iterable[SourceFile]) -> list[str]:
    """Rooms with more lines than their bound, or without one."""
    return [
        f"{room}: {count:,} lines, {ROOM_LINES.get(room, 0):,} allowed (ROOM_LINES in docs/house.py)"
        for room, count in sorted(room_lines(files).items())
        if count > ROOM_LINES.get(room, 0)
    ]


def write_section(text: str, path: Path = DESIGN) -> None:
    """Replace what stands between the markers of a document."""
    head, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path.name} lacks {BEGIN} and {END}")
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


def main() -> int:
    """Run the command line; 1 where a room passes its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=PACKAGE, help="folder of the package to measure")
    parser.add_argument("--write", action="store_true", help="replace the section of DESIGN.md")
    parser.add_argument("--before", metavar="COMMIT", help="store the figures as those of this commit, to compare with")
    options = parser.parse_args()
    files = source_files(options.package)
    if options.before:
        stored = {"commit": options.before, "figures": figures(files), "room_lines": room_lines(files)}
        BEFORE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        return 0
    text = section(files, json.loads(BEFORE.read_text(encoding="utf-8")))
    print(text)
    if options.write:
        write_section(text)
    passed = passed_bounds(files)
    print(*passed, sep="\n", file=sys.stderr)
    return int(bool(passed))


if __name__ == "__main__":
    sys.exit(main())
