"""Why the worst groups of the accuracy benchmark are off, as far as it was looked into."""

from __future__ import annotations

WHY = (
    (
        ("llama_cpp", "max_1550"),
        "nobody else measured this device, nor llama.cpp on its vendor's devices: without the source its kernels are "
        "taken for those of the fitted engines at its datasheet's rates",
    ),
    (
        ("llama_cpp",),
        "its kernels read weights at some 0.9 TB/s whatever the memory's rate, and this source alone shows it on these "
        "devices: without it the effect `pace.reach` is unknown",
    ),
    (
        ("trtllm engines", "experts"),
        "one sequence is met within 10 %; 16 take 11.1 ms a token, less than reading all experts once (15 ms at the "
        "datasheet's rate): the prompts of a batch are alike, so that their tokens choose the same experts",
    ),
    (
        ("mi355x",),
        "all rows are DeepSeek-R1 in MXFP4 by MXFP4, which no table timed: those of MXFP4 by MXFP8 stand in, without "
        "these rows what is known of AMD are older builds and MI300X, slower against its datasheet",
    ),
    (("mi100",), "four-bit and eight-bit weights by GPTQ kernels that nobody timed on this vendor's devices"),
    (("max_1550",), "nobody else measured this device or vLLM on its vendor's devices"),
    (
        ("mi300x", "vllm v0"),
        "a build of 2024 multiplies 64 to 256 decoding sequences at a fortieth of the peak; no other source has it; "
        "nor has the vendor's fork of the same version",
    ),
    (("mi250", "vllm v0"), "the vendor's builds of 2024 are known from MI300X alone where this source is left out"),
    (
        ("gpustack", "vllm"),
        "vLLM 0.10 and 0.11 waited for their scheduler (generation v1, learned from ML.ENERGY's rates where this is "
        "left out); what is left are flags that the tables do not state",
    ),
    (("gpustack",), "the flags of these runs are not stated; at equal settings other sources are met"),
    (
        ("ml-energy",),
        "input lengths are not recorded; without this source the generation v1 of vLLM is known from gpustack alone",
    ),
)
"""Words in the name of a group -> why it is off, as far as it was looked into; the first that fits."""


def why(group: str) -> str:
    """Why a group is off, in a sentence; says so where nobody looked."""
    return next((words for marks, words in WHY if all(mark in group for mark in marks)), "not looked into")
