"""Training with states, weights and activations outside of devices: published claims, and what each mechanism gives.

    python benchmarks/training_offload.py

Writes benchmarks/results/training_offload.{md,json}. Every figure is of `plan` on a workload with `[training.offload]`.
GPT-3 13B on an RTX 4090: 156 TFLOP/s of Fuyou and 45 of ZeRO-Infinity (arXiv 2403.06504, abstract); the batch and the
number of drives are not in the abstract, so several are shown. A drive is Intel's D7-P5500: 7.0 GB/s read, 4.3 written.
Memory behind CXL: 97 to 99 % of DRAM alone with one card, about 100 % with two, up to 21 % over interleaved pages
(arXiv 2507.03305, abstract). Nothing here was fitted to these figures.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from comptroller.facts.accelerator import accelerator
from comptroller.training.document import load_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training
from record import table, write

GPT_13B = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 5120, "n_layer": 40, "n_head": 40,
    "n_positions": 2048, "n_ctx": 2048, "vocab_size": 50257, "torch_dtype": "float16",
}  # fmt: skip
"""40 layers of 5,120 (GPT-3, arXiv 2005.14165, table 2.1, with 40 heads of 128)."""

DRIVE_GB_PER_S = (7.0, 4.3)
HOST_GB_PER_S, HOST_GB = 200.0, 256.0
"""Eight channels of DDR4-3200, and the least memory that the second version of the paper trains with."""
BATCHES = (32, 64)
ATTEMPTS = (
    "ZeRO-Infinity is faster here than its measurement. First attempt: the optimiser after the last pass, reading, "
    "updating and writing in turn: 58 to 86 TFLOP/s. Second: what DeepSpeed's source does (0.19.8, "
    "runtime/zero/stage3.py and runtime/swap_tensor): a gradient is written in 16 bits, read back to be added to, "
    "widened, and passes the store in 32 bits; in the host's memory it is scaled, states are updated and cast in "
    "passes of their own (42 bytes a weight for 30); and every byte of the store passes the host's memory. That is "
    "the table: it closes 7 to 23 % of the gap. What is left is the rate of the store, or a smaller batch: drives are "
    "taken at the rates of their datasheet, as many times as there are, where DeepSpeed submits from one thread, 8 "
    "blocks of 1 MiB at a time, and a server has so many lanes. The next lever is a measured rate (DeepSpeed's "
    "`ds_io` on the machine) for read_gb_per_s and write_gb_per_s; neither it nor the batch is in the abstract."
)
PUBLISHED_TFLOPS = {"Fuyou": 156.0, "ZeRO-Infinity": 45.0}
CXL_CARD_GB_PER_S = 64.0
"""PCIe 5.0 x16 in one direction (`comptroller show cache_tiers`)."""
DRAM_GB_PER_S = 256.0
"""At which Adam is about four times as slow in the memory of one card, as the paper measures."""


def main() -> None:
    """Plan, print and write."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "gpt3_13b.json").write_text(json.dumps(GPT_13B), encoding="utf-8")
        drives, claims = _drives(here)
        needed = {batch: _drives_of(here, batch, PUBLISHED_TFLOPS["ZeRO-Infinity"]) for batch in BATCHES}
        text = "# Training with states outside of devices\n\n## GPT-3 13B on one RTX 4090\n\n" + drives
        text += "\n\n" + ATTEMPTS + _needed_text(needed)
        cxl, cards = _cxl(here)
        text += "\n\n## Memory behind CXL\n\n" + cxl
        pools, rates = _pools(here)
        text += "\n\n## A pool in place of a device's own memory\n\n" + pools
    figures = {"drives": claims, "drives_of_45": needed, "cxl": cards, "pools": rates}
    print(write("training_offload", figures, text).read_text(encoding="utf-8"))


def _plan(folder: Path, run: dict[str, Any]) -> TrainingPlan:
    """A plan by the command's own way: a file, read and planned."""
    lines = ['name = "offload"', "[training]"]
    lines += [f"{key} = {_toml(value)}" for key, value in {"program": "llm_foundry", "tokens": 1e7, **run}.items()]
    file = folder / "workload.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return plan_training(load_training(file))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


