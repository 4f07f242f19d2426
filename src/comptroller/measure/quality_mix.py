"""Which layers need bits: sensitivity measured layer by layer, and the cheapest assignment under a bit budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp

from comptroller.errors import InputError
from comptroller.measure.quality import (
    Array,
    FormatTriple,
    Progress,
    QuantisationLoss,
    ReferencePass,
    fitting,
    loss,
    noise_of,
    quantise_layer,
)
from comptroller.numerics.grid import Floats

PARTS: Mapping[str, tuple[str, ...]] = {"attention": ("q", "k", "v", "o"), "ffn": ("gate", "up", "down")}
"""Parts of a layer that get a format of their own. Each costs a run of the decoder from its layer on; every matrix by
itself would cost 7 runs for each layer instead of 2."""

ROUNDING = 1e-12
"""Relative slack of the budget: a sum of shares that is exactly the budget must not fail by rounding."""


@dataclass(frozen=True, slots=True)
class LayerPart:
    """The attention or feed-forward matrices of a layer; params: their elements.

    kl: divergence when they alone are in the probing format.  per_noise: that over their relative noise.
    """

    layer: int
    name: str
    params: int
    kl: float
    per_noise: float

    def quantised(self, layer: Mapping[str, Floats], name: str, ref: ReferencePass) -> Mapping[str, Floats]:
        """The layer with this part in a format."""
        return quantise_layer(layer, fitting(ref.decoder, name), PARTS[self.name])


@dataclass(frozen=True, slots=True)
class FormatAssignment:
    """A format for every part. bits: stored per element on average; predicted_kl: sum over parts."""

    parts: tuple[LayerPart, ...]
    formats: tuple[str, ...]
    bits: float
    predicted_kl: float


def sensitivities(ref: ReferencePass, probe: str, progress: Progress | None = None) -> list[LayerPart]:
    """What every part costs alone in a probing format; runs start at the layer that changes.

    Raises:
        InputError: the reference did not keep its states, or the probe does not fit.
    """
    if not ref.before:
        raise InputError("sensitivities need the states before every layer: reference(..., keep=True)")
    places = [(layer, part) for layer in range(len(ref.decoder.layers)) for part in PARTS]
    return [_one(ref, place, probe, progress, (i, len(places))) for i, place in enumerate(places)]


def _one(
    ref: ReferencePass, place: tuple[int, str], probe: str, progress: Progress | None, count: tuple[int, int]
) -> LayerPart:
    if progress:
        progress(*count)
    number, name = place
    layers = list(ref.decoder.layers)
    layers[number] = quantise_layer(layers[number], fitting(ref.decoder, probe), PARTS[name])
    changed = ref.decoder.changed(layers, None, None)
    measured_loss = loss(ref, changed.run(ref.before[number], number), layers, FormatTriple(probe), 0.0)
    noise = relative_noise(ref, number, name, layers[number])
    params = sum(ref.decoder.layers[number][matrix].size for matrix in PARTS[name])
    return LayerPart(number, name, params, measured_loss.kl.value, measured_loss.kl.value / noise)


def relative_noise(ref: ReferencePass, number: int, name: str, changed: Mapping[str, Floats]) -> float:
    """Noise over signal of a part's matrices, columns weighted by the mean squares of their inputs; their mean."""
    sums = [
        noise_of(ref.decoder.layers[number][matrix], changed[matrix], ref.inputs[number, matrix])
        for matrix in PARTS[name]
    ]
    return float(np.mean([noise / signal for _, _, noise, signal in sums]))


def assign(ref: ReferencePass, parts: Sequence[LayerPart], formats: Sequence[str], bits: float) -> FormatAssignment:
    """The formats of least predicted divergence whose stored bits per element stay within a budget.

    minimise sum_p sum_f c_p N_pf x_pf with sum_f x_pf = 1, sum_pf n_p b_f x_pf <= bits sum_p n_p, x binary: c_p is
    the divergence per relative noise of a part, N_pf its noise in a format, both by the mean squares of inputs.

    Raises:
        InputError: no assignment is within the budget; names the least there is.
    """
    fitted_formats = [fitting(ref.decoder, name) for name in formats]
    width = np.array([fmt.bits_per_element for fmt in fitted_formats if fmt])
    if len(width) != len(formats):
        raise InputError("`same` has no width to assign")
    if width.min() > bits:
        raise InputError(f"{bits:g} bits: the narrowest of {', '.join(formats)} takes {width.min():g}")
    noise = np.array([[_noise(ref, part, name) for name in formats] for part in parts])
    cost = np.array([part.per_noise for part in parts])[:, None] * noise
    params = np.array([part.params for part in parts], np.float64)
    chosen = _cheapest_columns(cost, np.outer(params, width) / params.sum(), bits)
    at = np.arange(len(parts))
    return FormatAssignment(
        tuple(parts),
        tuple(formats[i] for i in chosen),
        float(params @ width[chosen] / params.sum()),
        float(cost[at, chosen].sum()),
    )


def _noise(ref: ReferencePass, part: LayerPart, name: str) -> float:
    return relative_noise(ref, part.layer, part.name, part.quantised(ref.decoder.layers[part.layer], name, ref))


def _cheapest_columns(cost: Array, share: Array, bits: float) -> npt.NDArray[np.int64]:
    """Which column each row takes: the binary programme, by HiGHS."""
    rows, columns = cost.shape
    one_column = LinearConstraint(np.kron(np.eye(rows), np.ones(columns)), 1, 1)
    budget = LinearConstraint(share.reshape(1, -1), -np.inf, bits * (1 + ROUNDING))
    scale = cost.max() or 1.0
    solution = milp(
        cost.ravel() / scale, constraints=[one_column, budget], integrality=np.ones(cost.size), bounds=Bounds(0, 1)
    )
    return np.asarray(solution.x.reshape(cost.shape).argmax(axis=1), np.int64)


def assignment_loss(ref: ReferencePass, assignment: FormatAssignment) -> QuantisationLoss:
    """What an assignment really costs."""
    layers: list[Mapping[str, Floats]] = list(ref.decoder.layers)
    for part, name in zip(assignment.parts, assignment.formats, strict=True):
        layers[part.layer] = part.quantised(layers[part.layer], name, ref)
    changed = ref.decoder.changed(layers, None, None)
    label = FormatTriple("mixed")
    return loss(ref, changed.run(changed.embed(ref.tokens)), layers, label, assignment.bits)
