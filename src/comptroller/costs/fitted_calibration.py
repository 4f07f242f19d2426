"""The shipped calibration: kernel priors, scaled and completed by what whole servers showed."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as dataclass_replace

from comptroller.costs.causes import exposures
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.format_bounds import matrix_prior
from comptroller.costs.network import DEEPEP_SHARE, HOST_HOP, HOST_SHARE, is_staged, leaves_node, network_shares
from comptroller.costs.timing import COLLECTIVES, KernelEfficiency, KernelSignature, ServingOverheads, StepOverheads
from comptroller.facts.calibration import OpPrior, kernel_prior
from comptroller.facts.serving import ServingFacts, serving_facts

STAND_IN = {"indexer": "attention_decode"}
"""Operations without measurements of their own -> the kind whose shares they take."""

MEASURED_UNDER = {
    ("elementwise", "bf16", "sglang"): "vllm",
    ("moe", "int4_g32", "vllm"): "sglang",
    ("gemm", "fp8_block", "vllm"): "sglang",
}
"""(kind, format, engine) -> the engine under which the tables timed the kernel that serves there: SGLang's
elementwise rows are an unfused quantisation; vLLM's int4 expert rows are not its Marlin path of 2026; its
block-scaled GEMM rows were timed outside a CUDA graph and show the host's latency."""

TIMED_WITH = {("moe", "mxfp4", "fp8"): "mxfp4_mxfp8", ("moe", "mxfp4", "fp4"): "mxfp4_mxfp8"}
"""(kind, format, arithmetic) -> the format under which the tables timed it: MXFP4 weights by MXFP8 activations, and
for want of a table of MXFP4 by MXFP4 (AMD's checkpoints) those too: both read the same weights, which is most of it,
and the table of MXFP4 alone is of weights widened to 16 bit, with 12 passes over the activations."""

GROUPS = (
    "gemm_16bit",
    "gemm_8bit",
    "gemm_4bit",
    "elementwise",
    "experts_16bit",
    "experts_8bit",
    "experts_4bit",
    "experts_dequantised",
    "attention_decode",
    "attention_prefill",
    "linear_attention",
    "all_reduce",
    "exchange",
)
"""Kinds of kernels whose time one parameter scales."""

ATTENTION = frozenset({"attention_decode", "attention_prefill", "linear_attention"})
"""Groups that an effect on attention scales besides."""

_GROUP_OF = {
    "elementwise": "elementwise",
    "attention_decode": "attention_decode",
    "mla_decode": "attention_decode",
    "indexer": "attention_decode",
    "attention_prefill": "attention_prefill",
    "mla_prefill": "attention_prefill",
    "linear_attention_decode": "linear_attention",
    "linear_attention_prefill": "linear_attention",
    "all_reduce": "all_reduce",
    "send": "all_reduce",
    "all_gather": "exchange",
    "reduce_scatter": "exchange",
    "all_to_all": "exchange",
}
_BITS = {"fp4": "4bit", "fp8": "8bit", "int8": "8bit"}


def group_of(kernel: KernelSignature) -> str:
    """The group whose parameter scales a kernel: by kind, and for matrices by the arithmetic they run in.

    >>> group_of(KernelSignature("moe", "mxfp4", "bf16", 1)), group_of(KernelSignature("gemm", "fp8_block", "fp8", 1))
    ('experts_dequantised', 'gemm_8bit')
    """
    if kernel.kind not in {"gemm", "moe"}:
        return _GROUP_OF[kernel.kind]
    bits = _BITS.get(kernel.arithmetic, "16bit")
    if kernel.kind == "gemm":
        return f"gemm_{bits}"
    wide = kernel.format in {"bf16", "fp16", "fp32", "tf32"}
    return "experts_dequantised" if bits == "16bit" and not wide else f"experts_{bits}"