def _drives(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """TFLOP/s by number of drives and batch, swapped or computed again, overlapped or in turn."""
    found, rows = [], []
    peak = accelerator("rtx_4090").peak("bf16") / 1e12
    for count in (4, 8, 12):
        for batch in BATCHES:
            one: dict[str, Any] = {"drives": count, "batch": batch}
            for name, swap, overlapped in (("swap", True, True), ("again", False, True), ("serial", False, False)):
                plan = _plan(folder, _card(count, batch, swap, overlapped))
                one[name] = plan.run.mfu * peak
                one[f"{name}_share"] = plan.run.swapped_share
            found.append(one)
            rows.append([
                f"{count}", f"{batch}", f"{one['swap']:.0f}", f"{one['swap_share']:.0%}",
                f"{one['swap'] / PUBLISHED_TFLOPS['Fuyou'] - 1:+.0%}", f"{one['again']:.0f}", f"{one['serial']:.0f}",
                f"{one['serial'] / PUBLISHED_TFLOPS['ZeRO-Infinity'] - 1:+.0%}",
            ])  # fmt: skip
    head = (
        "drives", "sequences of 1,024 a step", "swapping, TFLOP/s", "swapped", "of Fuyou's 156",
        "computed again, TFLOP/s", "in turn, TFLOP/s", "of ZeRO-Infinity's 45",
    )  # fmt: skip
    return table(head, rows), found


def _drives_of(folder: Path, batch: int, tflops: float) -> float:
    """Drives, as a real number, at whose rates a step in turn reaches so many TFLOP/s: bisected."""
    peak = accelerator("rtx_4090").peak("bf16") / 1e12
    low, high = 0.25, 12.0
    while high - low > 0.01:
        middle = (low + high) / 2
        below = _plan(folder, _card(middle, batch, False, False)).run.mfu * peak < tflops
        low, high = (middle, high) if below else (low, middle)
    return high


def _needed_text(needed: dict[int, float]) -> str:
    each = "; ".join(f"{drives:.1f} drives with {batch} sequences" for batch, drives in needed.items())
    return f" 45 TFLOP/s would be a store of the rates of {each}."


def _card(drives: float, batch: int, swap: bool, overlapped: bool) -> dict[str, Any]:
    read, write_ = (drives * rate for rate in DRIVE_GB_PER_S)
    offload = {
        "host_gb_per_s": HOST_GB_PER_S, "host_gb": HOST_GB, "read_gb_per_s": read, "write_gb_per_s": write_,
        "swap": swap, "overlapped": overlapped,
    }  # fmt: skip
    allow = {"accelerators": ["rtx_4090"], "devices": [1]}
    return {"model": "gpt3_13b.json", "seq": 1024, "global_batch": batch, "offload": offload, "allow": allow}


def _cxl(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Throughput over that of DRAM alone: latency-tolerant parts placed behind cards, and all parts interleaved."""
    found, rows = [], []
    for name in ("llama_2_7b", "llama_2_13b"):
        for seq in (4096, 8192, 32768):
            alone = _throughput(folder, name, seq, {})
            tolerant = {"far_share": 0.99, "far_holds": ["weights", "activations"]}
            one: dict[str, Any] = {"model": name, "seq": seq}
            for cards in (1, 2):
                far = {**tolerant, "far_gb_per_s": cards * CXL_CARD_GB_PER_S}
                one[f"placed_{cards}"] = _throughput(folder, name, seq, far) / alone
            every = ["states", "weights", "activations"]
            far = {"far_share": 0.5, "far_gb_per_s": CXL_CARD_GB_PER_S, "far_holds": every}
            one["interleaved"] = _throughput(folder, name, seq, far) / alone
            found.append(one)
            rows.append([
                name, f"{seq:,}", f"{one['placed_1']:.1%}", f"{one['placed_2']:.1%}", f"{one['interleaved']:.1%}",
                f"{one['placed_1'] / one['interleaved'] - 1:+.0%}",
            ])  # fmt: skip
    head = ("model", "tokens", "placed, one card", "two cards", "interleaved, one card", "placed over interleaved")
    return table(head, rows), found


def _throughput(folder: Path, name: str, seq: int, far: dict[str, Any]) -> float:
    """Tokens per second of ZeRO-Offload on one H100, 32,768 tokens a step."""
    offload = {"host_gb_per_s": DRAM_GB_PER_S, "overlapped": False, "swap": True, **far}
    allow = {"accelerators": ["h100_sxm"], "devices": [1]}
    run = {"model": name, "seq": seq, "global_batch": 32768 // seq, "offload": offload, "allow": allow}
    return _plan(folder, run).run.tokens_per_s


def _pools(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """One H100 with 70 billion weights in a pool, by the rate of the link to it."""
    found, rows = [], []
    for pool in ("what_if_fenghuang", "cxl_pool", "rdma_pool"):
        allow = {"accelerators": ["h100_sxm"], "devices": [1]}
        run = {"model": "llama_3_1_70b", "seq": 4096, "global_batch": 64, "allow": allow}
        plan = _plan(folder, {**run, "offload": {"pool": pool, "swap": True}})
        memory = plan.run.memory_bytes["total"]
        one = {"pool": pool, "mfu": plan.run.mfu, "memory_bytes": memory, "swapped": plan.run.swapped_share}
        found.append(one)
        waits = plan.run.step_parts_s.get("offload", 0.0) / plan.run.step_s.value
        rows.append([
            pool, f"{memory / 1e9:.0f}", f"{plan.run.mfu:.1%}", f"{waits:.0%}", f"{plan.run.swapped_share:.0%}"
        ])  # fmt: skip
    inside = 18.0 * 70.6e9 / 1e9
    text = table(("pool", "GB on the device", "MFU", "of a step waits for it", "activations swapped"), rows)
    return text + f"\n\nWeights, gradients and states of the model alone take {inside:,.0f} GB.", found


if __name__ == "__main__":
    main()
