"""A decoder of the Llama architecture in numpy, single precision, whose weights, activations and cache can be changed.

RMS norm, rotary embedding, grouped-query attention, SiLU-gated feed-forward (arXiv 2302.13971, 2305.13245).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.numerics.grid import Floats

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
Change = Callable[[Floats], Floats]
Tokens = npt.NDArray[np.int64]


def _same(x: Floats) -> Floats:
    return x


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes of a decoder. interleaved: rotary pairs are neighbours (GGUF), else halves (safetensors)."""

    heads: int
    kv_heads: int
    head_width: int
    epsilon: float
    rope_base: float
    interleaved: bool


@dataclass(frozen=True, slots=True)
class NumpyDecoder:
    """Weights by layer and name, matrices (outputs, inputs); `activations` and `kv` change what passes through.

    activations: applied to the input of every matrix of a layer.  kv: to keys (rotated) and values, by head.
    """

    shape: DecoderShape
    layers: Sequence[Mapping[str, Floats]]
    embedding: Floats
    norm: Floats
    head: Floats
    activations: Change = _same
    kv: Change = _same

    def changed(
        self, layers: Sequence[Mapping[str, Floats]], activations: Change | None, kv: Change | None
    ) -> NumpyDecoder:
        """The same decoder with other weights, or with changes to activations and cache."""
        return replace(self, layers=layers, activations=activations or _same, kv=kv or _same)

    def embed(self, tokens: Tokens) -> Floats:
        """States before the first layer, (windows, length, width), of tokens (windows, length).

        Raises:
            InputError: a token that the vocabulary lacks.
        """
        if tokens.size and tokens.max() >= len(self.embedding):
            raise InputError(f"token {tokens.max()} of a vocabulary of {len(self.embedding)}")
        return np.asarray(self.embedding[tokens], np.float32)

    def run(self, states: Floats, first: int = 0, seen: Callable[[int, str, Floats], None] | None = None) -> Floats:
        """States after the last layer and norm, from those before layer `first`; `seen` is told every input."""
        for number in range(first, len(self.layers)):
            states = self.layer(number, states, seen)
        return _rms(states, self.norm, self.shape.epsilon)

    def layer(self, number: int, states: Floats, seen: Callable[[int, str, Floats], None] | None = None) -> Floats:
        """States after one layer."""
        weights = self.layers[number]

        def times(name: str, x: Floats) -> Floats:
            if seen:
                seen(number, name, x)
            return np.asarray(x @ weights[name].T, np.float32)

        x = self.activations(_rms(states, weights["attn_norm"], self.shape.epsilon))
        mixed = self._attention(times("q", x), times("k", x), times("v", x))
        states = states + times("o", self.activations(mixed))
        x = self.activations(_rms(states, weights["ffn_norm"], self.shape.epsilon))
        gate = times("gate", x)
        inner = gate / (1 + np.exp(-gate)) * times("up", x)
        return np.asarray(states + times("down", self.activations(inner)), np.float32)

    def _attention(self, q: Floats, k: Floats, v: Floats) -> Floats:
        windows, length, _ = q.shape
        width, groups = self.shape.head_width, self.shape.kv_heads
        queries = self._rotated(q.reshape(windows, length, self.shape.heads, width))
        keys = self.kv(self._rotated(k.reshape(windows, length, groups, width)))
        values = self.kv(v.reshape(windows, length, groups, width))
        each = self.shape.heads // groups
        queries = queries.reshape(windows, length, groups, each, width).transpose(0, 2, 3, 1, 4)
        scores = queries @ keys.transpose(0, 2, 3, 1)[:, :, None] * np.float32(width**-0.5)
        scores += np.triu(np.full((length, length), -np.inf, np.float32), 1)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = scores @ values.transpose(0, 2, 1, 3)[:, :, None]
        return np.asarray(mixed.transpose(0, 3, 1, 2, 4).reshape(windows, length, -1), np.float32)

    def _rotated(self, x: Floats) -> Floats:
        length, width = x.shape[1], x.shape[3]
        rates = self.shape.rope_base ** (-np.arange(0, width, 2) / width)
        angles = np.outer(np.arange(length), rates)[:, None]
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        half = width // 2
        one, other = (x[..., ::2], x[..., 1::2]) if self.shape.interleaved else (x[..., :half], x[..., half:])
        turned = (one * cos - other * sin, one * sin + other * cos)
        if self.shape.interleaved:
            return np.stack(turned, axis=-1).reshape(x.shape)
        return np.concatenate(turned, axis=-1)

    def log_probabilities(self, states: Floats) -> Floats:
        """Of every token of the vocabulary after each state, (states, vocabulary), of final states (states, width)."""
        logits = states @ self.head.T
        logits -= logits.max(axis=1, keepdims=True)
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), np.float32)


def _rms(x: Floats, weight: Floats, epsilon: float) -> Floats:
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(epsilon)) * weight, np.float32)
