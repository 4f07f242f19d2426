"""How solutions and verdicts grow with compute: published grids and recorded verdicts.

    python benchmarks/verdict_laws.py        (data at ../shared/data or COMPTROLLER_DATA)

Writes results/verdict_laws.{json,md}: what `comptroller fit laws FILE --law solutions_and_verdicts` finds.
"""

from __future__ import annotations

import json
import subprocess
import sys

from record import table, write

FILES = {
    "genrm_grids.json": "grids of means published beside arXiv 2504.01005; intervals from resampled budgets",
    "genrm_gpqa_llama70b_known.parquet": "50 questions of GPQA, verdict by verdict; intervals from resampled questions",
}
SHORT = {
    "exponent of solutions in compute": "S exponent",
    "exponent of verdicts in compute": "V exponent",
    "verdicts ahead of a vote from, in solutions": "crossing, in solutions",
    "held out: solutions missed by doublings": "held out, doublings of S missed",
}


def found(file: str) -> list[dict[str, object]]:
    """The findings of the command."""
    words = [sys.executable, "-m", "comptroller", "fit", "laws", file, "--law", "solutions_and_verdicts", "--json"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    return list(json.loads(told.stdout)["findings"])


def text_of(one: dict[str, object] | None) -> str:
    """A number and its interval."""
    if one is None:
        return "–"
    value, low, high = (one[key] for key in ("value", "low", "high"))
    number = "never" if value is None else f"{value:,.3g}" if float(str(value)) < 100 else f"{value:,.0f}"
    if low is None:
        return f"{number} ({str(one['note']).rpartition('; ')[2]})"
    ends = [f"{end:,.2f}" if float(str(end)) < 10 else f"{end:,.0f}" for end in (low, high) if end is not None]
    return f"{number} [{' to '.join(ends)}{'' if high is not None else ' to never'}]"


def main() -> None:
    """Both files."""
    findings = {file: found(file) for file in FILES}
    rows = []
    for file, about in FILES.items():
        for subject in dict.fromkeys(str(one["subject"]) for one in findings[file]):
            of = {str(one["quantity"]): one for one in findings[file] if one["subject"] == subject}
            rows.append([f"{subject} ({about.partition(';')[0]})", *(text_of(of.get(name)) for name in SHORT)])
    lines = [f"- {file}: {about}." for file, about in FILES.items()]
    head = "# Solutions and verdicts on them, by compute"
    write("verdict_laws", findings, "\n\n".join([head, "\n".join(lines), ABOUT, table(["of", *SHORT.values()], rows)]))


ABOUT = """S ~ C^a, V ~ C^b on the frontier, C = S (1 + lambda V). The crossing: from so much compute on the best by
verdicts is ahead of a vote of as much. Held out by budget: exponents fitted to the lower half of the frontier's budgets
predict the solutions of the upper half, beside keeping the last number of the lower half. First attempt: the law alone,
which missed 2.56, 1.75, 0.40 and 1.22 doublings; second: what is left of a budget where the grid's verdicts end buys
solutions. It holds for the trained verifiers and not for the prompted ones, whose frontier first buys verdicts alone.
Next: grids beyond 32 verdicts, so that the law is not seen through its end."""


if __name__ == "__main__":
    main()
