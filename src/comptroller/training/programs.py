"""What a training program can do: kinds of parallelism, sharding and recomputation that a search may ask of it."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.training_layout import ActivationRecompute, StateSharding
from comptroller.errors import UnknownIdError

NONE, SELECTIVE, FULL = ActivationRecompute.NONE, ActivationRecompute.SELECTIVE, ActivationRecompute.FULL


@dataclass(frozen=True, slots=True)
class ProgramReach:
    """Degrees that a program has. sharded: ways to share states out.  split: tensor and pipeline parallelism.
    context, experts: parallelism of sequences and of experts.  recompute: what it can compute again.  zero_bubble:
    whether it has such a schedule.  adapters: whether it trains adapters beside frozen weights.
    offload: whether it keeps states outside of devices.  servers: whether attention can be shared out by its pairs."""

    sharded: tuple[StateSharding, ...]
    recompute: tuple[ActivationRecompute, ...] = (NONE, FULL)
    split: bool = True
    context: bool = True
    experts: bool = True
    zero_bubble: bool = False
    adapters: bool = False
    offload: bool = False
    servers: bool = False


PROGRAMS = {
    "megatron_bridge": ProgramReach((StateSharding.OPTIMIZER, StateSharding.FULL), adapters=True, servers=True),
    "torchtitan": ProgramReach((StateSharding.FULL,), (NONE, SELECTIVE, FULL), zero_bubble=True),
    "llm_foundry": ProgramReach(
        (StateSharding.GRADIENTS, StateSharding.FULL),
        split=False,
        context=False,
        experts=False,
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
torchtitan is FSDP2 with tensor, pipeline and context parallelism and zero-bubble schedules, llm-foundry is FSDP
alone. Attention servers are DistCA's, which is built on Megatron-LM."""


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
