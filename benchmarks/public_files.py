"""The eleven public evidence files that `show evidence` once refused, read: by a reader, or by naming their columns.

    python benchmarks/public_files.py      (data at ../shared/data or COMPTROLLER_DATA; logs of inspect_ai need it)

Writes results/public_files.{json,md} and the table of docs/evidence.md. What is read is what is at hand of each file:
the published rows; the published figures in the published form; or a few rows in the shape that the tool writes. Logs
of inspect_ai are written by the installed release, without a model.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comptroller.work.arrow import read_columns, write_columns
from comptroller.work.evidence import EvidenceCounts
from comptroller.work.evidence_columns import EvidenceColumnNames
from comptroller.work.evidence_readers import read_evidence, reader_of
from record import table, write

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from evidence_files import swe_agent, swe_bench  # noqa: E402

DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data")) / "evidence"
PAGE = ROOT / "docs" / "evidence.md"
BEGIN, END = "<!-- public files:begin -->", "<!-- public files:end -->"
PUBLISHED, FORM, SHAPE, WRITTEN = "published rows", "published figures", "a few rows in its shape", "written here by it"
"""What of a file is read here."""

ROUTERBENCH = (
    "question=canonical_id,model=selected_model,task=dataset,score=correct,usd=cost,latency_s=latency_ms*0.001,"
    "input_tokens=prompt_tokens,output_tokens=completion_tokens,answer=answer"
)


class NotAtHand(Exception):
    """What a file would be read from is not on this machine."""


@dataclass(frozen=True)
class PublicFile:
    """file: as published.  here: what of it is read.  made: its place, once it is there.  columns: `--map`, empty where
    a reader knows it; `score=NAME` alone chooses among scores."""

    file: str
    publisher: str
    here: str
    made: Callable[[Path], Path]
    columns: str = ""


@dataclass(frozen=True)
class FileRead:
    """A file that was read. how: the reader, or the map.  rows: replies, or samples where only counts are recorded."""

    file: str
    publisher: str
    here: str
    how: str
    rows: int
    questions: int
    models: int


def at_hand(name: str) -> Path:
    """A file of the measured data.

    Raises:
        NotAtHand: it is not there.
    """
    if not (DATA / name).exists():
        raise NotAtHand(f"{DATA / name} is not there")
    return DATA / name


def inspect_log(folder: Path, epochs: int, scorers: tuple[str, ...]) -> Path:
    """A log that the installed inspect_ai writes of three sums, answered by a solver without a model.

    Raises:
        NotAtHand: inspect_ai is not installed.
    """
    if find_spec("inspect_ai") is None:
        raise NotAtHand("inspect_ai is not installed")
    inspect_ai = import_module("inspect_ai")
    dataset, model, scorer, solver = (
        import_module(f"inspect_ai.{name}") for name in ("dataset", "model", "scorer", "solver")
    )

    @solver.solver
    def two() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            await asyncio.sleep(0)
            state.output = model.ModelOutput.from_content("mockllm/model", "2")
            return state

        return solve

    samples = [dataset.Sample(input=f"{n} plus 0?", target=str(n), id=n) for n in range(3)]
    task = inspect_ai.Task(
        dataset.MemoryDataset(samples),
        solver=two(),
        scorer=[getattr(scorer, name)() for name in scorers],
        name="sums",
        epochs=epochs,
    )
    (log,) = inspect_ai.eval(task, model="mockllm/model", log_dir=str(folder), log_format="eval", display="none")
    return Path(log.location.removeprefix("file://"))


def instance_details(folder: Path) -> Path:
    """The figures of one model in the form of the boards' file: resolved, cost and api_calls of every issue."""
    cells, _ = read_columns(at_hand("swebench_verified_known.parquet"))
    rows = zip(*(cells[name] for name in ("question", "model", "score", "usd", "api_calls")), strict=True)
    told = {
        issue: {"resolved": bool(score), "cost": usd, "api_calls": int(calls)}
        for issue, model, score, usd, calls in rows
        if model == "gpt-5-mini"
    }
    home = folder / "gpt-5-mini"
    home.mkdir()
    (home / "per_instance_details.json").write_text(json.dumps(told))
    return home / "per_instance_details.json"


def arena_of(folder: Path, model: str) -> Path:
    """The cached results of one model of RouterArena, as published: a file for each."""
    lines = at_hand("map_routerarena_300.jsonl").read_text(encoding="utf-8").splitlines()
    path = folder / f"{model}.jsonl"
    path.write_text("\n".join(line for line in lines if json.loads(line)["llm_selected"] == model) + "\n")
    return path


