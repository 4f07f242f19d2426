"""What a number format costs a real model on a text: perplexity, divergence from the weights as read, agreement.

Every figure carries an interval, a bootstrap over windows of the text, because tokens of a window are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.facts.format import Format
from comptroller.measure.quality_model import MATRICES, Change, NumpyDecoder, Tokens
from comptroller.numerics.grid import Floats
from comptroller.numerics.quantise import check, format_with_variants, round_trip

Array = npt.NDArray[np.float64]
Layers = Sequence[Mapping[str, Floats]]
Progress = Callable[[int, int], None]

AS_READ = "same"
"""Spelling of a format that changes nothing: weights, activations or cache stay as they were read."""

DRAWS, LEVEL = 1000, 0.9
"""Resamples of windows behind an interval, and its level. Beyond either end lie 50 of the resamples, so that an end
moves by about 2 % of the interval's width from seed to seed; four times as many halve that."""

ROWS = 128
"""States whose probabilities are held at a time: 128 x 49,152 singles are 25 MB; memory grows with it."""


@dataclass(frozen=True, slots=True)
class FormatTriple:
    """Spelled formats of weights, activations and cache; `same` leaves them as they were read.

    >>> FormatTriple.of("nvfp4/mxfp8"), str(FormatTriple.of("same/same/fp8_e4m3"))
    (FormatTriple(weights='nvfp4', activations='mxfp8', kv='same'), 'same/same/fp8_e4m3')
    """

    weights: str = AS_READ
    activations: str = AS_READ
    kv: str = AS_READ

    @classmethod
    def of(cls, text: str) -> FormatTriple:
        """From `weights`, `weights/activations` or `weights/activations/cache`.

        Raises:
            InputError: more than three parts.
            UnknownIdError: a format that is not there; lists the nearest.
        """
        parts = text.split("/")
        if len(parts) > 3:
            raise InputError(f"{text}: weights/activations/cache, at most three formats")
        for name in parts:
            if name != AS_READ:
                format_with_variants(name)
        return cls(*parts)

    def __str__(self) -> str:
        parts = [self.weights, self.activations, self.kv]
        while len(parts) > 1 and parts[-1] == AS_READ:
            parts.pop()
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class BootstrapMean:
    """A mean and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class QuantisationLoss:
    """What a recipe loses on a text, over the weights as read.

    perplexity, ratio (to the weights as read); kl: mean nats from the reference's distribution to the recipe's;
    agreement: share of positions with the same likeliest token.  weight_db, output_db: QSNR of all matrices, and of
    what they put out (`noise_db`).
    """

    formats: FormatTriple
    bits: float
    perplexity: BootstrapMean
    ratio: BootstrapMean
    kl: BootstrapMean
    agreement: BootstrapMean
    weight_db: float
    output_db: float


@dataclass(frozen=True, slots=True)
class ReferencePass:
    """The decoder as read, on windows of a text: final states, states before every layer, mean squares of inputs.

    scale: of the states that were kept.
    """

    decoder: NumpyDecoder
    tokens: Tokens
    final: Floats
    before: Sequence[Floats]
    inputs: Mapping[tuple[int, str], Array] = field(repr=False)


def windows(tokens: Sequence[int], length: int, most: int) -> Tokens:
    """The first tokens of a text in windows, (windows, length).

    Raises:
        InputError: the text is shorter than two windows; says how many tokens it has.
    """
    count = min(most, len(tokens)) // length
    if count < 2:
        raise InputError(f"the text has {len(tokens)} tokens, of {most} asked; intervals need two windows of {length}")
    return np.asarray(tokens[: count * length], np.int64).reshape(count, length)


def reference(decoder: NumpyDecoder, tokens: Tokens, keep: bool = False) -> ReferencePass:
    """Run the decoder as read. keep: remember the states before every layer, for runs that start further in."""
    total: dict[tuple[int, str], Array] = {}

    def seen(layer: int, name: str, x: Floats) -> None:
        total[layer, name] = np.square(x.reshape(-1, x.shape[-1])).mean(axis=0, dtype=np.float64)

    states, before = decoder.embed(tokens), []
    for number in range(len(decoder.layers)):
        if keep:
            before.append(states)
        states = decoder.layer(number, states, seen)
    return ReferencePass(decoder, tokens, decoder.run(states, len(decoder.layers)), before, total)


def quantise_layer(
    layer: Mapping[str, Floats], fmt: Format | None, names: Sequence[str] = MATRICES
) -> Mapping[str, Floats]:
    """A layer with some matrices put through a format."""
    return layer if fmt is None else {**layer, **{name: round_trip(layer[name], fmt) for name in names}}


def fitting(decoder: NumpyDecoder, name: str) -> Format | None:
    """A spelled format for the matrices of a decoder, None for `same`.

    Raises:
        InputError: its blocks do not divide some matrix; names it and the nearest legal choice.
    """
    if name == AS_READ:
        return None
    fmt = format_with_variants(name)
    for matrix in MATRICES:
        try:
            check(decoder.layers[0][matrix].shape, fmt)
        except InputError as error:
            raise InputError(f"matrix {matrix}: {error}") from error
    return fmt


def measure(
    ref: ReferencePass, formats: Sequence[FormatTriple], progress: Progress | None = None
) -> Iterator[QuantisationLoss]:
    """The loss of every recipe on the reference's windows.

    Raises:
        InputError: blocks of a format do not divide what it is to hold.

    A decoder of one layer of width 32 and random weights; the recipe as read loses nothing, one of 4 bits does:

    >>> from comptroller.measure.quality_model import DecoderShape
    >>> rng = np.random.default_rng(0)
    >>> sizes = {**dict.fromkeys("qkvo", (32, 32)), "gate": (64, 32), "up": (64, 32), "down": (32, 64)}
    >>> layer = {name: rng.normal(0, 0.2, size).astype(np.float32) for name, size in sizes.items()}
    >>> ones, table = np.ones(32, np.float32), rng.normal(size=(50, 32)).astype(np.float32)
    >>> shape = DecoderShape(heads=2, kv_heads=2, head_width=16, epsilon=1e-5, rope_base=1e4, interleaved=False)
    >>> decoder = NumpyDecoder(shape, [{**layer, "attn_norm": ones, "ffn_norm": ones}], table, ones, table)
    >>> ref = reference(decoder, windows(rng.integers(50, size=64), 16, 64))
    >>> same, four = measure(ref, [FormatTriple.of("same"), FormatTriple.of("mxfp4")])
    >>> same.kl.value, same.agreement.value, 0.001 < four.kl.value < 1.0
    (0.0, 1.0, True)
    """
    weights = {recipe.weights: fitting(ref.decoder, recipe.weights) for recipe in formats}
    for number, recipe in enumerate(formats):
        if progress:
            progress(number, len(formats))
        layers = [quantise_layer(layer, weights[recipe.weights]) for layer in ref.decoder.layers]
        changed = ref.decoder.changed(layers, _change(recipe.activations), _change(recipe.kv))
        bits = weights[recipe.weights].bits_per_element if weights[recipe.weights] else math.nan  # type: ignore[union-attr]
        yield loss(ref, changed.run(changed.embed(ref.tokens)), layers, recipe, bits)


def _change(name: str) -> Change | None:
    if name == AS_READ:
        return None
    fmt = format_with_variants(name)
    return lambda x: round_trip(x, fmt)


def loss(ref: ReferencePass, final: Floats, layers: Layers, formats: FormatTriple, bits: float) -> QuantisationLoss:
    """Compare final states with the reference's; layers are those that made them."""
    counts = ref.tokens.shape[1] - 1
    rows = [_compare(ref, final, window) for window in range(len(ref.tokens))]
    nll, base, kl, agree = (np.array(column) / counts for column in zip(*rows, strict=True))
    return QuantisationLoss(
        formats,
        bits,
        _interval(nll, np.exp),
        _interval(nll - base, np.exp),
        _interval(kl, np.asarray),
        _interval(agree, np.asarray),
        *noise_db(ref, layers),
    )


