"""Options that need not be looked at: another solves as much with no more dollars and no more calls of any model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comptroller.planning.ground.nouns import Floats, Ints
from comptroller.planning.offer.dominance import dominated_rows
from comptroller.planning.solve.case import OptionTable


def undominated_options(own: Sequence[frozenset[int]], table: OptionTable, left: Ints, same: bool = False) -> Ints:
    """Those of the options `left` that in some class no other of them replaces; of equal ones the first stays.

    own: models that own devices serve, of each option.  Shares of a class are chosen for each class alone, so an
    option that is replaced in every class is in some optimum not used. Only options whose own models are among
    another's can replace it.  same: classes are answered alike, so that the same option has to replace it in all.
    """
    groups: dict[frozenset[int], list[int]] = {}
    for option in left.tolist():
        groups.setdefault(own[option], []).append(option)
    kept: dict[frozenset[int], Ints] = {}
    for models in sorted(groups, key=lambda models: (len(models), sorted(models))):
        smaller = [options for others, options in kept.items() if others < models]
        pool = np.sort(np.concatenate([*smaller, np.array(groups[models], np.int64)]))
        kept[models] = np.intersect1d(_minimal(models, table, pool, same), groups[models])
    return np.sort(np.concatenate(list(kept.values()))) if kept else left


def _minimal(models: frozenset[int], table: OptionTable, pool: Ints, same: bool) -> Ints:
    values = [_values(models, table, pool, number) for number in range(len(table.score))]
    if same:
        values = [np.concatenate(values, axis=1)]
    replaced = np.all([dominated_rows(of_class) for of_class in values], axis=0)
    return np.asarray(pool[~replaced])


def _values(models: frozenset[int], table: OptionTable, pool: Ints, number: int) -> Floats:
    calls = [table.calls[model][number, pool] for model in sorted(models)]
    return np.column_stack([-table.score[number, pool], table.usd[number, pool], *calls])
