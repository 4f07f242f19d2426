"""How a training run is cut over devices: one layout, or a grid of many as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.facts.model import LatentAttention, LinearAttention, MixtureOfExperts, Model, SoftmaxAttention

Ints = npt.NDArray[np.int64]


class StateSharding(IntEnum):
    """What data-parallel ranks share out: nothing, optimiser states, gradients too, weights too (ZeRO 1 to 3).

    `FULL` is ZeRO-3, which PyTorch calls FSDP with resharding after the forward pass.
    """

    NONE = 0
    OPTIMIZER = 1
    GRADIENTS = 2
    FULL = 3


class ActivationRecompute(IntEnum):
    """What the backward pass computes again: nothing, the core of attention, or whole layers."""

    NONE = 0
    SELECTIVE = 1
    FULL = 2


class PipelineSchedule(IntEnum):
    """Order of forward and backward passes: one of each in turn (interleaved where a device has several chunks), or
    with the weights' gradients moved into the bubble (zero bubble, arXiv 2401.10241): ZB-H1 on any number of chunks,
    ZB-V on two, of which the second runs back up the pipeline."""

    ONE_EACH = 0
    ZB_H1 = 1
    ZB_V = 2


@dataclass(frozen=True, slots=True, order=True)
class TrainingLayout:
    """tp x cp x pp x dp devices; `ep` of the tp x cp x dp devices of a stage share the experts.

    chunks: virtual stages of a device.  micro_batch: sequences of one forward pass.
    """

    dp: int = 1
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    chunks: int = 1
    micro_batch: int = 1
    sharding: StateSharding = StateSharding.NONE
    recompute: ActivationRecompute = ActivationRecompute.NONE
    schedule: PipelineSchedule = PipelineSchedule.ONE_EACH

    def __post_init__(self) -> None:
        if min(self.dp, self.tp, self.pp, self.cp, self.ep, self.chunks, self.micro_batch) < 1:
            raise InputError(f"layout {self}: every degree is >= 1")

    @property
    def devices(self) -> int:
        """Devices of the run."""
        return self.dp * self.tp * self.pp * self.cp

    def __str__(self) -> str:
        degrees = [f"{name}{getattr(self, name)}" for name in ("dp", "tp", "pp", "cp", "ep")]
        shown = [text for text in degrees if not text.endswith("p1")] or ["dp1"]
        shown += [f"v{self.chunks}"] if self.chunks > 1 else []
        return "-".join(shown)


@dataclass(frozen=True, slots=True)
class LayoutGrid:
    """Layouts as columns, each an array of integers of equal length; the meaning of each is `TrainingLayout`'s."""

    dp: Ints
    tp: Ints
    pp: Ints
    cp: Ints
    ep: Ints
    chunks: Ints
    micro_batch: Ints
    sharding: Ints
    recompute: Ints
    schedule: Ints

    @classmethod
    def of(cls, layouts: Iterable[TrainingLayout]) -> LayoutGrid:
        """The grid of some layouts, in their order."""
        rows = list(layouts)
        return cls(*(np.array([getattr(row, item.name) for row in rows], dtype=np.int64) for item in fields(cls)))

    def take(self, chosen: npt.NDArray[np.bool_] | Sequence[int] | Ints) -> LayoutGrid:
        """Some of the rows."""
        return LayoutGrid(*(getattr(self, item.name)[chosen] for item in fields(self)))

    def row(self, index: int) -> TrainingLayout:
        """One layout."""
        found = {item.name: int(getattr(self, item.name)[index]) for item in fields(self)}
        kinds = {"sharding": StateSharding, "recompute": ActivationRecompute, "schedule": PipelineSchedule}
        return TrainingLayout(**{name: kinds.get(name, int)(value) for name, value in found.items()})  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.dp)

    def microbatches(self, global_batch: int) -> Ints:
        """Forward passes of a stage in one step: m = B / (dp b).

        >>> LayoutGrid.of([TrainingLayout(dp=4, micro_batch=2)]).microbatches(64).tolist()
        [8]
        """
        return np.asarray(np.maximum(global_batch // (self.dp * self.micro_batch), 1))


def nearest_divisor(number: int, wanted: int) -> int:
    """The divisor of a number that is nearest to the wanted one, the smaller of two.

    >>> nearest_divisor(126, 8), nearest_divisor(64, 48)
    (7, 32)
    """
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    return min(divisors, key=lambda d: (abs(d - wanted), d))


def tensor_units(model: Model) -> int:
    """What tensor parallelism divides: the greatest common divisor of the heads of all mixers, and of the hidden size
    where there are none."""
    heads = [
        block.mixer.value_heads if isinstance(block.mixer, LinearAttention) else block.mixer.heads
        for block in model.blocks
        if isinstance(block.mixer, SoftmaxAttention | LatentAttention | LinearAttention)
    ]
    return int(np.gcd.reduce(heads)) if heads else model.hidden


def expert_count(model: Model) -> int:
    """Experts of a layer; 1 where there are none, the greatest common divisor where layers differ."""
    counts = [block.ffn.experts for block in model.blocks if isinstance(block.ffn, MixtureOfExperts)]
    return int(np.gcd.reduce(counts)) if counts else 1


def stage_layers(model: Model) -> tuple[int, int]:
    """Numbers of layers that a pipeline may divide: the model's own, and with embedding and head as one layer each."""
    return model.layers, model.layers + 2


def require_division(model: Model, layout: TrainingLayout, seq: int, global_batch: int) -> None:
    """Refuse a layout that does not divide the model or the batch.

    Raises:
        InputError: which number is not divided by which degree, and the nearest degree that divides it.

    >>> from comptroller.facts.config import model
    >>> require_division(model("llama_3_1_8b"), TrainingLayout(tp=3), 8192, 64)
    Traceback (most recent call last):
    ...
    comptroller.errors.InputError: tp = 3 does not divide the 32 heads of llama_3_1_8b (nearest that does: 2)
    """
    checks = [
        ("tp", layout.tp, tensor_units(model), f"heads of {model.id}"),
        ("ep", layout.ep, expert_count(model), f"experts of {model.id}"),
        ("ep", layout.ep, layout.dp * layout.cp * layout.tp, "devices of a stage"),
        ("dp x micro_batch", layout.dp * layout.micro_batch, global_batch, "sequences of the global batch"),
    ]
    for name, degree, number, what in checks:
        if number % degree:
            raise InputError(
                f"{name} = {degree} does not divide the {number} {what} (nearest that does: "
                f"{nearest_divisor(number, degree)})"
            )
    if layout.cp > 1 and seq % (2 * layout.cp):
        near = 1 if seq % 2 else nearest_divisor(seq // 2, layout.cp)
        raise InputError(
            f"cp = {layout.cp} does not divide the {seq} tokens of a sequence in two halves for each device (nearest "
            f"that does: {near})"
        )
    _require_stages(model, layout)
    _require_rounds(layout, global_batch)


def _require_stages(model: Model, layout: TrainingLayout) -> None:
    cuts, (own, ends) = layout.pp * layout.chunks, stage_layers(model)
    if own % cuts and ends % cuts:
        near = min((nearest_divisor(n, cuts) for n in (own, ends)), key=lambda d: abs(d - cuts))
        raise InputError(
            f"pp x chunks = {cuts} divides neither the {own} layers of {model.id} nor {ends} with embedding and head "
            f"(nearest that does: {near})"
        )


def _require_rounds(layout: TrainingLayout, global_batch: int) -> None:
    rounds = global_batch // (layout.dp * layout.micro_batch)
    if layout.chunks > 1 and rounds % layout.pp:
        near = max(layout.pp, round(rounds / layout.pp) * layout.pp) * layout.dp * layout.micro_batch
        raise InputError(
            f"chunks = {layout.chunks}: {rounds} microbatches are no multiple of pp = {layout.pp} "
            f"(nearest global batch: {near})"
        )
