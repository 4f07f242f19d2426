"""Model families: what their `config.json` does not say, which were checked, and which are no decoders."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from typing import Any

ENCODER_ENDINGS = (
    "MaskedLM",
    "PreTraining",
    "Classification",
    "QuestionAnswering",
    "MultipleChoice",
    "NextSentencePrediction",
    "RewardModel",
)
"""Endings of `architectures` of models that do not generate text."""

HEADLESS_DECODERS = frozenset({"ChatGLMModel", "BloomModel"})
"""Classes whose name ends in `Model` although their files hold the head of a language model."""

NO_SIZE = "none"
"""What the user writes for a key that changes no size."""


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """Properties of a model family that its `config.json` does not state.

    checked: the conformance suite holds parameters, cache and state of the family against published ones.
    gated: feed-forward parts have a gate (three matrices).  tied: the head shares the embedding table where
    the config is silent.  beside: the dense part runs next to the experts of the same layer.
    feeds: layers have a feed-forward part.  positions: learned rows of positions beyond the context, or None
    where positions are not learned.  width_multiple: feed-forward width over hidden size where the config has none,
    as the library's class fills it in.  width_divisor: of the width that the config states.
    vision_gated: feed-forward parts of the vision tower have a gate.
    defaults: values the library's configuration class fills in for keys the file leaves out.
    keys: name of a quantity -> the family's own key for it.  inner: key of an inner table -> what is put before its
    keys.  harmless: further keys that change no size.  equal: keys that must say the same as a quantity.
    refused: why the family cannot be described; empty for all others.
    """

    checked: bool = False
    gated: bool = True
    tied: bool = False
    beside: bool = False
    feeds: bool = True
    positions: int | None = None
    width_multiple: int | None = None
    width_divisor: int = 1
    vision_gated: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    inner: Mapping[str, str] = field(default_factory=dict)
    harmless: tuple[str, ...] = ()
    equal: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

    def with_structure(self, structure: Mapping[str, Any]) -> ModelFamily:
        """The family with what a user says of keys: the quantity a key holds, "none", or the value of a key.

        >>> own = ModelFamily().with_structure({"my_experts": "experts", "rank": "none", "tie_word_embeddings": True})
        >>> dict(own.keys), own.harmless, dict(own.defaults)
        ({'experts': 'my_experts'}, ('rank',), {'tie_word_embeddings': True})
        """
        words = {key: value for key, value in structure.items() if isinstance(value, str)}
        return replace(
            self,
            checked=False,
            keys={**self.keys, **{value: key for key, value in words.items() if value != NO_SIZE}},
            harmless=(*self.harmless, *(key for key, value in words.items() if value == NO_SIZE)),
            defaults={**self.defaults, **{key: value for key, value in structure.items() if key not in words}},
        )


@lru_cache(maxsize=1)
def families() -> dict[str, ModelFamily]:
    """Model families by `model_type`, from `families.toml`; any other has the defaults of `ModelFamily`."""
    document = _document()
    table = {name: ModelFamily(checked=True) for name in document["checked"]["plain"]}
    table |= {name: _family(entry) for name, entry in document["families"].items()}
    table |= {name: ModelFamily(refused=what) for what, names in document["refused"].items() for name in names}
    return table


@lru_cache(maxsize=1)
def checked_towers() -> frozenset[str]:
    """Vision towers, by their `model_type`, whose weights the conformance suite or a shipped model checks."""
    return frozenset(_document()["checked"]["towers"])


@lru_cache(maxsize=1)
def harmless_keys() -> tuple[str, ...]:
    """Patterns of keys that change no size, from `families.toml`."""
    return tuple(pattern for patterns in _document()["harmless"].values() for pattern in patterns)


@lru_cache(maxsize=1)
def structure_words() -> re.Pattern[str]:
    """What a key's name holds that speaks of layers, widths, experts, caches or states, from `families.toml`."""
    words = "|".join(_document()["structure"]["words"])
    return re.compile(rf"(?:^|[_.])(?:{words})\d*(?=[_.]|$)", re.IGNORECASE)


def no_generator(architecture: str, auto_map: object) -> str:
    """Why a class of `architectures` does not generate text; empty where it does.

    >>> no_generator("BertModel", None)
    'it has no head of a language model'
    >>> no_generator("GPT2LMHeadModel", None)
    ''
    """
    if architecture.endswith(ENCODER_ENDINGS):
        return "its head gives scores or classes"
    own_head = isinstance(auto_map, Mapping) and "AutoModelForCausalLM" in auto_map
    bare = architecture.endswith(("Model", "Encoder")) and not architecture.endswith("LMHeadModel")
    if bare and not own_head and architecture not in HEADLESS_DECODERS:
        return "it has no head of a language model"
    return ""


def _family(entry: Mapping[str, Any]) -> ModelFamily:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return ModelFamily(**values)


def _document() -> dict[str, Any]:
    return tomllib.loads((resources.files("comptroller.facts") / "families.toml").read_text(encoding="utf-8"))
