"""Controllers of reinforcement learning replayed on recorded samples: the tables of docs/training.md.

    python benchmarks/rollouts.py               (data at ../shared/data or COMPTROLLER_DATA; own evidence without)

Writes benchmarks/results/rollouts.{md,json}.
"""

from __future__ import annotations

import sys

from comptroller.errors import ComptrollerError
from comptroller.report.rollout_tables import rollout_sheets
from comptroller.training.rollout_findings import RolloutQuery, rollout_findings
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.laws.coverage import right_counts
from energy_data import data_folder
from record import write

STUDIES = {
    "GPQA, Llama 3.3 70B, 128 samples (GenRM study)": ("genrm_gpqa_llama70b_known.parquet", 8),
    "MATH, Pythia 70M to 6.9B, 10,000 samples (Large Language Monkeys)": ("monkeys_pythia_math_counts.csv", 32),
}


def main() -> None:
    """Replay all, print and write."""
    try:
        folder = data_folder() / "evidence"
    except ComptrollerError as error:
        sys.exit(str(error))
    studies = {title: (str(folder / name), mean) for title, (name, mean) in STUDIES.items()}
    studies["Own evidence, 16 samples"] = ("own", 4)
    figures, parts = {}, ["# Rollouts and prompts of reinforcement learning, replayed"]
    for title, (name, mean) in studies.items():
        found = rollout_findings(right_counts(read_evidence(name)), RolloutQuery(mean))
        figures[title] = found.record | {"source": title}
        parts += [f"## {title}", *(f"{sheet.title}.\n\n{sheet.markdown()}" for sheet in rollout_sheets(found))]
    print(write("rollouts", figures, "\n\n".join(parts)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
