"""Command lines and snippets of README and docs, and a folder that holds what their pages speak of."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

SHELLS = ("", "bash", "sh", "console")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^(?: {4}| {8})((?:comptroller|make|python|pip) .*)$", re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
PROGRAMS = ("comptroller", "make", "python", "pip", "curl", "kubectl", "npm", "docker")
"""What a command line begins with. Others are words of prose in the type of code."""


class CommandLine(NamedTuple):
    """A command line of a page. page: its path from the root."""

    page: str
    line: str

    @property
    def program(self) -> str:
        """The first word that is no setting of the environment."""
        return next((word for word in self.line.split() if "=" not in word), "")


def command_lines(page: Path) -> list[CommandLine]:
    """The command lines of a page, in its order: of blocks of shell, of indented blocks, of code in prose."""
    text = page.read_text(encoding="utf-8")
    name = str(page.relative_to(ROOT))
    found = [(at, line) for at, line in _lines_of(text)]
    lines = dict.fromkeys(line for _, line in sorted(found))
    return [one for line in lines if (one := CommandLine(name, line)).program in PROGRAMS]


def _lines_of(text: str) -> Iterator[tuple[int, str]]:
    prose = text
    for block in FENCED.finditer(text):
        prose = prose[: block.start()] + " " * len(block[0]) + prose[block.end() :]
        lines = _whole_lines(re.sub(r"\\\n\s*", " ", block[2]))
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        told = lines if block[1] in SHELLS and not prompted else prompted
        yield from ((block.start() + i, command) for i, line in enumerate(told) for command in _commands(line))
    for one in INDENTED.finditer(prose):
        yield from ((one.start(), command) for command in _commands(one[1]))
    for one in INLINE.finditer(INDENTED.sub(lambda kept: " " * len(kept[0]), prose)):
        line = " ".join(one[1].split())
        if is_whole(line):
            yield from ((one.start(), command) for command in line.split(" && "))


def _whole_lines(text: str) -> list[str]:
    """Lines of a block; those that an open quotation mark joins are one."""
    found: list[str] = []
    for line in text.splitlines():
        if found and found[-1].startswith("$ ") and found[-1].count("'") % 2:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


def _commands(line: str) -> list[str]:
    """The commands of a line without its remarks: what comes after # or after many blanks."""
    bare = line if "\n" in line else re.split(r"\s+#\s|\s{4,}", line.strip())[0]
    return [part.strip() for part in bare.split(" && ")]


def is_whole(line: str) -> bool:
    """Whether code in prose is a command that can be typed, and not the name of one or of its option.

    >>> is_whole("comptroller plan"), is_whole("comptroller serve"), is_whole("comptroller fits MODEL DEVICE")
    (False, True, True)
    """
    words = line.split()
    if words[0] != "comptroller":
        return words[0] in PROGRAMS and len(words) > 1
    return line in ALONE or (len(words) > 2 and not re.search(r"\.\.\.|\[", line) and not words[-1].startswith("--"))


ALONE = ("comptroller serve", "comptroller doctor")
"""Commands that do something without an argument."""


def python_snippets(page: Path) -> list[str]:
    """Blocks of Python of a page that are no dialogue with the interpreter, which doctest runs."""
    blocks = FENCED.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(code) for kind, code in blocks if kind == "python" and ">>>" not in code]


def workload_blocks(page: Path) -> dict[str, str]:
    """Workloads of a page that begin with a remark of their file's name, by that name."""
    blocks = [code for kind, code in FENCED.findall(page.read_text(encoding="utf-8")) if kind == "toml"]
    named = (re.match(r"# (\w+\.toml)\n", code) for code in blocks)
    return {found[1]: code for found, code in zip(named, blocks, strict=True) if found}


STANDING_FOR = {
    "MODEL": "llama_3_1_8b", "DEVICE": "h100_sxm", "WORKLOAD": "chat.toml", "PLAN": "plan.json",
    "TRAINING": "examples/training.toml",
    "TRACE": "trace.csv", "ARRIVALS": "arrivals.csv",
    "STRATEGY": "sample_and_vote", "CHEAP": "small", "DEAR": "large", "KIND": "workload",
    "TARGET=FOLDER": "commands=run",
    "kubernetes=DIR": "kubernetes=k8s", "NAME:n=4": "sample_and_vote:n=4",
}  # fmt: skip
"""What a reader writes in place of a word in capitals."""

FILES = {
    "fit laws FILE --law forecast": "counts.csv",
    "fit calibration": "result.json",
    "plan FILE": "chat.toml",
    "plan TRAINING": "made.json",
    "show register": "examples/register.toml",
    "plan": "current.toml",
    "new": "new.toml",
}
"""What `FILE` is for a command; elsewhere it is a table of recorded answers."""


def typed(line: str) -> list[str]:
    """The words that a reader types, after the program: capitals replaced by what they stand for."""
    words = shlex.split(line)[1:]
    roles = "--role" in words
    command = next((name for name in FILES if " ".join(words).startswith(name)), "")
    return [_word(word.removesuffix("..."), command, roles) for word in words]


def _word(word: str, command: str, roles: bool) -> str:
    """One word as it is typed. Roles are played by the models of the recorded answers."""
    if word == "FILE":
        return FILES.get(command, "answers.csv")
    if roles and "=MODEL" in word:
        return word.replace("MODEL", "small" if word.startswith("weak") else "large")
    if roles and word.partition("=")[2] in ("CHEAP", "DEAR"):
        role, _, model = word.partition("=")
        return f"{role}={STANDING_FOR[model]}"
    return STANDING_FOR.get(word, "mine" if word == "DIR" else word)


