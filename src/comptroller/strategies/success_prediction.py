"""Trained success predictors: the chance of success from cheap signals, with the predictor's measured quality.

The success rate p of a question is modelled as Beta(m phi, (1 - m) phi): m is a logistic function of signals, phi a
precision fitted to the training data. With one trial per row (right or wrong) the model is plain logistic regression.
Predictors ship as small JSON files in `trained`, each with its data, the command that trained it, and its quality on
held-out folds. Messages and options call such a file a trained part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError, UnknownIdError, UnsupportedError
from comptroller.strategies.protocol import Reply
from comptroller.strategies.votes import tally

Floats = npt.NDArray[np.float64]

TRAINED = Path(__file__).parent / "trained"
"""Folder of the shipped predictors (`*.json`) and routers (`*.npz`)."""

USUAL = 3.0
"""Standard deviations of a signal in the training within which it counts as known.

Of the 14,042 questions of MMLU that `question_text` was trained on, 9 % are outside in one of eight signals; of the 420
procedural ones that ship all are (measured).
"""


def text_signals(text: str) -> dict[str, float]:
    """Signals of a question that need no model: log lengths, mean word length, shares of kinds of characters.

    >>> round(text_signals("What is 12 + 30?")["digits"], 2)
    0.25
    """
    size = max(len(text), 1)
    words = text.split()
    return {
        "log_chars": float(np.log1p(len(text))),
        "log_words": float(np.log1p(len(words))),
        "word_length": sum(map(len, words)) / max(len(words), 1),
        "digits": sum(map(str.isdigit, text)) / size,
        "log_numbers": float(np.log1p(sum(any(map(str.isdigit, word)) for word in words))),
        "capitals": sum(map(str.isupper, text)) / size,
        "symbols": sum(not (letter.isalnum() or letter.isspace()) for letter in text) / size,
        "log_lines": float(np.log1p(text.count("\n"))),
    }


def reply_signals(replies: Sequence[Reply]) -> dict[str, float]:
    """Signals of replies that need no checker: likelihood, log length, and the shares truncated, agreeing and answered.

    Likelihood is in nats per token; it and the length are NaN where not recorded.
    """
    counts = list(tally(replies).values())
    likelihood = [reply.likelihood for reply in replies if reply.logprobs]
    tokens = [float(reply.cost.tokens.output + reply.cost.tokens.reasoning) for reply in replies]
    return {
        "likelihood": float(np.mean(likelihood)) if likelihood else float("nan"),
        "log_tokens": float(np.log1p(np.mean(tokens))) if tokens else float("nan"),
        "truncated": float(np.mean([reply.finish == "length" for reply in replies])) if replies else 0.0,
        "agreement": max(counts) / len(replies) if counts else 0.0,
        "answered": sum(counts) / len(replies) if replies else 0.0,
    }


@dataclass(frozen=True)
class SuccessPredictor:
    """A logistic model of the chance of success.

    signals: names.  centre, scale, weights: per signal.  precision: phi; infinite for plain logistic regression.
    about: data, command, date.  measured: quality on held-out folds, see `training.quality`.
    """

    signals: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    precision: float = float("inf")
    about: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    def chance(self, signals: Mapping[str, float]) -> float:
        """The chance of success of one question or reply.

        Raises:
            UnsupportedError: a signal of the predictor is missing or NaN.
        """
        level = self.intercept
        for name, centre, scale, weight in zip(self.signals, self.centre, self.scale, self.weights, strict=True):
            value = signals.get(name, float("nan"))
            if np.isnan(value):
                raise UnsupportedError(f"the trained part needs the signal {name!r}, which is not there")
            level += weight * (value - centre) / scale
        return float(1 / (1 + np.exp(-level)))

    def chances(self, table: Floats) -> Floats:
        """The chance of success of each row of a table of rows x signals."""
        level = self.intercept + (table - np.array(self.centre)) / np.array(self.scale) @ np.array(self.weights)
        return np.asarray(1 / (1 + np.exp(-level)))

    def beyond(self, known: Mapping[str, Floats]) -> dict[str, npt.NDArray[np.bool_]]:
        """By signal, which values lie outside of the training: more than `USUAL` of its standard deviations off.

        Signals of the predictor alone, and only those where a value does.

        >>> SuccessPredictor(("digits",), (0.1,), (0.1,), (1.0,), 0.0).beyond({"digits": np.array([0.2, 0.9])})
        {'digits': array([False,  True])}
        """
        parts = zip(self.signals, self.centre, self.scale, strict=True)
        off = {name: np.abs(known[name] - centre) > USUAL * scale for name, centre, scale in parts if name in known}
        return {name: values for name, values in off.items() if values.any()}

    def beliefs(self, table: Floats) -> tuple[Floats, Floats]:
        """Alpha and beta of the Beta distribution of each row's success rate."""
        # the margin keeps both positive, as a Beta distribution needs
        mean = np.clip(self.chances(table), 1e-9, 1 - 1e-9)
        return mean * self.precision, (1 - mean) * self.precision

    def save(self, path: Path) -> None:
        """Writes the predictor as JSON."""
        document = asdict(self)
        document["precision"] = None if np.isinf(self.precision) else self.precision
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def names() -> tuple[str, ...]:
    """Ids of the shipped predictors."""
    return tuple(sorted(path.stem for path in TRAINED.glob("*.json")))


@lru_cache(maxsize=32)  # read once per process; five ship, and each takes a few kilobytes
def success_predictor(name: str) -> SuccessPredictor:
    """Loads the predictor of an id, or of a path to a JSON file.

    Raises:
        UnknownIdError: no predictor has this id, or no file this path.
        FactError: the file does not hold a predictor.
    """
    path = Path(name) if name.endswith(".json") else TRAINED / f"{name}.json"
    if not path.is_file():
        raise UnknownIdError("trained part", name, names())
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        signals = tuple(str(name) for name in document["signals"])
        centre, scale, weights = (tuple(map(float, document[key])) for key in ("centre", "scale", "weights"))
        precision = float("inf") if document["precision"] is None else float(document["precision"])
        level, about, measured = float(document["intercept"]), document["about"], document["measured"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise FactError(path.name, "file", f"not a trained part: {error}") from error
    if len({len(signals), len(centre), len(scale), len(weights)}) != 1:
        raise FactError(path.name, "weights", "signals, centre, scale and weights differ in length")
    return SuccessPredictor(signals, centre, scale, weights, level, precision, about, measured)
