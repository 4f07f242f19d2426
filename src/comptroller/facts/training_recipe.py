"""Recipes of narrow training as facts: which products are narrow, what stays wide, what quantising moves and keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.facts.reader import FactSource, entry_of, fact_of

TRAINING_RECIPES = "training_recipes"
"""Folder of the recipes."""

Bytes = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrainingRecipe:
    """One recipe. weights, activations, gradients: formats in products of matrices.  narrow: which of the three
    products are in them: of the forward pass, for gradients of inputs, of weights.  wide: what stays in 16 bits or
    more.  wide_share: of the linear layers besides.

    families: of accelerators that have it; none is all.  one_copy_families: those that read a tensor along rows and
    columns alike, where others keep a transposed copy.  read_bytes, row_bytes, column_bytes: of an element that is
    quantised, read and written along rows and columns.  megatron: options of Megatron-LM beside --bf16.
    """

    id: str
    name: str
    weights: str
    activations: str
    gradients: str
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    narrow: tuple[Literal["forward", "inputs", "weights"], ...] = ()
    wide: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    megatron: tuple[str, ...] = ()
    one_copy_families: tuple[str, ...] = ()
    wide_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    read_bytes: Bytes = 0.0
    row_bytes: Bytes = 0.0
    column_bytes: Bytes = 0.0
    note: str = ""

    def copy_bytes(self, family: str) -> float:
        """Bytes of a quantised element on a family: along rows, and along columns where that is another tensor.

        >>> training_recipe("fp8").copy_bytes("hopper"), training_recipe("fp8").copy_bytes("blackwell")
        (2.0, 1.0)
        """
        return self.row_bytes + (0.0 if family in self.one_copy_families else self.column_bytes)

    def moved_bytes(self, family: str) -> float:
        """Bytes that quantising an element of 16 bits moves on a family.

        >>> training_recipe("fp8_delayed").moved_bytes("hopper")
        4.0
        """
        return self.read_bytes + self.copy_bytes(family)


def training_recipe(name: str) -> TrainingRecipe:
    """The recipe of an id.

    Raises:
        UnknownIdError: there is none; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> training_recipe("nvfp4_pretraining").wide_share
    0.16
    """
    return fact_of(TrainingRecipe, entry_of(TRAINING_RECIPES, name))
