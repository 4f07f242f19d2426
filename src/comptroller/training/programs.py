"""What a training program can do: kinds of parallelism, sharding and recomputation that a search may ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comptroller.costs.training_layout import ActivationRecompute, StateSharding
from comptroller.errors import UnknownIdError


class TrainingSchedule(StrEnum):
    """Orders of passes in a pipeline: one forward and one backward in turn, with one chunk a device or several, and two
    in which weights' gradients fill the bubble."""

    ONE_EACH = "1f1b"
    INTERLEAVED = "interleaved"
    ZB_H1 = "zb_h1"
    ZB_V = "zb_v"


class ShardingName(StrEnum):
    """What data-parallel ranks share out, as a workload states it: nothing, optimiser states (ZeRO-1), gradients too
    (ZeRO-2), weights too (ZeRO-3, FSDP)."""

    NONE = "none"
    OPTIMIZER = "optimizer"
    GRADIENTS = "gradients"
    FULL = "full"

    @property
    def sharding(self) -> StateSharding:
        """Its number."""
        return StateSharding[self.name]


WIDE_SHARDING = (ShardingName.GRADIENTS, ShardingName.FULL)
"""More than states of the optimiser."""


class RecomputeName(StrEnum):
    """What the backward pass computes again, as a workload states it."""

    NONE = "none"
    SELECTIVE = "selective"
    FULL = "full"

    @property
    def recompute(self) -> ActivationRecompute:
        """Its number."""
        return ActivationRecompute[self.name]


IN_TURN = (TrainingSchedule.ONE_EACH, TrainingSchedule.INTERLEAVED)
NONE, SELECTIVE, FULL = ActivationRecompute.NONE, ActivationRecompute.SELECTIVE, ActivationRecompute.FULL


@dataclass(frozen=True, slots=True)
class ProgramReach:
    """Degrees that a program has. sharded: ways to share states out.  split: tensor and pipeline parallelism.
    context, experts: parallelism of sequences and of experts.  recompute: what it can compute again.  schedules: of
    pipelines.  zb_chunks: fewest chunks of a device with ZB-H1.  sharded_stages: whether gradients and weights are
    shared out in a pipeline too.  adapters: whether it trains adapters beside frozen weights.
    offload: whether it keeps states outside of devices.  servers: whether attention can be shared out by its pairs."""

    sharded: tuple[StateSharding, ...]
    recompute: tuple[ActivationRecompute, ...] = (NONE, FULL)
    split: bool = True
    context: bool = True
    experts: bool = True
    schedules: tuple[TrainingSchedule, ...] = IN_TURN
    zb_chunks: int = 1
    sharded_stages: bool = False
    adapters: bool = False
    offload: bool = False
    servers: bool = False


PROGRAMS = {
    "megatron_bridge": ProgramReach((StateSharding.OPTIMIZER, StateSharding.FULL), adapters=True, servers=True),
    "torchtitan": ProgramReach(
        (StateSharding.FULL,),
        (NONE, SELECTIVE, FULL),
        schedules=tuple(TrainingSchedule),
        zb_chunks=2,
        sharded_stages=True,
    ),
    "llm_foundry": ProgramReach(
        (StateSharding.GRADIENTS, StateSharding.FULL),
        split=False,
        context=False,
        experts=False,
        schedules=(),
        adapters=True,
        offload=True,
    ),
    "megatron_deepspeed": ProgramReach(
        (StateSharding.NONE, StateSharding.OPTIMIZER), (NONE, SELECTIVE, FULL), context=False
    ),
    "megatron_deepspeed_node": ProgramReach(
        (StateSharding.NONE, StateSharding.OPTIMIZER), (NONE, SELECTIVE, FULL), context=False
    ),
}
"""Program -> what it can do, by their documentation: Megatron-Bridge shares out optimiser states or all (FSDP),
torchtitan is FSDP2 with tensor, pipeline and context parallelism and the schedules of PyTorch, of which ZB-H1
(`InterleavedZeroBubble`) takes several stages a device and ZB-V (`ZBVZeroBubble`) two, llm-foundry is FSDP alone.
Megatron-LM has 1F1B and interleaved alone. Attention servers are DistCA's, which is built on Megatron-LM."""


def reach_of(program: str) -> ProgramReach:
    """What a program can do.

    Raises:
        UnknownIdError: it is not known.

    >>> reach_of("llm_foundry").split
    False
    """
    if program not in PROGRAMS:
        raise UnknownIdError("training program", program, PROGRAMS)
    return PROGRAMS[program]
