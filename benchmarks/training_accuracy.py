"""Predicted training steps beside measured ones, each group left out of the fit; memory and published runs.

    python benchmarks/training_accuracy.py      (data at ../shared/data or COMPTROLLER_DATA)

Writes benchmarks/results/training_accuracy.{md,json}. With `pip install llm-analysis` a peer stands beside them
(`training_peers.py`). The baseline knows one utilisation: the median MFU of the other
groups on the same family of accelerators and in the same number of bits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comptroller.costs.training_layout import LayoutGrid
from comptroller.costs.training_memory import training_memory
from comptroller.costs.training_pace import memory_habits
from comptroller.errors import ComptrollerError
from comptroller_lab.training_fit import grouped_folds
from comptroller_lab.training_memory_rows import MeasuredMemory, golden_memory
from comptroller_lab.training_published import MLPERF, MLPERF_4, frontier, megatron_table, mlperf_minutes
from comptroller_lab.training_rows import READERS, MeasuredStep, torchtitan
from energy_data import data_folder
from fit_training import left_out
from record import PACKAGES, table, write
from training_peers import peer_installed, peer_seconds

NODE = "megatron_deepspeed_node"
HEAD = (
    "program", "rows", "groups", "mean error, %", "median, %", "bias, %", "constant MFU, %", "llm-analysis, %",
    "rows that it can say", "ours on them, %",
)  # fmt: skip
GROUP_HEAD = ("program", "group", "rows", "mean error, %", "bias, %")
MUST = {"megatron_deepspeed": 11, NODE: 10, "megatron_bridge": 18, "llm_foundry": 8}


COMPILED_SINCE = "llama3-8b_h200_202506"
"""Page of the version that compiles the loss with the model (torchtitan/components/loss.py, since 2025)."""

MEMORY_NOTE = (
    "Bytes of logits, what selective recomputation keeps and the share that the allocator reserves follow from the "
    "program; they were read with these rows at hand, none was fitted. Pages of December 2024 compute the loss eagerly "
    "(12 bytes of a logit, 16 where tensor parallelism splits the vocabulary), those of 2025 compile it (4)."
)
GOLDEN_NOTE = (
    "Megatron-LM's own tests (12 layers of 512, 4 to 8 devices): bytes that PyTorch handed out, by the habits of "
    "Megatron without what surrounds the allocator. Cases with a teacher, with stages of unequal layers or with frozen "
    "weights are left out. No constant is fitted to these rows. Attempts: with 10 bytes of a logit settings erred by "
    "12.2 and 13.4 % (dense, fused and not) and by 25.6 and 18.2 % (experts); 3 bytes of a query-key pair in place of "
    "the published 5 brought those not fused to 7.3 and 8.8 %. Read again, cross_entropy.py works in place: 6 bytes, "
    "and the published 5 hold. Left: without sequence parallelism fused runs take a sixth more than is reckoned."
)
GOLDEN_HEAD = ("runs", "attention", "settings", "rows", "mean error of settings, %", "median of rows, %", "bias, %")


def main() -> None:
    """Predict, print and write."""
    try:
        data = data_folder() / "training"
    except ComptrollerError as error:
        sys.exit(str(error))
    figures: dict[str, object] = {}
    rows, groups, texts = [], [], []
    for program, reader in READERS.items():
        steps = reader(data)
        measured = np.array([step.seconds for step in steps])
        found = left_out(program, steps)
        errors = found / measured - 1
        folds = grouped_folds(steps) if program == NODE else [step.group for step in steps]
        plain, peer = constant_mfu(steps, folds), _peer(steps, folds)
        figures[program] = {
            "mape": float(np.abs(errors).mean()),
            "baseline": float(np.abs(plain / measured - 1).mean()),
            "llm_analysis": _mean(np.abs(peer / measured - 1)),
        }
        rows.append([*_row(program, steps, errors, plain / measured - 1), *_peer_cells(peer / measured - 1, errors)])
        if program != NODE:
            groups += _groups(program, steps, errors)
        if program.startswith("megatron_deepspeed"):
            texts.append(f"{program}: {_regret(steps, measured, found)}")
    memory = [_memory(step) for step in torchtitan(data) if np.isfinite(step.memory_bytes)]
    golden = _golden(data)
    published = [(one.name, one.published, one.predicted, one.points) for one in (*megatron_table(), *frontier())]
    scaling = _scaling()
    figures |= {"memory": memory, "golden": golden, "published": published, "mlperf": scaling}
    text = "\n\n".join([
        "# Training steps, predicted and measured",
        "Every group was left out of the fit that predicts it (models; of vTrain's node five folds of whole groups of "
        "devices, batch and shape; of torchtitan pages).",
        table(HEAD, rows),
        "Layouts chosen among those measured, by how much slower than the fastest: " + "; ".join(texts) + ".",
        "## By group", table(GROUP_HEAD, groups),
        "## Memory of torchtitan's fullest device", MEMORY_NOTE,
        table(("run", "measured, GiB", "predicted, GiB", "error, %"), [_memory_text(one) for one in memory]),
        f"Mean error {np.mean([abs(one[3]) for one in memory]):.1f} %.",
        "## Memory of Megatron-LM's tests", GOLDEN_NOTE, table(GOLDEN_HEAD, golden),
        "## Shares of the peak as published",
        "By the constants of vTrain's clusters, which hold none of these runs. Of Frontier no layouts are at hand.",
        table(("run", "published, %", "predicted, %", "points"), [_share_text(one) for one in published]),
        "Frontier's two larger models miss. What was tried: fewer microbatches a stage, whose number is not published, "
        "and the share of the peak that matrices reach on AMD's later devices (0.514 of an MI300X, 0.869 of an A100, "
        "stas00/ml-engineering). The second accounts for both, within 4 points, and then 22 B is 9 points too slow: no "
        "one cause explains three runs whose layouts are unknown, and neither is shipped.",
        table(("matrices", "microbatches a stage", "22 B, points", "175 B", "1 T"), _attempts()),
        "## MLPerf GPT-3 175B on H100", "The best layout and batch by the constants of Megatron-Bridge.",
        table(("version", "devices", "minutes", "predicted", "error, %", "scaling from 512, error, %"), scaling),
    ])  # fmt: skip
    packages = (*PACKAGES, *(["llm-analysis"] if peer_installed() else []))
    print(write("training_accuracy", figures, text, packages).read_text(encoding="utf-8"))


def constant_mfu(steps: Sequence[MeasuredStep], folds: Sequence[str]) -> np.ndarray:
    """Seconds by the median MFU of the other folds, of the same family and bits where there are any."""
    shares = np.array([step.mfu for step in steps])
    kinds = np.array([f"{step.family} {step.job.recipe.weights}" for step in steps])
    seconds, keys = np.array([step.seconds for step in steps]), np.array(folds)
    found = np.zeros(len(steps))
    for i in range(len(steps)):
        others = keys != keys[i]
        same = others & (kinds == kinds[i])
        found[i] = seconds[i] * shares[i] / np.median(shares[same if same.any() else others])
    return found


def _peer(steps: Sequence[MeasuredStep], folds: Sequence[str]) -> np.ndarray:
    """Seconds by llm-analysis; NaN where it is not installed or cannot say."""
    return peer_seconds(steps, folds) if peer_installed() else np.full(len(steps), np.nan)


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _peer_cells(off: np.ndarray, own: np.ndarray) -> list[str]:
    known = np.isfinite(off)
    if not known.any():
        return ["not installed", "", ""]
    return [f"{100 * np.abs(off[known]).mean():.1f}", str(known.sum()), f"{100 * np.abs(own[known]).mean():.1f}"]


def _attempts() -> list[list[str]]:
    """Frontier's shares under what is not published: microbatches a stage, and how much of AMD's peak matrices get."""
    rows = []
    for name, ceiling in (("as on an A100", False), ("AMD's measured ceiling", True)):
        for rounds in (16, 8, 4):
            points = [f"{one.points:+.1f}" for one in frontier(rounds, ceiling)]
            rows.append([name, str(rounds), *points])
    return rows


def _row(program: str, steps: Sequence[MeasuredStep], errors: np.ndarray, plain: np.ndarray) -> list[str]:
    return [
        f"{program}" + (f" (at most {MUST[program]})" if program in MUST else ""),
        str(len(steps)),
        str(len({step.group for step in steps})),
        f"{100 * np.abs(errors).mean():.1f}",
        f"{100 * np.median(np.abs(errors)):.1f}",
        f"{100 * errors.mean():+.1f}",
        f"{100 * np.abs(plain).mean():.1f}",
    ]


def _groups(program: str, steps: Sequence[MeasuredStep], errors: np.ndarray) -> list[list[str]]:
    keys = np.array([step.group for step in steps])
    return [
        [program, key, str((keys == key).sum()), f"{100 * np.abs(errors[keys == key]).mean():.1f}",
         f"{100 * errors[keys == key].mean():+.1f}"]
        for key in sorted(set(keys))
    ]  # fmt: skip


def _regret(steps: Sequence[MeasuredStep], measured: np.ndarray, found: np.ndarray) -> str:
    keys = np.array([f"{step.group} {step.layout.devices} {step.global_batch}" for step in steps])
    lost = []
    for key in sorted(set(keys)):
        here = keys == key
        lost.append(measured[here][np.argmin(found[here])] / measured[here].min() - 1)
    return f"mean {100 * np.mean(lost):.1f} %, most {100 * np.max(lost):.1f} %, of {len(lost)} groups"


def _memory(step: MeasuredStep) -> tuple[str, float, float, float]:
    habits = memory_habits("torchtitan", compiled_loss=step.group.startswith(COMPILED_SINCE))
    found = float(training_memory(step.job, LayoutGrid.of([step.layout]), step.global_batch, habits).total_bytes[0])
    name = f"{step.job.model.id}, {step.layout.devices} devices, {step.job.seq} tokens, {step.note}"
    return name, step.memory_bytes / 2**30, found / 2**30, 100 * (found / step.memory_bytes - 1)


def _golden(data: Path) -> list[list[str]]:
    """Errors of Megatron-LM's tests by kind of layer and of attention."""
    rows = golden_memory(data)
    errors, keys = np.array([_golden_error(one) for one in rows]), np.array([one.group for one in rows])
    kinds, eager = np.array([one.kind for one in rows]), np.array([one.habits.layer.score_bytes > 0 for one in rows])
    found = []
    for kind in ("dense", "experts"):
        for name, here in (("fused", (kinds == kind) & ~eager), ("not fused", (kinds == kind) & eager)):
            means = [np.abs(errors[here & (keys == key)]).mean() for key in sorted(set(keys[here]))]
            median, bias = np.median(np.abs(errors[here])), errors[here].mean()
            figures = (f"{100 * np.mean(means):.1f}", f"{100 * median:.1f}", f"{100 * bias:+.1f}")
            found.append([kind, name, str(len(means)), str(here.sum()), *figures])
    return found


def _golden_error(one: MeasuredMemory) -> float:
    found = training_memory(one.job, LayoutGrid.of([one.layout]), one.global_batch, one.habits)
    return float(found.total_bytes[0]) / one.bytes - 1


def _memory_text(one: tuple[str, float, float, float]) -> list[str]:
    return [one[0], f"{one[1]:.1f}", f"{one[2]:.1f}", f"{one[3]:+.1f}"]


def _share_text(one: tuple[str, float, float, float]) -> list[str]:
    return [one[0], f"{100 * one[1]:.1f}", f"{100 * one[2]:.1f}", f"{one[3]:+.1f}"]


def _scaling() -> list[list[str]]:
    rows = []
    for version, entries in (("3.1", MLPERF), ("4.0", MLPERF_4)):
        base = mlperf_minutes(entries[0][0]) / entries[0][1]
        for devices, minutes in entries:
            found = mlperf_minutes(devices)
            own, scaled = found / minutes - 1, found / minutes / base - 1
            rows.append(
                [version, f"{devices:,}", f"{minutes:.2f}", f"{found:.2f}", f"{100 * own:+.1f}", f"{100 * scaled:+.1f}"]
            )
    return rows


if __name__ == "__main__":
    main()
