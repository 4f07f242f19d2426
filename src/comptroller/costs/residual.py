"""What measured servers did beyond the physics: a Gaussian process that only speaks where it was measured.

Two configurations share a part of their residual if engine and model agree ("kin"), more if formats and accelerator
do too ("key"), more still if engine version and date do ("run"); each part fades with the distance in load and
layout. Far from every anchor, or for a model never measured under the engine, the residual is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.facts.serving import ResidualAnchor, ResidualKernel

Array = npt.NDArray[np.float64]
Novelty = Literal["seen", "related", "new"]

OWN = "own"
"""The run of a user's own server: what a prediction without a run of its own is about."""


def own_run(generation: str) -> str:
    """The run of a user's own server of a generation of its engine, empty for the present one.

    >>> own_run(""), own_run("v0")
    ('own', 'own v0')
    """
    return f"{OWN} {generation}".strip()


@dataclass(frozen=True, slots=True)
class ResidualIdentity:
    """Whose residual it is; without a run, the user's own server."""

    engine: str
    architecture: str
    formats: str
    accelerator: str
    run: str = ""

    @classmethod
    def of(cls, replica: ModelReplica, run: str = "") -> ResidualIdentity:
        """The identity of a replica; `run` is engine version and date of a measurement, if it is one."""
        model, recipe = replica.model, replica.recipe
        architecture = f"{model.layers}x{model.hidden}x{model.vocabulary}"
        formats = f"{recipe.weights}+{recipe.experts}"
        return cls(replica.engine.launched_as, architecture, formats, replica.device.timed_as, run)


def places(replica: ModelReplica, clients: Array, input_tokens: Array, output_tokens: Array) -> Array:
    """Coordinates of loads on a replica, shape (points, 6): octaves of load and devices, and the layout's kind."""
    layout = replica.layout
    loads = np.broadcast_arrays(clients, input_tokens, output_tokens)
    octaves = [np.log2(np.maximum(load.astype(float).ravel(), 1.0)) for load in loads]
    kind = np.array([np.log2(layout.stage_devices), 2.0 * (layout.dp > 1), 1.0 * (layout.ep > 1)])
    return np.column_stack([*octaves, np.broadcast_to(kind, (len(octaves[0]), 3))])


@dataclass(frozen=True, slots=True)
class ResidualOverlap:
    """Which parts of their residual rows and columns share, as 0 or 1."""

    kin: Array
    key: Array
    run: Array


def covariance(kernel: ResidualKernel, left: Array, right: Array, shared: ResidualOverlap) -> Array:
    """Covariance of residuals at two sets of places.

    k = kin^2 W + key^2 W + fine^2 F + run^2 W + run_fine^2 F, W = exp(-d^2 / 2 reach^2), F likewise by `scales`
    """
    wide = _bell(left, right, np.full(left.shape[1], kernel.reach))
    fine = _bell(left, right, np.asarray(kernel.scales))
    same = shared.key * (kernel.key**2 * wide + kernel.fine**2 * fine)
    same = same + shared.run * (kernel.run**2 * wide + kernel.run_fine**2 * fine)
    return np.asarray(same + shared.kin * kernel.kin**2 * wide)


def _bell(left: Array, right: Array, scales: Array) -> Array:
    """exp(-d^2 / 2) with d the distance in units of the scales."""
    a, b = left / scales, right / scales
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    return np.asarray(np.exp(-0.5 * np.maximum(squares, 0.0)))