def _compare(ref: ReferencePass, final: Floats, window: int) -> tuple[float, float, float, float]:
    """Sums over a window: negative log-likelihood here and of the reference (nats), divergence, agreement."""
    sums = np.zeros(4)
    for start in range(0, ref.tokens.shape[1] - 1, ROWS):
        part = slice(start, min(start + ROWS, ref.tokens.shape[1] - 1))
        theirs = ref.decoder.log_probabilities(ref.final[window, part])
        ours = ref.decoder.log_probabilities(final[window, part])
        next_ones = ref.tokens[window, part.start + 1 : part.stop + 1, None]
        sums[0] -= np.take_along_axis(ours, next_ones, 1).sum(dtype=np.float64)
        sums[1] -= np.take_along_axis(theirs, next_ones, 1).sum(dtype=np.float64)
        sums[2] += (np.exp(theirs) * (theirs - ours)).sum(dtype=np.float64)
        sums[3] += (theirs.argmax(axis=1) == ours.argmax(axis=1)).sum()
    return float(sums[0]), float(sums[1]), float(sums[2]), float(sums[3])


def _interval(by_window: Array, of_mean: Callable[[Array], Array]) -> BootstrapMean:
    rng = np.random.default_rng(0)  # the same windows for every recipe, so that intervals compare
    resampled = of_mean(rng.choice(by_window, (DRAWS, len(by_window))).mean(axis=1))
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return BootstrapMean(float(of_mean(by_window.mean())), float(low), float(high))


def noise_db(ref: ReferencePass, layers: Layers) -> tuple[float, float]:
    """QSNR of the changed matrices together, and of what they put out, dB.

    Output noise is the mean over matrices of relative noise with columns weighted by the mean square of their inputs,
    E|dW x|^2 / E|W x|^2 with the diagonal of E[x x^T]: the divergence is proportional to it over integers and floats.
    """
    sums = np.array(
        [
            noise_of(as_read[name], changed[name], ref.inputs[number, name])
            for number, (as_read, changed) in enumerate(zip(ref.decoder.layers, layers, strict=True))
            for name in MATRICES
        ]
    )
    noise, signal = sums[:, 0].sum(), sums[:, 1].sum()
    ratios = (noise / signal, float((sums[:, 2] / sums[:, 3]).mean()))
    weight, output = (-10 * math.log10(ratio) if ratio else math.inf for ratio in ratios)
    return weight, output


def noise_of(as_read: Floats, changed: Floats, inputs: Array) -> Array:
    """Noise and signal of a matrix, then both weighted by the mean squares of its inputs."""
    signal = np.square(as_read).sum(axis=0, dtype=np.float64)
    noise = (
        np.square(as_read - changed).sum(axis=0, dtype=np.float64) if as_read is not changed else np.zeros(len(inputs))
    )
    return np.array([noise.sum(), signal.sum(), noise @ inputs, signal @ inputs])
