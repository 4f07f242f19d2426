"""A user's own calibration: what was measured is priced as it was measured, all else as the package ships it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from math import exp, hypot
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.residual import (
    OWN,
    GaussianProcessResidual,
    ResidualCorrection,
    ResidualIdentity,
    own_run,
    places,
)
from comptroller.costs.timing import KernelEfficiency, KernelSignature, ServingOverheads, StepOverheads
from comptroller.errors import InputError
from comptroller.facts.calibration_document import CalibrationDocument
from comptroller.facts.serving import Band, PredictionErrorBands, ResidualAnchor, ResidualKernel

Array = npt.NDArray[np.float64]

SPOKEN_OF = {
    "engine": "engine",
    "architecture": "model (layers x width x vocabulary)",
    "formats": "formats (weights+experts)",
    "accelerator": "accelerator",
    "run": "build",
}
"""What a calibration speaks of: fields of a residual's identity, and what they are called."""


@dataclass(frozen=True, slots=True)
class MeasuredFactor:
    """Measured over predicted of one latency of a replica, and its 80 % band as logarithms around it."""

    factor: float
    band: Band


UNITY = MeasuredFactor(1.0, (0.0, 0.0))


@dataclass(frozen=True)
class OwnCalibration:
    """Constants refitted to own runs, times what those runs did beyond the physics.

    It speaks of replicas whose engine (of one generation), architecture, formats and accelerator were measured; every
    other is priced by the shipped calibration, with the shipped intervals.
    """

    document: CalibrationDocument

    @classmethod
    def of_folder(cls, folder: Path) -> OwnCalibration:
        """The calibration that `comptroller fit calibration --out FOLDER` wrote.

        Raises:
            FactError, RecordError: a file of it is missing or malformed.
            InputError: it holds no own run.
        """
        found = cls(CalibrationDocument.of_folder(folder))
        if not found.document.facts.rows or not found.covered:
            raise InputError(f"{folder}: a calibration without a run of one's own")
        return found

    @cached_property
    def fitted(self) -> FittedCalibration:
        """The refitted constants."""
        return FittedCalibration(self.document.facts)

    @cached_property
    def own(self) -> tuple[ResidualAnchor, ...]:
        """Anchors of the own runs; others ship with the package."""
        return tuple(anchor for anchor in self.document.anchors if anchor.run.split()[:1] == [OWN])

    def own_of(self, replica: ModelReplica) -> list[ResidualAnchor]:
        """Anchors of the own runs of what a replica is."""
        identity = _identity(replica)
        return [anchor for anchor in self.own if _measured_identity(anchor) == identity]

    @cached_property
    def covered(self) -> frozenset[ResidualIdentity]:
        """What was measured."""
        return frozenset(map(_measured_identity, self.own))

    def covers(self, replica: ModelReplica) -> bool:
        """Whether it speaks of a replica."""
        return _identity(replica) in self.covered

    def difference(self, replica: ModelReplica) -> str:
        """What of a replica is not as in the measured one nearest to it, in words; empty where it is covered."""
        own = _identity(replica)

        def differing(measured: ResidualIdentity) -> list[str]:
            return [name for name in SPOKEN_OF if getattr(measured, name) != getattr(own, name)]

        nearest = min(sorted(self.covered, key=astuple), key=lambda measured: len(differing(measured)))
        return ", ".join(
            f"{SPOKEN_OF[name]} {getattr(own, name)}, measured {getattr(nearest, name)}" for name in differing(nearest)
        )

    def outside(self, asked: Iterable[tuple[str, ModelReplica]]) -> dict[str, str]:
        """Names with a replica that it does not speak of, and what of that is not as measured."""
        found = dict[str, str]()
        for name, replica in asked:
            if name not in found and not self.covers(replica):
                found[name] = self.difference(replica)
        return found

    def scope(self) -> str:
        """What was measured, in words."""
        lines = (
            f"{i.architecture} ({i.formats}) on {i.accelerator} under {i.engine}{i.run.removeprefix(OWN)}"
            for i in self.covered
        )
        return "; ".join(sorted(lines)) or "nothing"

    def tpot(self, replica: ModelReplica) -> MeasuredFactor:
        """Of the time per token, and so of steps; unity where it does not speak of the replica."""
        return self._factors(replica)[0]

    def ttft(self, replica: ModelReplica) -> MeasuredFactor:
        """Of the time to the first token."""
        return self._factors(replica)[1]

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """The refitted efficiency, every kernel's time scaled by what the steps took."""
        if not self.covers(replica):
            return FittedCalibration.shipped().efficiency(replica, kernel)
        return self.fitted.efficiency(replica, kernel).times(self.tpot(replica).factor)

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """The refitted overheads of a step, scaled likewise."""
        if not self.covers(replica):
            return FittedCalibration.shipped().overheads(replica)
        return self.fitted.overheads(replica).times(self.tpot(replica).factor)

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """What the server adds, so that the time to the first token comes out as measured over scaled steps.

        Where T = t_host + t_client N + p t_solo + t_wait, and steps already take a times as long, T takes b times as
        long with b t_host, b t_client, and p, the steps before a prompt and the crowd times b / a. Then p may be below
        1: prompts that were measured to take less than their steps are told so to the first token, and steps stay.
        """
        if not self.covers(replica):
            return FittedCalibration.shipped().serving(replica)
        found = self.fitted.serving(replica)
        steps, first = self.tpot(replica).factor, self.ttft(replica).factor
        more = first / steps
        return replace(
            found,
            host_s=found.host_s * first,
            client_s=found.client_s * first,
            prefill=float(found.prefill) * more,
            steps=found.steps * more,
            unseen_steps=found.unseen_steps * more,
            burst=found.burst * more,
        )

    def _factors(self, replica: ModelReplica) -> tuple[MeasuredFactor, MeasuredFactor]:
        key = (_identity(replica), replica.layout)
        if key not in self._known:
            self._known[key] = self._measured(replica) if self.covers(replica) else (UNITY, UNITY)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[object, tuple[MeasuredFactor, MeasuredFactor]]:
        return {}

    @cached_property
    def _residuals(self) -> tuple[GaussianProcessResidual, GaussianProcessResidual]:
        """Of TPOT and TTFT, over the anchors that share engine and architecture with own runs."""
        facts, blocks = self.document.facts, {(i.engine, i.architecture) for i in self.covered}
        near = [anchor for anchor in self.document.anchors if (anchor.engine, anchor.architecture) in blocks]
        return (
            GaussianProcessResidual.of(facts.tpot_kernel, near, [anchor.tpot_weight for anchor in near]),
            GaussianProcessResidual.of(facts.ttft_kernel, near, [anchor.ttft_weight for anchor in near]),
        )

    def _measured(self, replica: ModelReplica) -> tuple[MeasuredFactor, MeasuredFactor]:
        """The mean correction over the measured loads, at the replica's layout."""
        identity, facts = _identity(replica), self.document.facts
        load = np.exp2(np.array([anchor.place[:3] for anchor in self.own_of(replica)]))
        at = places(replica, load[:, 0], load[:, 1], load[:, 2])
        tpot, ttft = (residual.correction(identity, at) for residual in self._residuals)
        return _factor(tpot, facts.tpot, facts.tpot_kernel), _factor(ttft, facts.ttft, facts.ttft_kernel)


