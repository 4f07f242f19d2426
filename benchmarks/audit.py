"""Is Q4_0 told from Q8_0: the prompts said beforehand, audits of either against Q8_0, false alarms of the same.

`python benchmarks/audit.py` serves the embedded model in both formats (`python -m comptroller.gateway.weights q8_0` and
`q4_0` make them), asks 64 prompts, three passes of Q8_0 and one of Q4_0 and one of Q8_0 four at a time, and writes
results/audit.{json,md} and the table of docs/audit.md. Samples are those of the evidence that ships (420 questions, 16
samples in each format): sets of four.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import InputError
from comptroller.measure.audit_probe import ProbePass, ProbePlan, ProbeReply, ask_all, set_distance
from comptroller.measure.endpoint_audit import AuditDesign, AuditRequest, audit_design, compare
from comptroller.measure.serving_target import ServingTarget
from comptroller.measure.triangle_test import odd_ones, triangle_test
from comptroller.work.evidence_readers import read_evidence
from record import table, write

PROMPTS, PORT = 64, 18755
DOCS = Path(__file__).parents[1] / "docs" / "audit.md"
BEGIN, END = "<!-- audit:begin -->", "<!-- audit:end -->"
CONFIG = """port = {port}
books = "{folder}/books.sqlite"
[services.q8]
backend = "embedded"
settings = {{ format = "q8_0" }}
[services.q4]
backend = "embedded"
settings = {{ format = "q4_0" }}
"""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a gateway that serves both formats."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.toml"
        config.write_text(CONFIG.format(port=PORT, folder=folder))
        gateway = subprocess.Popen([sys.executable, "-m", "comptroller", "serve", str(config)])
        try:
            url = f"http://127.0.0.1:{PORT}"
            for _ in range(120):
                try:
                    ServingTarget.of(url)
                    break
                except InputError:
                    time.sleep(1)
            yield url
        finally:
            gateway.terminate()
            gateway.wait(30)


def part(one: ProbePass, first: int, count: int) -> ProbePass:
    """Some prompts of a pass."""
    return ProbePass(one.greedy[first : first + count])


def audits(design: AuditDesign, passes: tuple[ProbePass, ProbePass], endpoint: ProbePass) -> tuple[int, int]:
    """Audits of that many prompts each, and how many of them reject."""
    size = design.plan.prompts
    starts = range(0, PROMPTS - size + 1, size)
    told = [
        compare(design, [part(one, at, size) for one in passes], part(endpoint, at, size), part(endpoint, at, size))
        for at in starts
    ]
    return len(told), sum(one.rejects for one in told)


def sampled(kinds: tuple[str, str, str], drawn: Callable[[str, int, int], Any], questions: int) -> Any:
    """The triangle test on recorded samples: two sets of a format and one of another, or of the same."""
    odd = []
    for question in range(questions):
        first, second, third = (drawn(kind, question, place) for place, kind in enumerate(kinds))
        if min(map(len, (first, second, third))) < 4:
            continue
        distances = (set_distance(third, first), set_distance(third, second), set_distance(first, second))
        odd.append(odd_ones(*(np.array([each]) for each in distances))[0])
    return triangle_test(np.array(odd))


def recorded() -> Callable[[str, int, int], list[ProbeReply]]:
    """Sets of four recorded samples by format, question and number of the set."""
    evidence = read_evidence("own")
    rows = evidence.rows
    kept: dict[tuple[str, int], list[ProbeReply]] = {}
    for row in np.flatnonzero((rows.role == "solver") & (rows.temperature > 0)):
        arm = evidence.arms[rows.arm[row]]
        if arm.effort == "direct":
            reply = ProbeReply(str(rows.content[row]), (), (), 1, 1, 0.0, 0.0)
            kept.setdefault((arm.format, int(rows.question[row])), []).append(reply)
    return lambda kind, question, place: kept.get((kind, question), [])[4 * place : 4 * place + 4]


def main() -> None:
    """Measure, write the results and the table of the page."""
    design = audit_design(AuditRequest())
    print(f"said beforehand: {design.plan.prompts} prompts, {design.calls(False)} calls", flush=True)
    plan = ProbePlan(PROMPTS)
    quiet: Callable[[int, int], None] = lambda done, whole: None  # noqa: E731
    with serving() as url:
        fine, coarse = ServingTarget.of(url, "q8"), ServingTarget.of(url, "q4")
        same = [ask_all(fine, plan, number, quiet) for number in range(3)]
        other = ask_all(coarse, plan, 3, quiet)
        beside = ask_all(fine, plan, 4, quiet, 4)
    passes = (same[0], same[1])
    whole = AuditDesign(design.tests, plan, design.false_alarm, design.power)
    pairs = {"q4_0": other, "q8_0, again": same[2], "q8_0, four at a time": beside}
    figures: dict[str, Any] = {"prompts": design.plan.prompts, "calls": design.calls(False)}
    rows = []
    for name, endpoint in pairs.items():
        tried, told = audits(design, passes, endpoint)
        signals = {one.name: one.result for one in compare(whole, passes, endpoint, endpoint).findings}
        figures[name] = {
            "audits": tried, "told": told,
            **{signal: [result.count, result.informative] for signal, result in signals.items()},
        }  # fmt: skip
        shares = [f"{one.count} of {one.informative}" for one in signals.values()]
        rows.append([name, f"{told} of {tried}", *shares])
    drawn = recorded()
    for name, kinds in {"q4_0": ("Q8_0", "Q8_0", "Q4_0"), "q8_0, again": ("Q8_0", "Q8_0", "Q8_0")}.items():
        found = sampled(kinds, drawn, 420)
        figures[f"samples, {name}"] = [found.count, found.informative, found.p_value]
    heads = ("endpoint, against Q8_0", "audits that tell it", "odd in log-probabilities", "odd in greedy texts")
    more = [f"sets of four samples, {name}: {figures[f'samples, {name}'][0]} of {figures[f'samples, {name}'][1]} odd"
            for name in ("q4_0", "q8_0, again")]  # fmt: skip
    text = (
        f"Of the embedded model, Q8_0 is the reference. Said beforehand: {design.plan.prompts} prompts "
        f"({design.calls(False)} calls, 5 % false alarms, power {min(t.power for t in design.tests.values()):.1%} "
        f"where 19 of 20 prompts are odd).\n\n{table(heads, rows)}\n\nOf {PROMPTS} prompts each. Recorded samples, "
        f"whose answers have 4 tokens: {'; '.join(more)}.\n"
    )
    write("audit", figures, f"# Is Q4_0 told from Q8_0\n\n{text}")
    page = DOCS.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    DOCS.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
