"""Fits `facts/calibration/training.toml` from measured training steps.

    python benchmarks/fit_training.py           (data at ../shared/data or COMPTROLLER_DATA)

Errors and bands are those of groups left out (`comptroller_lab.training_fit`); what is fitted, equations and groups
stand in the header of the file.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from comptroller.errors import ComptrollerError
from comptroller.facts.reader import folder
from comptroller_lab.training_fit import CONSTANTS, PaceFit, fit_pace, grouped_folds, predict_left_out
from comptroller_lab.training_rows import READERS, MeasuredStep, ingredients
from energy_data import data_folder

HEADER = """\
# Fitted constants of training programs. Command: python benchmarks/fit_training.py
# Report: benchmarks/results/training_accuracy.md   Equations: costs/training_time.py, costs/training_memory.py
# value: a factor on seconds of kernels measured one by one (kernels.toml), or seconds (_s), or a share (hidden);
# a family's value multiplies the program's. error: log standard deviation after the fit (of `hidden` its logit's).
# mape, band: of step times of groups left out: mean absolute error, and 10th and 90th percentile of the log of measured
# over predicted. Groups: models (vTrain's node: devices, batch and shape, in five folds; torchtitan: pages).
# memory: not fitted; `why` says where the values come from.
"""

NAMES = {
    "megatron_deepspeed": "Megatron-DeepSpeed of 2022, attention not fused",
    "megatron_deepspeed_node": "Megatron-DeepSpeed of 2022, small models on one node",
    "megatron_bridge": "Megatron-Bridge 25.09 to 26.02.01",
    "llm_foundry": "MosaicML llm-foundry with FSDP",
    "torchtitan": "torchtitan, December 2024 to June 2025",
}
SOURCES = {
    "megatron_deepspeed": "vtrain",
    "megatron_deepspeed_node": "vtrain",
    "megatron_bridge": "megatron_bridge",
    "llm_foundry": "llm_foundry",
    "torchtitan": "torchtitan",
}
EAGER = "no fused attention: scores and masks of dropout are kept (arXiv 2205.05198, equation 1)"
MEMORY = {
    "megatron_deepspeed": (4.0, 6.0, 6.0, 0.0, 1.0, False, False, 5.0, True, 2.0, 1.1, 1.5e9, EAGER),
    "megatron_deepspeed_node": (4.0, 6.0, 6.0, 0.0, 1.0, False, False, 5.0, True, 2.0, 1.1, 1.5e9, EAGER),
    "megatron_bridge": (
        4.0, 6.0, 6.0, 0.0, 1.0, True, True, 0.0, False, 2.0, 1.1, 1.5e9,
        "gradients in 32 bit, logits in 32 bit, softmax and gradient in their place, and in 16 bit (megatron/core/"
        "tensor_parallel/cross_entropy.py); fused attention",
    ),
    "llm_foundry": (
        4.0, 12.0, 12.0, 0.0, 1.0, True, True, 0.0, False, 2.0, 1.1, 1.5e9,
        "as torchtitan: FSDP of PyTorch, eager cross-entropy; Transformer Engine keeps what it quantised",
    ),
    "torchtitan": (
        4.0, 12.0, 16.0, 4.0, 0.46, False, True, 0.0, False, 2.0, 1.05, 1.0e9,
        "log-softmax of the logits, its gradient and theirs in 32 bit, where the vocabulary is split an exponential "
        "too (torch/distributed/tensor/parallel/loss.py), compiled one copy in 16 bit and its gradient; what is "
        "reserved over what is allocated a twentieth; selective recomputation keeps the layer's input, every second "
        "product of matrices and the output of attention: 63.5 of 139 kB a token of Llama 3.1 8B",
    ),
}  # fmt: skip
FIELDS = (
    "gradients", "logit_bytes", "split_logit_bytes", "compiled_logit_bytes", "kept", "narrow_kept", "sequence_split",
    "score_bytes",
    "dropout", "gathered", "slack", "base_bytes", "why",
)  # fmt: skip

FOOTER = """
[sources.vtrain]
title = "vTrain, measured iterations on A100 (data/ground_truth_single.csv, ground_truth_multi.csv at f8dda8473a)"
url = "https://github.com/VIA-Research/vTrain"
date = 2026-11-29
licence = "MIT-style"

[sources.megatron_bridge]
title = "Megatron-Bridge, docs/performance-summary.md at 067f987df0"
url = "https://github.com/NVIDIA-NeMo/Megatron-Bridge"
date = 2026-11-29
licence = "Apache-2.0"

[sources.llm_foundry]
title = "llm-foundry, scripts/train/benchmarking/README.md at 8c8dd48f72"
url = "https://github.com/mosaicml/llm-foundry"
date = 2026-11-29
licence = "Apache-2.0"

[sources.torchtitan]
title = "torchtitan, benchmarks/*.md at b5bcd76c66"
url = "https://github.com/pytorch/torchtitan"
date = 2026-11-29
licence = "BSD-3-Clause"
"""


def main() -> None:
    """Fit every program and write the file."""
    try:
        data = data_folder() / "training"
    except ComptrollerError as error:
        sys.exit(str(error))
    programs, constants = [], []
    for program, reader in READERS.items():
        steps = reader(data)
        fit = fit_pace(steps, ingredients(steps), CONSTANTS[program])
        programs.append(_program(program, steps))
        constants += _constants(program, fit)
    text = HEADER + f'\ndate = {datetime.now(UTC).date()}\ncommand = "python benchmarks/fit_training.py"\n\n'
    text += "constants = [\n" + "\n".join(constants) + "\n]\n" + "".join(programs) + FOOTER
    path = Path(folder("calibration")) / "training.toml"
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {len(constants)} constants of {len(programs)} programs")


def left_out(program: str, steps: Sequence[MeasuredStep]) -> np.ndarray:
    """Seconds of every step by fits to the other groups."""
    folds = grouped_folds(steps) if program == "megatron_deepspeed_node" else ()
    return predict_left_out(steps, CONSTANTS[program], folds)


def _program(program: str, steps: Sequence[MeasuredStep]) -> str:
    measured = np.array([step.seconds for step in steps])
    found = left_out(program, steps)
    low, high = np.quantile(np.log(measured / found), (0.1, 0.9))
    families = sorted({step.family for step in steps})
    values = dict(zip(FIELDS, MEMORY[program], strict=True))
    memory = ", ".join(f"{name} = {_toml(value)}" for name, value in values.items())
    return (
        f'\n[[programs]]\nid = "{program}"\nname = "{NAMES[program]}"\nsource = "{SOURCES[program]}"\n'
        f"families = {_toml(families)}\nrows = {len(steps)}\ngroups = {len({step.group for step in steps})}\n"
        f"mape = {float(np.abs(found / measured - 1).mean()):.4f}\nband = [{low:.4f}, {high:.4f}]\n"
        f"memory = {{ {memory} }}\n"
    )


def _constants(program: str, fit: PaceFit) -> list[str]:
    return [
        f'  {{ program = "{program}", name = "{one.name}", family = "{one.family}", '
        f"value = {one.value:.4g}, error = {one.error:.3g} }},"
        for one in fit.estimates
    ]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).replace("'", '"')


if __name__ == "__main__":
    main()
