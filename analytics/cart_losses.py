"""Carts: how many are left behind, what lay in them, and how many are bought later."""

from typing import Final

from analytics.finding import Rows
from analytics.shop import Shop

_CARTS_DAILY: Final = """
SELECT date_trunc('day', started_at)::TIMESTAMP AS "@timestamp", category, coalesce(country, 'unknown') AS country,
    channel, count(*) AS started, count(*) FILTER (is_abandoned) AS abandoned,
    count(*) FILTER (is_abandoned AND became = 'bought') AS recovered, count(*) FILTER (became = 'bought') AS bought,
    count(*) FILTER (became = 'emptied') AS emptied, count(*) FILTER (became = 'open') AS open,
    coalesce(sum(value_minor) FILTER (is_abandoned AND became <> 'bought'), 0) / 100 AS value_left,
    coalesce(sum(value_minor) FILTER (is_abandoned AND became = 'bought'), 0) / 100 AS value_recovered,
    coalesce(sum(epoch_ms(ended_at) - epoch_ms(last_act_at)) FILTER (is_abandoned AND became = 'bought'), 0) / 1000
        AS recovery_s_sum,
    any_value(date_trunc('day', started_at)) + INTERVAL 2 DAY <= $as_of::TIMESTAMP AS is_mature
FROM carts JOIN customers_seen USING (customer_id) GROUP BY 1, 2, 3, 4 ORDER BY ALL
"""


def carts_daily(shop: Shop) -> Rows:
    """Rows of `carts-daily`."""
    return shop.rows(_CARTS_DAILY, {"as_of": shop.moment})
