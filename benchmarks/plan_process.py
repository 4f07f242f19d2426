"""How long a user waits: whole processes of `comptroller`, to the first proven answer and to the last line.

`python benchmarks/plan_process.py [--only TEXT]` writes results/plan_process.{json,md}. Seconds of the clock from the
start of the process, the median of several; the answer is the first line on standard output. The event engine is
compiled before, once per version; the evidence of the joint search is that of plan_scale.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from comptroller.facts.reader import ids
from comptroller.work.evidence_readers.parquet import write_evidence
from plan_scale import STRATEGIES, Drawn
from record import table, write

CHAT = Path(__file__).parents[1] / "examples" / "chat.toml"


@dataclass(frozen=True)
class ProcessTask:
    """A command. answer_s, most_s: seconds that the first answer and the whole may take, `None` where none is asked."""

    name: str
    words: tuple[str, ...]
    answer_s: float | None
    most_s: float | None
    repeats: int = 3
    code: int = 0


def tasks(folder: Path) -> Iterator[ProcessTask]:
    """The commands, with the files that they read written into a folder."""
    typo, node, joint = (folder / f"{name}.toml" for name in ("typo", "node", "joint"))
    chat = CHAT.read_text(encoding="utf-8")
    typo.write_text(chat.replace("rate_per_s", "rate_per_sec"), encoding="utf-8")
    node.write_text(_node(), encoding="utf-8")
    write_evidence(Drawn(1).evidence(), folder / "joint.parquet")
    joint.write_text(_joint(), encoding="utf-8")
    yield ProcessTask("`comptroller --help`", ("--help",), None, 0.5)
    yield ProcessTask("a key misspelled in chat.toml", ("plan", str(typo)), None, 0.5, code=2)
    yield ProcessTask("chat.toml, `--quick`", ("plan", str(CHAT), "--quick"), 5.0, None)
    yield ProcessTask("chat.toml", ("plan", str(CHAT)), 5.0, 10.0)
    yield ProcessTask("one 8-GPU node type, 70B, all formats", ("plan", str(node)), None, 10.0)
    yield ProcessTask("joint search, `--quick`", ("plan", str(joint), "--quick"), 60.0, 60.0, 1)
    yield ProcessTask("joint search", ("plan", str(joint)), 60.0, 60.0, 1)


def _node() -> str:
    """20 requests per second of a spread of sizes on the eight-GPU nodes of one site, in every format."""
    formats = ", ".join(f'"{name}"' for name in ids("formats"))
    return f"""name = "node"
models = ["llama_3_1_70b"]
rate_per_s = 20.0
[objectives]
ttft = {{ max = 1000.0, unit = "ms" }}
tpot = {{ max = 50.0, unit = "ms" }}
[lengths]
input_edges = [1, 256, 1024, 4096, 8192]
output_edges = [1, 64, 256, 1024]
weights = [[2, 3, 1], [3, 6, 2], [2, 4, 2], [1, 1, 1]]
[allow]
accelerators = ["h100_sxm"]
sites = ["us_neocloud"]
formats = [{formats}]
"""


def _joint() -> str:
    """Twenty questions a second, 60 % to be solved: five models in four formats, twelve strategies, every device."""
    strategies = ", ".join(f'"{name}"' for name in STRATEGIES)
    return f"""name = "joint"
rate_per_s = 20.0
[objectives]
ttft = {{ max = 2.0, unit = "s" }}
tpot = {{ max = 100.0, unit = "ms" }}
[quality]
evidence = "joint.parquet"
solve = {{ min = 60, unit = "%" }}
strategies = [{strategies}]
checker = {{ tpr = 0.9, fpr = 0.1 }}
"""


def timed(task: ProcessTask) -> tuple[float, float]:
    """Seconds to the first line on standard output, and to the end.

    Raises:
        RuntimeError: the command ended with another exit status than is due.
    """
    start = time.monotonic()
    words = [sys.executable, "-m", "comptroller", *task.words]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        answer_s = time.monotonic() - start
        process.stdout.read()
    if process.returncode != task.code:
        raise RuntimeError(f"{' '.join(task.words)}: exit status {process.returncode}, {task.code} is due")
    return answer_s, time.monotonic() - start


def _told(reached: float, most: float | None) -> str:
    return "" if most is None else f"{most:g} s, {'met' if reached <= most else 'missed'}"


def row(task: ProcessTask) -> list[str]:
    """A line of the table."""
    found = [timed(task) for _ in range(task.repeats)]
    answer, whole = median(one for one, _ in found), median(one for _, one in found)
    print(f"{task.name}: {answer:.2f} s, {whole:.2f} s", flush=True)
    load = f"{os.getloadavg()[0]:.1f}"
    return [task.name, f"{answer:.2f}", _told(answer, task.answer_s), f"{whole:.2f}", _told(whole, task.most_s), load]


def text(rows: Sequence[Sequence[str]]) -> str:
    """The results as Markdown."""
    heads = ["command", "first answer, s", "asked", "everything, s", "asked", "load of the machine"]
    return f"# How long a user waits\n\nWhole processes, seconds of the clock.\n\n{table(heads, rows)}"


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="commands whose name holds this; nothing is written")
    only = parser.parse_args().only
    timed(ProcessTask("", ("plan", str(CHAT), "--quick"), None, None))
    with tempfile.TemporaryDirectory() as made:
        rows = [row(task) for task in tasks(Path(made)) if only in task.name]
    if not only:
        figures = {one[0]: {"answer_s": float(one[1]), "whole_s": float(one[3])} for one in rows}
        print(write("plan_process", figures, text(rows)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
