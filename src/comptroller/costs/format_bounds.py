"""Kernels of number formats, kept coherent: what nobody timed is bounded by timed neighbours of its kind.

Two faults of kernel tables are mended here. A table timed outside a captured graph holds the launch of every call, 11
to 24 us for kernels of 4- and 8-bit weights, where quantised kernels in graphs take 6: engines capture both. And a
format without a table of its own took the mean over all formats, which made 5 bits faster than 4.
"""

from __future__ import annotations

from dataclasses import replace

from comptroller.costs.deployment import ModelReplica
from comptroller.facts.calibration import FORMAT_ALIASES, OpPrior, engines_timed, formats_timed, kernel_prior

IN_GRAPHS = "fp8_e4m3"
"""Quantised format whose matrices were timed in captured graphs: its least time is that of the others in one."""

OUTSIDE_GRAPHS = ("int4_g128", "int8_wo", "int8")
"""Formats whose matrices were timed outside graphs. Without this list 4 bits are slower than 16 on a B200."""

NEIGHBOURS = {
    "16bit": (("int4_g128", 4.125), ("int8_wo", 8.0), ("bf16", 16.0)),
    "int": (("int8", 8.0), ("bf16", 16.0)),
    "fp": (("nvfp4", 4.5), ("fp8_e4m3", 8.0), ("bf16", 16.0)),
}
"""Kind of arithmetic -> formats whose matrices were timed in it, with their bits per weight, the narrowest first."""

MOST_SHARE = 1.0
"""Largest share of the memory's rate: the table of 4-bit weights says 1.11, from matrices that fit a cache."""


def matrix_prior(replica: ModelReplica, name: str, arithmetic: str) -> OpPrior:
    """The prior of a dense matrix kernel of a format, no faster than the next wider timed format of its kind.

    name: of the format whose table is read.  arithmetic: that it multiplies in. A format with a table keeps it, with
    the least time of graphs. One without takes the time of the next wider one: eff_bytes = e b / b_wider, so that
    a call takes as long however narrow its weights. Engines that nobody timed keep the pooled guess, which whole
    servers under them have scaled.

    >>> from comptroller.costs.deployment import EngineSettings, ParallelLayout, PrecisionRecipe
    >>> from comptroller.facts.library import SHIPPED
    >>> engine, model = EngineSettings.default(SHIPPED.engine("vllm")), SHIPPED.model("llama_3_1_8b")
    >>> recipe = PrecisionRecipe("int3_g128", "int3_g128", "bf16", "bf16")
    >>> one = ModelReplica(model, SHIPPED.accelerator("h100_sxm"), recipe, ParallelLayout(), engine)
    >>> three, four = matrix_prior(one, "int3_g128", "bf16"), matrix_prior(one, "int4_g128", "bf16")
    >>> round(three.eff_bytes / four.eff_bytes, 3) == round(3.125 / 4.125, 3), three.floor_s == four.floor_s
    (True, True)
    """
    engine = replica.engine.launched_as
    own = kernel_prior("gemm", replica.device, engine, name)
    if is_timed_format(name) or engine not in engines_timed():
        return _in_graphs(replica, name, own)
    wider, bits = _next_wider(replica, arithmetic)
    near = _in_graphs(replica, wider, kernel_prior("gemm", replica.device, engine, wider))
    share = replica.formats.weights.bits_per_element / bits
    return replace(near, op=own.op, eff_bytes=near.eff_bytes * min(share, 1.0), error=max(own.error, near.error))


def is_timed_format(name: str) -> bool:
    """Whether matrices of a format were timed, under its own name or the one whose kernel it shares.

    >>> is_timed_format("int4_awq_g128"), is_timed_format("int3_g128")
    (True, False)
    """
    return name in formats_timed("gemm")


def format_error(replica: ModelReplica) -> float:
    """Log standard deviation that the weights' format adds where nobody timed its matrices; 0 where somebody did."""
    name, engine = replica.recipe.weights, replica.engine.launched_as
    if is_timed_format(name) or engine not in engines_timed():
        return 0.0
    return kernel_prior("gemm", replica.device, engine, name).error


def _in_graphs(replica: ModelReplica, name: str, prior: OpPrior) -> OpPrior:
    """The prior with the least time of captured graphs, and no faster than memory."""
    if FORMAT_ALIASES.get(name, name) not in OUTSIDE_GRAPHS:
        return prior
    graph = kernel_prior("gemm", replica.device, replica.engine.launched_as, IN_GRAPHS)
    floor = min(prior.floor_s, graph.floor_s)
    return replace(prior, floor_s=floor, eff_bytes=min(prior.eff_bytes, MOST_SHARE))


def _next_wider(replica: ModelReplica, arithmetic: str) -> tuple[str, float]:
    kind = "int" if arithmetic.startswith("int") else "fp" if arithmetic in {"fp4", "fp6", "fp8"} else "16bit"
    bits = replica.formats.weights.bits_per_element
    wider = (pair for pair in NEIGHBOURS[kind] if pair[1] >= bits)
    return next(wider, NEIGHBOURS[kind][-1])
