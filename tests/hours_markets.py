"""Small markets of three hours."""

from __future__ import annotations

from typing import Any

import numpy as np

from comptroller.planning.ground.nouns import Market

H = 3


def market(load: Any = (1.0, 1.0), price: Any = (10.0, 10.0), all_day: Any = (False, False), works: Any = ()) -> Market:
    """Two columns, one kind of load; energy of 1 J a unit and hour, and 2 J for each unit's worth of load.

    works: loads of works by column, the first of which is called `batch`.
    """
    rows = np.vstack([[load], *([work] for work in works)]).astype(float)
    columns = rows.shape[1]
    return Market(
        rows=np.arange(columns),
        load=rows[None],
        usd=np.tile(np.array(price, float), (H, 1)),
        grid=np.tile(np.array([[1.0], [2.0], [4.0]]), (1, columns)),
        idle_j=np.ones(columns),
        added_j=2 * rows,
        added_usd=np.zeros(rows.shape),
        takes={},
        all_day=np.array(all_day, bool),
        standing=np.ones(columns),
        lost=np.zeros(columns),
        works=("batch", "other")[: len(works)],
    )