def _identity(replica: ModelReplica) -> ResidualIdentity:
    return ResidualIdentity.of(replica, own_run(replica.engine.generation))


def _measured_identity(anchor: ResidualAnchor) -> ResidualIdentity:
    return ResidualIdentity(anchor.engine, anchor.architecture, anchor.formats, anchor.accelerator, anchor.run)


def calibration_of_folder(folder: str | Path | None) -> TimingCalibration:
    """A user's own calibration from its folder, or the shipped one where none is named.

    Raises:
        FactError, RecordError, InputError: as `OwnCalibration.of_folder`.
    """
    return OwnCalibration.of_folder(Path(folder)) if folder else FittedCalibration.shipped()


def scope_remarks(calibration: TimingCalibration, asked: Iterable[tuple[str, ModelReplica]], asker: str) -> list[str]:
    """Checks that a calibration speaks of something that it is asked to price; what to say of all else.

    asked: replicas, each with the name of what it is part of.  asker: what they are, in words. Whatever takes a
    calibration asks here (`tests/test_calibration_scope.py` knows every such door).

    Raises:
        InputError: it speaks of nothing; says what was measured, and what is not so here.
    """
    if not isinstance(calibration, OwnCalibration):
        return []
    every = list(asked)
    outside = calibration.outside(every)
    if len(outside) == len({name for name, _ in every}):
        why = f" ({min(outside.values(), key=len)})" if outside else ""
        raise InputError(
            f"the calibration speaks of nothing in {asker}{why}; it was measured for {calibration.scope()}; "
            "without it the shipped one is used, with its wider band"
        )
    return outside_remarks(calibration, every)


def outside_remarks(calibration: TimingCalibration, asked: Iterable[tuple[str, ModelReplica]]) -> list[str]:
    """What to say of what a calibration does not speak of; the shipped one speaks of everything.

    asked: as in `scope_remarks`, of whom some may be outside all of it.
    """
    found = calibration.outside(asked) if isinstance(calibration, OwnCalibration) else {}
    return [
        f"{name}: not what the calibration was measured for ({why}); the shipped one prices it, with its wider band"
        for name, why in found.items()
    ]


def _factor(correction: ResidualCorrection, bands: PredictionErrorBands, kernel: ResidualKernel) -> MeasuredFactor:
    """A constant factor leaves out how the residual varies with the load, so its band has that part added."""
    spread = factor_spread(correction.spread, kernel)
    low, high = bands.seen if correction.novelty == "seen" else (-1.0, 1.0)
    return MeasuredFactor(exp(float(correction.mean.mean())), (low * spread, high * spread))


def factor_spread(spread: Array, kernel: ResidualKernel) -> float:
    """Log standard deviation of a constant factor for loads whose residuals have these spreads."""
    return hypot(float(spread.mean()), kernel.fine, kernel.run_fine)
