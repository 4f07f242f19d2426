"""How alike texts are by the words in them: counts, and the cosine between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def word_counts(texts: Sequence[str]) -> Floats:
    """(texts, words): how often each word stands in each text; a text without words has one, the empty word.

    >>> word_counts(["a b a", "b"]).tolist()
    [[2.0, 1.0], [0.0, 1.0]]
    """
    split = [text.lower().split() or [""] for text in texts]
    places = {word: place for place, word in enumerate(dict.fromkeys(word for words in split for word in words))}
    counts = np.zeros((len(texts), len(places)))
    for row, words in enumerate(split):
        for word in words:
            counts[row, places[word]] += 1.0
    return counts


def cosine_similarities(texts: Sequence[str]) -> Floats:
    """(texts, texts): cosine between the counts of words.

    >>> cosine_similarities(["2 + 4", "2 + 4", "so"]).round(4).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    counts = word_counts(texts)
    unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)