def counts_in_parquet(folder: Path) -> Path:
    """The counts of Pythia models in Parquet, with the columns of their CSV."""
    with at_hand("monkeys_pythia_math_counts.csv").open(encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    columns = {name: [_number_or_text(row[name]) for row in rows] for name in rows[0]}
    write_columns(folder / "pythia.parquet", columns, {})
    return folder / "pythia.parquet"


def _number_or_text(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def predictions(folder: Path) -> Path:
    """all_preds.jsonl of a submission, with its results beside it."""
    return swe_bench(folder).parents[1] / "all_preds.jsonl"


INSPECT, MULTI_SWE = "UKGovernmentBEIS/inspect_ai", "multi-swe-bench/experiments"
FILES = (
    PublicFile(".eval, Zstandard, 1 epoch", INSPECT, WRITTEN, lambda to: inspect_log(to, 1, ("match",))),
    PublicFile(".eval, Zstandard, 4 epochs", INSPECT, WRITTEN, lambda to: inspect_log(to, 4, ("match",))),
    PublicFile(
        ".eval, Zstandard, 2 scorers", INSPECT, WRITTEN, lambda to: inspect_log(to, 1, ("match", "includes")),
        "score=match",
    ),
    PublicFile(
        "GPQA votes and verdicts, as a table", "nishadsinghi/sc-genrm-scaling", PUBLISHED,
        lambda to: at_hand("genrm_gpqa_llama70b_known.parquet"),
    ),
    PublicFile("per_instance_details.json", "SWE-bench/swe-bench.github.io", FORM, instance_details),
    PublicFile("a folder of .traj", MULTI_SWE, SHAPE, swe_agent),
    PublicFile("all_preds.jsonl", MULTI_SWE, SHAPE, predictions),
    PublicFile(
        "cached results, claude-3-haiku", "RouteWorks/RouterArena", PUBLISHED,
        lambda to: arena_of(to, "claude-3-haiku-20240307"),
    ),
    PublicFile(
        "cached results, gemini-2.0-flash", "RouteWorks/RouterArena", PUBLISHED,
        lambda to: arena_of(to, "gemini-2.0-flash-001"),
    ),
    PublicFile(
        "test_predictions.csv", "ken-ab/routerbench-mini", PUBLISHED,
        lambda to: at_hand("map_routerbench_mini_500.csv"), ROUTERBENCH,
    ),
    PublicFile("counts of Pythia models, Parquet", "KoyejoLab", FORM, counts_in_parquet),
)  # fmt: skip
"""The eleven: three logs, a study, a board, two files of submissions, two caches of replies, a table, counts."""


def read(one: PublicFile, folder: Path) -> FileRead:
    """A file made in a folder and read.

    Raises:
        NotAtHand: it cannot be made here.
        ComptrollerError: it is refused.
    """
    path = one.made(folder)
    columns = EvidenceColumnNames.parse([one.columns]) if one.columns else None
    found = read_evidence(path, columns)
    by_reader = columns is None or bool(columns.score)
    how = f"reader {reader_of(path).name}" if by_reader else ""
    how += f"{' with ' * by_reader}`--map {one.columns}`" if columns else ""
    rows = int(found.n.sum()) if isinstance(found, EvidenceCounts) else len(found.rows)
    return FileRead(one.file, one.publisher, one.here, how, rows, len(found.items), len(found.arms))


def files_read() -> Iterator[FileRead | str]:
    """Every file that can be made here, or why it cannot."""
    for one in FILES:
        with TemporaryDirectory() as folder:
            try:
                yield read(one, Path(folder))
            except NotAtHand as why:
                yield f"{one.file}: {why}"


HEADS = ["file", "publisher", "read here", "how", "rows", "questions", "models"]


def main() -> None:
    """All eleven, as a table."""
    told = list(files_read())
    found = [one for one in told if isinstance(one, FileRead)]
    absent = [one for one in told if isinstance(one, str)]
    rows = [
        [one.file, one.publisher, one.here, one.how, f"{one.rows:,}", f"{one.questions:,}", str(one.models)]
        for one in found
    ]
    shown = "\n".join([table(HEADS, rows), "", f"{len(found)} of {len(FILES)} read.", *absent])
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", encoding="utf-8")
    figures = {"read": [asdict(one) for one in found], "not at hand": absent}
    print(write("public_files", figures, f"# Public evidence files that were refused before\n\n{shown}"))


if __name__ == "__main__":
    main()
