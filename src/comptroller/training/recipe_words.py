"""A recipe of narrow training in words, for the notes of a plan."""

from __future__ import annotations

from comptroller.facts.training_recipe import TrainingRecipe

PRODUCTS = {"forward": "the forward pass", "inputs": "inputs' gradients", "weights": "weights' gradients"}
"""A product of matrices -> its name for readers."""


def recipe_words(recipe: TrainingRecipe, family: str) -> str:
    """What is narrow, what stays wide, and what quantising moves and keeps on a family of accelerators.

    >>> from comptroller.facts.training_recipe import training_recipe
    >>> recipe_words(training_recipe("fp8_delayed"), "hopper").partition(";")[0]
    "fp8_delayed: fp8_e4m3 (gradients fp8_e5m2) in products of the forward pass, inputs' gradients, weights' gradients"
    """
    narrow = ", ".join(PRODUCTS[one] for one in recipe.narrow)
    wide = ", ".join(recipe.wide)
    wide += f" and {recipe.wide_share:.0%} of the linear layers" if recipe.wide_share else ""
    return (
        f"{recipe.id}: {recipe.weights} (gradients {recipe.gradients}) in products of {narrow}; {wide} stay wide; "
        f"quantising moves {recipe.moved_bytes(family):.3g} bytes an element, and copies of weights take "
        f"{recipe.copy_bytes(family):.3g}"
    )
