"""Launch flags of the InferenceX benchmark scripts (`inferencex_flags.csv`): what a run's engine was started with."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

FRAMEWORKS = {"sglang": "sglang", "vllm": "vllm", "trt": "trtllm"}
HARDWARE = {"h100": "h100_sxm", "h200": "h200_sxm", "b200": "b200_sxm", "b300": "b300_sxm"}
DRAWN = 0.9
"""Mean share of the stated lengths: they are drawn evenly from 80-100 % of them (`random_range_ratio` of the flags)."""

LAYOUT = re.compile(r"tp(\d+) ep(\d+)")
CONTINUOUS = re.compile(r"continuous decode steps (\d+)")


@dataclass(frozen=True, slots=True)
class LaunchRow:
    """The flags of a script while it held, for some loads. since, until: dates; `until` open where it still holds.

    drafts: whether it starts the engine with speculative decoding.  layouts: devices of a stage and of the experts.
    image: of the container, which names the engine's version; empty where it is not known.
    """

    model: str
    precision: str
    accelerator: str
    engine: str
    since: date
    until: date
    clients: tuple[float, ...]
    poll_steps: int
    drafts: bool
    layouts: frozenset[tuple[int, int]]
    image: str

    def holds(self, when: date | None, clients: float) -> bool:
        """Whether it holds on a day (any, where the run has no date) for so many clients.

        The scripts were read at 4, 8, 16, 64 and 256 clients; another load has the flags of the next smaller one.
        """
        near = max((c for c in (4, 8, 16, 64, 256) if c <= clients), default=4)
        return (when is None or self.since <= when <= self.until) and (not self.clients or near in self.clients)


def launch_rows(path: Path) -> list[LaunchRow]:
    """Scripts of aggregated runs."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [r for r in csv.DictReader(stream) if r["serving"] == "aggregated"]
    computed = "computed at run time"
    known = [r for r in rows if r["framework"] in FRAMEWORKS and r["scheduler_recv_interval"] != computed]
    return [_launch_row(r) for r in known]


def _launch_row(row: dict[str, str]) -> LaunchRow:
    continuous = CONTINUOUS.search(",".join(row.values()))
    polled = row["scheduler_recv_interval"]
    steps = int(polled) if polled.isdigit() else int(continuous[1]) if continuous else 1
    return LaunchRow(
        row["model"],
        row["precision"] or "bf16",
        HARDWARE.get(row["hardware"], row["hardware"]),
        FRAMEWORKS[row["framework"]],
        date.fromisoformat(row["from_date"]),
        date.fromisoformat(row["to_date"]) if row["to_date"] else date.max,
        () if row["concurrency"] in {"all", ""} else tuple(float(c) for c in re.findall(r"\d+", row["concurrency"])),
        max(steps, 1),
        row["spec_method"] not in {"none", ""},
        frozenset((int(tp), int(ep)) for tp, ep in LAYOUT.findall(row["layouts"])),
        row["image"],
    )


@dataclass(frozen=True, slots=True)
class LaunchFlags:
    """The rows of the flags file."""

    rows: tuple[LaunchRow, ...] = ()

    @classmethod
    def beside(cls, path: Path) -> LaunchFlags:
        """Those in the folder of a file of measurements; none where there is no such file."""
        flags = path.with_name("inferencex_flags.csv")
        return cls(tuple(launch_rows(flags))) if flags.is_file() else cls()

    def poll_steps(self, stem: str, four_bit: bool, where: tuple[str, str], when: date | None, clients: float) -> int:
        """Decode steps between two looks at the queue; 1 where nothing is known of the run.

        stem: of the model's name, such as "DeepSeek-R1".  where: engine and accelerator.
        """
        engine, accelerator = where
        found = [
            row
            for row in self.rows
            if not row.drafts
            and row.engine == engine
            and row.accelerator == accelerator
            and stem in row.model
            and (row.precision == "fp4") == four_bit
            and row.holds(when, clients)
        ]
        later = max(found, key=lambda row: row.since, default=None)
        return later.poll_steps if later else 1

    def drafted(
        self, stem: str, four_bit: bool, where: tuple[str, str], layout: tuple[int, int], when: date, version: str
    ) -> bool:
        """Whether the script that made a dated run drafts tokens: that of its layout, and of its version where an image
        names it, which was the last to change before the run. Benchmarks are run on the day that their script changes.

        stem, where: as for `poll_steps`.  layout: devices of a stage, and of the experts.  version: of the engine.
        """
        engine, accelerator = where
        found = [
            row
            for row in self.rows
            if (row.engine, row.accelerator) == (engine, accelerator)
            and layout in row.layouts
            and stem in row.model
            and (row.precision in {"fp4", "int4"}) == four_bit
            and row.since <= when <= row.until
        ]
        named = [row for row in found if version and version in row.image] or found
        last = max((row.since for row in named), default=None)
        return last is not None and all(row.drafts for row in named if row.since == last)