@dataclass(frozen=True, slots=True)
class KernelPriors:
    """Kernels as measured one by one, nothing between them."""

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """The fitted shares and latencies of the kernel on the device under the engine."""
        kind = STAND_IN.get(kernel.kind, kernel.kind)
        engine = MEASURED_UNDER.get((kind, kernel.format, replica.engine.launched_as), replica.engine.launched_as)
        stored = TIMED_WITH.get((kind, kernel.format, kernel.arithmetic), kernel.format)
        dense = kernel.kind == "gemm" and engine == replica.engine.launched_as
        bounded = matrix_prior(replica, stored, kernel.arithmetic) if dense else None
        prior = bounded or kernel_prior(kind, replica.device, engine, stored)
        if kernel.kind in COLLECTIVES and leaves_node(replica, kernel.kind, kernel.devices):
            return _over_network(replica, kernel, prior)
        if kernel.kind in COLLECTIVES and is_staged(replica, kernel.kind, kernel.devices):
            return _through_host(kernel_prior(kind, replica.device, "nccl", stored))
        return KernelEfficiency(
            flops=prior.eff_flops,
            bytes=prior.eff_bytes,
            floor_s=prior.floor_s,
            item_s=prior.item_s,
            depth_s=prior.depth_s,
            passes=prior.passes,
            direct=prior.eff_direct if kernel.kind in COLLECTIVES else 0.0,
            setup_s=prior.setup_s,
        )

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """None."""
        return StepOverheads()

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """Steps alone."""
        return ServingOverheads()


def _over_network(replica: ModelReplica, kernel: KernelSignature, near: OpPrior) -> KernelEfficiency:
    """A collective between nodes; the exchange of experts keeps the least time that engines take inside one."""
    if kernel.kind == "all_to_all":
        return KernelEfficiency(1.0, DEEPEP_SHARE, near.floor_s, near.item_s)
    found = network_shares(replica.device, kernel.kind, kernel.devices)
    return KernelEfficiency(1.0, found.wide, found.floor_s, direct=found.quick, setup_s=found.setup_s)


def _through_host(near: OpPrior) -> KernelEfficiency:
    """A collective between devices without peer access: NCCL's ring, for the engines' own kernels write to peers."""
    return KernelEfficiency(1.0, HOST_SHARE, HOST_HOP * near.floor_s, HOST_HOP * near.item_s, setup_s=near.setup_s)


@dataclass(frozen=True, slots=True)
class FittedCalibration:
    """Kernel priors times the fitted scales, with the engine's overheads."""

    facts: ServingFacts

    @classmethod
    def shipped(cls) -> FittedCalibration:
        """With the shipped constants."""
        return cls(serving_facts())

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """The prior, its time and its least time scaled by the kernel's group, the engine and the effects of causes."""
        prior, group = KernelPriors().efficiency(replica, kernel), group_of(kernel)
        engine, per_device = replica.engine.launched_as, kernel.kind in COLLECTIVES
        own = self.facts.value(f"time.{group}", engine)
        scale = own * self.effect(replica, "wire" if per_device else "pace")
        least = scale * self.facts.value("floor", engine) * (1.0 if per_device else self.effect(replica, "launch"))
        if group in ATTENTION:
            scale *= self.effect(replica, "attention")
        return KernelEfficiency(
            flops=prior.flops / scale,
            bytes=prior.bytes / scale,
            floor_s=prior.floor_s * least,
            item_s=prior.item_s * (least if per_device else scale),
            depth_s=prior.depth_s * scale,
            passes=prior.passes * scale,
            direct=prior.direct / scale,
            setup_s=prior.setup_s * scale,
        )

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """Per layer, per step (more with data-parallel ranks, which wait for each other) and per sequence."""
        engine, work, each = replica.engine.launched_as, self.effect(replica, "work"), self.effect(replica, "sequence")
        step = self.facts.value("step", engine)
        if replica.layout.dp > 1:
            step += self.facts.value("ranks", engine)
        layer, sequence = self.facts.value("layer", engine), self.facts.value("sequence", engine)
        return StepOverheads(work * layer, work * step, each * sequence)

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """The engine's constants around its steps."""
        engine, outside = replica.engine.launched_as, self.effect(replica, "outside")
        names = ("interference", "host", "client", "prefill", "wait_steps", "burst", "crowd")
        known = ServingOverheads(*(self.facts.value(name, engine) for name in names))
        seldom = replica.engine.poll_steps - 1
        late = seldom * self.facts.value("poll", engine) if seldom else 0.0
        return dataclass_replace(
            known, host_s=outside * known.host_s, client_s=outside * known.client_s, unseen_steps=late
        )

    def effect(self, replica: ModelReplica, quantity: str) -> float:
        """The product of the effects of a quantity that apply to a replica; an effect never fitted is 1.

        A vendor's build of a generation that nobody measured has the vendor's effects, beside those of the generation.
        """
        factor, start, table = 1.0, f"{quantity}.", self.facts.table
        for name, exposure in exposures(replica).items():
            if name[0].startswith(start) and name in table:
                factor *= table[name].value ** exposure
        return factor
