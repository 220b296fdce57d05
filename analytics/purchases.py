"""Order histories as purchase processes see them, at any moment, and how wrong those processes lately were."""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.shop import Shop
from churn.model import Floats
from churn.purchase_process import Histories

_AT: Final = """
WITH kept AS (
    SELECT customer_id, CAST(ordered_at AS DATE) AS day, net_minor, ordered_at
    FROM orders_at($moment::TIMESTAMP) WHERE is_net AND ordered_at <= $moment::TIMESTAMP
), ends AS (SELECT *, min(day) OVER (PARTITION BY customer_id) AS first_day FROM kept)
SELECT customer_id, count(DISTINCT day) - 1 AS x, max(day) - min(day) AS t_x,
    CAST($moment::TIMESTAMP AS DATE) - min(day) AS age,
    coalesce(sum(net_minor) FILTER (day > first_day), 0) / 100 / greatest(count(DISTINCT day) - 1, 1) AS m,
    sum(net_minor) FILTER (ordered_at > $moment::TIMESTAMP - INTERVAL 90 DAY) / 100 AS last_90
FROM ends GROUP BY customer_id ORDER BY customer_id
"""
_AFTER: Final = """
SELECT customer_id, count(DISTINCT day) AS days, sum(net_minor) / 100 AS value FROM orders
WHERE is_net AND ordered_at > $moment::TIMESTAMP AND ordered_at <= $moment::TIMESTAMP + $days * INTERVAL 1 DAY
GROUP BY customer_id
"""


class Bought(NamedTuple):
    """Of the customers with a net order by a moment: `columns` (n, 4) in the order of `customer_value.LOOKS_AT`.

    `came_days` and `came_value` are days with a net order and their value in the days after it.
    """

    customer_ids: NDArray[np.str_]
    columns: Floats
    last_90: Floats
    came_days: Floats
    came_value: Floats

    @property
    def seen(self) -> Histories:
        """The histories, in days."""
        return Histories.of(self.columns[:, 0], self.columns[:, 1], self.columns[:, 2])


def at(shop: Shop, moment: datetime, days: int) -> Bought:
    """As known at the moment (aware), with what came in the `days` after it."""
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    seen = shop.table(_AT, {"moment": naive})
    came: dict[str, tuple[float, float]] = {
        row["customer_id"]: (row["days"], row["value"]) for row in shop.rows(_AFTER, {"moment": naive, "days": days})
    }
    names = seen["customer_id"].to_pylist()
    later = np.array([came.get(name, (0.0, 0.0)) for name in names], dtype=np.float64).reshape(-1, 2)
    return Bought(
        np.array(names, dtype=np.str_),
        np.column_stack([_numbers(seen, name) for name in ("x", "t_x", "age", "m")]),
        np.nan_to_num(_numbers(seen, "last_90")),
        later[:, 0],
        later[:, 1],
    )


def _numbers(table: Any, name: str) -> Floats:
    return np.array(table[name].to_pylist(), dtype=np.float64)