MODEL_HERE = "needs the weights of a model on this machine"
OTHER_TOOL = "a command of another tool, which is not installed here"
AUDIT = "needs running engines: tests/test_measure_audit.py has some"
NOT_RUN = {
    "comptroller new FILE": "asks on a terminal: tests/test_cli_new.py answers it there",
    "comptroller serve FILE": "`serve gateway.toml` of the pages is run",
    "comptroller serve plan.json": "starts the engines of the plan, which need its accelerators: tests/test_circle.py",
    "comptroller measure serving http://127.0.0.1:8080 --plan plan.json --out own": "needs a running engine",
    "comptroller measure serving http://127.0.0.1:8000 --model llama_3_1_8b --accelerator h100_sxm --engine vllm "
    "--out mine": "needs a running engine: tests/test_circle.py has some",
    "comptroller measure host cpu --out host.toml": MODEL_HERE,
    "comptroller measure kernels cuda --out kernels.toml": "needs an NVIDIA accelerator",
    "comptroller measure kernels cuda --kernel tilus_int6.py:make=int6_g128": "needs an NVIDIA accelerator",
    "comptroller audit http://127.0.0.1:8000/v1 --reference http://127.0.0.1:8001/v1 --claims format=q8_0": AUDIT,
    "comptroller audit http://127.0.0.1:8001/v1 --record reference.json --claims format=q8_0 --prompts 40": AUDIT,
    "comptroller audit http://127.0.0.1:8000/v1 --reference reference.json --claims format=q8_0": AUDIT,
    "comptroller books drift books.sqlite --before 2026-09-25..2026-09-29 --after 2026-09-29..2026-10-03": (
        "needs four days of calls in both periods: tests/test_books_drift.py has them"
    ),
    'comptroller replay "beam_search(width=200,keep=5,depth=4,by=score,pick=best)" --evidence tree24_nodes.csv': (
        "needs the published trees: tests/test_evidence_trees.py replays them so"
    ),
    **dict.fromkeys(
        (
            f"comptroller {words}"
            for words in (
                "show evidence step_rewards.parquet",
                'replay "rebase(width=1,depth=64)" "rebase(depth=64)" "hyper(depth=64)" '
                "--evidence step_rewards.parquet --task perturbed --role reward=math_shepherd_7b",
                'replay "beam_search(depth=64)" --evidence step_rewards.parquet --task perturbed --reward 0.8,0.3',
                'replay "beam_search(depth=64)" --evidence step_rewards.parquet --task perturbed '
                "--reward step_rewards.parquet:reasoneval_llemma_34b",
                'replay "dvts(width=4,branch=2,depth=64)" --evidence step_rewards.parquet --task mr-math --pool '
                "--role reward=reasoneval_mistral_7b",
            )
        ),
        "needs the published steps: tests/test_evidence_trees.py and test_evidence_pool.py replay them so",
    ),
    'comptroller replay "depth_first(by=score,ends=never)" --evidence tree_crosswords.csv '
    "--model dfs_prune": "needs the published searches: tests/test_evidence_searches.py replays them so",
    **dict.fromkeys(
        (
            f"comptroller {words} agent_runs.csv --map question=instance,model=model,task=source,score=resolved,"
            f"usd=cost_usd{more}"
            for words, more in (
                ("show evidence", ""),
                ("fit laws", " --law equivalence"),
                (
                    "replay once verdict_cascade --evidence",
                    " --task swe-bench-pro --role weak=gpt-5-high --role strong=claude-sonnet-4.5",
                ),
            )
        ),
        "needs the published runs: tests/test_evidence_columns.py reads such tables",
    ),
    "make setup": OTHER_TOOL,
    "make start": OTHER_TOOL,
    "kubectl get -o json": OTHER_TOOL,
    "kubectl label node NODE comptroller/accelerator=h100_sxm": OTHER_TOOL,
}
"""Command lines that no test runs -> why not. They are parsed all the same where they are the product's own."""

LONG = (
    "comptroller plan ",
    "comptroller simulate plan.json --trace trace.csv --calibration mine",
    "comptroller replay sample_and_vote best_of_n:by=likelihood",
)
"""How command lines begin that take from seconds to minutes, or need the outcome of one that does."""

SERVERS = ("comptroller serve", "comptroller dashboard")
"""How command lines begin that go on until they are interrupted."""


def is_long(line: str) -> bool:
    return line.startswith(LONG)


def is_server(line: str) -> bool:
    return line.startswith(SERVERS)


def run_lines(page: Path) -> list[str]:
    """The product's own command lines of a page that a test runs and that end by themselves."""
    own = [each.line for each in command_lines(page) if each.program == "comptroller"]
    return [line for line in own if line not in NOT_RUN and not is_server(line)]


READING = ("comptroller show ", "comptroller doctor", "comptroller schema ", "comptroller fits ")
"""How command lines begin that leave nothing behind for the next."""


def short_lines() -> dict[Path, list[str]]:
    """The lines of every page that take little; what leaves nothing behind stands at the first page that has it."""
    seen: set[str] = set()
    found = {}
    for page in PAGES:
        lines = [line for line in run_lines(page) if not is_long(line)]
        if kept := [line for line in lines if line not in seen or not line.startswith(READING)]:
            found[page] = kept
        seen |= set(lines)
    return found
