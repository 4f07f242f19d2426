"""The precision of a training run: a recipe by id, and the formats and costs that follow from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from comptroller.costs.deployment import PrecisionRecipe
from comptroller.facts.reader import ids
from comptroller.facts.training_recipe import TRAINING_RECIPES, TrainingRecipe, training_recipe
from comptroller.work.sizes import conflict

SIXTEEN_BIT = "bf16"
"""The recipe of products in 16 bits."""


def precision_recipe(precision: str) -> PrecisionRecipe:
    """The formats in which a recipe of training multiplies matrices; all else stays in 16 and 32 bit.

    >>> precision_recipe("fp8").weights
    'fp8_e4m3'
    """
    recipe = training_recipe(precision)
    return PrecisionRecipe(recipe.weights, recipe.weights, recipe.activations, "bf16")


def narrow_recipe(precision: str) -> TrainingRecipe | None:
    """The recipe where its products are narrow.

    >>> narrow_recipe("bf16") is None
    True
    """
    recipe = training_recipe(precision)
    return recipe if recipe.narrow else None


def _checked_recipe(name: str) -> str:
    if name not in ids(TRAINING_RECIPES):
        raise conflict("precisions", f"{name!r} is no recipe of training", ", ".join(ids(TRAINING_RECIPES)))
    return name


TrainingPrecision = Annotated[
    str, AfterValidator(_checked_recipe), WithJsonSchema({"type": "string", "enum": ids(TRAINING_RECIPES)})
]
"""A recipe of training by id: in which formats matrices are multiplied; states are kept as the program keeps them."""