@dataclass(frozen=True)
class AnchorBlock:
    """The anchors of one engine and architecture, and their weights."""

    formats: tuple[str, ...]
    accelerators: tuple[str, ...]
    runs: tuple[str, ...]
    places: Array
    weights: Array
    kernel: ResidualKernel

    @classmethod
    def of(cls, kernel: ResidualKernel, anchors: Sequence[ResidualAnchor], weights: Sequence[float]) -> AnchorBlock:
        """From anchors and their weights."""
        where = np.array([anchor.place for anchor in anchors])
        names = ([a.formats for a in anchors], [a.accelerator for a in anchors], [a.run for a in anchors])
        formats, accelerators, runs = (tuple(name) for name in names)
        return cls(formats, accelerators, runs, where, np.asarray(weights), kernel)

    @cached_property
    def inverse(self) -> Array:
        """The inverse of the anchors' covariance with noise. It takes most of the time to read them, and spreads alone
        need it."""
        names = among_each_other(self.formats, self.accelerators, self.runs)
        among = covariance(self.kernel, self.places, self.places, names)
        return np.asarray(np.linalg.inv(among + self.kernel.noise**2 * np.eye(len(self.places))))

    def shared(self, identity: ResidualIdentity) -> ResidualOverlap:
        """What an identity shares with the anchors, shape (1, anchors)."""
        pairs = zip(self.formats, self.accelerators, strict=True)
        key = np.array([[f == identity.formats and a == identity.accelerator for f, a in pairs]], float)
        run = np.array([[r == (identity.run or OWN) for r in self.runs]], float)
        return ResidualOverlap(np.ones(key.shape), key, key * run)


def among_each_other(formats: Sequence[str], accelerators: Sequence[str], runs: Sequence[str]) -> ResidualOverlap:
    """What the anchors of one block share with each other."""
    key = np.array([f"{f} {a}" for f, a in zip(formats, accelerators, strict=True)])
    run = np.array(runs)
    same = (key[:, None] == key[None, :]).astype(float)
    return ResidualOverlap(np.ones(same.shape), same, same * (run[:, None] == run[None, :]))


@dataclass(frozen=True, slots=True)
class ResidualCorrection:
    """Log of measured over predicted: mean, its spread, and how new the configuration is."""

    mean: Array
    spread: Array
    novelty: Novelty


@dataclass(frozen=True, slots=True)
class GaussianProcessResidual:
    """The anchors by engine and architecture."""

    kernel: ResidualKernel
    blocks: Mapping[tuple[str, str], AnchorBlock]

    @classmethod
    def of(
        cls, kernel: ResidualKernel, anchors: Sequence[ResidualAnchor], weights: Sequence[float]
    ) -> GaussianProcessResidual:
        """From anchors and their weights; anchors without a weight (NaN) are left out."""
        rows: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, (anchor, weight) in enumerate(zip(anchors, weights, strict=True)):
            if not np.isnan(weight):
                rows[anchor.engine, anchor.architecture].append(i)
        blocks = {
            key: AnchorBlock.of(kernel, [anchors[i] for i in index], [weights[i] for i in index])
            for key, index in rows.items()
        }
        return cls(kernel, blocks)

    def novelty(self, identity: ResidualIdentity) -> Novelty:
        """Whether the configuration, or only its model under the engine, was measured."""
        block = self.blocks.get((identity.engine, identity.architecture))
        if block is None:
            return "new"
        return "seen" if block.shared(identity).key.any() else "related"

    def mean(self, identity: ResidualIdentity, at: Array) -> Array:
        """Log of measured over predicted at places; 0 where nothing was measured."""
        block = self.blocks.get((identity.engine, identity.architecture))
        if block is None:
            return np.zeros(len(at))
        return np.asarray(covariance(self.kernel, at, block.places, block.shared(identity)) @ block.weights)

    def correction(self, identity: ResidualIdentity, at: Array) -> ResidualCorrection:
        """Mean, spread and novelty at places."""
        kernel = self.kernel
        block = self.blocks.get((identity.engine, identity.architecture))
        full = kernel.kin**2 + kernel.key**2 + kernel.fine**2 + kernel.run**2 + kernel.run_fine**2
        if block is None:
            spread = np.full(len(at), np.sqrt(full + kernel.noise**2))
            return ResidualCorrection(np.zeros(len(at)), spread, "new")
        cross = covariance(kernel, at, block.places, block.shared(identity))
        known = ((cross @ block.inverse) * cross).sum(axis=1)
        spread = np.sqrt(np.maximum(full - known, 0.0) + kernel.noise**2)
        return ResidualCorrection(cross @ block.weights, spread, self.novelty(identity))
